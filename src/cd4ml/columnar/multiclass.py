"""Confusion matrices of several classes at thresholds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics import multi_class_confusion_matrix_metrics as matrices

from cd4ml.columnar.batch import Batch, NotVectorised
from cd4ml.columnar.pairs import Asked, pairs
from cd4ml.columnar.slices import Group


class Confusion:
    """The matrices of `_MultiClassConfusionMatrixCombiner` by slice."""

    def __init__(self, computation: metric_types.MetricComputation) -> None:
        self._combiner: Any = computation.combiner
        if self._combiner._extract_label_prediction_and_weight is not metric_util.to_label_prediction_example_weight:
            raise NotVectorised("the metric reads its rows in its own way")
        key = self._combiner._key
        self._asked = Asked(
            key.model_name, key.output_name, example_weighted=self._combiner._example_weighted, flatten=False
        )
        self._accumulators: dict[int, matrices.Matrices] = {}

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        found = pairs(batch, self._asked)
        if found.predictions.shape[1] == 1:
            raise NotVectorised("there is one prediction a row")
        if not np.all(np.isfinite(found.labels)):
            raise NotVectorised("a label is not a number")
        actual = found.labels.argmax(1) if found.labels.shape[1] > 1 else found.labels[:, 0].astype(np.int64)
        best = found.predictions.argmax(1)
        score = np.take_along_axis(found.predictions, best[:, np.newaxis], 1)[:, 0]
        for group in groups:
            # Once below a threshold, a row has no class at those after it, also where they are lower.
            predicted = best
            for threshold in self._combiner._thresholds:
                predicted = np.where(score <= threshold, matrices.NO_PREDICTED_CLASS_ID, predicted)
                self._count(group, threshold=threshold, entries=np.stack([actual, predicted], 1), weights=found.weights)

    def of(self, slices: Sequence[int]) -> metric_types.MetricsDict:
        """The matrices of some slices together."""
        met = [self._accumulators[one] for one in slices if one in self._accumulators]
        merged = self._combiner.merge_accumulators([self._combiner.create_accumulator(), *met])
        found: metric_types.MetricsDict = self._combiner.extract_output(merged)
        return found

    def _count(self, group: Group, *, threshold: float, entries: np.ndarray, weights: np.ndarray) -> None:
        kept = np.flatnonzero(group.present)
        by_entry = np.column_stack([group.slices[group.codes[kept]], entries[kept]])
        unique, places = np.unique(by_entry, axis=0, return_inverse=True)
        sums = np.bincount(places.ravel(), _weights(group, weights)[kept], len(unique))
        for (number, actual, predicted), weight in zip(unique.tolist(), sums.tolist(), strict=True):
            matrix = self._accumulators.setdefault(number, matrices.Matrices()).setdefault(threshold, {})
            entry = matrices.MatrixEntryKey(actual, predicted)
            matrix[entry] = matrix.get(entry, 0.0) + weight


def _weights(group: Group, weights: np.ndarray) -> np.ndarray:
    weighted = group.weighted(weights)
    assert weighted is not None
    return weighted
