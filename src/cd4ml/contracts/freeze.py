"""Times in which nothing is deployed: an event of its own for each, and one when it is lifted."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from cd4ml.contracts.document import Document, kind_of
from cd4ml.names import shown

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLES = "`fri 16:00..mon 08:00 Europe/Berlin` or `2026-12-18 12:00..2027-01-04 08:00 UTC`"
_END = r"([a-z]{3}|\d{4}-\d\d-\d\d) (\d\d:\d\d)"
_WINDOW = re.compile(rf"{_END} ?\.\. ?{_END} (\S+)")


@dataclass(frozen=True)
class Window:
    """A time of each week, or of one year, by the clocks of a zone; the moment at which it ends is no part of it."""

    first: int | date
    """The day on which it begins: of the week, 0 for Monday, or of the calendar."""
    begins: time
    last: int | date
    ends: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a time as a person writes it, `fri 16:00..mon 08:00 Europe/Berlin`, or with dates for the days.

        Raises:
            ValueError: It is no such time; says what is.
        """
        found = _WINDOW.fullmatch(" ".join(text.split()))
        if not found:
            raise ValueError(f"{shown(text)} is no time of a week or year; write {EXAMPLES}")
        first, begins, last, ends, zone = found.groups()
        try:
            clocks = ZoneInfo(zone)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError(
                f"{shown(text)}: {zone} is no time zone; write one such as Europe/Berlin or UTC"
            ) from error
        try:
            times = time.fromisoformat(begins), time.fromisoformat(ends)
            window = cls(_day(first), times[0], _day(last), times[1], clocks)
            whole = all(begin < end for begin, end in window._near(datetime.now(UTC)))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{shown(text)}: {error}; write {EXAMPLES}") from error
        if not whole:
            raise ValueError(f"{shown(text)}: ends before it begins")
        return window

    def around(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """When that began which is on at a moment, and when it ends (UTC); None where none is."""
        return next(((begin, end) for begin, end in self._near(moment) if begin <= moment < end), None)

    def over(self, moment: datetime) -> bool:
        """Whether it has been, and does not come again."""
        return isinstance(self.first, date) and all(end <= moment for _, end in self._near(moment))

    def _near(self, moment: datetime) -> list[tuple[datetime, datetime]]:
        """All that can be on at a moment."""
        if isinstance(self.first, date) and isinstance(self.last, date):
            days = [(self.first, self.last)]
        elif isinstance(self.first, int) and isinstance(self.last, int):
            today = moment.astimezone(self.zone).date()
            latest = today - timedelta(days=(today.weekday() - self.first) % 7)
            length = timedelta(days=(self.last - self.first) % 7)
            if not length and self.ends < self.begins:
                length = timedelta(days=7)
            days = [(day, day + length) for day in (latest, latest - timedelta(days=7))]
        else:
            raise ValueError("one end is of the week and the other of the calendar")
        return [(self._moment(first, self.begins), self._moment(last, self.ends)) for first, last in days]

    def _moment(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)


def _day(text: str) -> int | date:
    if text in DAYS:
        return DAYS.index(text)
    return date.fromisoformat(text)


@dataclass(frozen=True)
class Freeze(Document, kind="cd4ml/Freeze", remedy="lift it, and freeze again"):
    """A person's word that nothing is deployed at a time."""

    window: str
    """As `Window` reads it."""
    by: str
    """Who, as they say themselves."""
    reason: str
    at: str
    """When they said so; ISO 8601, UTC."""

    def __post_init__(self) -> None:
        Window.parse(self.window)

    @property
    def headline(self) -> str:
        """When, who and why."""
        return f"{self.window}, {self.by}: {self.reason}"


@dataclass(frozen=True)
class Lifted(Document, kind="cd4ml/FreezeLifted", remedy="remove it, and lift the freeze again"):
    """A person's word that one of those does not count any more."""

    number: int
    """Of the freeze."""
    by: str
    reason: str
    at: str


def parse(text: str, place: str) -> Freeze | Lifted:
    """Reads one of these events.

    Args:
        text: What its `text` was.
        place: Where it lies, for errors.

    Raises:
        DocumentError: It is neither.
    """
    return (Lifted if kind_of(text) == Lifted.kind else Freeze).parse(text, place)
