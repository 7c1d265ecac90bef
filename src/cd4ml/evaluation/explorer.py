"""What the threshold explorer of an evaluation's report knows: each model's confusion counts, at a few thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cd4ml.contracts.evaluation import CANDIDATE
from cd4ml.evaluation.curves import Curves

HALF = 100
"""Steps of the slider at even thresholds, and as many at even shares of selected rows."""


@dataclass(frozen=True)
class Explorer:
    """Plain lists, to be embedded as JSON."""

    thresholds: list[float]
    """Rising; the slider's steps."""
    models: dict[str, list[list[int]]]
    """By model and step: true positives, false positives, true negatives, false negatives."""
    start: int
    """The step to begin with."""


def explorer(curves: Mapping[str, Curves], asked: Sequence[float]) -> Explorer:
    """Thins the curves.

    Args:
        curves: By model; the candidate's are among them.
        asked: Thresholds that must be among the steps, as far as the curves have them; the first is to begin with.
    """
    one = curves[CANDIDATE]
    nearest = [int(np.abs(one.thresholds - threshold).argmin()) for threshold in asked]
    steps = np.unique(np.concatenate([nearest, _even(one.thresholds), _even(one.confusion[:, :2].sum(axis=1))]))
    thresholds = one.thresholds[steps]
    return Explorer(
        thresholds=thresholds.tolist(),
        models={role: _counts(other, thresholds) for role, other in curves.items()},
        start=int(np.searchsorted(steps, nearest[0])),
    )


def _even(values: np.ndarray) -> np.ndarray:
    """Where values, that rise or fall, come closest to even steps between their ends; both ends are among them."""
    rising = values if values[0] <= values[-1] else -values
    return np.searchsorted(rising, np.linspace(rising[0], rising[-1], HALF)).clip(max=len(values) - 1)


def _counts(one: Curves, thresholds: np.ndarray) -> list[list[int]]:
    at = np.searchsorted(one.thresholds, thresholds).clip(max=len(one.thresholds) - 1)
    counts: list[list[int]] = one.confusion[at].round().astype(int).tolist()
    return counts
