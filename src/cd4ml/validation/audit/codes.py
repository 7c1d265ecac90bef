"""Columns as small whole numbers that can be counted: the bin of a number, the place of a text among the frequent."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.moments import is_moment
from cd4ml.validation.on_disk import Table

MISSING = 0
"""The code of a missing value."""
MOST = 64
"""Codes of a column, the missing one aside; the last one of a text is of all values that are not frequent."""
FEWEST_IN_A_BIN = 25
FEWEST_OF_A_TEXT = 5


@dataclass(frozen=True)
class Coded:
    """Some columns of some rows."""

    names: tuple[str, ...]
    codes: np.ndarray
    """uint8 [columns, rows]."""

    def only(self, names: Collection[str]) -> "Coded":
        """The same rows with some of the columns."""
        places = [place for place, name in enumerate(self.names) if name in names]
        return Coded(tuple(self.names[place] for place in places), self.codes[places])

    def take(self, rows: np.ndarray) -> "Coded":
        """Some of the rows."""
        return Coded(self.names, self.codes[:, rows])


def encode(table: Table, names: Sequence[str]) -> Coded:
    """Codes some columns of a table."""
    codes = np.empty((len(names), table.num_rows), np.uint8)
    for place, name in enumerate(names):
        codes[place] = code(table.column(name))
    return Coded(tuple(names), codes)


def code(column: pa.ChunkedArray) -> np.ndarray:
    """The codes of a column, uint8 [rows]: numbers and moments by their size, in bins of equally many rows."""
    if pa.types.is_string(column.type) or pa.types.is_null(column.type):
        return _of_text(column)
    return bins(as_numbers(column), MOST)


def as_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers, truth values and moments as float64 [rows], NaN where there is none."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy()
    return values


def microseconds(column: pa.ChunkedArray) -> np.ndarray:
    """Dates and times as float64 [rows], microseconds since 1970 in UTC, NaN where there is none, or nothing else."""
    if not is_moment(column.type):
        return np.full(len(column), np.nan)
    zone = getattr(column.type, "tz", None)
    return as_numbers(column.cast(pa.timestamp("us", zone), safe=False))


def numbered(column: pa.ChunkedArray, missing: Literal["encode", "mask"] = "encode") -> np.ndarray:
    """The number of each value as text, int32 [rows]; of a missing one a number too, or -1 by `mask`."""
    encoded = column.cast(pa.large_string()).dictionary_encode(missing)  # a `string` array ends at 2 GiB
    indices = pa.chunked_array([chunk.indices for chunk in encoded.chunks], pa.int32())
    places: np.ndarray = pc.fill_null(indices, -1).to_numpy()
    return places


def bins(values: np.ndarray, most: int) -> np.ndarray:
    """Each value's bin, uint8 [rows]: one a value where they are few, else of equally many rows each."""
    there = np.sort(values[~np.isnan(values)])
    if not len(there):
        return np.full(len(values), MISSING, np.uint8)
    distinct = there[np.append(True, there[1:] > there[:-1])]
    most = max(2, min(most, len(there) // FEWEST_IN_A_BIN))
    if len(distinct) > most:
        distinct = np.unique(there[[math.ceil(len(there) * part / most) - 1 for part in range(1, most)]])
        distinct = np.append(distinct, np.inf)
    return np.where(np.isnan(values), MISSING, 1 + np.searchsorted(distinct[:-1], values)).astype(np.uint8)


def _of_text(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count == len(column):
        return np.full(len(column), MISSING, np.uint8)
    places = numbered(column, "mask")
    rows = np.bincount(places[places >= 0])
    frequent = np.argsort(-rows, kind="stable")[: MOST - 1]
    frequent = frequent[rows[frequent] >= FEWEST_OF_A_TEXT]
    of_values = np.full(len(rows) + 1, MOST, np.uint8)
    of_values[frequent] = 1 + np.arange(len(frequent))
    of_values[-1] = MISSING
    codes: np.ndarray = of_values[places]
    return codes
