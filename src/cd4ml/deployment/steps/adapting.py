"""Runs a bandit: sets the shares anew again and again, says when they change by much, and how it ended."""

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np

from cd4ml.contracts.deployment import StepTaken
from cd4ml.contracts.experiment import Decision
from cd4ml.deployment import steps
from cd4ml.deployment.evidence import ab_test, units
from cd4ml.deployment.evidence import replay as replays
from cd4ml.deployment.evidence.ab_test import Judged
from cd4ml.deployment.evidence.bandit import EVEN, shares
from cd4ml.deployment.evidence.designs import Bandit
from cd4ml.deployment.evidence.reading import Captured
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
    judged, decision = _decided(rollout, bandit, split=split, began=rollout.split_at)
    return trial.conclude(rollout, judged, split=split, began=rollout.split_at, plan=plan, decision=decision)


def _replay(rollout: Rollout, bandit: Bandit) -> None:
    """Replays the policy on what was captured until now; where nothing was divided yet, the champion gets all."""
    split = rollout.split or _share(rollout, bandit, 0.0)
    if split:
        until = judging.captured_until()
        own = (rollout.split.champion, rollout.split.challenger) if rollout.split else (None, None)
        look = partial(replays.read, bandit, split.capture, until=until, champion=own[0], challenger=own[1])
        _note(rollout, REPLAY, judging.patiently(look, rollout).said)


def _decided(rollout: Rollout, bandit: Bandit, *, split: Split, began: datetime) -> tuple[Judged, Decision]:
    """Sets the shares until something is decided."""
    begun, shares, captured = time.monotonic(), Shares(EVEN, EVEN), trial.captured(bandit, split, began)
    while True:
        left = bandit.span.total_seconds() - (time.monotonic() - begun)
        judged = judging.patiently(partial(_judged, bandit, split, captured), rollout)
        decision = judged.decision(over=left <= 0)
        if decision:
            return judged, decision
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


def _judged(bandit: Bandit, split: Split, captured: Captured) -> Judged:
    until = judging.captured_until()
    found = units.read(captured, bandit.counted, challenger=split.challenger, until=until)
    return ab_test.judge(bandit, replace(found, compared=replace(found.compared, rarest=bandit.floor)))


def _wanted(bandit: Bandit, judged: Judged) -> float:
    guesses = ab_test.differences(bandit, *judged.known).values
    return float(shares(bandit, guesses, np.array([len(guesses)]))[0])


def _share(rollout: Rollout, bandit: Bandit, share: float) -> Split | None:
    sticky = bandit.sticky.sticky if bandit.sticky else None
    return rollout.target.share(rollout.release, share, rollout.features, sticky=sticky)


def _note(rollout: Rollout, name: str, said: str) -> None:
    log.info("%s: %s", name, said)
    deployments.add(rollout.target.store, rollout.release.begun, StepTaken(name, said, clock.now()))
