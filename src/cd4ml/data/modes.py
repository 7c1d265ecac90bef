"""How rows that come go together with those that a dataset has: in their place, beside them, or over them by key."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.dataset import ROW_KEY
from cd4ml.data import table
from cd4ml.data.content import Content
from cd4ml.data.digest import of_columns, of_rows
from cd4ml.data.rows import Rows
from cd4ml.errors import DataError

LOST = 0.5
"""The share of the rows of the version before from which on their loss has to be asked for."""


def check_kept(new: Content, latest: Rows, *, key: Sequence[str], source: str, version: int) -> None:
    """Makes sure that most rows of the version before are there again.

    Args:
        new: What came.
        latest: The version before.
        key: The columns that tell rows apart; none where all of them do, and rows are only counted.
        source: What errors call the source.
        version: The number of the version before.

    Raises:
        DataError: They are not.
    """
    if not set(key) <= set(latest.schema.names):
        return  # rows are told apart in another way than before
    keys = _keys(new, key) if key else None
    rows = kept = 0
    for batch in latest.batches:
        rows += batch.num_rows
        kept += pc.sum(pc.is_in(_hashes(batch, key), keys)).as_py() or 0 if keys else 0
    kept = kept if keys else min(rows, new.rows)
    if kept < (1 - LOST) * rows:
        raise DataError(
            f"{source}: has {kept:,} of the {rows:,} rows of version {version}, and the others would be gone from the "
            "next one; write `mode: append` to add rows, `mode: merge` to take the place of those of the same key, or "
            "`mode: replace` where this is meant"
        )


def together(mode: str, new: Content, latest: Rows, *, key: Sequence[str], source: str) -> Rows:
    """The rows of a dataset with those that came.

    Args:
        mode: `append` or `merge`.
        new: What came.
        latest: The latest version.
        key: The columns that tell rows apart; none where all of them do.
        source: What errors call the source.

    Raises:
        DataError: Rows are to be merged by no key, or a column is of another type than it was.
    """
    if mode == "merge" and not key:
        raise DataError(f"{source}: mode: merge wants a key by which rows take the place of others; write append")
    old, came = _without_row_key(latest.schema), _without_row_key(new.schema)
    schema = _unified(old, came, source)
    missing = [name for name in key if name not in old.names]
    if missing:
        raise DataError(f"{source}: the dataset has no column {missing[0]!r}, which is its key now; replace it once")
    said = [
        *(f"{name!r} is new: missing in the rows that were there" for name in came.names if name not in old.names),
        *(f"{name!r} is gone: missing in the rows that came" for name in old.names if name not in came.names),
    ]

    def batches() -> Iterator[pa.RecordBatch]:
        keys = _keys(new, key) if mode == "merge" else None
        for batch in latest.batches:
            kept = batch.filter(pc.invert(pc.is_in(_hashes(batch, key), keys))) if keys else batch
            yield _fitted(kept, schema)
        for batch in new.reader():
            yield _fitted(batch, schema)

    return Rows(schema, batches(), said, latest.close)


def rows_of(uri: str, commit: int) -> Rows:
    """The rows that a dataset had after a commit."""
    reader = table.rows_of_version(table.opened(uri, commit))
    return Rows(reader.schema, reader, close=reader.close)


def _keys(content: Content, key: Sequence[str]) -> pa.Array:
    return pa.concat_arrays([_hashes(batch, key) for batch in content.reader()])


def _hashes(batch: pa.RecordBatch, key: Sequence[str]) -> pa.Array:
    """The hashes of the keys of rows, each of 16 bytes."""
    found = of_rows(of_columns(batch.select(key)).values())
    return pa.Array.from_buffers(pa.binary(16), batch.num_rows, [None, pa.py_buffer(found.T.tobytes())])


def _unified(old: pa.Schema, new: pa.Schema, source: str) -> pa.Schema:
    for field in new:
        before = old.field(field.name).type if field.name in old.names else field.type
        if field.type != before and not (_is_number(field.type) and _is_number(before)):
            raise DataError(
                f"{source}: column {field.name!r} is {field.type}, and was {before}; say how it is to be read by "
                "`types`, or replace the dataset"
            )
    return pa.unify_schemas([old, new], promote_options="permissive")


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _without_row_key(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != ROW_KEY])


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
