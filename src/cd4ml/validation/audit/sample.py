"""The rows by which the columns are asked what they tell."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from cd4ml.validation.audit import additive, areas, codes
from cd4ml.validation.audit.areas import Area
from cd4ml.validation.audit.codes import Coded
from cd4ml.validation.on_disk import Table

MOST_ROWS = 100_000
MOST_CELLS = 10_000_000
"""Rows by columns: of many columns fewer rows are looked at, so that it takes seconds."""
ROWS_TOGETHER = 20_000
"""By which the light model is learned."""
MOST_TOGETHER = 30
"""Columns that it takes: those that tell the most alone."""
NOTHING = Area(0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Asked:
    """The columns that are asked what they tell."""

    features: Sequence[str]
    """Numbers, texts and truth values."""
    dates: Sequence[str] = ()
    """Dates and times, each by how long it is after that of the row, or by its moment where no column says that."""
    time: str = ""
    """The column of the moment at which a row came to be; empty where there is none."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.features, *self.dates)

    def of(self, table: Table, rows: np.ndarray) -> Coded:
        """Their codes in some rows of a table."""
        needed = dict.fromkeys([*self.names, *([self.time] if self.dates and self.time else [])])
        part = table.select(list(needed))
        part = part.take(pa.array(rows)) if len(rows) < table.num_rows else part
        moments = {name: codes.microseconds(part.column(name)) for name in list(needed)[len(self.features) :]}
        ages = [moments[name] - (moments[self.time] if self.time not in ("", name) else 0) for name in self.dates]
        binned = [codes.bins(one, codes.MOST) for one in ages]
        return Coded(self.names, np.vstack([codes.encode(part, self.features).codes, *binned]))


@dataclass(frozen=True)
class Sample:
    """Labelled rows, with what their columns hold."""

    features: Coded
    outcome: np.ndarray
    """bool [rows]."""
    dealt: np.ndarray
    """The fold of each row, uint8 [rows]."""
    rows: np.ndarray
    """Where they stand in the table, int64 [rows], rising."""

    @property
    def rarer(self) -> int:
        """Rows of the rarer class."""
        positive = int(self.outcome.sum())
        return min(positive, len(self.outcome) - positive)

    @cached_property
    def alone(self) -> dict[str, Area]:
        """How well each column alone tells the classes apart."""
        return {
            name: areas.of_codes(column, self.outcome, self.dealt)
            for name, column in zip(self.features.names, self.features.codes, strict=True)
        }

    @cached_property
    def _without(self) -> np.ndarray:
        """The area of each column in the rows outside each fold, float64 [folds, columns]."""
        found = np.empty((areas.FOLDS, len(self.features.names)))
        for fold in range(areas.FOLDS):
            seen = self.dealt != fold
            outcome, dealt = self.outcome[seen], self.dealt[seen]
            found[fold] = [areas.of_codes(column[seen], outcome, dealt).value for column in self.features.codes]
        return found

    def together(self, names: Collection[str]) -> tuple[Area, np.ndarray]:
        """How well some columns tell it together, and how likely each row is positive by them.

        Of many columns those that tell the most are taken, chosen without the rows that are then told by them.
        """
        wanted = set(names)
        places = np.array([place for place, name in enumerate(self.features.names) if name in wanted], np.int64)
        if not len(places):
            return NOTHING, np.full(len(self.outcome), self.outcome.mean())
        columns = [places] * areas.FOLDS
        if len(places) > MOST_TOGETHER:
            columns = [places[np.argsort(-told[places], kind="stable")[:MOST_TOGETHER]] for told in self._without]
        chances = additive.predict(self.features.codes, self.outcome, self.dealt, columns=columns)
        return areas.of_scores(chances, self.outcome), chances

    def smaller(self) -> "Sample":
        """As many of the rows as the light model takes."""
        if len(self.rows) <= ROWS_TOGETHER:
            return self
        kept = _some(len(self.rows), ROWS_TOGETHER)
        return Sample(self.features.take(kept), self.outcome[kept], self.dealt[kept], self.rows[kept])

    def of(self, outcome: np.ndarray) -> "Sample":
        """The same rows with another outcome, bool [rows]."""
        return Sample(self.features, outcome, areas.folds(outcome), self.rows)


def draw(table: Table, *, outcome: np.ndarray, asked: Asked) -> Sample:
    """Draws rows, the same ones of the same table.

    Args:
        table: The whole dataset.
        outcome: Of its rows, float64 [rows]: 1, 0, or NaN where there is no label.
        asked: The columns.
    """
    labelled = np.flatnonzero(~np.isnan(outcome))
    rows = labelled[_some(len(labelled), min(MOST_ROWS, MOST_CELLS // max(len(asked.names), 1)))]
    positive = outcome[rows] == 1
    return Sample(asked.of(table, rows), positive, areas.folds(positive), rows)


def _some(rows: int, most: int) -> np.ndarray:
    """The places of some of the rows, rising."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
