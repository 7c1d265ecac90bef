"""Sums of values by slice and cell, over all batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cd4ml.columnar.slices import Group
from cd4ml.errors import EvaluationError

_MOST_NUMBERS = 1 << 28  # 2 GiB


class Totals:
    """A table [slices, cells, values] that is added to."""

    def __init__(self, cells: int, values: int) -> None:
        self.cells = cells
        self.table = np.zeros((0, cells, values))

    def add(
        self,
        group: Group,
        *,
        rows: np.ndarray | None,
        cells: np.ndarray | None,
        values: Sequence[np.ndarray | None],
    ) -> None:
        """Adds values to the cells of the slices.

        Args:
            group: The slices of the rows, and how often each counts.
            rows: int [pairs], the row of each pair; None where they are the rows.
            cells: int [pairs]; None where there is one cell.
            values: Each float [pairs], or None for one a pair.
        """
        if not len(group.slices):
            return
        self._grow(int(group.slices.max()) + 1)
        codes = group.codes if rows is None else group.codes[rows]
        places = codes * self.cells + (0 if cells is None else cells)
        kept = None if group.whole else np.flatnonzero(codes >= 0)
        size = len(group.slices) * self.cells
        for number, one in enumerate(values):
            weights = group.weighted(one, rows)
            sums = np.bincount(_at(places, kept), _at(weights, kept), size).reshape(-1, self.cells)
            self.table[group.slices, :, number] += sums

    def of(self, slices: Sequence[int]) -> np.ndarray:
        """The sums of some slices together, float64 [cells, values]; zeros where they were never met."""
        self._grow(max(slices) + 1)
        found: np.ndarray = self.table[slices[0]] if len(slices) == 1 else self.table[list(slices)].sum(axis=0)
        return found

    def _grow(self, slices: int) -> None:
        if slices > len(self.table):
            values = self.table.shape[2]
            if slices * self.cells * values > _MOST_NUMBERS:
                raise EvaluationError(
                    f"{slices} slices of {self.cells} numbers each do not fit into memory; slice by fewer values"
                )
            grown = np.zeros((max(slices, len(self.table) * 2), self.cells, values))
            grown[: len(self.table)] = self.table
            self.table = grown


def _at(values: Any, kept: np.ndarray | None) -> Any:
    return values if values is None or kept is None else values[kept]
