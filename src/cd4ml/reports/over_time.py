"""Values by time, drawn by `over_time.svg.j2`: no image that watches a model has matplotlib."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from cd4ml.reports.band import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Tick, ticks

HEIGHT = 240
_TIMES = 6
_PAD = 0.08
"""Of the height, above and below what is drawn."""


@dataclass(frozen=True)
class Point:
    """One value."""

    at: datetime
    value: float
    said: str
    """What is told where one points at it."""
    ends: tuple[float, float] | None = None
    """Of its interval."""
    kind: str = ""
    """`passed`, `failed` or `warning`; empty where nothing was decided."""


@dataclass(frozen=True)
class Line:
    """Values of one kind."""

    name: str
    colour: str
    points: Sequence[Point]
    hollow: bool = False
    """Whether they are expected, and not measured."""


@dataclass(frozen=True)
class Mark:
    """Something that happened at a time."""

    at: datetime
    said: str


@dataclass(frozen=True)
class Limit:
    """What the values must not cross."""

    value: float
    said: str


@dataclass(frozen=True)
class Drawn:
    """A point where it is drawn."""

    x: float
    y: float
    low: float
    high: float
    point: Point


class OverTime:
    """A picture of values by time.

    Args:
        lines: What is drawn; at least one point.
        marks: Times at which something happened.
        limits: Values that are drawn as lines.
        written: How a value is written.
        from_zero: Whether the picture begins at 0.
    """

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM

    def __init__(
        self,
        lines: Sequence[Line],
        *,
        marks: Sequence[Mark] = (),
        limits: Sequence[Limit] = (),
        written: Callable[[float], str] = "{:.3g}".format,
        from_zero: bool = False,
    ) -> None:
        self.lines = [one for one in lines if one.points]
        self._written = written
        points = [point for line in self.lines for point in line.points]
        self._first, self._last = min(one.at for one in points), max(one.at for one in points)
        self._marks, self._limits = marks, limits
        values = [end for one in points for end in (*(one.ends or ()), one.value)] + [one.value for one in limits]
        low, high = min([*values, *([0.0] if from_zero else [])]), max(values)
        pad = _PAD * (high - low) or abs(high) * _PAD or 1.0
        self._low, self._high = (low if from_zero and low == 0 else low - pad), high + pad

    @property
    def rows(self) -> list[Tick]:
        """The grid upwards."""
        return [Tick(self._y(one), self._written(one)) for one in ticks(self._low, self._high)]

    @property
    def columns(self) -> list[Tick]:
        """The grid across: days, each once."""
        span = self._last - self._first
        times = [self._first + span * part / (_TIMES - 1) for part in range(_TIMES)] if span else [self._first]
        return [Tick(self._x(next(same)), day) for day, same in groupby(times, lambda one: f"{one:%Y-%m-%d}")]

    @property
    def marks(self) -> list[Tick]:
        """Those within the time that is drawn."""
        return [Tick(self._x(one.at), one.said) for one in self._marks if self._first <= one.at <= self._last]

    @property
    def limits(self) -> list[Tick]:
        """Where they are."""
        return [Tick(self._y(one.value), one.said) for one in self._limits]

    def drawn(self, line: Line) -> Iterator[Drawn]:
        """The points of a line."""
        for one in line.points:
            low, high = one.ends or (one.value, one.value)
            yield Drawn(self._x(one.at), self._y(one.value), self._y(low), self._y(high), one)

    def path(self, line: Line) -> str:
        """The way from point to point, as SVG has it."""
        return " ".join(f"{self._x(one.at):.1f},{self._y(one.value):.1f}" for one in line.points)

    def _x(self, at: datetime) -> float:
        span = (self._last - self._first).total_seconds()
        part = (at - self._first).total_seconds() / span if span else 0.5
        return round(float(self.left + 10 + (self.right - self.left - 20) * part), 1)

    def _y(self, value: float) -> float:
        part = (value - self._low) / (self._high - self._low)
        return round(float(self.bottom - (self.bottom - self.top) * part), 1)
