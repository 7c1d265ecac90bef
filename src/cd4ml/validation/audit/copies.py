"""Rows that are in a table more than once, and how often chance makes two rows alike.

A table of few distinct rows has copies that say nothing. What chance gives is read from a tree of the columns, each
hanging on the one that tells the most of it: how likely a row is by it, times the rows there are, is how many others
would be alike by chance. A copy counts where these are hardly any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.mixing import mixed
from cd4ml.validation.audit import codes
from cd4ml.validation.on_disk import Table

MOST_ROWS = 200_000
MOST_COLUMNS = 24
"""By which it is told how likely a row is; those with the most different values, for they tell the most."""
ROWS_OF_THE_TREE = 20_000
BITS = 20
"""Of a digest, by which values are counted: two that share them make a row likelier, and a copy of it no alarm."""
_SIZE = 256
"""Codes that there can be."""


@dataclass(frozen=True)
class Chosen:
    """The rows among which copies are looked for."""

    places: np.ndarray
    """Where they stand, int64 [rows], rising."""
    by_all: bool = False
    """Whether they are drawn by all features, so that rows that are alike in all but one are hardly together."""


@dataclass(frozen=True)
class Rows:
    """The rows of a table as digests, by what they hold in the features."""

    columns: np.ndarray
    """uint64 [columns, rows]: those of the single values, of the columns that tell the most."""
    whole: np.ndarray
    """uint64 [rows], of all features: the sum of those of the values."""
    chance: "_Chance"
    some: bool
    """Whether they are some of the rows only."""
    drawn: float
    """The share of the rows that was drawn by all features; 1 where none was drawn so."""

    def all_but(self, *columns: int) -> np.ndarray:
        """The digests without some columns, uint64 [rows]."""
        left: np.ndarray = self.whole - self.columns[list(columns)].sum(axis=0, dtype=np.uint64)
        return left


def choose(table: Table, features: Sequence[str]) -> Chosen:
    """The rows among which copies are looked for; all where these are not too many.

    Of more, some values of a column are drawn, and all rows that have these: so copies stay together, and their share
    of the rows is the same. It is the column with the most different values of those in which any comes twice. Where
    no column has values that fit, rows are drawn by all they hold, and only those alike in every feature stay together.
    """
    rows = table.num_rows
    if rows <= MOST_ROWS:
        return Chosen(np.arange(rows))
    sample = table.select(list(features)).take(pa.array(_some(rows)))
    distinct = {name: pc.count_distinct(sample.column(name)).as_py() for name in features}
    whole = np.zeros(rows, np.uint64)
    for place, name in enumerate(sorted(features, key=lambda name: -distinct[name])):
        digests = _digests(table.column(name), place)
        whole += digests
        chosen = np.flatnonzero(digests < np.uint64(MOST_ROWS / rows * 2**64))
        if MOST_ROWS / 2 <= len(chosen) <= 2 * MOST_ROWS and len(np.unique(digests[chosen])) < len(chosen):
            return Chosen(chosen)
    return Chosen(np.sort(np.argpartition(whole, MOST_ROWS)[:MOST_ROWS]), by_all=True)


def read(table: Table, features: Sequence[str], chosen: Chosen) -> Rows:
    """Reads the features of the rows that `choose` chose."""
    count = len(chosen.places)

    def column(name: str) -> pa.ChunkedArray:
        whole = table.select([name])
        return (whole if count == table.num_rows else whole.take(pa.array(chosen.places))).column(name)

    some = _some(count)
    whole = np.zeros(count, np.uint64)
    distinct = []
    for place, name in enumerate(features):
        digests = _digests(column(name), place)
        whole += digests
        distinct.append(len(np.unique(digests[some])))
    telling = np.argsort(distinct, kind="stable")[::-1][:MOST_COLUMNS]
    columns = np.empty((len(telling), count), np.uint64)
    coded = np.empty((len(telling), count), np.uint8)
    within = np.empty((len(telling), count), np.float32)
    for at, place in enumerate(telling.tolist()):
        values = column(features[place])
        columns[at], coded[at] = _digests(values, place), codes.code(values)
        within[at] = _within(columns[at], coded[at])
    among = table.num_rows if chosen.by_all else count
    chance = _Chance(coded, within, among)
    return Rows(columns, whole, chance, some=count < table.num_rows, drawn=count / among if among else 1.0)


@dataclass(frozen=True)
class _Chance:
    """How likely rows are, by the tree."""

    coded: np.ndarray
    """uint8 [columns, rows]."""
    within: np.ndarray
    """float32 [columns, rows]: the logarithm of how likely a value is among those of its code."""
    among: int
    """The rows of which all that are like one of these are among them."""

    def alike(self, without: int | None = None) -> np.ndarray:
        """How many rows are alike by chance, at most; float64 [rows].

        Args:
            without: A column that may differ.
        """
        logarithm = self._parts.sum(axis=0, dtype=np.float64)
        if without is not None:
            logarithm -= self._parts[without]
            for column, parent in enumerate(self._parents):
                if parent == without:
                    logarithm += self._largest(column) - self._parts[column]
        chance: np.ndarray = self.among * np.exp(np.minimum(logarithm, 0))
        return chance

    @cached_property
    def _parts(self) -> np.ndarray:
        """The logarithm of how likely a value is by the code of its parent, float32 [columns, rows]."""
        parts = self.within.copy()
        for column, parent in enumerate(self._parents):
            parts[column] += np.log(self._likely(column))[self.coded[max(parent, 0)], self.coded[column]]
        return parts

    @cached_property
    def _sampled(self) -> np.ndarray:
        return self.coded[:, _some(self.coded.shape[1])]

    @cached_property
    def _parents(self) -> list[int]:
        """By column the one that it hangs on, -1 where it is the root: the tree of the largest information."""
        count = len(self.coded)
        shared = np.full(count, -1.0)
        parents, left = [-1] * count, set(range(count))
        newest = 0
        while left:
            left.discard(newest)
            for column in left:
                information = _information(self._joint(newest, column))
                if information > shared[column]:
                    shared[column], parents[column] = information, newest
            newest = max(left, key=lambda column: shared[column], default=-1)
        return parents

    def _joint(self, one: int, other: int) -> np.ndarray:
        """How many rows have each pair of codes; float64 [256, 256]."""
        cells = self._sampled[one].astype(np.int64) * _SIZE + self._sampled[other]
        return np.bincount(cells, minlength=_SIZE * _SIZE).reshape(_SIZE, _SIZE).astype(np.float64)

    def _likely(self, column: int) -> np.ndarray:
        """How likely each code of a column is by that of its parent; float64 [256, 256]."""
        parent = self._parents[column]
        rows = np.bincount(self._sampled[column], minlength=_SIZE) + 1e-3
        alone = rows / rows.sum()
        if parent < 0:
            return np.broadcast_to(alone, (_SIZE, _SIZE))
        joint = self._joint(parent, column)
        likely: np.ndarray = (joint + alone) / (joint.sum(axis=1, keepdims=True) + 1)
        return likely

    def _largest(self, column: int) -> np.ndarray:
        """The same where the parent may have any code, float32 [rows]."""
        most: np.ndarray = np.log(self._likely(column).max(axis=0))[self.coded[column]] + self.within[column]
        return most


def _some(rows: int) -> np.ndarray:
    """The places of some rows, as far apart as they can be."""
    return np.linspace(0, rows - 1, min(rows, ROWS_OF_THE_TREE)).astype(np.int64)


def _information(joint: np.ndarray) -> float:
    rows = joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] * rows / apart[there])).sum() / rows)


def _within(digests: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """The logarithm of the share that a value has of the rows of its code, float32 [rows]."""
    buckets = (digests >> np.uint64(64 - BITS)).astype(np.int64)
    of_value = np.bincount(buckets, minlength=2**BITS)[buckets]
    of_code = np.bincount(coded, minlength=_SIZE)[coded]
    share: np.ndarray = np.log(np.minimum(of_value / of_code, 1)).astype(np.float32)
    return share


def _digests(column: pa.ChunkedArray, place: int) -> np.ndarray:
    """Of values, uint64 [rows], mixed with the place of their column."""
    return mixed(_bits(column) ^ np.uint64((place + 1) * 0x9E3779B97F4A7C15 % 2**64))


def _bits(column: pa.ChunkedArray) -> np.ndarray:
    """What tells the values of a column apart, uint64 [rows]; a missing one is one too."""
    if not pa.types.is_string(column.type):
        if pa.types.is_null(column.type):
            return np.zeros(len(column), np.uint64)
        values = codes.as_numbers(column) + 0.0  # -0 is 0
        return np.where(np.isnan(values), np.nan, values).view(np.uint64)
    return codes.numbered(column).astype(np.uint64)
