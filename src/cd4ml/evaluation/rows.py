"""The rows that are evaluated: a sample of the test split, with its labels and the columns that make the slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml import model
from cd4ml.errors import DataError, EvaluationError
from cd4ml.model import Contract
from cd4ml.names import nearest

MISSING = "(missing)"
"""The value of a slice whose rows have none."""
MOST_VALUES = 100
"""A column, or a cross of columns, with more values is a mistake, not a slice; `cd4ml.data.groups` says so first."""


@dataclass(frozen=True)
class Rows:
    """A sample of the test split."""

    total: int
    """Rows of the split."""
    table: pa.Table
    """The sample, with the columns that the models take."""
    labels: np.ndarray
    """float32 [rows]: 0 and 1."""
    columns: Mapping[str, np.ndarray]
    """By column that makes slices: its values as text, object [rows]."""


def read(
    split: Path, contracts: Mapping[str, Contract], label: str, by: Sequence[Sequence[str]], most: int, seed: int
) -> Rows:
    """Reads a random sample of the test split.

    Args:
        split: A Parquet file.
        contracts: Of the models, by role.
        label: The column of the label.
        by: The columns of each kind of slice.
        most: Rows at most.
        seed: The same seed draws the same rows.

    Raises:
        EvaluationError: The split is empty, or its columns are not what the models or the slices need.
    """
    try:
        file = pq.ParquetFile(split)
    except (OSError, pa.ArrowInvalid) as error:
        raise EvaluationError(f"{split}: cannot be read as Parquet ({error}); run split_dataset again") from error
    with file:
        sliced = list(dict.fromkeys(name for names in by for name in names))
        needed = _needed(file.schema_arrow.names, contracts, label, sliced)
        if not file.metadata.num_rows:
            raise EvaluationError(f"{split}: no rows; give the test split a larger share of the data")
        table = _sample(file, needed, most, seed)
    columns = {name: _text(table.column(name), name) for name in sliced}
    for names in by:
        values = len({*zip(*(columns[name] for name in names), strict=True)})
        if values > MOST_VALUES:
            raise EvaluationError(
                f"slices: {' × '.join(names)} makes {values:,} slices, more than {MOST_VALUES}; "
                "slice by a column with fewer values, such as ranges"
            )
    try:
        labels = model.labels(table, next(iter(contracts.values())))
    except DataError as error:
        raise EvaluationError(f"test split: {error}") from error
    return Rows(file.metadata.num_rows, table, labels, columns)


def _needed(present: Sequence[str], contracts: Mapping[str, Contract], label: str, sliced: Sequence[str]) -> list[str]:
    uses = {label: "the label"}
    for role, contract in contracts.items():
        for one in contract.inputs:
            uses.setdefault(one.name, f"a feature of the {role}")
    absent = [
        f"{name!r}, {use}, is not there; {nearest(name, present)}" for name, use in uses.items() if name not in present
    ]
    absent += [
        f"slice column {name!r} is not there; {nearest(name, present)}" for name in sliced if name not in present
    ]
    if absent:
        raise EvaluationError("test split: " + "\n  ".join(absent))
    return list(dict.fromkeys([*uses, *sliced]))


def _sample(file: pq.ParquetFile, columns: list[str], most: int, seed: int) -> pa.Table:
    """Keeps the order of the rows, and no more than a batch beside the sample in memory."""
    total = file.metadata.num_rows
    if total <= most:
        return file.read(columns=columns)
    drawn = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    batches, start = [], 0
    for batch in file.iter_batches(columns=columns):
        low, high = np.searchsorted(drawn, (start, start + len(batch)))
        batches.append(batch.take(pa.array(drawn[low:high] - start)))
        start += len(batch)
    return pa.Table.from_batches(batches)


def _text(column: pa.ChunkedArray, name: str) -> np.ndarray:
    try:
        text: np.ndarray = column.cast(pa.string()).fill_null(MISSING).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EvaluationError(
            f"slices: column {name!r} is {column.type}, which makes no slices; choose another"
        ) from error
    return text
