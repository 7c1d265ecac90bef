"""Which rows a rate of those predicted positive is over, and which groups have enough of them to be compared."""

import numpy as np
import pyarrow as pa

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.training import reweight


def over(rate: str, labels: np.ndarray) -> np.ndarray:
    """Which rows a rate is over, bool [rows].

    Args:
        rate: `selection_rate`, `true_positive_rate` or `false_positive_rate`: how many of these rows are predicted to
            be positive.
        labels: 1 where a row is positive, else 0, [rows].
    """
    by_rate = {"selection_rate": labels >= 0, "true_positive_rate": labels == 1, "false_positive_rate": labels == 0}
    found: np.ndarray = by_rate[rate]
    return found


def large(column: pa.Table, counted: np.ndarray, *, argument: str) -> list[np.ndarray]:
    """Of each group of a column that is large enough to be compared, the rows that count.

    Args:
        column: That one, of all rows.
        counted: Which rows a rate is over, bool [rows].
        argument: That names the column, for an error.

    Returns:
        Their places, int [rows of the group], by group.

    Raises:
        TrainingError: The column makes no groups, or too many.
    """
    places, names = reweight.groups_of(column, argument=argument)
    rows = np.flatnonzero(counted)
    by_group = rows[np.argsort(places[rows], kind="stable")]
    ends = np.cumsum(np.bincount(places[rows], minlength=len(names)))
    return [one for one in np.split(by_group, ends[:-1]) if len(one) >= FEWEST_ROWS]
