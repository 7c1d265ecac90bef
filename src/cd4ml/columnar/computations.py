"""Which code computes what TFMA asks of the rows."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tensorflow_model_analysis.metrics import (
    aggregation,
    binary_confusion_matrices,
    calibration,
    calibration_histogram,
    cross_entropy_metrics,
    example_count,
    mean_regression_error,
    metric_types,
    multi_class_confusion_matrix_metrics,
    squared_pearson_correlation,
    stats,
    tf_metric_wrapper,
    tjur_discrimination,
)

from cd4ml.columnar import binary, sums
from cd4ml.columnar.batch import Batch, NotVectorised
from cd4ml.columnar.keras_metrics import KerasMetrics
from cd4ml.columnar.leaf import Leaf, LeafTotals
from cd4ml.columnar.multiclass import Confusion
from cd4ml.columnar.row_by_row import RowByRow
from cd4ml.columnar.slices import Group
from cd4ml.errors import EvaluationError

LEAVES: dict[type, Callable[[Any], Leaf | None]] = {
    aggregation._ClassWeightsFromLabelsCombiner: sums.class_weights,
    binary_confusion_matrices._BinaryConfusionMatrixCombiner: binary.confusion,
    calibration._WeightedLabelsPredictionsExamplesCombiner: sums.weighted_totals,
    calibration_histogram._CalibrationHistogramCombiner: binary.histogram,
    cross_entropy_metrics._BinaryCrossEntropyCombiner: sums.binary_cross_entropy,
    cross_entropy_metrics._CategoricalCrossEntropyCombiner: sums.categorical_cross_entropy,
    example_count._ExampleCountCombiner: sums.example_count,
    mean_regression_error._MeanAbsoluteErrorCombiner: sums.regression_error(sums.absolute_error),
    mean_regression_error._MeanAbsolutePercentageErrorCombiner: sums.regression_error(sums.absolute_percentage_error),
    mean_regression_error._MeanSquaredErrorCombiner: sums.regression_error(sums.squared_error),
    mean_regression_error._MeanSquaredLogarithmicErrorCombiner: sums.regression_error(sums.squared_logarithmic_error),
    squared_pearson_correlation._SquaredPearsonCorrelationCombiner: sums.squared_pearson,
    stats._MeanCombiner: sums.mean,
    tjur_discrimination._TjurDiscriminationCombiner: sums.tjur,
}


class Computed(Protocol):
    """A computation of TFMA over all batches, by slice."""

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""

    def of(self, slices: Sequence[int]) -> metric_types.MetricsDict:
        """What TFMA's combiner gives for some slices together."""


class Computations:
    """What TFMA asks of the rows, computed in columns where that is known, and else by TFMA row by row."""

    def __init__(self, asked: Sequence[metric_types.MetricComputation]) -> None:
        self._asked = asked
        self._computed: list[Computed] = []
        self.row_by_row: dict[str, str] = {}
        """Why TFMA's own loop ran, by the name of its combiner."""

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        if not self._computed:
            self._computed = [self._begun(one, batch, groups) for one in self._asked]
            return
        for computed in self._computed:
            try:
                computed.add(batch, groups)
            except NotVectorised as reason:
                raise EvaluationError(f"a later batch is unlike the first: {reason}") from reason

    def of(self, slices: Sequence[int]) -> metric_types.MetricsDict:
        """What TFMA's combiners give for some slices together."""
        found: metric_types.MetricsDict = {}
        for computed in self._computed:
            found.update(computed.of(slices))
        return found

    def _begun(self, asked: metric_types.MetricComputation, batch: Batch, groups: Sequence[Group]) -> Computed:
        try:
            computed = _in_columns(asked)
            computed.add(batch, groups)
        except NotVectorised as reason:
            self.row_by_row[type(asked.combiner).__name__] = str(reason)
            computed = RowByRow(asked)
            computed.add(batch, groups)
        return computed


def _in_columns(asked: metric_types.MetricComputation) -> Computed:
    if not all(type(one) is metric_types.StandardMetricInputsPreprocessor for one in asked.preprocessors):
        raise NotVectorised("it changes the rows before it reads them")
    kind = type(asked.combiner)
    if kind is multi_class_confusion_matrix_metrics._MultiClassConfusionMatrixCombiner:
        return Confusion(asked)
    if kind is tf_metric_wrapper._CompilableMetricsCombiner:
        return KerasMetrics(asked)
    leaf = LEAVES[kind](asked.combiner) if kind in LEAVES else None
    if leaf is None:
        raise NotVectorised("no leaf is known for it")
    return LeafTotals(asked, leaf)
