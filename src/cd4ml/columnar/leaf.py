"""A leaf: a computation of TFMA that reads rows, as sums by slice and cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from cd4ml.columnar.batch import Batch
from cd4ml.columnar.slices import Group
from cd4ml.columnar.totals import Totals


@dataclass(frozen=True)
class Terms:
    """What a batch adds to a leaf.

    Attributes:
        rows: int [pairs], the row of each pair; None where they are the rows.
        cells: int [pairs], where each pair counts; None where there is one cell.
        values: What each pair adds there, each float [pairs]; None for one a pair.
    """

    rows: np.ndarray | None
    cells: np.ndarray | None
    values: Sequence[np.ndarray | None]


@dataclass(frozen=True)
class Leaf:
    """One of TFMA's combiners, over columns.

    Attributes:
        cells: How many numbers a slice has of each value.
        values: How many values are summed.
        terms: What a batch adds.
        accumulator: TFMA's accumulator of the sums of a slice, float [cells, values].
        outputs: The keys of which the accumulator is the output already; None where the combiner has to make it.
    """

    cells: int
    values: int
    terms: Callable[[Batch], Terms]
    accumulator: Callable[[np.ndarray], Any]
    outputs: frozenset[metric_types.MetricKey] | None = None


class LeafTotals:
    """The sums of a leaf by slice."""

    def __init__(self, computation: metric_types.MetricComputation, leaf: Leaf) -> None:
        self._combiner: Any = computation.combiner
        self._leaf = leaf
        self._totals = Totals(leaf.cells, leaf.values)

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        if self._combiner not in batch.cache:
            batch.cache[self._combiner] = self._leaf.terms(batch)
        terms: Terms = batch.cache[self._combiner]
        for group in groups:
            self._totals.add(group, rows=terms.rows, cells=terms.cells, values=terms.values)

    def of(self, slices: Sequence[int]) -> metric_types.MetricsDict:
        """What TFMA's combiner gives for some slices together."""
        accumulator = self._leaf.accumulator(self._totals.of(slices))
        if self._leaf.outputs is not None:
            return dict.fromkeys(self._leaf.outputs, accumulator)
        found: metric_types.MetricsDict = self._combiner.extract_output(accumulator)
        return found
