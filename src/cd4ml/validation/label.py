"""The label: which of its two values counts as positive, and whether the splits can be used with it."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.findings import Finding, percent
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.validation.on_disk import Table

TAKEN = "a label is boolean, 0 and 1, or text of two values"
RARE = 0.05
"""A class with a smaller share of the rows is rare."""


@dataclass(frozen=True)
class Label:
    """What a column is as a label of two classes."""

    name: str
    positive: str
    """The value that counts as positive, the second in the order of text; empty where the label is of no use."""
    findings: tuple[Finding, ...]

    def outcome(self, table: Table) -> pa.ChunkedArray:
        """1 and 0 (int8) by row, null where there is no label, or all null where the label is of no use."""
        if not self.positive:
            return pa.chunked_array([pa.nulls(table.num_rows, pa.int8())])
        return pc.equal(_text(table.column(self.name)), self.positive).cast(pa.int8())


def examine(splits: Mapping[str, Table], name: str) -> Label:
    """Finds what the label's values are and what is wrong with them.

    Raises:
        DataError: There is no such column.
    """
    for split, table in splits.items():
        if name not in table.column_names:
            raise DataError(f"{split}: has no label column {name!r}; {nearest(name, table.column_names)}")
    columns = {split: _text(table.column(name)) for split, table in splits.items()}
    values = sorted({value for column in columns.values() for value in pc.unique(column.drop_null()).to_pylist()})
    mistake = _mistake(next(iter(splits.values())).schema.field(name).type, values)
    if mistake:
        message = f"label {name!r} {mistake}; {TAKEN}: clean the source, or name another column"
        return Label(name, "", (Finding("label", "error", "all", name, len(values), message),))
    positive = values[1]
    findings = [finding for split, column in columns.items() for finding in _gaps(split, name, column)]
    return Label(name, positive, (*findings, *_imbalance(name, positive, columns)))


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values as text, whole numbers without a fraction."""
    if pa.types.is_floating(column.type):
        with contextlib.suppress(pa.ArrowInvalid):  # fractions, and what no integer holds: infinity, NaN
            column = column.cast(pa.int64())
    return column.cast(pa.string())


def _mistake(type_: pa.DataType, values: list[str]) -> str:
    """Why the column cannot be the label; empty where it can."""
    if pa.types.is_timestamp(type_):
        return "holds moments"
    if not values:
        return "has no values"
    if len(values) == 1:
        return f"has one value only, {values[0]!r}"
    if len(values) > 2:
        return f"has {len(values):,} values, among them {', '.join(map(repr, values[:3]))}"
    if not (pa.types.is_boolean(type_) or pa.types.is_string(type_) or values == ["0", "1"]):
        return f"holds the numbers {values[0]} and {values[1]}"
    return ""


def _gaps(split: str, name: str, column: pa.ChunkedArray) -> list[Finding]:
    findings = []
    if column.null_count:
        message = (
            f"{split}: {column.null_count:,} of {len(column):,} rows have no label {name!r}; drop them from the source"
        )
        findings.append(Finding("label", "error", split, name, column.null_count, message))
    values = pc.unique(column.drop_null()).to_pylist()
    if len(values) == 1:
        message = (
            f"{split}: label {name!r} is {values[0]!r} in every row; "
            "give more data, or split it in another way, so that both classes are in every split"
        )
        findings.append(Finding("label", "error", split, name, 1, message))
    return findings


def _imbalance(name: str, positive: str, columns: Mapping[str, pa.ChunkedArray]) -> list[Finding]:
    values = pa.chunked_array([chunk for column in columns.values() for chunk in column.chunks])
    rate = pc.mean(pc.equal(values, positive)).as_py()
    share = min(rate, 1 - rate)
    if share >= RARE:
        return []
    message = (
        f"label {name!r}: the rarer class is {percent(share)} of the rows; accuracy says little here, "
        "so look at AUC, precision and recall"
    )
    return [Finding("label_balance", "warning", "all", name, share, message)]
