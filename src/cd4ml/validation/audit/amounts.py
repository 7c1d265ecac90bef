"""What columns tell of a label that is a number: the share of the variance of its ranks, of rows that are unseen."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cd4ml.contracts.findings import Finding
from cd4ml.contracts.shares import Z
from cd4ml.validation.audit import additive, codes, order
from cd4ml.validation.audit.areas import FOLDS, PRIOR
from cd4ml.validation.audit.codes import MISSING
from cd4ml.validation.audit.sample import MOST_TOGETHER, Sample

STRONG = 0.9
"""A column that alone surely tells this share is held against all others."""
MISTAKES = 1 / 3
"""It is no column like the others where it leaves so small a part of what they leave together."""
BY_KEY = 0.1
"""The share that the order of the key must surely tell to be a signal: numbers that drift with time stay below."""
MISSING_GAP = 0.2
"""By which the mean ranks of rows with and without a value surely differ, for it to be a signal."""


@dataclass(frozen=True)
class Told:
    """A share of the variance of the ranks, at most 1, and its 95% interval; below 0 where a guess is better."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


NOTHING = Told(0.0, 0.0, 0.0)


def ranks(numbers: np.ndarray) -> np.ndarray:
    """The rank of each row as a share of the rows, equal ones in the middle; float64 [rows], so that size is no matter.

    Args:
        numbers: float64 [rows], none of them missing.
    """
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    found: np.ndarray = ((np.cumsum(counts) - counts / 2) / len(numbers))[place]
    return found


def examine(sample: Sample, numbers: np.ndarray, key: pa.ChunkedArray) -> Iterator[Finding]:
    """Finds what tells the label: a column alone, whether one is filled in, or the order of the key.

    Args:
        sample: The features.
        numbers: The label of its rows, float64 [rows].
        key: Of its rows.
    """
    ranked = ranks(numbers)
    names, columns = sample.features.names, sample.features.codes
    alone = {name: _of_codes(one, ranked, sample.dealt) for name, one in zip(names, columns, strict=True)}
    strong = [name for name in names if alone[name].low >= STRONG]
    others = _together(sample, ranked, sorted(set(names) - {*strong}, key=lambda name: -alone[name].value))
    found = [name for name in strong if 1 - alone[name].value <= MISTAKES * (1 - others.high)]
    for name in found:
        yield _alone(name, alone[name], others)
    for name, column in zip(names, columns, strict=True):
        if name not in found:
            yield from _missing(name, column == MISSING, ranked)
    by_key = _of_codes(codes.bins(order.as_numbers(key), order.PARTS), ranked, sample.dealt)
    if by_key.low >= BY_KEY:
        message = (
            f"the order of the key tells {by_key} of the variance of the label's ranks: rows were gathered by their "
            "label, or the key holds more than a number; a model must not see it, and columns that were filled in the "
            "same order tell it too"
        )
        yield Finding("leak", "warning", "all", "", by_key.value, message, (by_key.low, by_key.high))


def _of_codes(column: np.ndarray, ranked: np.ndarray, dealt: np.ndarray) -> Told:
    """What the codes of a column tell: each row is given the mean rank of those of the other folds with its code."""
    size = int(column.max()) + 1
    cells = dealt.astype(np.int64) * size + column
    rows = np.bincount(cells, minlength=FOLDS * size).reshape(FOLDS, size)
    sums = np.bincount(cells, ranked, FOLDS * size).reshape(FOLDS, size)
    others = (sums.sum(axis=0) - sums + PRIOR * ranked.mean()) / (rows.sum(axis=0) - rows + PRIOR)
    return _of_estimates(others.ravel()[cells], ranked)


def _of_estimates(estimates: np.ndarray, ranked: np.ndarray) -> Told:
    """What estimates of the ranks tell, with the interval of a ratio of two means (delta method)."""
    left, all_ = (ranked - estimates) ** 2, (ranked - ranked.mean()) ** 2
    share = float(1 - left.mean() / all_.mean())
    error = float(np.std(left - (1 - share) * all_) / all_.mean() / math.sqrt(len(ranked)))
    return Told(share, share - Z * error, min(share + Z * error, 1.0))


def _together(sample: Sample, ranked: np.ndarray, names: list[str]) -> Told:
    """What columns tell together, of many the first ones."""
    if not names:
        return NOTHING
    small = sample.smaller()
    places = np.array([sample.features.names.index(name) for name in names[:MOST_TOGETHER]])
    of_small = ranked[np.isin(sample.rows, small.rows)]
    estimates = additive.estimate(small.features.codes[places], of_small, small.dealt)
    return _of_estimates(estimates, of_small)


def _alone(name: str, told: Told, others: Told) -> Finding:
    message = (
        f"column {name!r} alone tells {told} of the variance of the label's ranks, all columns that are weaker "
        f"together {others}; make sure that it is known before the event that is predicted, else `exclude` it"
    )
    return Finding("leak", "error", "all", name, told.value, message, (told.low, told.high))


def _missing(name: str, missing: np.ndarray, ranked: np.ndarray) -> Iterator[Finding]:
    without, with_ = ranked[missing], ranked[~missing]
    if min(len(without), len(with_)) < 2:
        return
    gap = float(without.mean() - with_.mean())
    half = Z * math.sqrt(without.var() / len(without) + with_.var() / len(with_))
    if abs(gap) - half < MISSING_GAP:
        return
    message = (
        f"the label of rows in which column {name!r} is missing has the mean rank {without.mean():.2f}, of the others "
        f"{with_.mean():.2f} (0 is the least, 1 the most); find out why: what is filled in after the event tells the "
        "label"
    )
    yield Finding("missing", "warning", "all", name, gap, message, (gap - half, gap + half))
