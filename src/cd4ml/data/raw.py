"""The table as its source gives it: checked and made plain before anything is kept of it."""

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.errors import DataError
from cd4ml.names import nearest


def checked(table: pa.Table, source: str, *, key: str, time_column: str = "") -> pa.Table:
    """Makes a table plain, and sure that the key tells its rows apart.

    Args:
        table: As its source gives it.
        source: What errors call the source.
        key: The column that tells rows apart.
        time_column: The column that says when a row came to be; empty where there is none.

    Returns:
        The table, sorted by its key. Its columns are text, booleans, whole numbers, numbers (never NaN: that is
        missing) and moments in microseconds, in UTC where they have a zone.

    Raises:
        DataError: It is not such a table.
    """
    table = plain(table, source)
    if not table.num_rows:
        raise DataError(f"{source}: has no rows; give a table with data")
    _check_key(table, key, source)
    if time_column:
        _check_time(table, time_column, source)
    return table.take(pc.sort_indices(table.column(key)))


def plain(table: pa.Table, source: str) -> pa.Table:
    """The table with columns of plain types alone; what `checked` gives before it looks at rows.

    Raises:
        DataError: A column has no such type, or a name that cannot be kept.
    """
    columns = {}
    for name in _names(table, source):
        column = table.column(name)
        wanted = _plain_type(column.type)
        if wanted is None:
            raise DataError(f"{source}: column {name!r} holds {column.type}; give plain values, or leave it out")
        try:
            column = column.cast(wanted, safe=not pa.types.is_timestamp(wanted))
        except pa.ArrowInvalid as error:
            raise DataError(f"{source}: column {name!r}: {error}; clean the source") from error
        if pa.types.is_floating(wanted):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, wanted), column)
        columns[name] = column
    return pa.table(columns)


def _names(table: pa.Table, source: str) -> list[str]:
    try:
        names: list[str] = table.column_names
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: the names of its columns are not UTF-8 ({error}); export it as UTF-8") from error
    seen: dict[str, str] = {}
    for name in names:
        if "\0" in name:
            raise DataError(f"{source}: column {name!r} has a NUL in its name, where Parquet cuts it off; rename it")
        other = seen.get(name.lower())
        if other == name:
            raise DataError(f"{source}: column {name!r} is there more than once; rename one of them")
        if other is not None:
            raise DataError(
                f"{source}: columns {other!r} and {name!r} differ by case alone, and a Delta Lake table cannot hold "
                "both; rename one of them, or leave it out"
            )
        seen[name.lower()] = name
    return names


def _plain_type(type_: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_dictionary(type_):
        return _plain_type(type_.value_type)
    if types.is_null(type_) or types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_timestamp(type_) or types.is_date(type_):
        return pa.timestamp("us", tz="UTC" if getattr(type_, "tz", None) else None)
    if types.is_unsigned_integer(type_):
        return {8: pa.int16(), 16: pa.int32()}.get(type_.bit_width, pa.int64())
    if types.is_float16(type_):
        return pa.float32()
    if types.is_decimal(type_):
        return pa.float64()
    return type_ if types.is_boolean(type_) or types.is_integer(type_) or types.is_floating(type_) else None


def _check_key(table: pa.Table, key: str, source: str) -> None:
    if key not in table.column_names:
        raise DataError(f"{source}: has no key column {key!r}; {nearest(key, table.column_names)}")
    column = table.column(key)
    if column.null_count:
        raise DataError(
            f"{source}: {column.null_count:,} of {table.num_rows:,} rows have no key {key!r}; "
            "give every row a key, or drop these"
        )
    counts = pc.value_counts(column)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise DataError(
            f"{source}: key {key!r}: {len(repeated):,} values are there more than once, for one "
            f"{repeated[0]['values'].as_py()!r}, {repeated[0]['counts'].as_py():,} times; keep one row of each"
        )


def _check_time(table: pa.Table, time_column: str, source: str) -> None:
    if time_column not in table.column_names:
        raise DataError(f"{source}: has no time column {time_column!r}; {nearest(time_column, table.column_names)}")
    type_ = table.schema.field(time_column).type
    if not pa.types.is_timestamp(type_):
        raise DataError(f"{source}: time column {time_column!r} holds {type_}, not timestamps; write them as ISO 8601")
