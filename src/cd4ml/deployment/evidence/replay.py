"""What a bandit would have earned of requests that were captured, whose arms chance gave them.

The captured requests are gone through in the order in which they came. What the policy would have given the challenger
at each moment follows from the outcomes that were known by then, those of the log; and how likely each arm was is in
the log too. So what each caller came to, times how much likelier its arm would have been, is on average what the policy
would have earned of that caller. With two arms, and shares that heed no features, nothing else matters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from cd4ml.contracts.shares import Interval
from cd4ml.deployment.evidence import ab_test, anytime, strange, units
from cd4ml.deployment.evidence.bandit import shares
from cd4ml.deployment.evidence.compared import BY_CHANCE
from cd4ml.deployment.evidence.designs import Bandit
from cd4ml.deployment.evidence.late import Late
from cd4ml.deployment.evidence.reading import Captured, columns
from cd4ml.deployment.evidence.units import Units
from cd4ml.errors import DeploymentError
from cd4ml.settings import LONGEST

SUPPORT = 100
"""The callers of either arm, by their effective number, that a log needs once the policy would have learned."""
NO_END = f"{LONGEST.days} days"
"""What `for` is of a policy that is replayed: it ends with the log."""


@dataclass(frozen=True)
class Pair:
    """Two arms of a log."""

    champion: str
    challenger: str
    since: datetime | None = None
    """The first moment at which both had a chance."""


@dataclass(frozen=True)
class Estimate:
    """What giving the challenger some share would have earned a caller."""

    name: str
    share: float
    """The challenger's, on average."""
    ips: float
    """By inverse propensities."""
    snips: float
    """By the same, which sum to 1."""
    doubly_robust: float
    """By what either arm had earned before, mended by the same."""
    interval: Interval
    """Of the last."""
    effective: float
    """As many callers, all given that share, would tell as much."""


@dataclass(frozen=True)
class Gain:
    """What a policy would have earned a caller more than something else."""

    over: str
    value: float
    interval: Interval


@dataclass(frozen=True)
class Replayed:
    """What a log tells of a policy."""

    pair: Pair
    policy: str
    outcome: str
    callers: int
    """Whose outcome is known."""
    share: float
    """The part of them that the challenger had."""
    earned: float
    """What a caller came to."""
    estimates: tuple[Estimate, ...]
    gains: tuple[Gain, ...]
    supported: float
    """The effective number of callers of the rarer arm, from when the policy would have learned anything."""
    error: float
    """How often each interval misses."""
    left_out: str
    """What is said of what was given and cannot be an outcome; empty where there is none."""

    @property
    def said(self) -> str:
        """What it tells, in a sentence."""
        gains = "; ".join(
            f"{gain.value:+.4g} [{gain.interval[0]:+.4g}, {gain.interval[1]:+.4g}] a caller over {gain.over}"
            for gain in self.gains
        )
        more = f"; of callers with a {self.outcome}, {self.left_out}" if self.left_out else ""
        return (
            f"{self.policy} on {self.callers:,} callers of {self.pair.champion} and {self.pair.challenger} "
            f"({self.supported:,.0f} of the rarer from when it would have learned anything): {gains}{more}"
        )


def replay(bandit: Bandit, found: Units, pair: Pair) -> Replayed:
    """Replays a policy.

    Args:
        bandit: The policy.
        found: Those who asked two arms, whose shares were what they may have been.
        pair: The arms.

    Raises:
        DeploymentError: Much that was given is out of range, or the log tells too little.
    """
    bad = found.compared.of(found.strange)
    said, too_strange = strange.left_out(bad, told=found.told, why=found.why, error=bandit.error)
    if too_strange:
        raise DeploymentError(f"what was captured cannot be replayed: of callers with a {bandit.outcome}, {said}")
    known, outcomes = found.compared.rewarded()
    _check(bandit, known.challenged, pair)
    guesses = ab_test.differences(bandit, known, outcomes).values
    low = bandit.range[0]
    log = _Log.of((outcomes - low) / bandit.width, known.challenged, known.propensities)
    learned = _known_before(bandit, known.table["at"].to_numpy())
    counts, place = np.unique(learned, return_inverse=True)
    share = shares(bandit, guesses, counts)[place]
    late, times = learned > 0, log.times(share)
    supported = min(_effective(times[late & (known.challenged == arm)]) for arm in (False, True))
    if supported < SUPPORT:
        raise _too_little(
            f"tells of {log.count:,} callers of {pair.champion} and {pair.challenger}, of whom the rarer arm had "
            f"{supported:,.0f} once {bandit.policy} would have learned anything, and {SUPPORT} are needed"
        )
    never = np.zeros(log.count)
    policy, champion = log.robust(share), log.robust(never)

    def known_to_be(values: np.ndarray) -> tuple[float, Interval]:
        low, high = anytime.Guesses(values, log.reach).interval(bandit.error)
        return float(values.mean()) * bandit.width, (low * bandit.width, high * bandit.width)

    def estimate(name: str, given: np.ndarray) -> Estimate:
        times, (value, (least, most)) = log.times(given), known_to_be(log.robust(given))
        weighted = times * log.outcomes
        ips, snips = (low + one * bandit.width for one in (weighted.mean(), weighted.sum() / times.sum()))
        ends = (max(low, low + least), min(bandit.range[1], low + most))
        return Estimate(name, float(given.mean()), float(ips), float(snips), low + value, ends, _effective(times))

    return Replayed(
        pair,
        bandit.policy,
        bandit.outcome,
        log.count,
        float(known.challenged.mean()),
        float(outcomes.mean()),
        (estimate(bandit.policy, share), estimate("always the champion", never)),
        (
            Gain("what was earned", *known_to_be(policy - log.outcomes)),
            Gain("always the champion", *known_to_be(policy - champion)),
        ),
        supported,
        bandit.error,
        said,
    )


