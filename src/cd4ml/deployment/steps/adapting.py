"""Runs a bandit: sets the shares anew again and again, says when they change by much, and how it ended."""

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np
import pyarrow as pa

from cd4ml.contracts.deployment import StepTaken
from cd4ml.contracts.experiment import Adapted, Decision, Share
from cd4ml.contracts.slices import OVERALL
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.deployment import steps
from cd4ml.deployment.evidence import ab_test, strange, units
from cd4ml.deployment.evidence import replay as replays
from cd4ml.deployment.evidence.ab_test import Judged
from cd4ml.deployment.evidence.bandit import EVEN, shares
from cd4ml.deployment.evidence.designs import Bandit
from cd4ml.deployment.evidence.late import Late
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.deployment.evidence.regret import regret
from cd4ml.deployment.steps import NOBODY, Rollout, judging, trial
from cd4ml.deployment.targets import Split
from cd4ml.registry import clock, deployments

PLAN = "bandit plan"
"""What the history calls what is planned."""
REPLAY = "bandit replay"
"""What it calls what the policy would have earned before."""
SHARES = "bandit shares"
"""What it calls a change of them."""
MUCH = 0.1
"""How far a share changes until that is told."""
FLOOR = "floor"
ROUNDING = 1e-6
"""Of a share as the router writes it."""
POINTS = 100
"""Of the shares that are kept."""
MORE = 1.25
"""How many times as many outcomes are known until it is told again, so that a long bandit has few events."""

log = logging.getLogger(__name__)


def run(rollout: Rollout, bandit: Bandit) -> str:
    """Runs it to its end; by what the release gets all requests.

    Raises:
        DeploymentError: The release is not to get them, or too little was captured to replay the policy on.
    """
    if bandit.replay == "captured":
        _replay(rollout, bandit)
    split = _share(rollout, bandit, EVEN)
    rollout.split, rollout.split_at = split, steps.now()
    if split is None:
        return f"{NOBODY}, so there is nothing to compare with"
    plan = (
        f"{bandit.policy} sets the shares every {trial.shown(bandit.every)} by the {bandit.outcome} of callers, "
        f"neither below {bandit.floor:g}; it ends as soon as a difference is known at an error of {bandit.error:g}, "
        f"and after {trial.shown(bandit.span)} at the latest"
    )
    _note(rollout, PLAN, plan)
    found, decision = _decided(rollout, bandit, split=split, began=rollout.split_at)
    began, adapted = rollout.split_at, _adapted(bandit, found)
    return trial.conclude(
        rollout, found.judged, split=split, began=began, plan=plan, decision=decision, adapted=adapted
    )


def _replay(rollout: Rollout, bandit: Bandit) -> None:
    """Replays the policy on what was captured until now; where nothing was divided yet, the champion gets all."""
    split = rollout.split or _share(rollout, bandit, 0.0)
    if split:
        until = judging.captured_until()
        own = (rollout.split.champion, rollout.split.challenger) if rollout.split else (None, None)
        late = Late(rollout.target.store, rollout.release.version.name, bandit.key)
        look = partial(replays.read, bandit, split.capture, until=until, champion=own[0], challenger=own[1], late=late)
        _note(rollout, REPLAY, judging.patiently(look, rollout).said)


@dataclass(frozen=True)
class Look:
    """What is known at one of them."""

    judged: Judged
    least: float
    """The least share that either arm was to get of a request that counts."""
    below: int
    """Requests of which one was to get less than the floor, as those do that the router divided as before."""


