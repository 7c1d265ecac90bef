"""The test split, batch by batch: what the models and the slices need, checked before anything is predicted."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import number_texts
from cd4ml.contracts.evaluation import OVERALL
from cd4ml.contracts.model import Contract
from cd4ml.contracts.slices import name_of
from cd4ml.errors import EvaluationError
from cd4ml.names import nearest

MISSING = "(missing)"
"""The value of a slice whose rows have none."""
MOST_VALUES = 100
"""A column, or a cross of columns, with more values is a mistake, no slice; `cd4ml.validation.groups` says so first."""
MOST_SLICES = 200
"""Of all kinds together: TFMA's files and the report hold about 0.5 MiB a slice and model."""
BATCH_ROWS = 2**17


@dataclass(frozen=True)
class Slicing:
    """The rows by one kind of slice; each row is in one of them."""

    names: Sequence[str]
    """As the summary has them."""
    codes: np.ndarray
    """int [rows], places in `names`."""


@dataclass(frozen=True)
class Rows:
    """A test split."""

    file: Path
    total: int
    columns: tuple[str, ...]
    """What the models take, the label, and what makes slices."""
    sliced: tuple[str, ...]
    """The columns that make slices."""

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows in their order, with some of the columns or all of them."""
        with pq.ParquetFile(self.file) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(self.columns if columns is None else columns)):
                yield pa.Table.from_batches([batch])

    def groups(self, table: pa.Table) -> dict[str, np.ndarray]:
        """By column that makes slices: the values of a batch as text, object [rows]."""
        return {name: _text(table.column(name), name).to_numpy() for name in self.sliced}

    def slicings(self, by: Sequence[Sequence[str]]) -> list[Slicing]:
        """All rows together, and by each kind of slice.

        Args:
            by: The columns of each kind.
        """
        with pq.ParquetFile(self.file) as file:
            groups = file.read(columns=list(self.sliced))
        return slicings({name: _text(groups.column(name), name) for name in self.sliced}, by, self.total)

    def take(self, places: np.ndarray) -> pa.Table:
        """Some rows, by their rising numbers."""
        picked, start = [], 0
        for table in self.batches():
            if start > places[-1]:
                break
            low, high = np.searchsorted(places, (start, start + len(table)))
            if high > low:
                picked.append(table.take(pa.array(places[low:high] - start)))
            start += len(table)
        return pa.concat_tables(picked)

    @cached_property
    def digest(self) -> str:
        """Tells this test split from every other: `sha256:` over the bytes of its file."""
        with self.file.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def slicings(texts: Mapping[str, pa.ChunkedArray], by: Sequence[Sequence[str]], total: int) -> list[Slicing]:
    """All rows together, and by each kind of slice.

    Args:
        texts: The columns that make slices, of texts without nulls.
        by: The columns of each kind.
        total: How many rows there are.
    """
    found = [Slicing([OVERALL], np.zeros(total, np.int64))]
    coded = {name: one.combine_chunks().dictionary_encode() for name, one in texts.items()}
    for names in by:
        of_columns = [coded[name] for name in names]
        sizes = [len(one.dictionary) for one in of_columns]
        places = np.ravel_multi_index([one.indices.to_numpy() for one in of_columns], sizes)
        present, codes = np.unique(places, return_inverse=True)
        values = zip(*np.unravel_index(present, sizes), strict=True)
        labels = [
            {name: one.dictionary[int(at)].as_py() for name, one, at in zip(names, of_columns, value, strict=True)}
            for value in values
        ]
        found.append(Slicing([name_of(one) for one in labels], codes))
    return found


def open_split(split: Path, *, contracts: Mapping[str, Contract], label: str, by: Sequence[Sequence[str]]) -> Rows:
    """Opens the test split.

    Args:
        split: A Parquet file.
        contracts: Of the models, by role.
        label: The column of the label.
        by: The columns of each kind of slice.

    Raises:
        EvaluationError: The split is empty, or its columns are not what the models or the slices need.
    """
    sliced = tuple(dict.fromkeys(name for names in by for name in names))
    try:
        with pq.ParquetFile(split) as file:
            columns = _needed(file.schema_arrow.names, contracts=contracts, label=label, sliced=sliced)
            total = file.metadata.num_rows
            groups = file.read(columns=list(sliced)) if sliced else None
    except (OSError, pa.ArrowInvalid) as error:
        raise EvaluationError(f"{split}: cannot be read as Parquet ({error}); run split_dataset again") from error
    if not total:
        raise EvaluationError(f"{split}: no rows; give the test split a larger share of the data")
    if groups is not None:
        _check_values(pa.table({name: _text(groups.column(name), name) for name in sliced}), by)
    return Rows(split, total, tuple(columns), sliced)


def _check_values(groups: pa.Table, by: Sequence[Sequence[str]]) -> None:
    total = 0
    for names in by:
        numbered = pa.table({str(place): groups.column(name) for place, name in enumerate(names)})
        values = numbered.group_by(numbered.column_names).aggregate([]).num_rows  # `.name` would be a path
        total += values
        if values > MOST_VALUES:
            raise EvaluationError(
                f"slices: {' × '.join(names)} makes {values:,} slices, more than {MOST_VALUES}; "
                "slice by a column with fewer values, such as ranges"
            )
    if total > MOST_SLICES:
        raise EvaluationError(f"slices: they make {total:,} together, more than {MOST_SLICES}; name fewer kinds")


def _needed(
    present: Sequence[str], *, contracts: Mapping[str, Contract], label: str, sliced: Sequence[str]
) -> list[str]:
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


def _text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    try:
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        return number_texts.texts(column).fill_null(MISSING)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EvaluationError(
            f"slices: column {name!r} is {column.type}, which makes no slices; choose another"
        ) from error
