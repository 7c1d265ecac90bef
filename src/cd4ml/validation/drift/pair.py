"""One column of two samples, and its values counted in the same cells."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["number", "category", "time"]

MOST_CELLS = 20
"""Of numbers: each holds about as many values of both samples together."""
MOST_CATEGORIES = 50
"""With a cell of their own; all others share some by a hash of their text."""
SHARED_CELLS = 10
ENOUGH = 5
"""Values that the smaller sample is expected to have in a cell of a category."""
ENOUGH_NUMBERS = 10
"""The same of numbers."""
HALF_HOUR = 1800
"""Seconds. Moments are compared by the time of day, for days that go on are no drift."""
HALF_HOURS = 48
IN_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NOWHERE = -1
"""The code of a category that is missing."""


@dataclass(frozen=True)
class Cells:
    """How many values of each sample lie in each cell; int64 [cells], none of them empty in both."""

    before: np.ndarray
    after: np.ndarray
    ordered: bool
    values: np.ndarray | None = None
    """Of categories: the code of each cell, `NOWHERE` for those that many share."""

    @property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """The counts by their sums; zeros where there are none."""
        return self.before / max(self.before.sum(), 1), self.after / max(self.after.sum(), 1)


@dataclass(frozen=True)
class Pair:
    """One column of both samples."""

    name: str
    kind: Kind
    before: np.ndarray
    """Numbers, and moments as seconds since 1970, float64 [rows], NaN where missing; of categories the codes, int64."""
    after: np.ndarray
    texts: tuple[str, ...] = ()
    """Of categories: by code."""

    def where(self, before: np.ndarray, after: np.ndarray) -> "Pair":
        """The same of some rows, bool [rows] each."""
        return Pair(self.name, self.kind, self.before[before], self.after[after], self.texts)

    @property
    def there(self) -> tuple[np.ndarray, np.ndarray]:
        """The values that are not missing."""
        return _present(self.before), _present(self.after)

    @property
    def missing(self) -> tuple[int, int]:
        """How many rows have no value."""
        before, after = self.there
        return len(self.before) - len(before), len(self.after) - len(after)

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Of categories: how often each is there, int64 [texts]."""
        before, after = (np.bincount(values, minlength=len(self.texts)) for values in self.there)
        return before, after

    @cached_property
    def cells(self) -> Cells:
        """The values that are there, counted; which cells there are depends on both samples together alone."""
        before, after = self.there
        if self.kind == "category":
            return _of_categories(before, after, self.texts)
        if self.kind == "time":
            return _of_times(before, after)
        return of_numbers(before, after)


def pair(name: str, before: pa.ChunkedArray, after: pa.ChunkedArray) -> Pair | None:
    """One column of both samples as numbers or codes; None where their types differ.

    A column without any value has the type of the other one.
    """
    kinds = {kind(column.type) for column in (before, after) if column.null_count < len(column)} or {"category"}
    if len(kinds) > 1:
        return None
    found = kinds.pop()
    if found == "category":
        values = pa.chunked_array([*_texts(before).chunks, *_texts(after).chunks], pa.string())
        encoded = values.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        codes = encoded.indices.fill_null(NOWHERE).to_numpy().astype(np.int64)
        return Pair(name, found, codes[: len(before)], codes[len(before) :], tuple(encoded.dictionary.to_pylist()))
    return Pair(name, found, _numbers(before), _numbers(after))


def kind(type_: pa.DataType) -> Kind:
    """As what values of a type are compared."""
    if pa.types.is_timestamp(type_):
        return "time"
    return "number" if pa.types.is_integer(type_) or pa.types.is_floating(type_) else "category"


def of_numbers(before: np.ndarray, after: np.ndarray) -> Cells:
    """Numbers counted between the quantiles of both samples together.

    A value that is a tenth of them or so is a cell of its own.
    """
    pooled = np.concatenate([before, after])
    cells = min(MOST_CELLS, max(min(len(before), len(after)) // ENOUGH_NUMBERS, 2))
    if not len(pooled):
        return counted(np.zeros(0, np.int64), np.zeros(0, np.int64), 1, ordered=True)
    quantiles = np.quantile(pooled, np.arange(1, cells) / cells, method="inverted_cdf")
    edges, times = np.unique(quantiles, return_counts=True)
    frequent = edges[times > 1]
    edges = np.unique(np.concatenate([edges, np.nextafter(frequent, -np.inf)]))
    return counted(np.searchsorted(edges, before), np.searchsorted(edges, after), len(edges) + 1, ordered=True)


def counted(before: np.ndarray, after: np.ndarray, cells: int, *, ordered: bool) -> Cells:
    """Counts places, int64 [values] below the number of cells; cells that both leave empty are left out."""
    counts = np.bincount(before, minlength=cells), np.bincount(after, minlength=cells)
    filled = counts[0] + counts[1] > 0
    return Cells(counts[0][filled], counts[1][filled], ordered)


def half_hours(moments: np.ndarray) -> np.ndarray:
    """The half hour of the day of each moment, int64 [moments]."""
    return np.asarray(moments // HALF_HOUR % HALF_HOURS, np.int64)


def _of_times(before: np.ndarray, after: np.ndarray) -> Cells:
    """Times of the day counted by half hours, or by up to three hours where they are few."""
    most = max(min(len(before), len(after)) // ENOUGH_NUMBERS, HALF_HOURS // 6)
    width = next(width for width in (1, 2, 4, 6) if HALF_HOURS // width <= most)
    return counted(half_hours(before) // width, half_hours(after) // width, HALF_HOURS // width, ordered=False)


def _of_categories(before: np.ndarray, after: np.ndarray, texts: tuple[str, ...]) -> Cells:
    """The frequent categories have a cell each, the others share some, so that another set of them is seen."""
    counts = np.stack([np.bincount(codes, minlength=len(texts)) for codes in (before, after)])
    together = counts.sum(axis=0)
    expected = together * min(len(before), len(after)) / max(len(before) + len(after), 1)
    order = np.argsort(-together, kind="stable")[:MOST_CATEGORIES]
    own = order[expected[order] >= ENOUGH]
    others = np.setdiff1d(np.flatnonzero(together), own)
    hashed = np.array([zlib.crc32(texts[code].encode()) % SHARED_CELLS for code in others], np.int64)
    shared = np.stack([np.bincount(hashed, counts[side][others], SHARED_CELLS) for side in (0, 1)]).astype(np.int64)
    if shared.sum(axis=1).min() < SHARED_CELLS * ENOUGH:
        shared = shared.sum(axis=1, keepdims=True)
    shared = shared[:, shared.sum(axis=0) > 0]
    both = np.concatenate([counts[:, own], shared], axis=1)
    return Cells(both[0], both[1], ordered=False, values=np.append(own, np.full(shared.shape[1], NOWHERE)))


def _present(values: np.ndarray) -> np.ndarray:
    there: np.ndarray = values[values >= 0] if values.dtype == np.int64 else values[~np.isnan(values)]
    return there


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_null(column.type) or not pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    there = pc.is_valid(column).to_numpy()
    seconds = column.cast(pa.int64()).fill_null(0).to_numpy() / IN_A_SECOND[column.type.unit]
    return np.where(there, seconds, np.nan)
