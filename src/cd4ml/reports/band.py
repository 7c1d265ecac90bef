"""A value with its interval as it came to be known, drawn by `band.svg.j2`: no image that deploys has matplotlib."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1040, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 40
"""The margins, which hold the words."""
_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A line of the grid."""

    place: float
    said: str


def signed(value: float) -> str:
    """A difference for people: 0 without a sign."""
    return f"{value:+.3g}" if value else "0"


class Band:
    """Points, and the area between their lower and upper ends.

    Args:
        across: Where each point is, ascending.
        values: Of each.
        lows: Its lower end.
        highs: Its upper end.
        across_name: What it is that grows.
        written: How a value is written.
    """

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM

    def __init__(
        self,
        across: Sequence[float],
        *,
        values: Sequence[float],
        lows: Sequence[float],
        highs: Sequence[float],
        across_name: str,
        written: Callable[[float], str] = signed,
    ) -> None:
        self._across, self._values, self._lows, self._highs = across, values, lows, highs
        self.across_name = across_name
        self._written = written
        late = range(len(across) // 5, len(across))  # what is known of the first few would flatten all the rest
        self._low = min(0.0, *(lows[place] for place in late))
        self._high = max(0.0, *(highs[place] for place in late))

    @property
    def line(self) -> str:
        """The points, as SVG has them."""
        return self._points(self._across, self._values)

    @property
    def area(self) -> str:
        """The outline of the area."""
        upper = self._points(self._across, self._highs)
        return f"{upper} {self._points(self._across[::-1], self._lows[::-1])}"

    @property
    def zero(self) -> float:
        """Where 0 is."""
        return self._y(0)

    @property
    def columns(self) -> list[Tick]:
        """The grid across."""
        return [Tick(self._x(one), f"{one:,.0f}") for one in ticks(0, self._across[-1])]

    @property
    def rows(self) -> list[Tick]:
        """The grid upwards."""
        return [Tick(self._y(one), self._written(one)) for one in ticks(self._low, self._high)]

    def _points(self, across: Sequence[float], values: Sequence[float]) -> str:
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in zip(across, values, strict=True))

    def _x(self, across: float) -> float:
        return self.left + (self.right - self.left) * across / self._across[-1]

    def _y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self._low) / (self._high - self._low)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from one to another."""
    rough = (high - low) / _TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(times * unit for times in (1, 2, 5, 10) if times * unit >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
