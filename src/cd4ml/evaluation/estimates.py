"""What is estimated of a model on the slices of one kind, and how far each row moves it, by the problem."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cd4ml.contracts import ranking
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.problem import Problem
from cd4ml.evaluation import confidence
from cd4ml.evaluation.rows import Slicing


@dataclass(frozen=True)
class Scored:
    """All rows with what the models say of them."""

    problem: Problem
    labels: np.ndarray
    """[rows], as the problem has them."""
    predictions: Mapping[str, np.ndarray]
    """By role: float32 [rows]."""
    slicings: Sequence[Slicing]


@dataclass(frozen=True)
class Estimate:
    """One metric of one model on the slices of one kind."""

    values: np.ndarray
    """float64 [slices]."""
    influence: np.ndarray
    """float64 [rows], the derivative of the slice's value by what the row counts."""
    enough: np.ndarray
    """Whether there are rows enough to tell how sure it is, bool [slices]."""


Estimates = Mapping[str, Estimate]
"""By metric."""
BySlicing = Callable[[Slicing], Estimates]


def of(rows: Scored, role: str) -> BySlicing:
    """What is estimated of one model, by kind of slice.

    Args:
        rows: All rows.
        role: The model's.
    """
    return BY_PROBLEM[rows.problem.name](rows.labels, rows.predictions[role])


def of_classes(labels: np.ndarray, predictions: np.ndarray) -> BySlicing:
    """The areas under the curves, the loss and the calibration of probabilities; the labels are 0 and 1."""
    labels = labels == 1
    order = np.argsort(predictions, kind="stable")
    losses, exact = _losses(labels, predictions), predictions.astype(np.float64)

    def on(slicing: Slicing) -> Estimates:
        codes, size = slicing.codes, len(slicing.names)
        count, positives = np.bincount(codes, minlength=size), np.bincount(codes, labels, size)
        negatives = count - positives
        areas = ranking.areas(labels, predictions, codes, order=order)
        loss = np.bincount(codes, losses, size) / count
        with np.errstate(invalid="ignore", divide="ignore"):
            calibration = np.bincount(codes, exact, size) / positives
            of_calibration = (exact - calibration[codes] * labels) / positives[codes]
        both = np.minimum(positives, negatives) >= FEWEST_ROWS

        def area(values: np.ndarray, influence: np.ndarray) -> Estimate:
            enough = confidence.enough_for_area(values, positives, negatives)
            return Estimate(values, influence, enough)

        return {
            "auc": area(areas.auc, areas.auc_influence),
            "auc_pr": area(areas.auc_pr, areas.auc_pr_influence),
            "binary_cross_entropy": Estimate(loss, (losses - loss[codes]) / count[codes], both),
            "calibration": Estimate(calibration, of_calibration, positives >= FEWEST_ROWS),
        }

    return on


def _losses(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """float64 [rows]; a probability of 0 or 1 is clipped by the smallest step of its type, as scikit-learn does."""
    step = np.finfo(predictions.dtype).eps
    likely = np.clip(predictions, step, 1 - step).astype(np.float64)
    losses: np.ndarray = -np.log(np.where(labels, likely, 1 - likely))
    return losses


def of_numbers(labels: np.ndarray, predictions: np.ndarray) -> BySlicing:
    """The means, the errors and the share of the variance that is explained."""
    labels, predictions = labels.astype(np.float64), predictions.astype(np.float64)
    errors = predictions - labels
    squares = errors**2

    def on(slicing: Slicing) -> Estimates:
        codes, size = slicing.codes, len(slicing.names)
        count = np.bincount(codes, minlength=size)
        enough = count >= FEWEST_ROWS

        def mean(values: np.ndarray) -> Estimate:
            means = np.bincount(codes, values, size) / count
            return Estimate(means, (values - means[codes]) / count[codes], enough)

        label, squared = mean(labels), mean(squares)
        one = np.zeros(size)
        one[codes] = labels
        apart = labels - one[codes]  # exactly 0 where all labels of a slice are one, which their mean may not be
        from_mean = (apart - mean(apart).values[codes]) ** 2
        variance = mean(from_mean).values
        root = np.sqrt(squared.values)
        with np.errstate(invalid="ignore", divide="ignore"):
            unexplained = squared.values / variance
            of_root = squared.influence / (2 * root[codes])
            of_unexplained = (squares - unexplained[codes] * from_mean) / (count * variance)[codes]
        return {
            "mean_label": label,
            "mean_prediction": mean(predictions),
            "mean_error": mean(errors),
            "root_mean_squared_error": Estimate(root, of_root, enough),
            "mean_squared_error": squared,
            "mean_absolute_error": mean(np.abs(errors)),
            "r_squared": Estimate(1 - unexplained, -of_unexplained, enough),
        }

    return on


BY_PROBLEM: Mapping[str, Callable[[np.ndarray, np.ndarray], BySlicing]] = {
    "binary": of_classes,
    "regression": of_numbers,
}
