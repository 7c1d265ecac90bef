"""Values of a column far from all others: slips of the hand, and numbers or days that stand for a missing value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cd4ml.contracts.findings import Finding, day, number

if TYPE_CHECKING:
    from cd4ml.validation.columns import Column, Kind

SAMPLE = 100_000
FAR = 5
"""A value is far from the median where it is so many times farther than the next one; more where tails are long."""
FEWEST = 10
"""Fewer different values do not tell what is usual."""
LARGEST_SHARE = 0.1
"""More values than this, if they differ, are a part of the data."""
PLACEHOLDERS = ("1753-01-01", "1899-12-30", "1900-01-01", "1970-01-01")
"""Days on which some systems begin to count: they stand for a missing one where they lie apart or are too frequent."""
FIRST_DAY, LAST_DAY = "0002-01-01", "2199-12-31"
"""What lies apart before or after is a placeholder: systems write the first or the last day that they know."""
TOO_FREQUENT = 10
YEAR = 366 * 86_400
"""Seconds."""


@dataclass(frozen=True)
class Outliers:
    """The values at one end that lie far from all others."""

    rows: int
    of: int
    """The finite values of the column."""
    usual: float | None
    """The least or greatest of the other values, the nearest one to these; None where there are no others."""
    low: float
    high: float

    @property
    def are_above(self) -> bool:
        """Whether they are greater than the others."""
        return self.usual is None or self.low > self.usual


def find(values: np.ndarray, kind: "Kind") -> tuple[Outliers, ...]:
    """Finds what lies far from all others, at either end.

    Args:
        values: Numbers, or moments as seconds since 1970; float64 [values]. Those that are not finite do not count.
        kind: What they are.
    """
    values = values[np.isfinite(values)]
    known = sample(values)
    least, most = _real_days(known) if kind == "time" else (-np.inf, np.inf)
    usual = known[(known >= least) & (known <= most)]
    if not len(known):
        return ()
    if not len(usual):
        return (Outliers(len(values), len(values), None, float(known[0]), float(known[-1])),)
    low, high = _near(usual)
    ends = ((values[values < low], low), (values[values > high], high))
    return tuple(
        Outliers(len(far), len(values), limit, float(far.min()), float(far.max())) for far, limit in ends if len(far)
    )


def sample(values: np.ndarray) -> np.ndarray:
    """Some of many values to judge by, sorted; the least and the greatest ones are among them."""
    if len(values) <= SAMPLE:
        return np.sort(values)
    ends = SAMPLE // 100
    parted = np.partition(values, (ends, len(values) - ends))
    return np.sort(np.concatenate([values[:: -(-len(values) // SAMPLE)], parted[:ends], parted[-ends:]]))


def examine(columns: Iterable["Column"]) -> list[Finding]:
    """The outliers of the columns as findings; those of the key and the label mean nothing."""
    return [
        Finding("outlier", "warning", "all", column.name, one.rows, _message(column.name, column.kind, one))
        for column in columns
        if not {"key", "label"} & {*column.roles}
        for one in column.outliers
    ]


def is_usual(values: np.ndarray, found: Sequence[Outliers]) -> np.ndarray:
    """Which values are none of the outliers, bool [values]; all where there is nothing else."""
    usual = np.ones(len(values), bool)
    for one in found:
        if one.usual is not None:
            usual &= values <= one.usual if one.are_above else values >= one.usual
    return usual


def _message(column: str, kind: "Kind", found: Outliers) -> str:
    written = day if kind == "time" else number
    far = written(found.low)
    if found.high != found.low:
        far += f" to {written(found.high)}"
    share = f"{found.rows:,} of {found.of:,} {'is' if found.rows == 1 else 'are'}"
    if found.usual is None:
        where = f"{share} {far}"
    else:
        where = f"{share} {'beyond' if found.are_above else 'below'} {written(found.usual)}, far from all others: {far}"
    return (
        f"column {column!r}: {where}; "
        "mend it at the source, or leave it empty there where it stands for a missing value"
    )


def _near(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest of the values that are not far from all others; they are sorted."""
    largest = max(abs(values[0]), abs(values[-1])) or 1.0
    distances = np.abs(values / largest - values[len(values) // 2] / largest)
    rising = np.sort(distances[distances > 0])
    if len(rising):
        upper = rising[len(rising) // 2 :]
        wanted = np.maximum(FAR * upper[:-1], upper[:-1] ** 2 / upper[0])
        for gap in np.flatnonzero(upper[1:] >= wanted)[:1]:
            near, far = values[distances <= upper[gap]], values[distances > upper[gap]]
            few = len(far) <= LARGEST_SHARE * len(values) or far[0] == far[-1]
            if few and len(np.unique(near)) >= FEWEST:
                return float(near[0]), float(near[-1])
    return float(values[0]), float(values[-1])


def _real_days(moments: np.ndarray) -> tuple[float, float]:
    """The least and the greatest moment that is no placeholder, or may be none; the moments are sorted."""
    first, last = np.searchsorted(moments, (_second(FIRST_DAY), _second(LAST_DAY)))
    if first and first < len(moments) and moments[first] - moments[first - 1] <= YEAR:
        first = 0
    if last and last < len(moments) and moments[last] - moments[last - 1] <= YEAR:
        last = len(moments)
    real = moments[first:last]
    for first_day in map(_second, PLACEHOLDERS):
        others, counts = np.unique(real[real > first_day], return_counts=True)
        rows = np.count_nonzero(real == first_day)
        if rows == len(real) - counts.sum() > 0 and (
            not rows < len(real) or others[0] - first_day > YEAR or rows > TOO_FREQUENT * np.median(counts)
        ):
            real = real[rows:]
    return (real[0], real[-1]) if len(real) else (np.inf, -np.inf)


def _second(day: str) -> float:
    return float(np.datetime64(day, "s").astype(np.int64))
