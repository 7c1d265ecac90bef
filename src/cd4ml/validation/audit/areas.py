"""How well one thing tells two classes apart: the area under the ROC curve, by ranks, with its interval."""

import math
from dataclasses import dataclass

import numpy as np

from cd4ml.contracts.shares import Z

FOLDS = 5
PRIOR = 4
"""Rows by which a share is drawn to that of all, as values of a few rows tell little."""


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve, 0.5 to 1 but for chance, and its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """Its ends."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def folds(outcome: np.ndarray) -> np.ndarray:
    """Deals the rows of either class out evenly, uint8 [rows]; the same rows always in the same way.

    Args:
        outcome: bool [rows].
    """
    dealt = np.empty(len(outcome), np.uint8)
    random = np.random.default_rng(0)
    for one in (True, False):
        rows = np.flatnonzero(outcome == one)
        dealt[random.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return dealt


def of_codes(codes: np.ndarray, outcome: np.ndarray, dealt: np.ndarray) -> Area:
    """How well the codes of one column tell the classes apart.

    Each row is ranked by the share of positive rows among those of the other folds with its code, so that a code of
    few rows does not tell of itself, and more and less need not mean more and less likely.

    Args:
        codes: uint8 [rows].
        outcome: bool [rows].
        dealt: The fold of each row.
    """
    size = int(codes.max()) + 1
    cells = (dealt.astype(np.int64) * size + codes) * 2 + outcome
    counts = np.bincount(cells, minlength=FOLDS * size * 2).reshape(FOLDS, size, 2)
    others = counts.sum(axis=0) - counts
    rate = counts[..., 1].sum() / counts.sum()
    scores = (others[..., 1] + PRIOR * rate) / (others.sum(axis=2) + PRIOR)
    return _of_cells(scores.ravel(), positive=counts[..., 1].ravel(), negative=counts[..., 0].ravel())


def of_scores(scores: np.ndarray, outcome: np.ndarray) -> Area:
    """How well scores rank the positive rows above the others.

    Args:
        scores: float64 [rows].
        outcome: bool [rows].
    """
    return _of_cells(scores, positive=outcome.astype(np.int64), negative=(~outcome).astype(np.int64))


def _of_cells(scores: np.ndarray, *, positive: np.ndarray, negative: np.ndarray) -> Area:
    """The area, and DeLong's variance, of rows that are counted by their score; int64 [cells] each."""
    _, place = np.unique(scores, return_inverse=True)
    of_positive, of_negative = np.bincount(place, positive), np.bincount(place, negative)
    positives, negatives = of_positive.sum(), of_negative.sum()
    above = (np.cumsum(of_negative) - of_negative / 2) / negatives
    below = 1 - (np.cumsum(of_positive) - of_positive / 2) / positives
    area = float(above @ of_positive / positives)
    variance = _spread(above, of_positive) / positives + _spread(below, of_negative) / negatives
    return Area(area, *_ends(area, variance, fewer=float(min(positives, negatives))))


def _spread(values: np.ndarray, rows: np.ndarray) -> float:
    mean = values @ rows / rows.sum()
    return float((values - mean) ** 2 @ rows / max(rows.sum() - 1, 1))


def _ends(area: float, variance: float, fewer: float) -> tuple[float, float]:
    """The interval on the scale of the logit; an area of 1 is as sure as the rows of the rarer class allow."""
    nearest = 1 / (2 * fewer)
    bounded = min(max(area, nearest), 1 - nearest)
    error = max(math.sqrt(variance), nearest / 2)
    half, centre = Z * error / (bounded * (1 - bounded)), math.log(bounded / (1 - bounded))
    low, high = (1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1))
    return min(low, area), max(high, area)
