"""What the pictures of a model of three classes and more are drawn from: what it takes for what, and how it ranks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cd4ml.evaluation.estimates import Scored

MOST_CURVES = 20
"""Of more classes those with most rows have a curve."""
POINTS = 100
"""Of a curve, at even steps along it."""


@dataclass(frozen=True)
class Confusions:
    """Counts of one model on all rows."""

    counts: np.ndarray
    """int [classes, classes]: the rows by class and predicted class."""
    curves: Mapping[str, np.ndarray]
    """By class, of those that some rows are of and some are not: float [points, 2], the false and the true positive
    rate where its probability alone says which rows are of it."""


def of(rows: Scored) -> dict[str, Confusions]:
    """What is drawn of each model on all rows."""
    return {role: Confusions(_counts(rows, one), dict(_curves(rows, one))) for role, one in rows.predictions.items()}


def _counts(rows: Scored, predictions: np.ndarray) -> np.ndarray:
    number = len(rows.classes)
    cells = rows.labels * number + predictions.argmax(axis=1)
    return np.bincount(cells, minlength=number * number).reshape(number, number)


def _curves(rows: Scored, predictions: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    sizes = np.bincount(rows.labels, minlength=len(rows.classes))
    most = np.argsort(-sizes, kind="stable")[:MOST_CURVES]
    for place in np.sort(most):
        if 0 < sizes[place] < len(rows.labels):
            yield rows.classes[place], _curve(rows.labels == place, predictions[:, place])


def _curve(own: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Float [points, 2]; rows of one score make one step."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.cumsum(own[order])[ends]
    rates = np.column_stack([(ends + 1 - found) / (~own).sum(), found / own.sum()])
    rates = np.vstack([(0.0, 0.0), rates])
    along = rates.sum(axis=1)
    points: np.ndarray = rates[np.unique(np.searchsorted(along, np.linspace(0, 2, POINTS)).clip(max=len(along) - 1))]
    return points
