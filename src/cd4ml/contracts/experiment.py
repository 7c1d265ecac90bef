"""How an experiment went that divided the requests between two releases: what was planned, seen and decided."""

from dataclasses import dataclass
from enum import StrEnum

from cd4ml.contracts.document import Document
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.verdict import Check

EXPERIMENT = "experiment.json"
"""What it is called beside the events of its deployment."""


class Decision(StrEnum):
    """How an experiment ends."""

    PROMOTE = "promote"
    """The challenger is better, and keeps its limits."""
    ROLL_BACK = "roll back"
    """The challenger is worse, or breaks a limit."""
    INCONCLUSIVE = "inconclusive"
    """All whom the plan asks for, or the time, are spent, and no difference is known."""
    ERROR = "error"
    """The arms cannot be compared, so that there is no result."""


@dataclass(frozen=True)
class ExperimentArm:
    """What one arm got, and what came of it."""

    name: str
    version: str
    share: float
    """Of the requests, which it was to get."""
    units: int
    """Who asked it."""
    known: int
    """Those of them whose outcome is known."""
    mean: float | None
    """Of these outcomes; None where none is known."""


@dataclass(frozen=True)
class Point:
    """What was known of the difference after some units."""

    at: str
    units: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class Share:
    """How much of the requests the challenger was to get from a moment on."""

    at: str
    value: float


@dataclass(frozen=True)
class Adapted:
    """What shares that followed what came of callers were, and cost."""

    policy: str
    floor: float
    """The least that either arm was to get."""
    least: float
    """The least that one was to get of a request that counts."""
    below: int
    """Requests of which one was to get less than the floor; they do not count."""
    shares: tuple[Share, ...]
    """As they were when callers asked first; some of them."""
    callers: int
    """Whose outcome is known."""
    regret: float | None
    """How much less each of them came to, on average, than if all had got the arm that is better on the whole."""
    interval: Interval | None
    """Of the regret."""
    even: float | None
    """What equal shares would have cost."""

    @property
    def said(self) -> str:
        """What they cost, in a sentence."""
        if self.regret is None or self.interval is None or self.even is None:
            return "regret: no outcome of a caller is known"
        low, high = self.interval
        return (
            f"regret: {self.regret:.4g} [{low:.4g}, {high:.4g}] a caller, {self.regret * self.callers:,.4g} of "
            f"{self.callers:,} together, where equal shares cost {self.even:.4g} a caller"
        )


@dataclass(frozen=True)
class Experiment(
    Document, kind="cd4ml/Experiment", remedy="put back what was written there; the deployment stands without it"
):
    """An experiment that has ended."""

    outcome: str
    """What is compared: `reward`, `label`."""
    planned: int | None
    """The units whose outcome is known that the plan asks for; None where the time alone ends it."""
    plan: str
    """Why, in a sentence."""
    error: float
    """How often a difference is told where there is none."""
    champion: ExperimentArm
    challenger: ExperimentArm
    checks: tuple[Check, ...]
    slices: tuple[Check, ...]
    """The difference on each, which decides nothing."""
    points: tuple[Point, ...]
    """The difference as it came to be known."""
    notes: tuple[str, ...]
    """What a person should know of who asked: one sentence each."""
    decision: Decision
    promoted: bool
    """Whether the challenger was to get all requests; of what is inconclusive, the limits decide that."""
    began: str
    ended: str
    adapted: Adapted | None = None
    """Of a bandit; None where shares were fixed."""

    @property
    def said(self) -> str:
        """Why, and what it cost to learn that."""
        cost = [self.adapted.said] if self.adapted else []
        return "; ".join([*(check.reason for check in self.checks), *cost])

    @property
    def headline(self) -> str:
        """What was decided, and why."""
        return f"{self.decision}: {self.said}"
