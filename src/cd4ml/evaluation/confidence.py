"""95% confidence intervals that stay within what a metric can be. How well they hold: `docs/evaluation.md`."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from cd4ml.contracts.bounds import FEWEST_ALIKE, FEWEST_ROWS

TAIL = 0.975
Z = float(special.ndtri(TAIL))
FEW = 10
"""With fewer rows of either outcome a rate has an exact interval."""
NEARLY_PERFECT, FEWEST_OF_NEARLY_PERFECT = 0.99, FEWEST_ALIKE
"""An area above it is carried by the few rows that are out of order, so more rows of each class are needed."""
ROUNDING = 1e-12
"""Of an estimate: a spread that is no more is none."""

Ends = tuple[np.ndarray, np.ndarray]
"""Low and high ends, float64 [groups]; not a number where there is no interval."""


@dataclass(frozen=True)
class Spread:
    """How far estimates are from the truth by chance, float64 [groups] each."""

    variance: np.ndarray
    carriers: np.ndarray
    """How many rows carry the estimate: that many equal influences would vary as much."""

    @property
    def half(self) -> np.ndarray:
        """Half the width of an interval: by Student's t, for few carriers tell little of the variance."""
        quantiles: np.ndarray = special.stdtrit(np.maximum(self.carriers, 1), TAIL)
        half: np.ndarray = quantiles * np.sqrt(self.variance)
        return half


def spread(influence: np.ndarray, groups: np.ndarray, size: int) -> Spread:
    """The spread of an estimate of which the influence of each row is known (the infinitesimal jackknife).

    Args:
        influence: float64 [rows], the derivative of its group's estimate by what the row counts.
        groups: int [rows].
        size: The number of groups.
    """
    squares = influence**2
    variance = np.bincount(groups, squares, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Spread(variance, np.nan_to_num(variance**2 / np.bincount(groups, squares**2, size)))


def proportion(rates: np.ndarray, rows: np.ndarray) -> Ends:
    """The interval of shares of rows: Wilson's score, and where either outcome is rare that of Clopper and Pearson.

    The exact one of these holds at least 95%: of a handful of rows no interval can hold just that.
    """
    found = np.round(np.multiply(rates, rows))
    centre = (found + Z**2 / 2) / (rows + Z**2)
    half = Z / (rows + Z**2) * np.sqrt(found * (rows - found) / rows + Z**2 / 4)
    few = np.minimum(found, rows - found) < FEW
    low = np.where(found > 0, special.betaincinv(np.maximum(found, 1), rows - found + 1, 1 - TAIL), 0)
    high = np.where(found < rows, special.betaincinv(found + 1, np.maximum(rows - found, 1), TAIL), 1)
    return np.where(few, low, centre - half), np.where(few, high, centre + half)


def bounded(estimates: np.ndarray, spread: Spread) -> Ends:
    """The interval of what is from 0 to 1, on the scale of its logit."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = _some(spread.half, estimates) / (estimates * (1 - estimates))
        return special.expit(special.logit(estimates) - half), special.expit(special.logit(estimates) + half)


def positive(estimates: np.ndarray, spread: Spread) -> Ends:
    """The interval of what is above 0, on the scale of its logarithm."""
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.exp(_some(spread.half, estimates) / estimates)
        return estimates / factor, estimates * factor


def below_one(estimates: np.ndarray, spread: Spread) -> Ends:
    """The interval of what is 1 at most, on the scale of the logarithm of what it lacks."""
    low, high = positive(1 - estimates, spread)
    return 1 - high, 1 - low


def signed(estimates: np.ndarray, spread: Spread) -> Ends:
    """The interval of what may be any number."""
    half = _some(spread.half, estimates)
    return estimates - half, estimates + half


def bounded_change(changes: np.ndarray, spread: Spread) -> Ends:
    """The interval of the difference of two that are from 0 to 1, on the scale of its hyperbolic arc tangent."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = spread.half / (1 - changes**2)
        return np.tanh(np.arctanh(changes) - half), np.tanh(np.arctanh(changes) + half)


def change(changes: np.ndarray, spread: Spread) -> Ends:
    """The interval of any other difference."""
    return changes - spread.half, changes + spread.half


def enough_for_area(areas: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Whether there are rows enough of each class to tell how sure an area under a curve is, bool [groups]."""
    fewest = np.where(areas > NEARLY_PERFECT, FEWEST_OF_NEARLY_PERFECT, FEWEST_ROWS)
    enough: np.ndarray = np.minimum(positives, negatives) >= fewest
    return enough


def _some(half: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """An interval of no width says nothing: every row has the same influence (`cd4ml.contracts.bounds.Measured`)."""
    return np.where(half > ROUNDING * np.abs(estimates), half, np.nan)
