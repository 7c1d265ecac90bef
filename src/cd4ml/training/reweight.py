"""Weights that make every group's label rate the same in the eyes of training.

Reweighing by Kamiran & Calders (2012), "Data preprocessing techniques for classification without discrimination": a
row of the group g with the label y weighs P(g) P(y) / P(g, y), what the share of such rows would be if the label did
not depend on the group, by what it is. All weights together are the number of rows, so the loss keeps its scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.model import Contract, kind_of
from cd4ml.errors import TrainingError
from cd4ml.names import nearest
from cd4ml.training.split import opened, readable, told

MISSING = "(missing)"
"""The group of the rows that have no value."""

ARGUMENT = "reweight"
MOST_GROUPS = 100
"""More groups are a mistake, such as an age in years: each would have too few rows to weigh."""


@dataclass(frozen=True)
class Weights:
    """What each row of a split counts in training."""

    rows: np.ndarray
    """float32 [rows], all above 0."""
    columns: tuple[str, ...]
    """Whose values, crossed, are the groups."""
    groups: int
    lacking: tuple[str, ...]
    """Groups that lack a class: no weight evens that out, so their rows weigh 1."""

    def __str__(self) -> str:
        lightest, heaviest = self.rows.min(), self.rows.max()
        sentence = f"by {', '.join(self.columns)}: {self.groups} groups, weights from {lightest:.3g} to {heaviest:.3g}"
        if self.lacking:
            sentence += f"; without a class, and so of weight 1: {', '.join(self.lacking)}"
        return sentence


def weigh(split: Path, contract: Contract, columns: Sequence[str]) -> Weights:
    """Weighs the rows of a split.

    Args:
        split: A Parquet file.
        contract: Names the label and its classes.
        columns: Whose values, crossed, are the groups; they need not be features.

    Raises:
        TrainingError: A column cannot make groups, or the groups leave nothing to even out.
    """
    table = read(split, contract.label, columns)
    with told(split):
        labels = contract.labels(table).astype(np.int64)
    groups, names = groups_of(table.select(columns))
    classes = len(contract.classes)
    counts = np.bincount(groups * classes + labels, minlength=classes * len(names)).reshape(-1, classes)
    full: np.ndarray = counts.min(axis=1) > 0
    if full.sum() < 2:
        raise TrainingError(
            f"reweight: {' × '.join(columns)} has {full.sum()} groups of {'both' if classes == 2 else 'all'} classes "
            "where two are needed; leave reweight out, or name other columns"
        )
    rows = _weights(counts, full)[groups, labels].astype(np.float32)
    lacking = tuple(name for name, evened in zip(names, full, strict=True) if not evened)
    return Weights(rows, tuple(columns), len(names), lacking)


def read(split: Path, label: str, columns: Sequence[str], *, argument: str = ARGUMENT, part: str = "train") -> pa.Table:
    """The label and some columns of a split.

    Args:
        split: A Parquet file.
        label: Its column.
        columns: Whose values are to be groups.
        argument: That names them.
        part: Which split it is.

    Raises:
        TrainingError: A column cannot make groups, or cannot be read.
    """
    with opened(split) as file:
        _check(file.schema_arrow, label, columns, said=(argument, part))
        with readable(split, f"one of the columns {', '.join([label, *columns])}"):
            return file.read(columns=[label, *columns])


def _check(present: pa.Schema, label: str, columns: Sequence[str], *, said: tuple[str, str]) -> None:
    argument, part = said
    mistakes = []
    for name in columns:
        if name not in present.names:
            mistakes.append(f"column {name!r} is not in the {part} split; {nearest(name, present.names)}")
        elif name == label:
            mistakes.append(f"{name!r} is the label; name columns whose groups are to have the same share of it")
        elif kind_of(present.field(name).type) is None:
            mistakes.append(f"column {name!r} is {present.field(name).type}; name texts, numbers or booleans")
    if mistakes:
        raise TrainingError(f"{argument}: " + "\n  ".join(mistakes))


def groups_of(table: pa.Table, *, argument: str = ARGUMENT) -> tuple[np.ndarray, list[str]]:
    """The group of each row, int64 [rows], and the groups' names as evaluation writes them: `region=south`.

    Raises:
        TrainingError: There are too many.
    """
    groups, names = np.zeros(table.num_rows, np.int64), [""]
    for place, column in enumerate(table.column_names):
        values, texts = _values(table.column(column))
        crossed = groups * len(texts) + values
        seen = np.flatnonzero(np.bincount(crossed))
        if len(seen) > MOST_GROUPS:
            raise TrainingError(
                f"{argument}: {' × '.join(table.column_names[: place + 1])} makes {len(seen):,} groups, more than "
                f"{MOST_GROUPS}; name columns with fewer values, such as ranges"
            )
        groups = np.searchsorted(seen, crossed)
        before = [f"{name}," if name else "" for name in names]
        names = [f"{before[one // len(texts)]}{column}={texts[one % len(texts)]}" for one in seen]
    return groups, names


def _values(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """The place of each row's value among the values, int64 [rows], and the values as text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    encoded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    texts = encoded.dictionary.cast(pa.string()).fill_null(MISSING)
    return encoded.indices.to_numpy().astype(np.int64), texts.to_pylist()


def _weights(counts: np.ndarray, full: np.ndarray) -> np.ndarray:
    """By group and label: float64 [groups, classes], from the rows that have them and whether a group has all."""
    weights = np.ones(counts.shape)
    evened = counts[full].astype(np.float64)
    by_group, by_label = evened.sum(axis=1, keepdims=True), evened.sum(axis=0, keepdims=True)
    weights[full] = by_group * by_label / (evened.sum() * evened)
    return weights
