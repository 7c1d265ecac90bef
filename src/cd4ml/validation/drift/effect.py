"""How much two samples of one column differ, whatever their sizes: measures in [0, 1]."""

import numpy as np

from cd4ml.validation.drift.pair import Pair


def measure(pair: Pair) -> dict[str, float]:
    """What can be said of a column: `jensen_shannon`, `missing`, and of categories `infinity_norm` and `new_values`.

    What chance makes of so few values is taken off `jensen_shannon`, so that the number of rows does not matter.
    Infinity norm and new values are shares of the values that are there, `missing` is one of the rows.
    """
    cells = pair.cells
    before, after = pair.missing
    measures = {"missing": abs(after / max(len(pair.after), 1) - before / max(len(pair.before), 1))}
    if not cells.before.sum() or not cells.after.sum():
        return measures
    by_chance = expected(len(cells.before), cells.before.sum(), cells.after.sum())
    measures["jensen_shannon"] = float(np.sqrt(max(divergence(*cells.shares) - by_chance, 0)))
    if pair.kind == "category":
        measures["infinity_norm"] = float(np.abs(cells.shares[1] - cells.shares[0]).max())
        measures["new_values"] = new_values(pair)
    return measures


def divergence(before: np.ndarray, after: np.ndarray) -> float:
    """Jensen and Shannon's, of two distributions over the same cells, base 2: 0 where they are the same, 1 where apart.

    Its square root is a distance, of about the size of the share of the rows that lie elsewhere.
    """
    middle = (before + after) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(one > 0, one * np.log2(one / middle), 0).sum() for one in (before, after)]
    return float(np.clip(sum(parts) / 2, 0, 1))


def expected(cells: int, before: int, after: int) -> float:
    """The divergence that chance alone makes on average, of so many values of either sample."""
    return float((cells - 1) / (8 * np.log(2)) * (1 / before + 1 / after))


def new_values(pair: Pair) -> float:
    """The share of categories that were not there before, less what chance would make new among rare ones."""
    before, after = pair.counts
    both, share = before + after, after.sum() / max(before.sum() + after.sum(), 1)
    expected = (both * share ** both.astype(float)).sum()
    return float(max(after[before == 0].sum() - expected, 0) / max(after.sum(), 1))
