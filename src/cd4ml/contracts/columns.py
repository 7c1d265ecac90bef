"""Columns of tables."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cd4ml.errors import DataError
from cd4ml.names import nearest

if TYPE_CHECKING:
    import pyarrow as pa


def column(table: "pa.Table", name: str) -> "pa.ChunkedArray":
    """A column by its name.

    Raises:
        DataError: There is none.
    """
    if name not in table.column_names:
        raise DataError(f"column {name!r} is not in the table; {nearest(name, table.column_names)}")
    return table.column(name)


def is_text(type_: "pa.DataType") -> bool:
    """Whether a column of this type holds text, also where each value is stored once."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        return is_text(type_.value_type)
    views = str(type_) == "string_view"  # the Arrow of validation has no such type, nor a question for it
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or views)


def together(tables: "Iterable[pa.Table]", rows: int) -> "Iterator[pa.Table]":
    """The same rows in tables of so many or more, but for the last, of tables of few."""
    import pyarrow as pa

    some: list[pa.Table] = []
    for table in tables:
        some.append(table)
        if sum(map(len, some)) >= rows:
            yield pa.concat_tables(some)
            some = []
    if some:
        yield pa.concat_tables(some)
