"""Finds the limits that no model can keep, or that every model keeps, before one is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from cd4ml.contracts import problems
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.slices import Pattern

Mistake = tuple[tuple[str, ...], str]
"""Where it is within the limits, and what to do."""
Bound = tuple[str, float | None]
"""The name that a limit has in the settings, and the number."""


@dataclass(frozen=True)
class Held:
    """What one limit asks of one metric on one kind of slice."""

    place: tuple[str, ...]
    other: str
    """The model that the metric is compared with; empty where it is held by itself."""
    metric: str
    on: Pattern
    low: Bound
    high: Bound


def out_of_range(held: Held) -> Iterator[Mistake]:
    """The bounds that lie outside what the metric can be."""
    metric = problems.metric(held.metric)
    bottom, top = metric.bottom, metric.top
    if held.other:
        widest = None if bottom is None or top is None else top - bottom
        bottom, top = None if widest is None else -widest, widest
    for name, bound in (held.low, held.high):
        if bound is not None and ((bottom is not None and bound < bottom) or (top is not None and bound > top)):
            subject = f"a change of {held.metric}" if held.other else held.metric
            yield (*held.place, name), f"{bound:g} is out of range: {subject} is {_span(bottom, top)}"


def _span(bottom: float | None, top: float | None) -> str:
    if bottom is None:
        return f"at most {top:g}"
    return f"at least {bottom:g}" if top is None else f"from {bottom:g} to {top:g}"


def between(held: Sequence[Held]) -> Iterator[Mistake]:
    """The bounds of one limit or of two that nothing can keep together."""
    for one in held:
        (low_name, low), (high_name, high) = one.low, one.high
        if low is not None and high is not None and low > high:
            yield one.place, f"{low_name} {low:g} is above {high_name} {high:g}, so nothing can keep both"
    for one, other in combinations(held, 2):
        if one.place != other.place and _same(one, other) and _apart(_range(one), _range(other)):
            said = f"{_words(one)} contradicts {'.'.join(other.place)}, {_words(other)}: nothing can keep both"
            yield one.place, said


def _same(one: Held, other: Held) -> bool:
    """Whether every slice that one of them is about is a slice that the other is about, by the same rate."""
    return (
        one.other == other.other
        and _rate(one.metric) == _rate(other.metric)
        and (one.on.covers(other.on) or other.on.covers(one.on))
    )


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] > other[1] or other[0] > one[1]


def _rate(metric: str) -> str:
    """The metric that says the same, by one name."""
    row, (_, found, cut) = problems.metric(metric), metric.partition("@")
    same = row.said_by or row.name
    return f"{same}@{float(cut):g}" if row.at_thresholds and cut != CHOSEN else f"{same}{found}{cut}"


def _range(held: Held) -> tuple[float, float]:
    """What the limit leaves of the metric that `_rate` names."""
    low = float("-inf") if held.low[1] is None else held.low[1]
    high = float("inf") if held.high[1] is None else held.high[1]
    if problems.metric(held.metric).rest_of:
        whole = 0 if held.other else 1
        return whole - high, whole - low
    return low, high


def _words(held: Held) -> str:
    bounds = [f"{name} {bound:g}" for name, bound in (held.low, held.high) if bound is not None]
    return f"{' and '.join(bounds)} on {held.on}"
