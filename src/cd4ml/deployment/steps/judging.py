"""Looks at what was captured until it is known whether a release keeps its limits."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from cd4ml.contracts.verdict import Outcome, Verdict, worst
from cd4ml.deployment import decided, step_log, steps
from cd4ml.deployment.evidence import analysis, divided, paired, watched
from cd4ml.deployment.evidence.compared import BY_CHANCE, Compared, UnreadableError
from cd4ml.deployment.evidence.late import Late
from cd4ml.deployment.evidence.limits import Limits
from cd4ml.deployment.evidence.own_limits import OwnLimits
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.deployment.steps import NOBODY, Rollout
from cd4ml.deployment.targets import Split
from cd4ml.errors import DeploymentError
from cd4ml.registry import models

LATE_SECONDS = 15
"""How much later than a request its answer may be captured: those that are slow come last, and would be missing."""
LATE_COPY_SECONDS = 60
"""Likewise of a copy, which waits up to 30 seconds for others that hang, and then for its own answer."""
AWAY_SECONDS = 600
"""How long what was captured may not be readable, as where the store is away."""
Found = TypeVar("Found")

log = logging.getLogger(__name__)


def analyse(rollout: Rollout, limits: Limits, *, within: timedelta) -> str:
    """Waits until it is known that the release keeps limits against what was served before; by what it is.

    Raises:
        DeploymentError: It does not keep one, or that is not known by then.
        Promoted: People give the release all requests.
    """
    if rollout.split is None:
        return f"{NOBODY}, so there is nothing to compare with"
    classes = None
    if limits.of_labels:
        classes = models.contract(rollout.target.store, rollout.release.version).classes
    split = rollout.split
    asked = paired.asked(split.champion, split.challenger) if split.mirrored else BY_CHANCE
    late = Late(rollout.target.store, rollout.release.version.name, since=rollout.split_at)
    captured = Captured(split.capture, asked, since=rollout.split_at, needed=limits.needed, late=late)
    look = partial(_analysed, rollout, split, captured=captured, limits=limits, classes=classes)
    return _judged(rollout, look, span=within, whole=False)


def _analysed(
    rollout: Rollout, split: Split, *, captured: Captured, limits: Limits, classes: Sequence[str] | None
) -> Verdict:
    until = captured_until(mirrored=split.mirrored)
    found: Compared
    if split.mirrored:
        found = paired.read(captured, until=until)
    else:
        found = divided.read(captured, champion=split.champion, challenger=split.challenger, until=until)
    rollout.answered = found.answered()
    about = {"champion": split.champion, "challenger": split.challenger}
    return analysis.analyse(found, limits, about=about, looks=rollout.looks, classes=classes)


def watch(rollout: Rollout, limits: OwnLimits) -> str:
    """Looks for a time at what the release answers; what it kept.

    Raises:
        DeploymentError: It does not keep a limit, or that is not known by then.
        Promoted: People give the release all requests.
    """
    if rollout.split is None:
        return f"{NOBODY}, so there is nothing to go back to"
    release = rollout.release
    log.warning(
        "%s version %d answers callers, and is watched for %s; %s",
        release.version.name,
        release.version.version,
        limits.span,
        decided.how(rollout.target.store, release.begun),
    )
    arm = rollout.split.challenger
    captured = Captured(rollout.split.capture, watched.asked(arm), since=rollout.split_at, needed=watched.NEEDED)
    return _judged(rollout, partial(_watched, rollout, captured, limits, arm=arm), span=limits.span, whole=True)


def _watched(rollout: Rollout, captured: Captured, limits: OwnLimits, *, arm: str) -> Verdict:
    return watched.judge(captured, limits, arm=arm, until=captured_until(), looks=rollout.looks)


def captured_until(*, mirrored: bool = False) -> datetime:
    """The moment until which all answers, and those to copies where there are some, have been captured by now."""
    return steps.now() - timedelta(seconds=LATE_COPY_SECONDS if mirrored else LATE_SECONDS)


def _judged(rollout: Rollout, look: Callable[[], Verdict], *, span: timedelta, whole: bool) -> str:
    """Looks until it is known that limits are kept; by what that is known.

    Args:
        rollout: The rollout.
        look: Holds what was captured against the limits.
        span: How long that may take.
        whole: Whether all of it is waited for.

    Raises:
        DeploymentError: A limit is broken, or it is not known by then whether all are kept.
    """
    end, before = time.monotonic() + span.total_seconds(), list[str]()
    while True:
        verdict = patiently(look, rollout)
        known = [check.reason for check in verdict.checks]
        if known != before:
            step_log.so_far(known)
        before, over = known, time.monotonic() > end
        _check_unbroken(verdict)
        if verdict.passed and (over or not whole):
            return "; ".join(known)
        if over:
            said = "; ".join(verdict.reasons)
            raise DeploymentError(f"after {span} it is not known whether limits are kept: {said}")
        steps.check_lives(rollout)
        time.sleep(steps.LOOK_SECONDS)


def patiently(look: Callable[[], Found], rollout: Rollout) -> Found:
    """What a look at the capture tells, which is asked again for a time where it cannot be read.

    Raises:
        UnreadableError: It still cannot be.
    """
    end = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            return look()
        except UnreadableError as error:
            if time.monotonic() > end:
                raise
            log.warning("%s; it is asked again", error)
        steps.check_lives(rollout)
        time.sleep(steps.LOOK_SECONDS)


def _check_unbroken(verdict: Verdict) -> None:
    outcome, said = worst(check.outcome for check in verdict.checks), "; ".join(verdict.reasons)
    if outcome is Outcome.ERROR:
        raise DeploymentError(f"the release cannot be judged: {said}")
    if outcome is Outcome.FAILED:
        raise DeploymentError(f"the release does not keep its limits: {said}")
