"""Leaves that are a few sums by slice: counts, means, regression errors, cross entropies."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import (
    calibration,
    cross_entropy_metrics,
    mean_regression_error,
    squared_pearson_correlation,
    stats,
    tjur_discrimination,
)
from tensorflow_model_analysis.utils import util

from cd4ml.columnar.batch import Batch, NotVectorised
from cd4ml.columnar.leaf import Leaf, Terms
from cd4ml.columnar.pairs import Asked, Pairs, pairs

Error = Callable[[np.ndarray, np.ndarray], np.ndarray]


def example_count(combiner: Any) -> Leaf:
    """The leaf of `_ExampleCountCombiner`."""

    def terms(batch: Batch) -> Terms:
        weighted = combiner._example_weighted
        weights = batch.weights(combiner._model_name, combiner._output_name) if weighted else None
        return Terms(None, None, [None if weights is None else weights.astype(np.float64)])

    return Leaf(1, 1, terms, lambda sums: float(sums[0, 0]))


def weighted_totals(combiner: Any) -> Leaf | None:
    """The leaf of `_WeightedLabelsPredictionsExamplesCombiner`."""
    if combiner._key.sub_key and combiner._key.sub_key.top_k is not None:
        return None
    asked = Asked.by(combiner)

    def terms(batch: Batch) -> Terms:
        found = pairs(batch, asked)
        labels, predictions = (one.astype(np.float64) for one in (found.labels, found.predictions))
        return Terms(found.rows, None, [labels * found.weights, predictions * found.weights, found.weights])

    names = ("total_weighted_labels", "total_weighted_predictions", "total_weighted_examples")
    return Leaf(1, 3, terms, _filled(calibration._WeightedLabelsPredictionsExamples, names))


def squared_pearson(combiner: Any) -> Leaf:
    """The leaf of `_SquaredPearsonCorrelationCombiner`."""

    def values(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> list[np.ndarray]:
        weighted = weights * labels
        squares = [weights * labels**2, weights * predictions**2]
        return [weighted, weights * predictions, *squares, weighted * predictions, weights]

    names = squared_pearson_correlation._SquaredPearsonCorrelationAccumulator.__slots__
    make = _filled(squared_pearson_correlation._SquaredPearsonCorrelationAccumulator, names)
    return Leaf(1, 6, _products(combiner, values), make)


def tjur(combiner: Any) -> Leaf:
    """The leaf of `_TjurDiscriminationCombiner`."""

    def values(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> list[np.ndarray]:
        negatives = (1.0 - labels) * predictions * weights
        return [negatives, (1.0 - labels) * weights, labels * predictions * weights, labels * weights]

    names = tjur_discrimination._TjurDiscriminationAccumulator.__slots__
    return Leaf(1, 4, _products(combiner, values), _filled(tjur_discrimination._TjurDiscriminationAccumulator, names))


def _products(combiner: Any, values: Callable[..., Sequence[np.ndarray]]) -> Callable[[Batch], Terms]:
    asked = Asked.by(combiner)

    def terms(batch: Batch) -> Terms:
        found = pairs(batch, asked)
        return Terms(
            found.rows,
            None,
            values(found.weights, found.labels.astype(np.float64), found.predictions.astype(np.float64)),
        )

    return terms


def _filled(kind: Callable[[], Any], names: Sequence[str]) -> Callable[[np.ndarray], Any]:
    """Makes an accumulator of a kind whose attributes of these names are the sums."""

    def make(sums: np.ndarray) -> Any:
        accumulator = kind()
        for name, value in zip(names, sums[0].tolist(), strict=True):
            setattr(accumulator, name, value)
        return accumulator

    return make


def absolute_error(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """As `_MeanAbsoluteErrorCombiner` has it, [pairs]."""
    errors: np.ndarray = np.absolute(labels - predictions)
    return errors


def squared_error(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """As `_MeanSquaredErrorCombiner` has it, [pairs]: the square of the norm."""
    return _norm(labels - predictions) ** 2


def absolute_percentage_error(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """As `_MeanAbsolutePercentageErrorCombiner` has it, [pairs]; not a number where the label is zero."""
    errors = np.absolute((labels - predictions) / labels).astype(np.float64)
    return np.where(labels == 0, np.nan, 100 * errors)


def squared_logarithmic_error(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """As `_MeanSquaredLogarithmicErrorCombiner` has it, [pairs]."""
    return _norm(np.log(labels + 1) - np.log(predictions + 1)) ** 2


def _norm(differences: np.ndarray) -> np.ndarray:
    exact = differences if differences.dtype.kind == "f" else differences.astype(np.float64)
    norms: np.ndarray = np.sqrt(exact * exact).astype(np.float64)
    return norms


def regression_error(error: Error) -> Callable[[Any], Leaf]:
    """Gives the maker of the leaf of a regression error; pairs without an error do not count."""

    def make(combiner: Any) -> Leaf:
        asked = Asked.by(combiner)

        def terms(batch: Batch) -> Terms:
            found = pairs(batch, asked)
            errors = error(found.labels, found.predictions).astype(np.float64)
            nothing = np.isnan(errors)
            weights = np.where(nothing, 0.0, found.weights)
            return Terms(found.rows, None, [weights, np.where(nothing, 0.0, errors) * weights])

        names = ("total_example_weights", "total_regression_error")
        return Leaf(1, 2, terms, _filled(mean_regression_error._MeanRegressionErrorAccumulator, names))

    return make


def binary_cross_entropy(combiner: Any) -> Leaf:
    """The leaf of `_BinaryCrossEntropyCombiner`."""
    smoothing = combiner._label_smoothing

    def entropies(found: Pairs) -> np.ndarray:
        labels, predictions = found.labels * (1.0 - smoothing) + 0.5 * smoothing, found.predictions
        if combiner._from_logits:
            beyond = np.log(1 + np.exp(-np.abs(predictions)))
            each = np.maximum(predictions, 0) - np.multiply(predictions, labels) + beyond
        else:
            each = -np.multiply(labels, np.log(predictions)) - np.multiply(1 - labels, np.log(1 - predictions))
        means: np.ndarray = np.mean(each, axis=1)
        return means

    return _cross_entropy(combiner, entropies)


def categorical_cross_entropy(combiner: Any) -> Leaf:
    """The leaf of `_CategoricalCrossEntropyCombiner`."""
    smoothing = combiner._label_smoothing

    def entropies(found: Pairs) -> np.ndarray:
        predictions = found.predictions
        if predictions.dtype.kind != "f":
            raise NotVectorised("predictions are not fractions")
        labels = found.labels * (1.0 - smoothing) + smoothing / predictions.shape[1]
        likely = np.exp(predictions) if combiner._from_logits else predictions
        likely = likely / np.sum(likely, axis=1, keepdims=True)
        logarithms = np.ma.log(likely)
        sums: np.ndarray = -np.sum(np.multiply(labels, logarithms), axis=1)
        return np.ma.filled(sums, 0.0)

    return _cross_entropy(combiner, entropies)


def _cross_entropy(combiner: Any, entropies: Callable[[Pairs], np.ndarray]) -> Leaf:
    asked = Asked.by(combiner, flatten=False)

    def terms(batch: Batch) -> Terms:
        found = pairs(batch, asked)
        if found.labels.shape[1] not in (1, found.predictions.shape[1]):
            raise NotVectorised("the labels are neither one nor as many as the predictions")
        totals = entropies(found).astype(np.float64) * found.weights
        return Terms(None, None, [totals, found.weights])

    names = ("total_cross_entropy", "total_example_weights")
    return Leaf(1, 2, terms, _filled(cross_entropy_metrics._CrossEntropyAccumulator, names))


def mean(combiner: Any) -> Leaf:
    """The leaf of `_MeanCombiner`: the mean of any column of the extracts."""

    def column(batch: Batch, path: Sequence[str]) -> np.ndarray:
        try:
            found = np.asarray(util.get_by_keys(batch.extracts, path))
        except ValueError as error:
            raise NotVectorised(f"nothing was found at {'.'.join(path)}") from error
        if found.dtype.kind not in "fiub" or found.size != batch.rows:
            raise NotVectorised("the mean is not of one number a row")
        return found.reshape(-1).astype(np.float64)

    def terms(batch: Batch) -> Terms:
        values = column(batch, combiner._feature_key_path)
        if combiner._example_weights_key_path is None:
            return Terms(None, None, [None, values])
        weights = column(batch, combiner._example_weights_key_path)
        return Terms(None, None, [weights, weights * values])

    return Leaf(1, 2, terms, _filled(stats._Accumulator, ("count", "total")))


def class_weights(combiner: Any) -> Leaf:
    """The leaf of `_ClassWeightsFromLabelsCombiner`: the share of each class in the labels."""
    key = combiner._key
    asked = Asked(key.model_name, key.output_name, example_weighted=combiner._example_weighted, flatten=False)
    classes: list[int] = list(combiner._class_ids)

    def terms(batch: Batch) -> Terms:
        found = pairs(batch, asked)
        if found.labels.shape[1] > 1 and max(classes, default=0) >= found.labels.shape[1]:
            raise NotVectorised("a class is asked for that is beyond the number of labels")
        labels = found.labels == np.array(classes) if found.labels.shape[1] == 1 else found.labels[:, classes]
        return Terms(None, None, list((labels * found.weights[:, np.newaxis]).T))

    return Leaf(1, len(classes), terms, lambda sums: dict(zip(classes, sums[0].tolist(), strict=True)))
