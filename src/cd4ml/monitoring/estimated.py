"""What metrics are likely to be before labels tell, by the probabilities that the model itself gave.

Where probabilities are right, a row of 0.8 is positive in 8 of 10 cases. So the counts that a metric is made of can be
expected, and the metric with them; how far the labels may still move it is known too, for each row by itself is a draw
of its probability. What labels would change (the relation of features and label) is seen by labels alone: an estimate
follows what is asked, not what becomes of it. Numbers say nothing of how far off they may be, so there is none of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cd4ml.contracts import ranking
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import MOST_BY_SLICE, OVERALL, at, of_class
from cd4ml.contracts.ordinal import MEAN_CLASS_ERROR
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.window_quality import Estimate
from cd4ml.evaluation import confidence
from cd4ml.evaluation.confidence import Spread, spread
from cd4ml.evaluation.measure import OF_VALUES
from cd4ml.evaluation.rows import Slicing


@dataclass(frozen=True)
class Given:
    """What a model gave."""

    problem: Problem
    outputs: np.ndarray
    """float32 [rows] or [rows, classes]; at least one row."""
    thresholds: Sequence[float]
    """Where rates are wanted."""
    classes: Sequence[str]
    """The label's, in their order."""


def of(given: Given, slicings: Sequence[Slicing]) -> list[Estimate]:
    """Estimates what labels will say.

    Args:
        given: What the model gave.
        slicings: The rows by kind of slice.
    """
    found = BY_PROBLEM[given.problem.name](given)
    return [
        Estimate(name, one.metric, value, (low, high) if enough and np.isfinite(low) and np.isfinite(high) else None)
        for slicing in slicings
        for one in found(slicing)
        for name, value, low, high, enough in zip(
            slicing.names, one.values.tolist(), *_ends(given.problem, one), one.enough.tolist(), strict=True
        )
        if np.isfinite(value)
    ]


@dataclass(frozen=True)
class _Found:
    """A metric by slice."""

    metric: str
    values: np.ndarray
    """float64 [slices]."""
    spread: Spread
    """How far labels may move it."""
    enough: np.ndarray
    """Whether there are rows enough to tell that, bool [slices]."""


def _ends(problem: Problem, one: _Found) -> tuple[list[float], list[float]]:
    kind = str(problem.metric(one.metric).interval)
    low, high = OF_VALUES["bounded" if kind == "share" else kind](one.values, one.spread)
    return low.tolist(), high.tolist()


@dataclass(frozen=True)
class _Ratio:
    """A sum over the rows by another one."""

    metric: str
    found: np.ndarray
    """What the upper sum is expected to have of each row, float64 [rows]."""
    moves: np.ndarray
    """How far a positive label moves that, float64 [rows]."""
    of: np.ndarray
    """What the lower sum is expected to have, float64 [rows]."""
    of_moves: float = 0.0
    """How far a positive label moves that, of every row alike."""

    def on(self, slicing: Slicing, noise: np.ndarray) -> _Found:
        """It by slice.

        Args:
            slicing: The rows by slice.
            noise: The standard deviation of each row's label, float64 [rows].
        """
        codes, size = slicing.codes, len(slicing.names)
        total = np.bincount(codes, self.of, size)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.bincount(codes, self.found, size) / total
            influence = (self.moves - values[codes] * self.of_moves) / total[codes]
        how_far = spread(np.nan_to_num(influence * noise), codes, size)
        return _Found(self.metric, values, how_far, total >= FEWEST_ROWS)


def _areas(names: Sequence[str], slicing: Slicing, *, probabilities: np.ndarray, order: np.ndarray) -> Iterator[_Found]:
    """Areas under curves: each row counts as a positive and as a negative one, as much as each is likely.

    Args:
        names: What that under the first curve is called, and under that of precision and recall where it is wanted.
        slicing: The rows by slice.
        probabilities: float64 [rows], by which rows are ordered too.
        order: int [rows], what sorts them.
    """
    rows, codes, size = len(probabilities), slicing.codes, len(slicing.names)
    areas = ranking.areas(
        np.repeat([True, False], rows),
        np.tile(probabilities, 2),
        np.tile(codes, 2),
        order=np.stack([order, order + rows], axis=1).ravel(),
        weights=np.concatenate([probabilities, 1 - probabilities]),
    )
    positives = np.bincount(codes, probabilities, size)
    negatives = np.bincount(codes, minlength=size) - positives
    both = (areas.auc, areas.auc_influence), (areas.auc_pr, areas.auc_pr_influence)
    for name, (values, influence) in zip(names, both, strict=False):
        moves = np.nan_to_num(influence[:rows] - influence[rows:]) * _noise(probabilities)
        enough = confidence.enough_for_area(values, positives, negatives)
        yield _Found(name, values, spread(moves, codes, size), enough)


def _noise(probabilities: np.ndarray) -> np.ndarray:
    noise: np.ndarray = np.sqrt(probabilities * (1 - probabilities))
    return noise


