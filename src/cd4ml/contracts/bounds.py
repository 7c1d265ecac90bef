"""Holds what was measured against what it must be."""

import math
from dataclasses import dataclass

from cd4ml.contracts.evaluation import Interval
from cd4ml.contracts.verdict import Check


@dataclass(frozen=True)
class Bounds:
    """What a value must be."""

    low: float | None
    high: float | None
    confident: bool

    def __str__(self) -> str:
        given = (("at least", self.low), ("at most", self.high))
        said = " and ".join(f"{word} {bound:g}" for word, bound in given if bound is not None)
        return f"{said} with 95% confidence" if self.confident else said


@dataclass(frozen=True)
class Measured:
    """What a limit is held against."""

    value: float | None
    interval: Interval | None = None
    why_not: str = ""
    """Why there is no value."""
    detail: str = ""


def hold(subject: str, slice_: str, bounds: Bounds, measured: Measured) -> Check:
    """Says whether the bounds are kept; what cannot be held against them is not.

    Args:
        subject: What was measured, and where.
        slice_: The rows it was measured on; empty where that is not one slice.
        bounds: What it must be.
        measured: What it is.
    """
    value, interval = measured.value, measured.interval
    unknown = f"the limit '{bounds}' could not be checked"
    if value is None or not math.isfinite(value):
        reason = f"{subject}: {measured.why_not or 'it is not a finite number'}, so {unknown}"
        return Check(subject, str(bounds), None, False, reason, slice_)
    said = f"{subject} is {_number(value)}"
    if interval:
        said += f" [{_number(interval[0])}, {_number(interval[1])}]"
    if measured.detail:
        said += f" ({measured.detail})"
    if bounds.confident and interval is None:
        reason = f"{said}; too few rows to tell how sure that is, so it has no interval, and {unknown}"
        return Check(subject, str(bounds), value, False, reason, slice_)
    broken = _broken(value, bounds, "") or (interval and bounds.confident and _broken_within(interval, bounds))
    reason = f"{said}, {broken}" if broken else f"{said}, {bounds} wanted"
    return Check(subject, str(bounds), value, not broken, reason, slice_, interval)


def _broken_within(interval: Interval, bounds: Bounds) -> str:
    return next(filter(None, (_broken(end, bounds, "and with 95% confidence it may be ") for end in interval)), "")


def _broken(value: float, bounds: Bounds, certainty: str) -> str:
    """Which bound a value does not keep; empty where it keeps both."""
    if bounds.low is not None and not value >= bounds.low:
        return f"{certainty}below the limit {bounds.low:g}"
    if bounds.high is not None and not value <= bounds.high:
        return f"{certainty}above the limit {bounds.high:g}"
    return ""


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
