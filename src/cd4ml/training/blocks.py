"""Goes through the rows of large arrays by blocks, so that what is computed of each takes little memory."""

import numpy as np

NUMBERS = 2**20
"""Of a block, at most: 8 MiB in float64."""


def of(rows: np.ndarray) -> list[slice]:
    """The blocks of an array, [rows] or [rows, width]: one at least, of one row each at least."""
    width = max(1, rows[:1].size)
    size = max(1, NUMBERS // width)
    return [slice(start, start + size) for start in range(0, max(1, len(rows)), size)]