def _of_two_classes(given: Given) -> Callable[[Slicing], Iterator[_Found]]:
    p = given.outputs.astype(np.float64)
    positive, negative = _losses(given.outputs), _losses(1 - given.outputs)
    noise, every, order = _noise(p), np.ones(len(p)), np.argsort(p, kind="stable")
    ratios = [
        _Ratio("label_rate", p, every, every),
        _Ratio("binary_cross_entropy", p * positive + (1 - p) * negative, positive - negative, every),
    ]
    for threshold in given.thresholds:
        chosen = (p > threshold).astype(np.float64)
        left = 1 - chosen
        ratios += [
            _Ratio(at("accuracy", threshold), chosen * p + left * (1 - p), chosen - left, every),
            _Ratio(at("precision", threshold), chosen * p, chosen, chosen),
            _Ratio(at("recall", threshold), chosen * p, chosen, p, 1.0),
            _Ratio(at("true_positive_rate", threshold), chosen * p, chosen, p, 1.0),
            _Ratio(at("false_negative_rate", threshold), left * p, left, p, 1.0),
            _Ratio(at("false_positive_rate", threshold), chosen * (1 - p), -chosen, 1 - p, -1.0),
            _Ratio(at("true_negative_rate", threshold), left * (1 - p), -left, 1 - p, -1.0),
        ]

    def on(slicing: Slicing) -> Iterator[_Found]:
        yield from _areas(("auc", "auc_pr"), slicing, probabilities=p, order=order)
        yield from (one.on(slicing, noise) for one in ratios)

    return on


def _losses(probabilities: np.ndarray) -> np.ndarray:
    """float64 [rows], clipped as the metrics are."""
    least = float(np.finfo(np.float32).eps)
    losses: np.ndarray = -np.log(np.clip(probabilities.astype(np.float64), least, 1 - least))
    return losses


def _of_several_classes(given: Given) -> Callable[[Slicing], Iterator[_Found]]:
    outputs, classes = given.outputs, given.classes
    predicted = outputs.argmax(axis=1)
    two = np.sort(outputs, axis=1)[:, -2:].astype(np.float64)
    right = {"top_1_accuracy": two[:, 1], "top_2_accuracy": two.sum(axis=1).clip(max=1)}

    def on(slicing: Slicing) -> Iterator[_Found]:
        is_all = list(slicing.names) == [OVERALL]
        yield _mean("log_loss", slicing, by_class=[_losses(one) for one in outputs.T], outputs=outputs)
        for metric, likely in right.items():
            every = np.ones(len(likely))
            yield _Ratio(metric, likely, every, every).on(slicing, _noise(likely))
        means = {name: _MeanOverClasses(slicing, len(classes)) for name in ("balanced_accuracy", "macro_f1")}
        for place, name in enumerate(classes):
            p, chosen = outputs[:, place].astype(np.float64), (predicted == place).astype(np.float64)
            recall = _Ratio(of_class("class_recall", name), chosen * p, chosen, p, 1.0)
            means["balanced_accuracy"].add(p, recall)
            means["macro_f1"].add(p, _Ratio("", 2 * chosen * p, 2 * chosen, p + chosen, 1.0))
            if len(classes) > MOST_BY_SLICE and not is_all:
                continue
            yield recall.on(slicing, _noise(p))
            yield _Ratio(of_class("class_precision", name), chosen * p, chosen, chosen).on(slicing, _noise(p))
            if is_all:
                yield from _areas([of_class("class_auc", name)], slicing, probabilities=p, order=np.argsort(p))
        yield from (mean.found(metric) for metric, mean in means.items())

    return on


def _of_ordered_classes(given: Given) -> Callable[[Slicing], Iterator[_Found]]:
    outputs, of_all = given.outputs, _of_several_classes(given)
    predicted = outputs.argmax(axis=1)

    def on(slicing: Slicing) -> Iterator[_Found]:
        apart = [np.abs(predicted - place).astype(np.float64) for place in range(outputs.shape[1])]
        yield _mean(MEAN_CLASS_ERROR, slicing, by_class=apart, outputs=outputs)
        yield from of_all(slicing)

    return on


def _mean(metric: str, slicing: Slicing, *, by_class: Sequence[np.ndarray], outputs: np.ndarray) -> _Found:
    """The mean of what a row has by the class that it is of, float64 [rows] each."""
    means, squares = np.zeros(len(outputs)), np.zeros(len(outputs))
    for values, p in zip(by_class, outputs.T.astype(np.float64), strict=True):
        means += p * values
        squares += p * values**2
    every = np.ones(len(outputs))
    return _Ratio(metric, means, every, every).on(slicing, np.sqrt(np.maximum(squares - means**2, 0)))


class _MeanOverClasses:
    """The mean of a ratio over the classes."""

    def __init__(self, slicing: Slicing, classes: int) -> None:
        """Begins with no class."""
        self._slicing, self._classes = slicing, classes
        rows, slices = len(slicing.codes), len(slicing.names)
        self._values, self._enough = np.zeros(slices), np.full(slices, True)
        self._means, self._squares = np.zeros(rows), np.zeros(rows)

    def add(self, p: np.ndarray, one: _Ratio) -> None:
        """Adds the ratio of a class, of which the rows are as likely as `p` says."""
        codes, size = self._slicing.codes, len(self._slicing.names)
        total = np.bincount(codes, one.of, size)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.bincount(codes, one.found, size) / total
            moves = np.nan_to_num((one.moves - values[codes] * one.of_moves) / total[codes]) / self._classes
        self._values += values / self._classes
        self._enough &= np.bincount(codes, p, size) >= FEWEST_ROWS
        self._means += p * moves
        self._squares += p * moves**2

    def found(self, metric: str) -> _Found:
        """The mean."""
        noise = np.sqrt(np.maximum(self._squares - self._means**2, 0))
        return _Found(metric, self._values, spread(noise, self._slicing.codes, len(self._slicing.names)), self._enough)


def _of_numbers(given: Given) -> Callable[[Slicing], Iterator[_Found]]:  # noqa: ARG001 (as all of BY_PROBLEM)
    return lambda _: iter(())


BY_PROBLEM: Mapping[str, Callable[[Given], Callable[[Slicing], Iterator[_Found]]]] = {
    "binary": _of_two_classes,
    "multiclass": _of_several_classes,
    "ordinal": _of_ordered_classes,
    "regression": _of_numbers,
}
