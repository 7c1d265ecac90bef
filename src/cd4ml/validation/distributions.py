"""How the numbers or moments of a column lie in the splits: what a picture of it shows, and what it leaves out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cd4ml.validation import outliers
from cd4ml.validation.outliers import Outliers

if TYPE_CHECKING:
    from cd4ml.validation.columns import Kind

BUCKETS = 24
FEW = 5
"""As many buckets are read one by one, however high one of them is."""
TAIL = 0.005
"""The share of the values at either end that is left out where the picture would be mostly empty with it."""
STRETCH = 0.5
"""The part of the width of all other values that such a tail may add to the picture and still stay."""
SPIKE = 5
"""A value that is so many times more frequent than the fullest bucket of all others would flatten them."""
CROWDED = 0.5
"""Buckets of which one holds a larger share than this show little."""
DAY = 86_400
"""Seconds."""
EXACT = 2.0**52
"""Above this float64 holds no halves."""


@dataclass(frozen=True)
class Histogram:
    """The values of a column in the same buckets for all splits, the missing ones aside.

    Each value is in a bucket, is the spike, lies below or above the edges, or is infinite.
    """

    edges: np.ndarray
    """Of the buckets, rising; float64 [buckets + 1], moments as seconds since 1970."""
    counts: Mapping[str, np.ndarray]
    """By split, int64 [buckets]; without the spike."""
    rows: Mapping[str, int]
    """By split: the values that are there."""
    logarithmic: bool
    """Whether the buckets are even by orders of magnitude."""
    spike: float | None
    """A value that is left out, for it would hide all others."""
    spike_rows: int
    below: int
    above: int
    infinite: int


def measure(splits: Mapping[str, np.ndarray], kind: "Kind", far: Sequence[Outliers] = ()) -> Histogram | None:
    """Chooses the buckets by all splits together, and counts.

    Args:
        splits: The values of a column by split, float64 [values]; NaN counts as missing.
        kind: Whole numbers have buckets around them; moments are seconds since 1970.
        far: What is left out, for it lies far from all others.

    Returns:
        None where no value is finite.
    """
    there = {split: values[~np.isnan(values)] for split, values in splits.items()}
    finite = {split: values[np.isfinite(values)] for split, values in there.items()}
    whole = np.concatenate([*finite.values()])
    if not len(whole):
        return None
    known = outliers.sample(whole)
    usual = known[outliers.is_usual(known, far)]
    edges, logarithmic, spike = _without_spike(usual, kind)
    drawn = {split: values if spike is None else values[values != spike] for split, values in finite.items()}
    counted = {split: _count(values, edges) for split, values in drawn.items()}
    return Histogram(
        edges=edges,
        counts={split: counts[1:-1] for split, counts in counted.items()},
        rows={split: len(values) for split, values in there.items()},
        logarithmic=logarithmic,
        spike=spike,
        spike_rows=len(whole) - sum(map(len, drawn.values())),
        below=int(sum(counts[0] for counts in counted.values())),
        above=int(sum(counts[-1] for counts in counted.values())),
        infinite=sum(map(len, there.values())) - len(whole),
    )


def _without_spike(values: np.ndarray, kind: "Kind") -> tuple[np.ndarray, bool, float | None]:
    """Edges, whether they are logarithmic, and the value that is left out; the values are sorted."""
    distinct, counts = np.unique(values, return_counts=True)
    place = counts.argmax()
    others = values[values != distinct[place]]
    if len(distinct) > FEW:
        edges, logarithmic = _edges(others, kind)
        if counts[place] > SPIKE * _count(others, edges)[1:-1].max():
            return edges, logarithmic, float(distinct[place])
    return *_edges(values, kind), None


def _edges(values: np.ndarray, kind: "Kind") -> tuple[np.ndarray, bool]:
    even = _even_edges(values, kind)
    buckets_are_values = kind == "integer" and even[1] - even[0] == 1
    if len(even) <= FEW or kind == "time" or buckets_are_values or _fullest(values, even) <= CROWDED:
        return even, False
    logarithmic = _logarithmic_edges(values)
    return (logarithmic, True) if _fullest(values, logarithmic) < _fullest(values, even) else (even, False)


def _even_edges(values: np.ndarray, kind: "Kind") -> np.ndarray:
    low, high = _without_tails(values)
    if kind == "integer" and max(-low, high) < EXACT / BUCKETS:
        step = np.ceil((high - low + 1) / BUCKETS)
        edges: np.ndarray = low - 0.5 + step * np.arange(np.ceil((high - low + 1) / step) + 1)
        return edges
    if low == high:
        width = DAY if kind == "time" else abs(low) / 10 or 0.5
        ends = (min(low - width, np.nextafter(low, -np.inf)), max(high + width, np.nextafter(high, np.inf)))
        return np.unique(np.clip(ends, -np.finfo(float).max, np.finfo(float).max))
    share = np.linspace(0, 1, BUCKETS + 1)
    return np.unique(np.clip(low * (1 - share) + high * share, low, high))


def _logarithmic_edges(values: np.ndarray) -> np.ndarray:
    """Even by orders of magnitude, to either side of 0; below the smallest order there is, even again."""
    sizes = np.sort(np.abs(values[values != 0]))
    of_one_sign = values[0] > 0 or values[-1] < 0
    smallest = np.log10(sizes[0 if of_one_sign else len(sizes) // 4])
    with np.errstate(divide="ignore"):
        order = np.log10(np.abs(values)) - smallest
    places = np.sign(values) * np.where(order > 0, 1 + order, 10 ** np.minimum(order, 0))
    low, high = _without_tails(places)
    share = np.linspace(0, 1, BUCKETS + 1)[1:-1]
    inner = low * (1 - share) + high * share
    with np.errstate(over="ignore"):
        size = np.where(np.abs(inner) > 1, 10 ** (np.abs(inner) - 1 + smallest), np.abs(inner) * 10**smallest)
    ends = values[np.searchsorted(places, low)], values[np.searchsorted(places, high, side="right") - 1]
    return np.unique(np.clip([*ends, *(np.sign(inner) * size)], *ends))


def _without_tails(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value that is drawn; the values are sorted."""
    tail = int(np.ceil(TAIL * len(values))) if len(values) > 2 * BUCKETS else 0
    least, low, high, most = (float(values[place]) for place in (0, tail, -1 - tail, -1))
    room = STRETCH * (high / 2 - low / 2)  # halves, for the difference of two numbers may be infinite
    if not room:
        return least, most
    return (least if low / 2 - least / 2 <= room else low), (most if most / 2 - high / 2 <= room else high)


def _fullest(values: np.ndarray, edges: np.ndarray) -> float:
    inside = _count(values, edges)[1:-1]
    return float(inside.max() / inside.sum())


def _count(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Values below the edges, in each bucket, and above; int64 [buckets + 2]. The last edge is within."""
    places = np.searchsorted(edges, values, side="right")
    places[values == edges[-1]] -= 1
    return np.bincount(places, minlength=len(edges) + 1)
