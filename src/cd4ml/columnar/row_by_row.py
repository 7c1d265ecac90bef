"""TFMA's own combiners, row by row and in this process: for what has no leaf here."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils import util

from cd4ml.columnar.batch import Batch
from cd4ml.columnar.slices import Group
from cd4ml.errors import EvaluationError


class RowByRow:
    """A computation of TFMA by slice."""

    def __init__(self, computation: metric_types.MetricComputation) -> None:
        self._prepare = evaluator._PreprocessorDoFn([computation])
        self._combine = evaluator._ComputationsCombineFn([computation])
        self._prepare.setup()
        self._prepare.start_bundle()
        self._combine.setup()
        self._accumulators: dict[int, Any] = {}

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        for row, extracts in enumerate(_rows(batch)):
            try:
                for prepared in self._prepare.process(extracts):
                    self._add(row, prepared, groups)
            except (RuntimeError, TypeError, ValueError) as error:
                raise EvaluationError(f"TFMA cannot compute this of row {row}: {_cause(error)}") from error

    def of(self, slices: Sequence[int]) -> metric_types.MetricsDict:
        """What TFMA's combiner gives for some slices together; that of no rows where they were never met."""
        met = [copy.deepcopy(self._accumulators[one]) for one in slices if one in self._accumulators]
        accumulator = met[0] if len(met) == 1 else self._combine.merge_accumulators([self._empty(), *met])
        found: metric_types.MetricsDict = self._combine.extract_output(accumulator)
        return found

    def _add(self, row: int, prepared: Any, groups: Sequence[Group]) -> None:
        for group in groups:
            if (code := group.codes[row]) < 0:
                continue
            number = int(group.slices[code])
            accumulator = self._accumulators.get(number, None) or self._empty()
            for _ in range(group.repeats(row)):
                accumulator = self._combine.add_input(accumulator, prepared)
            self._accumulators[number] = accumulator

    def _empty(self) -> Any:
        return self._combine.create_accumulator()


def _rows(batch: Batch) -> list[dict[str, Any]]:
    """TFMA's extracts of each row."""
    if "rows" not in batch.cache:
        columns = {**batch.extracts, constants.SLICE_KEY_TYPES_KEY: np.zeros(batch.rows)}
        batch.cache["rows"] = util.split_extracts(columns)
    rows: list[dict[str, Any]] = batch.cache["rows"]
    return rows


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).split("\n\n")[0]
