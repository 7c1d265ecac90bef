"""What the pictures of a model that predicts numbers are drawn from: how far it is off, and where."""

from dataclasses import dataclass

import numpy as np

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.evaluation.confidence import Z
from cd4ml.evaluation.estimates import Scored

CELLS = 50
"""Along each side of a picture."""
BUCKETS = 20
"""Of as many rows each, by the prediction."""
TAIL = 0.001
"""The share of the numbers at either end that a picture draws at its edge, so that one of them does not squeeze it."""


@dataclass(frozen=True)
class Residuals:
    """Counts of one model; an error is the prediction less the label."""

    numbers: np.ndarray
    """float64 [CELLS + 1]: the edges of labels and predictions, the same for all models."""
    errors: np.ndarray
    """float64 [CELLS + 1]: the edges of errors, likewise."""
    labels: np.ndarray
    """int [CELLS, CELLS]: the rows by prediction and label."""
    missed: np.ndarray
    """int [CELLS, CELLS]: the rows by prediction and error."""
    means: np.ndarray
    """float64 [buckets, 4]: mean prediction, mean error and the ends of its interval; empty where rows are few."""


def of(rows: Scored) -> dict[str, Residuals]:
    """What is drawn of each model on all rows."""
    labels = rows.labels.astype(np.float64)
    predictions = {role: one.astype(np.float64) for role, one in rows.predictions.items()}
    numbers = _edges([labels, *predictions.values()])
    errors = _edges([one - labels for one in predictions.values()])
    return {
        role: Residuals(
            numbers,
            errors,
            _counted((one, numbers), (labels, numbers)),
            _counted((one, numbers), (one - labels, errors)),
            _means(one, one - labels),
        )
        for role, one in predictions.items()
    }


def _edges(values: list[np.ndarray]) -> np.ndarray:
    """Even steps between the ends of all values, or about the one value that there is."""
    ends = [np.quantile(one, (TAIL, 1 - TAIL)) for one in values]
    low, high = float(np.min(ends)), float(np.max(ends))
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, CELLS + 1)


def _counted(*sides: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The rows by cell of two sides, each of values and edges."""
    across, up = (_cells(values, edges) for values, edges in sides)
    return np.bincount(across * CELLS + up, minlength=CELLS * CELLS).reshape(CELLS, CELLS)


def _cells(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    cells: np.ndarray = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, CELLS - 1)
    return cells


def _means(predictions: np.ndarray, errors: np.ndarray) -> np.ndarray:
    parts = min(BUCKETS, len(errors) // FEWEST_ROWS)
    found = []
    for rows in np.array_split(np.argsort(predictions, kind="stable"), parts) if parts else []:
        mean, half = errors[rows].mean(), Z * errors[rows].std(ddof=1) / np.sqrt(len(rows))
        found.append((predictions[rows].mean(), mean, mean - half, mean + half))
    return np.array(found).reshape(-1, 4)
