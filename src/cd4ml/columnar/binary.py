"""Leaves of binary classification: confusion matrices at thresholds, and the histogram of predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis.contrib.aggregates import binary_confusion_matrices as aggregates
from tensorflow_model_analysis.metrics import metric_util

from cd4ml.columnar.batch import Batch
from cd4ml.columnar.histogram import Histogram
from cd4ml.columnar.leaf import Leaf, Terms
from cd4ml.columnar.pairs import Asked, pairs
from cd4ml.errors import EvaluationError

_MOST_THRESHOLDS_OF_LABELS = 200


def histogram(combiner: Any) -> Leaf:
    """The leaf of `_CalibrationHistogramCombiner`: by bucket its pairs, labels, predictions and weights."""
    asked = Asked.by(combiner, fractional_labels=combiner._fractional_labels)
    last = combiner._num_buckets + 1

    def terms(batch: Batch) -> Terms:
        found = pairs(batch, asked)
        predictions = found.predictions.astype(np.float64)
        labels = found.labels.astype(np.float64)
        by = predictions if combiner._prediction_based_bucketing else labels
        if np.isnan(by).any():
            raise EvaluationError("a prediction is not a number, and TFMA has no bucket for it; clean the predictions")
        places = (by - combiner._left) / combiner._range * combiner._num_buckets + 1
        cells = np.where(places < 0, 0, np.minimum(places, last)).astype(np.int64)
        return Terms(found.rows, cells, [None, labels * found.weights, predictions * found.weights, found.weights])

    return Leaf(last + 1, 4, terms, _histogram, frozenset([combiner._key]))


def _histogram(sums: np.ndarray) -> Histogram:
    met = np.flatnonzero(sums[:, 0])
    labels, predictions, weights = sums[met, 1:].T
    return Histogram(met, labels=labels, predictions=predictions, weights=weights)


def confusion(combiner: Any) -> Leaf | None:
    """The leaf of `_BinaryConfusionMatrixCombiner`: by label, the weights between two thresholds."""
    standard = metric_util.to_label_prediction_example_weight
    if combiner._example_id_key or combiner._extract_label_prediction_and_weight is not standard:
        return None
    asked_for: Sequence[float] = combiner._binary_confusion_matrices._thresholds
    thresholds = np.unique(np.asarray(asked_for, np.float64))
    repeats = {threshold: float(list(asked_for).count(threshold)) for threshold in asked_for}
    fractional: bool = combiner._enable_fractional_labels
    kinds = 2 if fractional else len(thresholds) + 1
    if kinds > _MOST_THRESHOLDS_OF_LABELS:
        return None
    asked = Asked.by(combiner, fractional_labels=fractional)
    width = len(thresholds) + 1

    def terms(batch: Batch) -> Terms:
        found = pairs(batch, asked)
        above = _below(thresholds, found.predictions)
        kind = (found.labels == 1.0).astype(np.int64) if fractional else _below(thresholds, found.labels)
        return Terms(found.rows, kind * width + above, [found.weights])

    def accumulator(sums: np.ndarray) -> dict[float, Any]:
        weights = sums[:, 0].reshape(kinds, width)
        places = {threshold: int(np.searchsorted(thresholds, threshold)) for threshold in repeats}
        matrices = {
            one: _matrix(weights, place=place, fractional=fractional, repeats=repeats[one])
            for one, place in places.items()
        }
        return {one: aggregates._ThresholdEntry(matrix, [], [], [], []) for one, matrix in matrices.items()}

    return Leaf(kinds * width, 1, terms, accumulator)


def _below(thresholds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many of the thresholds each value is above, int [pairs]; none for what is not a number."""
    values = values.astype(np.float64)
    return np.where(np.isnan(values), 0, np.searchsorted(thresholds, values, side="left"))


def _matrix(weights: np.ndarray, *, place: int, fractional: bool, repeats: float) -> aggregates.Matrix:
    """The matrix at a threshold, of weights [kinds of label, kinds of prediction]."""
    first = 1 if fractional else place + 1
    positives, negatives = weights[first:].sum(axis=0), weights[:first].sum(axis=0)
    return aggregates.Matrix(
        tp=float(positives[place + 1 :].sum()) * repeats,
        tn=float(negatives[: place + 1].sum()) * repeats,
        fp=float(negatives[place + 1 :].sum()) * repeats,
        fn=float(positives[: place + 1].sum()) * repeats,
    )
