"""Rows whose answers are known: what evaluation keeps, so that a deployed model can be asked again.

A Parquet file of two columns:

    features       a struct with a field a feature, by the name that a request has for it
    the output     what the model gave for the row, called as its problem does: `probability`, `prediction`, or
                   `probabilities`, a list of as many numbers as there are classes

Files from before had the features and `probability` side by side. A file without features holds the output alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cd4ml.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

FEATURES = "features"
PROBABILITY = "probability"
"""The output in files from before."""


@dataclass(frozen=True)
class Known:
    """Rows and what was evaluated for them."""

    names: list[str]
    """Of the features."""
    rows: list[list[Any]]
    """The values of each row in the order of the names, as JSON has them."""
    outputs: np.ndarray
    """float [rows], or [rows, classes]."""


def write(features: "pa.Table", output: str, values: np.ndarray, *, file: Path) -> None:
    """Keeps rows.

    Args:
        features: Of plain values, one column a feature.
        output: What the problem of the model calls its output.
        values: What the model gave, float [rows], or [rows, classes].
        file: The file to write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({FEATURES: features.to_struct_array(), output: column_of(values)}), file)


def write_outputs(output: str, values: np.ndarray, *, most: int, file: Path) -> None:
    """Keeps what a model gave for some rows, drawn by chance, without the rows.

    Args:
        output: What the problem of the model calls its output.
        values: What the model gave, float [rows], or [rows, classes].
        most: How many rows are drawn.
        file: The file to write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(values) > most:
        values = values[np.random.default_rng(0).choice(len(values), most, replace=False)]
    pq.write_table(pa.table({output: column_of(values)}), file, compression="zstd")


def read_outputs(file: Path) -> np.ndarray:
    """Reads what `write_outputs` wrote: float [rows], or [rows, classes].

    Raises:
        StorageError: It holds something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _values(pq.read_table(file).column(0))
    except (OSError, IndexError, pa.ArrowException) as error:
        raise StorageError(f"{file}: holds nothing that a model gave ({error}); publish the model again") from error


def column_of(values: np.ndarray) -> "pa.Array":
    """What a model gives as a column: numbers, or lists of as many as there are classes.

    Args:
        values: float [rows], or [rows, classes].
    """
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])


def read(file: Path) -> Known:
    """Reads what `write` wrote, or a version of cd4ml before it.

    Raises:
        StorageError: There is no such file, or it holds something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        features, outputs = _apart(table)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StorageError(
            f"{file}: holds no rows with what the model gave for them ({error}); put back what publish_model wrote, or "
            "publish the model again"
        ) from error
    values = [column.to_pylist() for column in features.columns]
    rows = [list(row) for row in zip(*values, strict=True)]
    return Known(features.column_names, rows, _values(outputs))


def _apart(table: "pa.Table") -> "tuple[pa.Table, pa.ChunkedArray]":
    """The features, and what the model gave."""
    import pyarrow as pa

    kinds = table.schema.types
    if table.column_names[:1] == [FEATURES] and pa.types.is_struct(kinds[0]) and len(kinds) == 2:
        return pa.Table.from_struct_array(table.column(0)), table.column(1)
    return table.drop_columns([PROBABILITY]), table.column(PROBABILITY)


def _values(outputs: "pa.ChunkedArray") -> np.ndarray:
    """The reverse of `column_of`."""
    import pyarrow as pa

    if not pa.types.is_primitive(outputs.type):
        lists = outputs.combine_chunks()
        probabilities: np.ndarray = lists.flatten().to_numpy().reshape(len(lists), -1)
        return probabilities
    values: np.ndarray = outputs.to_numpy()
    return values
