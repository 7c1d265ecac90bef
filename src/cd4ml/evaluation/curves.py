"""What the pictures of one model on all rows are drawn from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curves:
    """Counts of one model; arrays of one length each."""

    thresholds: np.ndarray
    """Rising, from 0 to 1."""
    confusion: np.ndarray
    """float [thresholds, 4]: true positives, false positives, true negatives, false negatives."""
    calibration: np.ndarray
    """float [buckets, 3]: rows, mean prediction, share of positives; none of them empty."""