def read(
    bandit: Bandit,
    folder: str | Path,
    *,
    until: datetime,
    champion: str | None = None,
    challenger: str | None = None,
    late: Late | None = None,
) -> Replayed:
    """Replays a policy on what was captured.

    Args:
        bandit: The policy.
        folder: Of the capture, a path or `s3://bucket/prefix`.
        until: The moment that does not count any more.
        champion: An arm; those that were divided last where none is named.
        challenger: The arm that is held against it.
        late: The labels that were taken in bulk; None where they do not count.

    Raises:
        DeploymentError: What was captured cannot be read, or tells too little.
    """
    pair = Pair(champion, challenger) if champion and challenger else _last(folder)
    asked = units.asked(pair.champion, pair.challenger)
    captured = Captured(folder, asked, since=pair.since, needed=bandit.needed, first=False, late=late)
    found = units.read(captured, bandit.counted, challenger=pair.challenger, until=until)
    return replay(bandit, found, pair)


@dataclass(frozen=True)
class _Log:
    """Callers in order, each with what it came to."""

    outcomes: np.ndarray
    """Within [0, 1] (float64 [callers])."""
    challenged: np.ndarray
    """Whether it was the challenger's (bool [callers])."""
    chances: np.ndarray
    """How likely its arm was (float64 [callers])."""
    usual: np.ndarray
    """What each arm, the champion first, had earned a caller before (float64 [2, callers])."""

    @classmethod
    def of(cls, outcomes: np.ndarray, challenged: np.ndarray, propensities: np.ndarray) -> "_Log":
        usual = [_before(outcomes, challenged == arm) for arm in (False, True)]
        return cls(outcomes, challenged, np.where(challenged, propensities, 1 - propensities), np.array(usual))

    @property
    def count(self) -> int:
        return len(self.outcomes)

    @property
    def reach(self) -> float:
        """How far from 0 what a caller tells may be."""
        return float(1 + 1 / self.chances.min())

    def times(self, share: np.ndarray) -> np.ndarray:
        """How much likelier each caller's arm would have been, had the challenger had a share (float64 [callers])."""
        likelier: np.ndarray = np.where(self.challenged, share, 1 - share) / self.chances
        return likelier

    def robust(self, share: np.ndarray) -> np.ndarray:
        """What each caller would have come to then, right on average (float64 [callers])."""
        champion, challenger = self.usual
        usual = np.where(self.challenged, challenger, champion)
        told: np.ndarray = (1 - share) * champion + share * challenger + self.times(share) * (self.outcomes - usual)
        return told


def _before(outcomes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The mean of an arm's outcomes before each; halfway where there is none (float64 [callers])."""
    total, count = (np.cumsum(values) - values for values in (outcomes * own, own * 1.0))
    mean: np.ndarray = (total + 0.5) / (count + 1)
    return mean


def _known_before(bandit: Bandit, at: np.ndarray) -> np.ndarray:
    """How many outcomes the share was set by that each caller would have had (int64 [callers])."""
    every, window = np.timedelta64(bandit.every), np.timedelta64(bandit.window)
    looked = at[0] + (at - at[0]) // every * every
    known: np.ndarray = np.searchsorted(at, looked - window, side="right")
    return known


def _effective(times: np.ndarray) -> float:
    return float(times.sum() ** 2 / (times**2).sum()) if times.any() else 0.0


def _check(bandit: Bandit, challenged: np.ndarray, pair: Pair) -> None:
    for arm, got in ((pair.champion, ~challenged), (pair.challenger, challenged)):
        if not got.any():
            raise _too_little(f"knows of no {bandit.outcome} of {arm} within the `window` of {bandit.window}")


def _too_little(said: str) -> DeploymentError:
    return DeploymentError(
        f"what was captured {said}; divide requests by chance for more than two windows, and twice as long as `every`, "
        "such as by `traffic: 50` and `hold: 1 day`, or write `replay: none` in the step to do without"
    )


def _last(folder: str | Path) -> Pair:
    """The arms between which chance divided requests last."""
    requests = columns(folder, ["arm", "at"], BY_CHANCE)
    names = sorted(requests["arm"].unique().to_pylist(), key=lambda name: (len(name), name))  # each ends with a number
    if len(names) > 1:
        newest = names[-1]
        since = pc.min(requests.filter(pc.field("arm") == newest)["at"]).as_py()
        beside = requests.filter((pc.field("arm") != newest) & (pc.field("at") >= since))["arm"].value_counts()
        for arm in sorted(beside.to_pylist(), key=lambda one: -one["counts"]):
            return Pair(str(arm["values"]), newest, since)
    raise _too_little("has no two arms between which chance divided requests")


def rows(found: Replayed) -> Iterator[tuple[str, ...]]:
    """The estimates as a table: what, the challenger's share, doubly robust, SNIPS, IPS, effective callers."""
    yield "what was earned", f"{found.share:.0%}", f"{found.earned:.4g}", "", "", f"{found.callers:,}"
    for one in found.estimates:
        robust = f"{one.doubly_robust:.4g} [{one.interval[0]:.4g}, {one.interval[1]:.4g}]"
        yield one.name, f"{one.share:.0%}", robust, f"{one.snips:.4g}", f"{one.ips:.4g}", f"{one.effective:,.0f}"
