"""The label: what it asks for, and whether the splits can be used with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import question
from cd4ml.contracts.class_labels import shown, without_blanks
from cd4ml.contracts.findings import Finding, number, percent
from cd4ml.contracts.question import Question
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.validation.on_disk import Table

TRAIN = "train"
RARE = 0.05
"""A class with a smaller share of the rows is rare; of many classes one with less than half of an even share."""
SPIKE = 0.3
"""The share of the rows from which on one number among many is a spike."""
FAR, HEAVY = 0.01, 0.5
"""Tails are heavy where this part of the rows, those furthest from the mean, makes that part of the variance."""
ENOUGH = 1000
"""Rows without which nothing is said of the tails."""


@dataclass(frozen=True)
class Label:
    """What a column is as a label."""

    name: str
    question: Question | None
    """What it asks for; None where it is of no use."""
    findings: tuple[Finding, ...]

    @property
    def positive(self) -> str:
        """The value that counts as positive; empty where there is none."""
        return self.question.positive if self.question else ""

    def outcome(self, table: Table) -> pa.ChunkedArray:
        """1 and 0 (int8) by row, null where there is no label, or all null where none is positive."""
        if not self.positive:
            return pa.chunked_array([pa.nulls(table.num_rows, pa.int8())])
        return pc.equal(_text(table.column(self.name)), self.positive).cast(pa.int8())

    @property
    def is_of_several(self) -> bool:
        """Whether it names three or more classes."""
        return self.question is not None and len(self.question.classes) > 2

    def rows(self, table: Table) -> dict[str, int]:
        """Of three or more classes: the rows of each."""
        return _rows(self.question, table.column(self.name)) if self.question else {}

    def classes(self, table: Table) -> pa.ChunkedArray | None:
        """The class of each row as text where there are three or more, null where there is no label; else None."""
        return _text(table.column(self.name)) if self.is_of_several else None

    def numbers(self, table: Table) -> np.ndarray | None:
        """The label of each row where it is a number, float64 [rows], NaN where there is none; else None."""
        if not self.question or self.question.problem.has_classes:
            return None
        found: np.ndarray = table.column(self.name).cast(pa.float64(), safe=False).to_numpy()
        return np.where(np.isfinite(found), found, np.nan)


def examine(
    splits: Mapping[str, Table],
    name: str,
    *,
    problem: str = question.AUTO,
    positive: str = "",
    classes: Sequence[object] = (),
) -> Label:
    """Finds what the label asks for and what is wrong with it.

    Args:
        splits: By their names.
        name: The column.
        problem: As `cd4ml.contracts.question` takes it.
        positive: Likewise.
        classes: Likewise.

    Raises:
        DataError: There is no such column.
    """
    for split, table in splits.items():
        if name not in table.column_names:
            raise DataError(f"{split}: has no label column {name!r}; {nearest(name, table.column_names)}")
    columns = {split: without_blanks(table.column(name)) for split, table in splits.items()}
    values = pc.unique(pa.chunked_array([chunk for one in columns.values() for chunk in one.chunks]))
    try:
        asked = question.ask(pa.table({name: values}), name, problem=problem, positive=positive, classes=classes)
    except DataError as error:
        return Label(name, None, (Finding("label", "error", "all", name, len(values), str(error)),))
    findings = [finding for split, column in columns.items() for finding in _gaps(split, asked, column)]
    whole = pa.chunked_array([chunk for column in columns.values() for chunk in column.chunks])
    if len(asked.classes) > 2:
        of_all = [*_unseen(asked, columns), *_rarest(asked, whole)]
    else:
        of_all = [*(_imbalance(asked, whole) if asked.classes else _shape(name, whole))]
    return Label(name, asked, (*findings, *of_all))


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a label of classes as text, whole numbers without a fraction; null where there is none."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None).cast(pa.int64())
    return without_blanks(column).cast(pa.string())


def _gaps(split: str, asked: Question, column: pa.ChunkedArray) -> Iterator[Finding]:
    """Rows without a label, and a split in which all have the same."""
    name = asked.label
    if pa.types.is_floating(column.type):
        infinite = pc.sum(pc.is_inf(column)).as_py() or 0
        if infinite:
            message = (
                f"{split}: {infinite:,} of {len(column):,} rows have an infinite label {name!r}; "
                "drop them from the source"
            )
            yield Finding("label", "error", split, name, infinite, message)
        column = pc.if_else(pc.is_nan(column), None, column)
    if column.null_count:
        message = (
            f"{split}: {column.null_count:,} of {len(column):,} rows have no label {name!r}; drop them from the source"
        )
        yield Finding("label", "error", split, name, column.null_count, message)
    values = pc.unique(column.drop_null())
    if len(values) == 1:
        (same,) = (_text(pa.chunked_array([values])) if asked.problem.has_classes else values).to_pylist()
        message = f"{split}: label {name!r} is {same!r} in every row; give more data, or split it in another way" + (
            ", so that all classes are in every split" if asked.problem.has_classes else ""
        )
        yield Finding("label", "error", split, name, 1, message)


def _imbalance(asked: Question, values: pa.ChunkedArray) -> Iterator[Finding]:
    rate = pc.mean(pc.equal(_text(values), asked.positive)).as_py()
    share = min(rate, 1 - rate)
    if share < RARE:
        message = (
            f"label {asked.label!r}: the rarer class is {percent(share)} of the rows; accuracy says little here, "
            "so look at AUC, precision and recall"
        )
        yield Finding("label_balance", "warning", "all", asked.label, share, message)


def _rows(asked: Question, column: pa.ChunkedArray) -> dict[str, int]:
    """The rows of each class, in the order of the classes."""
    counted = {one["values"]: one["counts"] for one in pc.value_counts(_text(column)).to_pylist()}
    return {name: counted.get(name, 0) for name in asked.classes}


def _unseen(asked: Question, columns: Mapping[str, pa.ChunkedArray]) -> Iterator[Finding]:
    """Classes that a split has no row of: an error in train, for nothing can be learnt of them."""
    for split, column in columns.items():
        rows = _rows(asked, column)
        absent = [name for name in asked.classes if not rows[name]]
        if not absent:
            continue
        named = f"{'class' if len(absent) == 1 else 'classes'} {shown(absent)}"
        if split == TRAIN:
            message = f"{split}: no row is of the {named}, so no model can learn of it; give more data, or group it"
            yield Finding("label", "error", split, asked.label, len(absent), f"{message} with another class")
        else:
            message = f"{split}: no row is of the {named} of label {asked.label!r}; give more data, or group it"
            yield Finding("label_balance", "warning", split, asked.label, len(absent), f"{message} with another class")


def _rarest(asked: Question, values: pa.ChunkedArray) -> Iterator[Finding]:
    rows = _rows(asked, values)
    rarest = min(rows, key=lambda name: rows[name])
    share = rows[rarest] / sum(rows.values())
    if share < min(RARE, 0.5 / len(rows)):
        message = (
            f"label {asked.label!r}: the rarest of {len(rows)} classes, {rarest!r}, is {percent(share)} of the rows; "
            "accuracy says little of it, so look at its recall, and at balanced accuracy"
        )
        yield Finding("label_balance", "warning", "all", asked.label, share, message)


def _shape(name: str, values: pa.ChunkedArray) -> Iterator[Finding]:
    """What of the distribution of a number makes its mean, and so a model of it, say little."""
    numbers = values.drop_null().cast(pa.float64(), safe=False).to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    distinct, rows = np.unique(numbers, return_counts=True)
    spike, share = float(distinct[rows.argmax()]), float(rows.max() / len(numbers))
    if share >= SPIKE and len(distinct) > question.FEW:
        message = (
            f"label {name!r} is {number(spike)} in {percent(share)} of the rows; one model of both says little of "
            f"either: predict first whether it is {number(spike)}, and the number for the other rows alone"
        )
        yield Finding("label_balance", "warning", "all", name, share, message)
    scaled = numbers / np.abs(numbers).max()
    squares = np.sort((scaled - scaled.mean()) ** 2)
    part = float(squares[-round(FAR * len(squares)) :].sum() / squares.sum()) if len(numbers) >= ENOUGH else 0.0
    if part >= HEAVY:
        message = (
            f"label {name!r} has heavy tails: {percent(FAR)} of the rows make {percent(part)} of its variance, and so "
            "of what a model learns and of its RMSE; predict its logarithm, or bound it, where the others matter"
        )
        yield Finding("label_balance", "warning", "all", name, part, message)
