"""Whether two samples of one column differ beyond chance: p-values from what chance does to samples of these sizes.

Each is conditional on the values of both samples together: the rows are as if dealt out to the two at random.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from cd4ml.validation.drift.pair import Cells, Pair

FEW = 50
"""Values that the smaller sample is expected to have in a cell; with fewer the distribution for many is not trusted."""
DRAWS = (1000, 9000, 90_000)
"""Of simulated samples, one after the other until enough of them are as far apart as the real ones."""
ENOUGH_DRAWS = 20
FEWEST = 5
"""The same; cells with fewer are put together before a p-value is beyond doubt."""
IN_DOUBT = (1e-10, 0.1)
"""A p-value in this range, of few values, is simulated; beyond it no simulation would change what follows."""

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of the counts of the second sample, [draws, cells], and those of both together, [cells]: how far apart, [draws]."""


def of_pair(pair: Pair, random: np.random.Generator) -> float:
    """The p-value of one column: the least of three, times their number.

    One is of the missing values, one of all cells, one of the order of numbers or of the category that stands out.
    """
    missing_before, missing_after = pair.missing
    found = []
    if 0 < missing_before + missing_after < len(pair.before) + len(pair.after):
        parts = np.array([missing_before]), np.array([missing_after])
        found.append(float(of_parts(*parts, rows=(len(pair.before), len(pair.after)))[0]))
    found += of_cells(pair.cells, random)
    return min(1.0, len(found) * min(found)) if found else 1.0


def of_cells(cells: Cells, random: np.random.Generator) -> list[float]:
    """The p-values of what is there: of all cells, and of their order, or of the cell that stands out."""
    rows = int(cells.before.sum()), int(cells.after.sum())
    if len(cells.before) < 2 or not min(rows):
        return []
    if not cells.ordered:
        parts = of_parts(cells.before, cells.after, rows=rows)
        return [*_of_statistics(cells, [_pearson], random), min(1.0, float(parts.min()) * len(parts))]
    return _of_statistics(cells, [_pearson, _of_ranks], random)


def of_order(cells: Cells) -> float:
    """The p-value of Wilcoxon's rank test, for many values."""
    if len(cells.before) < 2:
        return 1.0
    return float(special.chdtrc(1, _of_ranks(cells.after[np.newaxis], cells.before + cells.after)[0]))


def of_parts(before: np.ndarray, after: np.ndarray, *, rows: tuple[int, int]) -> np.ndarray:
    """The p-value of each part of the rows by itself, two-sided; [parts].

    Args:
        before: Rows of the part in the first sample, int64 [parts].
        after: The same of the second.
        rows: All rows of both.
    """
    both, share = before + after, rows[1] / sum(rows)
    rare = np.minimum(both, sum(rows) - both)  # of the part or of all others: with the less frequent one
    inside = np.where(both == rare, after, rows[1] - after)
    exact = 2 * np.minimum(special.bdtr(inside, rare, share), special.bdtrc(inside - 1, rare, share))
    variance = rare * share * (1 - share) * (1 - rare / sum(rows)) * sum(rows) / max(sum(rows) - 1, 1)
    distance = np.maximum(np.abs(inside - rare * share) - 0.5, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        normal = np.where(distance > 0, 2 * special.ndtr(-distance / np.sqrt(variance)), 1.0)
    many = rare * min(share, 1 - share) >= 2 * FEW
    p_values: np.ndarray = np.minimum(np.where(many, normal, exact), 1.0)
    return p_values


def adjusted(p_values: Sequence[float]) -> list[float]:
    """By p-value the smallest rate of false discoveries at which it counts (Benjamini and Hochberg).

    Where nothing differs every discovery is false, so that this is the rate at which the whole family raises an alarm.
    """
    if not p_values:
        return []
    values = np.asarray(p_values)
    order = np.argsort(values)[::-1]
    scaled = values[order] * len(values) / np.arange(len(values), 0, -1)
    found = np.empty(len(values))
    found[order] = np.minimum(np.minimum.accumulate(scaled), 1)
    return [float(value) for value in found]


def _of_statistics(cells: Cells, statistics: Sequence[Statistic], random: np.random.Generator) -> list[float]:
    together, after = cells.before + cells.after, cells.after
    observed, found = _of_many(after, together, statistics)
    expected = together * min(after.sum(), cells.before.sum()) / together.sum()
    if expected.min() >= FEW or min(found) >= IN_DOUBT[1]:
        return found
    firsts = np.flatnonzero((expected >= FEWEST) | (np.arange(len(expected)) == 0))
    coarse = _of_many(np.add.reduceat(after, firsts), np.add.reduceat(together, firsts), statistics)[1]
    if min(coarse) <= IN_DOUBT[0]:
        return coarse
    return _simulated(together, int(after.sum()), statistics=statistics, observed=observed, random=random)


def _of_many(
    after: np.ndarray, together: np.ndarray, statistics: Sequence[Statistic]
) -> tuple[list[float], list[float]]:
    """The statistics and the p-values that they have where all cells hold many values."""
    if len(together) < 2:
        return [0.0] * len(statistics), [1.0] * len(statistics)
    observed = [float(statistic(after[np.newaxis], together)[0]) for statistic in statistics]
    degrees = [len(together) - 1 if one is _pearson else 1 for one in statistics]
    return observed, [float(special.chdtrc(*one)) for one in zip(degrees, observed, strict=True)]


def _simulated(
    together: np.ndarray,
    rows: int,
    *,
    statistics: Sequence[Statistic],
    observed: Sequence[float],
    random: np.random.Generator,
) -> list[float]:
    """The share of samples, dealt out at random, that are as far apart as the real ones; the real ones count too."""
    farther, drawn = np.ones(len(statistics)), 1
    for draws in DRAWS:
        samples = random.multivariate_hypergeometric(together, rows, draws, method="marginals")
        for place, (statistic, value) in enumerate(zip(statistics, observed, strict=True)):
            farther[place] += np.count_nonzero(statistic(samples, together) >= value * (1 - 1e-9))
        drawn += draws
        if farther.min() > ENOUGH_DRAWS:
            break
    return [float(count / drawn) for count in farther]


def _pearson(after: np.ndarray, together: np.ndarray) -> np.ndarray:
    """Pearson's statistic of two rows of counts; chi-square of one degree less than cells where the values are many."""
    rows, share = together.sum(), after[0].sum() / together.sum()
    expected = together * share
    squares: np.ndarray = (((after - expected) ** 2) / expected).sum(axis=1) / (1 - share)
    return np.asarray(squares * (rows - 1) / rows)


def _of_ranks(after: np.ndarray, together: np.ndarray) -> np.ndarray:
    """The square of Wilcoxon's statistic by its standard deviation, cells taken as ties; chi-square of one degree."""
    rows, drawn = together.sum(), after[0].sum()
    ranks = np.cumsum(together) - (together - 1) / 2
    spread = (together * ranks**2).sum() - rows * ((rows + 1) / 2) ** 2
    variance = drawn * (rows - drawn) / (rows * (rows - 1)) * spread
    squares: np.ndarray = (after @ ranks - drawn * (rows + 1) / 2) ** 2 / variance
    return squares
