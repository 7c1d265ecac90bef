"""Runs an experiment: divides the callers, looks again and again, keeps how it went, and says how it ended."""

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from cd4ml.contracts.deployment import StepTaken
from cd4ml.contracts.experiment import Adapted, Decision, Experiment
from cd4ml.deployment import steps
from cd4ml.deployment.evidence import ab_test, units
from cd4ml.deployment.evidence.ab_test import Judged
from cd4ml.deployment.evidence.designs import Design, Outcomes
from cd4ml.deployment.evidence.late import Late
from cd4ml.deployment.evidence.reading import Captured, columns
from cd4ml.deployment.steps import NOBODY, Rollout, judging
from cd4ml.deployment.targets import Split
from cd4ml.errors import DeploymentError
from cd4ml.registry import clock, deployments

PLAN = "ab-test plan"
"""What the history calls what is planned."""
REST = 50
"""A look comes after a part of the time since the first: what is known does not change faster."""
MOST_SECONDS = 300
"""Between two looks."""
PARTS = 10
"""Of the plan, after each of which the log says what is known."""
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_ENDS = {
    Decision.ROLL_BACK: "the release is rolled back",
    Decision.INCONCLUSIVE: "the release is not known to be better",
    Decision.ERROR: "the arms cannot be compared, so that the experiment has no result",
}

log = logging.getLogger(__name__)


def run(rollout: Rollout, design: Design) -> str:
    """Runs it to its end; by what the release gets all requests.

    Raises:
        DeploymentError: The release is not to get them.
    """
    weight, sticky = design.traffic / 100, design.sticky.sticky
    split = rollout.target.share(rollout.release, weight, rollout.features, sticky=sticky)
    rollout.split, rollout.split_at = split, steps.now()
    if split is None:
        return f"{NOBODY}, so there is nothing to compare with"
    plan = judging.patiently(partial(_planned, design, split.capture, rollout.split_at), rollout)
    log.info("%s", plan)
    deployments.add(rollout.target.store, rollout.release.begun, StepTaken(PLAN, plan, clock.now()))
    judged, decision = _decided(rollout, design, split=split, began=rollout.split_at)
    return conclude(rollout, judged, split=split, began=rollout.split_at, plan=plan, decision=decision)


def conclude(
    rollout: Rollout,
    judged: Judged,
    *,
    split: Split,
    began: datetime,
    plan: str,
    decision: Decision,
    adapted: Adapted | None = None,
) -> str:
    """Keeps how it went; by what the release gets all requests.

    Args:
        rollout: Whose requests are divided.
        judged: What was known at the last look.
        split: How they are divided.
        began: Since when.
        plan: What was planned, in a sentence.
        decision: What follows.
        adapted: What shares were and cost that followed outcomes; None of fixed ones.

    Raises:
        DeploymentError: The release is not to get them.
    """
    promoted = decision is Decision.PROMOTE or (decision is Decision.INCONCLUSIVE and judged.limits_kept)
    found = _experiment(judged, split, plan=plan, decision=decision, promoted=promoted, began=began)
    found = replace(found, adapted=adapted)
    deployments.add_experiment(rollout.target.store, rollout.release.begun, found)
    if promoted:
        return found.said
    raise DeploymentError(f"{_ENDS[decision]}: {found.said}")


def _planned(design: Design, capture: str | Path, began: datetime) -> str:
    """What is planned, in a sentence."""
    since = began - timedelta(days=1)
    asked = ~pc.field("mirrored") & (pc.field("at") >= since) & (pc.field("at") < began)
    lately = columns(capture, ["at"], asked, since=since)["at"]
    said = (
        f"about {design.planned:,} callers whose {design.outcome} is known tell a difference of {design.detect:g} from "
        f"{design.baseline:g} with a probability of {design.power:g}, at an error of {design.error:g}"
    )
    if len(lately):
        least = (began - pc.min(lately).as_py()) * (design.planned / len(lately)) + design.window
        said += f"; at the present rate of requests that takes {shown(least)} at least"
        if least > design.within:
            log.warning("the plan takes %s at least, and ends after %s", shown(least), shown(design.within))
    return f"{said}; it ends after {shown(design.within)} at the latest, and as soon as a difference is known"


def captured(rollout: Rollout, design: Outcomes, *, split: Split, began: datetime) -> Captured:
    """What there is to know of callers since a moment."""
    asked = units.asked(split.champion, split.challenger)
    late = Late(rollout.target.store, rollout.release.version.name, design.key, began)
    return Captured(split.capture, asked, since=began, needed=design.needed, first=False, late=late)


def _decided(rollout: Rollout, design: Design, *, split: Split, began: datetime) -> tuple[Judged, Decision]:
    """Looks until something is decided."""
    begun, told, seen = time.monotonic(), 0, captured(rollout, design, split=split, began=began)
    while True:
        passed = time.monotonic() - begun
        until = judging.captured_until()
        look = partial(units.read, seen, design.counted, challenger=split.challenger, until=until)
        judged = ab_test.judge(design, judging.patiently(look, rollout))
        decision = judged.decision(over=passed > design.within.total_seconds())
        if decision:
            return judged, decision
        part = PARTS * judged.count // design.planned
        if part > told:
            more = (until - began - design.window) * (design.planned / judged.count - 1)
            log.info("%s; at this rate %s more at most", judged.said, shown(more))
        told = max(part, told)
        steps.wait(rollout, min(max(steps.LOOK_SECONDS, passed / REST), MOST_SECONDS))


def _experiment(
    judged: Judged, split: Split, *, plan: str, decision: Decision, promoted: bool, began: datetime
) -> Experiment:
    design, seen = judged.design, judged.units
    champion, challenger = judged.arms((split.champion, split.challenger))
    young, of = seen.count - int(seen.ripe.sum()), f"of {seen.requests:,} requests"
    notes = {
        f"{seen.unnamed:,} {of} do not say whose they are, and each counts as a caller of its own": (
            seen.unnamed if design.sticky else 0
        ),
        f"{young:,} of {seen.count:,} callers have come in the last {shown(design.window)}, and do not count": young,
    }
    return Experiment(
        outcome=design.outcome,
        planned=design.planned,
        plan=plan,
        error=design.error,
        champion=champion,
        challenger=challenger,
        checks=judged.checks,
        slices=tuple(judged.slices()),
        points=tuple(judged.points()),
        notes=tuple(note for note, count in notes.items() if count),
        decision=decision,
        promoted=promoted,
        began=began.isoformat(timespec="seconds"),
        ended=clock.now(),
    )


def shown(span: timedelta) -> str:
    """A span of time in words: `3.2 days`, `5 hours`."""
    seconds = span.total_seconds()
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    count = seconds / size
    text = f"{count:,.0f}" if count >= 10 else f"{count:.1f}".removesuffix(".0")
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"
