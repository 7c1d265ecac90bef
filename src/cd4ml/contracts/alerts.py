"""What monitoring tells people of a model: its alerts, from the first window that failed until one passes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cd4ml.contracts.document import Document
from cd4ml.contracts.verdict import Outcome
from cd4ml.names import amount, counted

What = Literal["fired", "still", "resolved", "acknowledged"]


@dataclass(frozen=True)
class Acknowledged:
    """That a person knows of an alert."""

    by: str
    reason: str
    at: str


@dataclass(frozen=True)
class Alert:
    """One check of a model's windows that fails, in one window or several in a row."""

    id: str
    """Tells it from all alerts of the model; one that fires again later has another."""
    check: str
    """What is checked, whichever version answered: `auc on region=EU`, `drift of age`."""
    slice: str
    """The rows that it is about; empty where that is not one slice."""
    limit: str
    reason: str
    """What the last window that failed says, and what to do."""
    outcome: Outcome
    """`failed`, or `error` where it could not be checked."""
    value: float | None
    """In the last window that failed."""
    before: float | None
    """In the last window that passed before it; None where none has."""
    since: str
    """When the first window that failed began, ISO 8601, UTC; windows without a verdict between do not count."""
    until: str
    """When the last window that failed ended."""
    windows: int
    """How many failed since."""
    rows: int
    """That were predicted in these for somebody; where it is of a slice, not all of them are of it."""
    fired_at: str
    acknowledged: Acknowledged | None = None

    @property
    def cost(self) -> str:
        """What it costs, as far as that can be said: `12,000 rows in 3 windows; 0.61, was 0.84`."""
        said = f"{counted(self.rows, 'row')} predicted in {counted(self.windows, 'window')}"
        if self.value is None:
            return said
        return f"{said}; {amount(self.value)}" + ("" if self.before is None else f", was {amount(self.before)}")


@dataclass(frozen=True)
class Change:
    """What became of one alert."""

    what: What
    alert: Alert
    """As it was then."""
    why: str = ""
    """Of one that is resolved: by what."""


@dataclass(frozen=True)
class Delivered:
    """How far a receiver has been told."""

    upto: int
    """The number of the last state whose changes it has; 0 before the first time."""
    failed: str = ""
    """Why it has not got those since; empty where it has all."""
    first: int = 0
    """The number of the state of which it was to be told first."""
    refusals: int = 0
    """The runs in a row in which it refused what it is to be told first, and may take it yet."""
    silenced: Mapping[str, str] = field(default_factory=dict)
    """By the id of each alert about which it was asked to be silent, until when: ISO 8601, UTC."""


@dataclass(frozen=True)
class Alerts(Document, kind="cd4ml/Alerts", remedy="remove the file, and monitor the model again"):
    """The alerts of a model as something of them changed; the last state counts, and all are their history."""

    model: str
    at: str
    standing: tuple[Alert, ...] = ()
    """Those that are not resolved, the oldest first."""
    changes: tuple[Change, ...] = ()
    """From the state before to this one; none where only a receiver was told."""
    delivered: Mapping[str, Delivered] = field(default_factory=dict)
    """By receiver."""

    @property
    def headline(self) -> str:
        """How many there are, and of how many a person knows."""
        if not self.standing:
            return "no alerts"
        known = sum(one.acknowledged is not None for one in self.standing)
        return counted(len(self.standing), "alert") + (f", {known} acknowledged" if known else "")
