"""What is estimated of a model on the slices of one kind, and how far each row moves it, by the problem."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cd4ml.contracts import ranking
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import MOST_BY_SLICE, OVERALL, of_class
from cd4ml.contracts.multiclass import losses
from cd4ml.contracts.ordinal import MEAN_CLASS_ERROR
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
    """By role: float32 [rows], or [rows, classes] of three classes and more."""
    slicings: Sequence[Slicing]
    classes: Sequence[str] = ()
    """The label's, in their order; none of a number."""


@dataclass(frozen=True)
class Estimate:
    """One metric of one model on the slices of one kind."""

    values: np.ndarray
    """float64 [slices]."""
    influence: np.ndarray
    """float64 [rows], the derivative of the slice's value by what the row counts."""
    enough: np.ndarray
    """Whether there are rows enough to tell how sure it is, bool [slices]."""


Estimates = Iterable[tuple[str, Estimate]]
"""By metric, one after the other: those of many classes together would fill the memory."""
BySlicing = Callable[[Slicing], Estimates]


def of(rows: Scored, role: str) -> BySlicing:
    """What is estimated of one model, by kind of slice.

    Args:
        rows: All rows.
        role: The model's.
    """
    return BY_PROBLEM[rows.problem.name](rows, role)


def of_two_classes(rows: Scored, role: str) -> BySlicing:
    """The areas under the curves, the loss and the calibration of probabilities; the labels are 0 and 1."""
    labels, predictions = rows.labels == 1, rows.predictions[role]
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
        }.items()

    return on


def _losses(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """float64 [rows]; a probability of 0 or 1 is clipped by the smallest step of its type, as scikit-learn does."""
    step = np.finfo(predictions.dtype).eps
    likely = np.clip(predictions, step, 1 - step).astype(np.float64)
    losses: np.ndarray = -np.log(np.where(labels, likely, 1 - likely))
    return losses


def of_several_classes(rows: Scored, role: str) -> BySlicing:
    """The loss, the shares that are right, and what each class is measured by; the labels are the classes' places."""
    labels, predictions, every = rows.labels, rows.predictions[role], np.ones(len(rows.labels))
    predicted, lost = predictions.argmax(axis=1), losses(labels, predictions)
    given = np.take_along_axis(predictions, labels[:, None], axis=1)
    among_two = (predictions > given).sum(axis=1) < 2

    def on(slicing: Slicing) -> Iterator[tuple[str, Estimate]]:
        codes, size, number = slicing.codes, len(slicing.names), len(rows.classes)
        by_class = np.bincount(codes * number + labels, minlength=size * number).reshape(size, number)
        means = {
            metric: _MeanOverClasses(by_class > 0, codes) for metric in ("balanced_accuracy", "macro_f1", "macro_auc")
        }
        shown = number <= MOST_BY_SLICE or list(slicing.names) == [OVERALL]

        yield "log_loss", _ratio(lost, every, slicing)
        yield "top_1_accuracy", _ratio(predicted == labels, every, slicing)
        yield "top_2_accuracy", _ratio(among_two, every, slicing)
        for place, name in enumerate(rows.classes):
            own, chosen = labels == place, predicted == place
            areas = ranking.areas(own, predictions[:, place], codes)
            count = by_class[:, place]
            enough = confidence.enough_for_area(areas.auc, count, by_class.sum(axis=1) - count)
            auc = Estimate(areas.auc, areas.auc_influence, enough)
            recall = _ratio(own & chosen, own, slicing)
            f1 = _ratio(2 * (own & chosen), own.astype(int) + chosen, slicing)
            for metric, one in zip(means, (recall, replace(f1, enough=recall.enough), auc), strict=True):
                means[metric].add(place, one)
            yield of_class("class_rate", name), _ratio(own, every, slicing)
            if shown:
                yield of_class("class_selection_rate", name), _ratio(chosen, every, slicing)
                yield of_class("class_precision", name), _ratio(own & chosen, chosen, slicing)
                yield of_class("class_recall", name), recall
                yield of_class("class_auc", name), auc
        for metric, mean in means.items():
            yield metric, mean.estimate

    return on


def of_ordered_classes(rows: Scored, role: str) -> BySlicing:
    """Beside those of several classes, how many places the predicted class is from the true one."""
    every, of_all = np.ones(len(rows.labels)), of_several_classes(rows, role)
    apart = np.abs(rows.predictions[role].argmax(axis=1) - rows.labels)

    def on(slicing: Slicing) -> Iterator[tuple[str, Estimate]]:
        yield MEAN_CLASS_ERROR, _ratio(apart, every, slicing)
        yield from of_all(slicing)

    return on


class _MeanOverClasses:
    """The mean of an estimate over the classes that are among the rows of a slice."""

    def __init__(self, there: np.ndarray, codes: np.ndarray) -> None:
        """Begins with no class.

        Args:
            there: bool [slices, classes].
            codes: int [rows], the slice of each.
        """
        self._there, self._codes, self._number = there, codes, there.sum(axis=1)
        slices, rows = len(there), len(codes)
        self.estimate = Estimate(np.zeros(slices), np.zeros(rows), np.full(slices, True))

    def add(self, place: int, one: Estimate) -> None:
        """Adds the estimate of the class at a place."""
        there = self._there[:, place]
        self.estimate.values[there] += (one.values / self._number)[there]
        rows = there[self._codes]
        self.estimate.influence[rows] += one.influence[rows] / self._number[self._codes[rows]]
        self.estimate.enough[there & ~one.enough] = False


def _ratio(found: np.ndarray, of: np.ndarray, slicing: Slicing) -> Estimate:
    """The sum of what was found, by the sum of what it is of; [rows] both."""
    codes, size = slicing.codes, len(slicing.names)
    count = np.bincount(codes, of, size)
    with np.errstate(invalid="ignore", divide="ignore"):  # a slice without rows that count
        values = np.bincount(codes, found, size) / count
        influence = (found - values[codes] * of) / count[codes]
    return Estimate(values, influence, count >= FEWEST_ROWS)


def of_numbers(rows: Scored, role: str) -> BySlicing:
    """The means, the errors and the share of the variance that is explained."""
    labels, predictions = rows.labels.astype(np.float64), rows.predictions[role].astype(np.float64)
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
        }.items()

    return on


BY_PROBLEM: Mapping[str, Callable[[Scored, str], BySlicing]] = {
    "binary": of_two_classes,
    "multiclass": of_several_classes,
    "ordinal": of_ordered_classes,
    "regression": of_numbers,
}
