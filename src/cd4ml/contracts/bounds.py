"""Holds what was measured against what it must be."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

from cd4ml.contracts.shares import Interval
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.names import amount

FEWEST_ROWS = 30
"""A slice is too small to judge by a metric that is over fewer of its rows."""
FEWEST_ALIKE = 100
"""Of fewer rows nothing is said by all of them saying the same."""
OTHERS = 0.05
"""The share of rows that may be others than those that all say the same, where one may count for any amount."""


@dataclass(frozen=True)
class Bounds:
    """What a value must be."""

    low: float | None
    high: float | None
    confident: bool = False
    """Whether the whole interval must be within them."""
    shown: Callable[[float], str] = "{:,.12g}".format
    """How a bound is written."""

    def __str__(self) -> str:
        given = (("at least", self.low), ("at most", self.high))
        said = " and ".join(f"{word} {self.shown(bound)}" for word, bound in given if bound is not None)
        return f"{said} with 95% confidence" if self.confident else said


@dataclass(frozen=True)
class Measured:
    """What a limit is held against."""

    value: float | None
    interval: Interval | None = None
    why_not: str = ""
    """Why there is no value."""
    detail: str = ""
    too_few: bool = False
    """Whether there is no value because the rows are too few to tell."""
    undefined: bool = False
    """Whether there is no value because of what the rows are: what is asked every day has days of one label."""
    alike: int = 0
    """How many rows it is over that all say the same, so that it has no interval; 0 where they do not."""
    ends: tuple[float | None, float | None] = (None, None)
    """The least and the most that it can be; None where it has no end."""


def hold(
    subject: str, *, slice_: str, bounds: Bounds, measured: Measured, said: str = "", error: float | None = None
) -> Check:
    """Says whether the bounds are kept; what cannot be held against them is not.

    Args:
        subject: What was measured, and where.
        slice_: The rows it was measured on; empty where that is not one slice.
        bounds: What it must be.
        measured: What it is.
        said: The sentence that a person reads; made from the others where it is empty.
        error: How often chance alone may break a bound that is kept; None where what was measured is what counts.
    """
    value = measured.value if measured.value is not None and math.isfinite(measured.value) else None
    by_chance = measured.too_few or (measured.undefined and error is not None)
    outcome, reason = _held(subject, bounds=bounds, measured=replace(measured, too_few=by_chance), value=value)
    if outcome is Outcome.FAILED and error is not None and value is not None:
        if measured.interval is None and not measured.alike:
            outcome, reason = Outcome.INCONCLUSIVE, f"{reason}; it has no interval, so that may be chance"
        elif (times := _times(value, bounds=bounds, measured=measured, error=error)) > 1:
            outcome = Outcome.INCONCLUSIVE
            reason = f"{reason}, which may be chance; {times:.2g} times as many rows like these would tell"
    interval = measured.interval if value is not None else None
    return Check(subject, str(bounds), value, outcome, said or reason, slice_, interval)


def _held(subject: str, *, bounds: Bounds, measured: Measured, value: float | None) -> tuple[Outcome, str]:
    interval, unknown = measured.interval, f"the limit '{bounds}' could not be checked"
    if value is None:
        outcome = Outcome.INCONCLUSIVE if measured.too_few else Outcome.ERROR
        return outcome, f"{subject}: {measured.why_not or 'it is not a finite number'}, so {unknown}"
    said = f"{subject} is {amount(value)}"
    if interval:
        said += f" [{amount(interval[0])}, {amount(interval[1])}]"
    if measured.detail:
        said += f" ({measured.detail})"
    if broken := _broken(value, bounds):
        return Outcome.FAILED, f"{said}, {broken}"
    if bounds.confident and interval is None:
        return (
            Outcome.INCONCLUSIVE,
            f"{said}; too few rows to tell how sure that is, so it has no interval, and {unknown}",
        )
    if bounds.confident and interval and (broken := _broken(interval[0], bounds) or _broken(interval[1], bounds)):
        return Outcome.INCONCLUSIVE, f"{said}, and with 95% confidence it may be {broken}"
    return Outcome.PASSED, f"{said}, {bounds} wanted"


def _times(value: float, *, bounds: Bounds, measured: Measured, error: float) -> float:
    """How many times the rows it takes until it is no chance that a bound is broken; 1 or less where it is none."""
    is_below = bounds.low is not None and not value >= bounds.low
    beyond = abs(value - ((bounds.low if is_below else bounds.high) or 0.0))
    if measured.interval is None:
        end = measured.ends[is_below]
        others = OTHERS if end is None else beyond / max(abs(end - value), beyond)
        return _rows_that_hide_no_more(others, error) / measured.alike
    wider = NormalDist().inv_cdf(1 - error) / NormalDist().inv_cdf(0.975)
    return (wider * abs(measured.interval[is_below] - value) / beyond) ** 2 if beyond else math.inf


def _rows_that_hide_no_more(others: float, error: float) -> float:
    """How many rows all say the same by chance, at this error, where this share of all rows says something else."""
    return math.log(error) / math.log1p(-others) if others < 1 else 0.0


def _broken(value: float, bounds: Bounds) -> str:
    """Which bound a value does not keep; empty where it keeps both."""
    if bounds.low is not None and not value >= bounds.low:
        return f"below the limit {bounds.shown(bounds.low)}"
    if bounds.high is not None and not value <= bounds.high:
        return f"above the limit {bounds.shown(bounds.high)}"
    return ""