def _decided(rollout: Rollout, bandit: Bandit, *, split: Split, began: datetime) -> tuple[Look, Decision]:
    """Sets the shares until something is decided."""
    begun, shares = time.monotonic(), Shares(EVEN, EVEN)
    captured = trial.captured(rollout, bandit, split=split, began=began)
    while True:
        left = bandit.span.total_seconds() - (time.monotonic() - begun)
        look = judging.patiently(partial(_look, bandit, split, captured), rollout)
        judged = look.judged
        decision = judged.decision(over=left <= 0)
        if decision:
            return look, decision
        share = _wanted(bandit, judged)
        if share != shares.now:
            _share(rollout, bandit, share)
        if shares.tells(share, judged.count):
            shares = Shares(share, share, judged.count)
            _note(rollout, SHARES, f"{share:.0%} of the requests to the release: {judged.said}")
        shares = replace(shares, now=share)
        steps.wait(rollout, min(bandit.every.total_seconds(), left))


@dataclass(frozen=True)
class Shares:
    """The challenger's share."""

    now: float
    told: float
    """When it was told last."""
    count: int = 0
    """How many outcomes were known then."""

    def tells(self, share: float, count: int) -> bool:
        """Whether another is to be told."""
        return abs(share - self.told) >= MUCH - 1e-9 and count >= self.count * MORE


def _look(bandit: Bandit, split: Split, captured: Captured) -> Look:
    until = judging.captured_until()
    requests, given = captured.requests(until), captured.feedback(until)
    own = requests["propensity"].to_numpy()
    rarer = np.minimum(own, 1 - own)
    counts = rarer >= bandit.floor - ROUNDING
    found = units.among(
        requests.filter(pa.array(counts)), given, bandit.counted, challenger=split.challenger, until=until
    )
    judged = ab_test.judge(bandit, replace(found, compared=replace(found.compared, rarest=bandit.floor)))
    least, below = float(rarer[counts].min(initial=EVEN)), int((~counts).sum())
    checks = (*judged.checks, _floor(bandit, least, below=below, of=len(requests)))
    return Look(replace(judged, checks=checks), least, below)


def _floor(bandit: Bandit, least: float, *, below: int, of: int) -> Check:
    """Whether each arm was always to get as much as the floor says, by which guesses are bounded."""
    told = f"{FLOOR}: either arm was to get {least:.0%} of the requests at the least"
    outcome = Outcome.PASSED
    if below:
        told += f"; {below:,} of {of:,} of which one was to get less do not count"
    if below > strange.FEW and below > strange.SHARE * of:
        outcome = Outcome.ERROR
        told += ", which are too many; look why the router does not follow its traffic file"
    return Check(FLOOR, f"at least {bandit.floor:g}", least, outcome, told, OVERALL)


def _adapted(bandit: Bandit, look: Look) -> Adapted:
    known, outcomes = look.judged.known
    everyone = look.judged.units.compared
    places = np.unique(np.linspace(0, everyone.count, POINTS, endpoint=False).astype(np.int64))[: everyone.count]
    at = everyone.table["at"].take(pa.array(places)).to_pylist()
    cost = None
    if known.count:
        guesses = ab_test.differences(bandit, known, outcomes)
        cost = regret(guesses, known.propensities, error=bandit.error)
    width = bandit.width
    return Adapted(
        policy=bandit.policy,
        floor=bandit.floor,
        least=look.least,
        below=look.below,
        shares=tuple(
            Share(moment.isoformat(timespec="seconds"), float(everyone.propensities[place]))
            for moment, place in zip(at, places, strict=True)
        ),
        callers=known.count,
        regret=cost.value * width if cost else None,
        interval=(cost.interval[0] * width, cost.interval[1] * width) if cost else None,
        even=cost.even * width if cost else None,
    )


def _wanted(bandit: Bandit, judged: Judged) -> float:
    guesses = ab_test.differences(bandit, *judged.known).values
    return float(shares(bandit, guesses, np.array([len(guesses)]))[0])


def _share(rollout: Rollout, bandit: Bandit, share: float) -> Split | None:
    sticky = bandit.sticky.sticky if bandit.sticky else None
    return rollout.target.share(rollout.release, share, rollout.features, sticky=sticky)


def _note(rollout: Rollout, name: str, said: str) -> None:
    log.info("%s: %s", name, said)
    deployments.add(rollout.target.store, rollout.release.begun, StepTaken(name, said, clock.now()))
