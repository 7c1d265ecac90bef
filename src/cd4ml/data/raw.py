"""The table as its source gives it: made plain before anything is kept of it."""

import itertools
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.moments import EARLIEST, LATEST
from cd4ml.data.rows import Example, ShownError
from cd4ml.errors import DataError
from cd4ml.names import nearest

LONGEST = 1 << 20
"""Bytes that a text may have."""


class Plain:
    """Makes batches plain: texts, truth values, whole numbers, numbers (never NaN: that is missing) and moments.

    Moments are in microseconds, in UTC where they have a zone. Columns of other kinds are left out, and said.
    """

    def __init__(self, schema: pa.Schema, source: str, *, key: Sequence[str], time_column: str) -> None:
        """Looks at the columns.

        Args:
            schema: As its source gives it.
            source: What errors call the source.
            key: The columns that tell rows apart; none where all do.
            time_column: The column that says when a row came to be; empty where there is none.

        Raises:
            DataError: The names or types are none that a dataset can have.
        """
        self._source = source
        names = _checked_names(schema, source)
        types = {name: _plain_type(schema.field(name).type, name in key) for name in names}
        self.schema = pa.schema([(name, type_) for name, type_ in types.items() if type_ is not None])
        left_out = {name: schema.field(name).type for name, type_ in types.items() if type_ is None}
        self.said = [f"left out {name!r}, which holds {type_}" for name, type_ in left_out.items()]
        roles = dict.fromkeys(key, "key") | ({time_column: "time"} if time_column else {})
        for name, role in roles.items():
            if name not in types:
                raise DataError(f"{source}: has no {role} column {name!r}; {nearest(name, types)}")
            if name in left_out:
                raise DataError(
                    f"{source}: {role} column {name!r} holds {left_out[name]}; give plain values, or name another"
                )
        time = self.schema.field(time_column).type if time_column else None
        if time is not None and not pa.types.is_timestamp(time):
            raise DataError(
                f"{source}: time column {time_column!r} holds {time}, not timestamps; write them as ISO 8601, all "
                "with a zone or none"
            )

    def batch(self, batch: pa.RecordBatch, row: int) -> pa.RecordBatch:
        """A batch, made plain.

        Args:
            batch: As its source gives it.
            row: The number of its first row, for errors.

        Raises:
            DataError: A value cannot be kept.
        """
        columns = []
        for field in self.schema:
            column = batch.column(batch.schema.get_field_index(field.name))
            column_ = f"{self._source}: column {field.name!r}: "
            try:
                column = _plain(column, field.type)
            except _TooExactError as error:
                raise DataError(
                    f"{column_}a number has more digits than a number holds; ask for it as text, as by CAST in the "
                    "query"
                ) from error
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                said = str(error).splitlines()[0]
                raise ShownError(
                    Example(
                        f"{column_}{said}; clean the source",
                        f"{column_}a value of the rows from {row:,} to {row + batch.num_rows - 1:,} cannot be held as "
                        f"{field.type}; clean the source",
                    )
                ) from error
            if wrong := _wrong(column):
                place, said = wrong
                raise DataError(
                    f"{self._source}: row {row + place:,}: column {field.name!r} {said}; mend it, or leave it out"
                )
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _checked_names(schema: pa.Schema, source: str) -> list[str]:
    try:
        names: list[str] = schema.names
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: the names of its columns are not UTF-8 ({error}); export it as UTF-8") from error
    if not names:
        raise DataError(f"{source}: has no columns; give a table with data")
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


