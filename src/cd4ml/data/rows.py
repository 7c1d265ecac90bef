"""The rows of a source: record batches of one schema, never the whole."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from cd4ml.errors import DataError

BATCH, CELLS = 1 << 16, 1 << 22
"""Rows that are worked on at once, and cells where there are many columns."""


def _nothing() -> None:
    pass


def at_once(columns: int) -> int:
    """How many rows of so many columns are worked on at once."""
    return max(1, min(BATCH, CELLS // max(columns, 1)))


@dataclass(frozen=True)
class Example:
    """A line that shows a value: to who looks at a table of their own, and to nobody in a log or a record."""

    line: str
    without: str
    """What it says without the value."""


def without_values(said: Iterable[str | Example]) -> tuple[str, ...]:
    """Lines as logs and records have them."""
    return tuple(one if isinstance(one, str) else one.without for one in said)


@dataclass(frozen=True)
class Rows:
    """What a source gives."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    said: Sequence[str | Example] = ()
    """What was found by looking where nobody had said it, a line each."""
    close: Callable[[], object] = _nothing
    """Frees what the source holds."""
    there: int = 0
    """How many of the rows, the first ones, are of a version before."""
    format: str = ""
    """That of the files they are read from (`csv`, `parquet`, ...); empty where they are of none."""


class ShownError(DataError):
    """An error that shows a value."""

    def __init__(self, example: Example) -> None:
        """Says the line of the example."""
        super().__init__(example.line)
        self.without = example.without


@contextmanager
def hiding_values() -> Iterator[None]:
    """Takes values out of what is raised.

    Raises:
        DataError: In place of an error that shows a value.
    """
    try:
        yield
    except ShownError as error:
        raise DataError(error.without) from None


class ReadAgain(Exception):  # noqa: N818 (no error: the rows are good)
    """A batch does not fit what those before it were taken for: all have to be read again."""

    def __init__(self, rows: Rows) -> None:
        """Takes the same rows, read so that all fit."""
        super().__init__("the rows have to be read again")
        self.rows = rows


def rows_of(found: object, source: str) -> Rows:
    """What a source gave, as rows.

    Args:
        found: A table, a reader of record batches, or rows.
        source: What errors call the source.

    Raises:
        DataError: It is something else.
    """
    match found:
        case Rows():
            return found
        case pa.Table():
            return Rows(found.schema, found.to_batches(max_chunksize=at_once(found.num_columns)))
        case pa.RecordBatchReader():
            return Rows(found.schema, found, close=found.close)
    given = type(found).__name__
    raise DataError(f"{source}: its source gives a {given}; let it give a pyarrow.Table or a RecordBatchReader")


def fitted(
    batch: pa.RecordBatch, schema: pa.Schema, refused: Callable[[pa.Field, pa.DataType, str], DataError]
) -> pa.RecordBatch:
    """A batch with the columns of a schema, in its order and types; those that it lacks are missing.

    Args:
        batch: The rows.
        schema: What they are to have.
        refused: The error of a column that does not fit: given the field, the type that it has, and why.

    Raises:
        DataError: As `refused` says.
    """
    columns = []
    for field in schema:
        place = batch.schema.get_field_index(field.name)
        column = batch.column(place) if place >= 0 else pa.nulls(batch.num_rows, field.type)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise refused(field, column.type, str(error).splitlines()[0]) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
