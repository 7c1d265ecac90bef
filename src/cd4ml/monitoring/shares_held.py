"""Shares of rows held against what they may be, at a stated rate of false alarms."""

from dataclasses import dataclass

from scipy import special

from cd4ml.contracts.shares import Interval, share_interval
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window_drift import Share


@dataclass(frozen=True)
class Rows:
    """Some of the rows that speak for themselves."""

    some: int
    of: int

    @property
    def share(self) -> Share:
        """Their share, with its interval at 95 %."""
        value = self.some / self.of if self.of else 0.0
        return Share(value, share_interval(value, self.of) if self.of else (0.0, 1.0))

    def least(self, level: float) -> float:
        """The share that there is at least, but for a chance of this level (Clopper and Pearson)."""
        return float(special.betaincinv(self.some, self.of - self.some + 1, level)) if self.some else 0.0

    def most(self, level: float) -> float:
        """Likewise at most."""
        left = self.of - self.some
        return float(special.betaincinv(self.some + 1, left, 1 - level)) if left else 1.0

    def interval(self, level: float) -> Interval:
        """Both."""
        return self.least(level), self.most(level)


@dataclass(frozen=True)
class Limit:
    """What a share may be."""

    most: float
    level: float
    """How likely a share that keeps to it may be told to be over it."""


def hold(found: Rows, limit: Limit, *, name: str, said: str, remedy: str, few: str) -> Check:
    """A check: failed only where the share is surely over its limit.

    Args:
        found: The rows with what is to be rare.
        limit: Their share at most.
        name: Of the check.
        said: What is the matter with them, after the share: `of the rows hold ...`.
        remedy: What to do.
        few: What is said where the rows are too few to tell; empty where they are enough.
    """
    share, low, high = found.share.value, *found.interval(limit.level)
    told = f"{percent(share)} {said}"
    if low > limit.most:
        outcome, reason = Outcome.FAILED, f"{told}, where {percent(limit.most)} may; {remedy}"
    elif few:
        outcome, reason = Outcome.INCONCLUSIVE, f"{told}; {few}"
    elif share > limit.most:
        outcome = Outcome.INCONCLUSIVE
        reason = f"{told}, where {percent(limit.most)} may, which chance can make; see the next windows"
    else:
        outcome, reason = Outcome.PASSED, told
    return Check(name, f"at most {percent(limit.most)}", share, outcome, reason, interval=(low, high))


def percent(share: float) -> str:
    """`12 %`, `0.5 %`, `<0.1 %`."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{share * 100:.{1 if 0 < share < 0.1 else 0}f} %"