def _plain_type(type_: pa.DataType, is_key: bool) -> pa.DataType | None:
    """The type that a column gets; none where it is left out. Exact numbers of a key stay as they are written."""
    types = pa.types
    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        return _plain_type(type_.value_type, is_key)
    if isinstance(type_, pa.BaseExtensionType):
        if _is_exact(type_):
            return pa.string() if is_key else pa.float64()
        known = isinstance(type_, pa.UuidType) or types.is_string(type_.storage_type)
        return pa.string() if known else _plain_type(type_.storage_type, is_key)
    if types.is_null(type_) or types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_time(type_):
        return pa.string()
    if types.is_timestamp(type_) or types.is_date(type_):
        return pa.timestamp("us", tz="UTC" if getattr(type_, "tz", None) else None)
    if types.is_unsigned_integer(type_):
        return {8: pa.int16(), 16: pa.int32()}.get(type_.bit_width, pa.int64())
    if types.is_float16(type_):
        return pa.float32()
    if types.is_decimal(type_):
        return pa.string() if is_key else pa.float64()
    if types.is_duration(type_):
        return pa.float64()
    return type_ if types.is_boolean(type_) or types.is_integer(type_) or types.is_floating(type_) else None


def _is_exact(type_: pa.DataType) -> bool:
    """Whether it holds exact numbers of a database, as texts."""
    return isinstance(type_, pa.OpaqueType) and type_.type_name == "numeric"


def _plain(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return _plain(column.dictionary_decode(), wanted)
    if pa.types.is_run_end_encoded(type_):
        return _plain(pc.run_end_decode(column), wanted)
    if isinstance(type_, pa.UuidType):
        return _uuids(column)
    if isinstance(type_, pa.BaseExtensionType):
        return _plain(column.storage, wanted)
    if pa.types.is_duration(type_):
        seconds = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[type_.unit]
        return pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), float(seconds))
    if pa.types.is_floating(wanted) and (pa.types.is_string(type_) or pa.types.is_decimal(type_)):
        _check_exact(column.cast(pa.string()))
    is_finer = pa.types.is_timestamp(type_) and type_.unit == "ns"
    plain = column if type_ == wanted else column.cast(wanted, safe=not (is_finer or pa.types.is_decimal(type_)))
    if pa.types.is_floating(wanted):
        plain = pc.if_else(pc.is_nan(plain), pa.scalar(None, wanted), plain)
    return plain


class _TooExactError(Exception):
    """A number has more digits than one of ours holds."""


def _check_exact(texts: pa.Array) -> None:
    long = texts.filter(pc.match_substring_regex(texts, r"^-?\d{16,}$"))
    if len(long):
        raise _TooExactError


def _uuids(column: pa.Array) -> pa.Array:
    """UUIDs as people write them."""
    digits = pc.fill_null(column.storage, bytes(16))
    text = b"".join(digits.to_pylist()).hex()
    plain = pa.array([text[start : start + 32] for start in range(0, len(text), 32)], pa.string())
    cuts = (0, 8, 12, 16, 20, 32)
    parts = [pc.utf8_slice_codeunits(plain, start, stop) for start, stop in itertools.pairwise(cuts)]
    return pc.if_else(column.is_valid(), pc.binary_join_element_wise(*parts, "-"), pa.scalar(None, pa.string()))


def _wrong(column: pa.Array) -> tuple[int, str] | None:
    """The place of a value that cannot be kept, and what it is."""
    if pa.types.is_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return _not_utf8(column), "holds a text that is not UTF-8"
        wrong, said = pc.greater(pc.binary_length(column), LONGEST), f"holds a text of more than {LONGEST >> 20} MiB"
    elif pa.types.is_timestamp(column.type):
        moments = column.cast(pa.int64())
        wrong = pc.or_(pc.less(moments, EARLIEST), pc.greater(moments, LATEST))
        said = "holds a date that is not in the years 1 to 9999"
    else:
        return None
    return (pc.index(wrong, True).as_py(), said) if pc.any(wrong, min_count=0).as_py() else None


def _not_utf8(column: pa.Array) -> int:
    """The place of the first text that is not UTF-8."""
    for place, content in enumerate(column.cast(pa.binary()).to_pylist()):
        try:
            (content or b"").decode()
        except UnicodeDecodeError:
            return place
    raise AssertionError  # one was found
