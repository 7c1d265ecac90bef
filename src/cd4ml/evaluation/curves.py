"""What the pictures of one model on all rows are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cd4ml.evaluation.estimates import Scored

EVEN = 100
"""Thresholds at even steps."""
OF_CLASS = 200
"""Thresholds at even steps along the rows of each class by each model's prediction, so that no curve has a gap."""


@dataclass(frozen=True)
class Curves:
    """Counts of one model; arrays of one length each."""

    thresholds: np.ndarray
    """Rising, from 0 to 1; at the first, which is 0, every row counts as above it."""
    confusion: np.ndarray
    """float [thresholds, 4]: true positives, false positives, true negatives, false negatives."""
    calibration: np.ndarray
    """float [buckets, 3]: rows, mean prediction, share of positives; none of them empty."""


def of(rows: Scored, thresholds: Sequence[float], calibration: Mapping[str, np.ndarray]) -> dict[str, Curves]:
    """What is drawn of each model on all rows; the thresholds are the same for all.

    Args:
        rows: All rows.
        thresholds: That must be among those of the curves.
        calibration: By model: as `Curves` has it.
    """
    cuts, counts = confusion(rows.labels == 1, rows.predictions, thresholds)
    return {role: Curves(cuts, counts[role], calibration[role]) for role in rows.predictions}


def confusion(
    labels: np.ndarray, predictions: Mapping[str, np.ndarray], asked: Sequence[float]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Counts where the predictions are, exactly.

    Args:
        labels: bool [rows].
        predictions: By model: float [rows], probabilities.
        asked: Thresholds that must be among those of the curves.

    Returns:
        The thresholds and by model the counts, as `Curves` has them.
    """
    by_class = {
        role: [np.sort(one[kind]).astype(np.float64) for kind in (labels, ~labels)] for role, one in predictions.items()
    }
    met = [_even(scores) for pair in by_class.values() for scores in pair]
    below = [np.nextafter(one, 0) for one in met]  # a row counts where its probability is above the threshold
    thresholds = np.unique(np.concatenate([np.linspace(0, 1, EVEN + 1), asked, *met, *below]))
    above = {
        role: [len(scores) - np.searchsorted(scores, thresholds, side="right") for scores in pair]
        for role, pair in by_class.items()
    }
    for positives, negatives in above.values():
        positives[0], negatives[0] = labels.sum(), (~labels).sum()
    return thresholds, {
        role: np.column_stack([tp, fp, (~labels).sum() - fp, labels.sum() - tp]).astype(np.float64)
        for role, (tp, fp) in above.items()
    }


def _even(scores: np.ndarray) -> np.ndarray:
    """Some of the sorted scores, or all where they are few, with both ends."""
    places = np.linspace(0, max(len(scores) - 1, 0), min(OF_CLASS, len(scores)))
    return scores[places.astype(np.int64)]
