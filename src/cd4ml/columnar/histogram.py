"""The histogram of predictions of a slice, and the confusion matrices at thresholds that TFMA takes from it.

TFMA walks through ten thousand buckets for each of these, in each slice and each sample: most of what an evaluation
would take. Here they are the same sums over arrays.
"""

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from tensorflow_model_analysis.metrics import binary_confusion_matrices, calibration_histogram, metric_types

_EPSILON = binary_confusion_matrices._EPSILON


class Histogram(Sequence[calibration_histogram.Bucket]):
    """The buckets of a slice, as TFMA has them, made when they are asked for.

    Attributes:
        ids: int [buckets], rising.
        labels: float [buckets], the sum of the weighted labels.
        predictions: float [buckets], the sum of the weighted predictions.
        weights: float [buckets].
    """

    def __init__(self, ids: np.ndarray, *, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        self.ids, self.labels, self.predictions, self.weights = ids, labels, predictions, weights

    @cached_property
    def _buckets(self) -> list[calibration_histogram.Bucket]:
        columns = (self.ids, self.labels, self.predictions, self.weights)
        return [
            calibration_histogram.Bucket(*one) for one in zip(*(column.tolist() for column in columns), strict=True)
        ]

    @overload
    def __getitem__(self, place: int) -> calibration_histogram.Bucket: ...
    @overload
    def __getitem__(self, place: slice) -> list[calibration_histogram.Bucket]: ...
    def __getitem__(self, place: int | slice) -> Any:
        return self._buckets[place]

    def __len__(self) -> int:
        return len(self.ids)


def in_columns(computation: metric_types.DerivedMetricComputation) -> metric_types.DerivedMetricComputation:
    """The same computation over arrays, where it is one of confusion matrices from a histogram; else itself."""
    name = getattr(computation.result, "__qualname__", "")  # a partial has none
    if name != "binary_confusion_matrices.<locals>.result":
        return computation
    known = inspect.getclosurevars(computation.result).nonlocals
    thresholds = known["thresholds"]
    edges = _edges(thresholds)
    rising = len(edges) > 1 and bool(np.all(np.diff(edges) > 0))
    if not known["use_histogram"] or not rising or thresholds[0] >= 1 or (len(thresholds) == 1 and thresholds[0] <= 0):
        return computation
    source, key = known["input_metric_key"], known["matrices_key"]

    def result(metrics: metric_types.MetricsDict) -> metric_types.MetricsDict:
        found = metrics[source]
        if not isinstance(found, Histogram):
            given: metric_types.MetricsDict = computation.result(metrics)
            return given
        return {key: _matrices(thresholds, edges, found)}

    return metric_types.DerivedMetricComputation(keys=computation.keys, result=result)


def _edges(thresholds: Sequence[float]) -> np.ndarray:
    """Where the bins of the matrices begin: just above each threshold, for what is at it is not above it."""
    edges = [threshold + _EPSILON if threshold != 0 else threshold for threshold in thresholds]
    first = [-_EPSILON] if thresholds[0] >= 0 else []
    last = [1.0 + _EPSILON] if thresholds[-1] < 1.0 else []
    return np.array([*first, *edges, *last])


def _matrices(
    thresholds: Sequence[float], edges: np.ndarray, histogram: Histogram
) -> binary_confusion_matrices.Matrices:
    buckets = calibration_histogram.DEFAULT_NUM_BUCKETS
    starts = (histogram.ids - 1) / buckets
    starts = np.where(histogram.ids == 0, -np.inf, np.where(histogram.ids > buckets, np.inf, starts))
    bins = np.searchsorted(edges[1:], starts, side="right")
    labels = np.bincount(bins, histogram.labels, len(edges))
    weights = np.bincount(bins, histogram.weights, len(edges))
    negatives = weights - labels
    first = int(thresholds[0] >= 0 or len(thresholds) == 1)
    shown = slice(first, first + len(thresholds))
    tp, fp = (np.cumsum(one[::-1])[::-1][shown] for one in (labels, negatives))
    tn, fn = (np.concatenate([[0.0], np.cumsum(one)[:-1]])[shown] for one in (negatives, labels))
    beyond = np.asarray(thresholds) >= 1.0 + _EPSILON
    fn, tn = np.where(beyond, tp[0], fn), np.where(beyond, fp[0], tn)
    tp, fp = np.where(beyond, 0.0, tp), np.where(beyond, 0.0, fp)
    return binary_confusion_matrices.Matrices(thresholds, *(one.tolist() for one in (tp, tn, fp, fn)))
