"""How rows that come go together with those that a dataset has: in their place, beside them, or over them by key."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cd4ml.contracts.dataset import ROW_KEY, DatasetVersion
from cd4ml.data import table
from cd4ml.data.content import Content, equal
from cd4ml.data.digest import Digest, Hashes, of_columns, of_rows
from cd4ml.data.keys import Keys
from cd4ml.data.rows import Example, Rows, ShownError, fitted
from cd4ml.data.table import Commit
from cd4ml.data.times import NO_TIMES
from cd4ml.errors import DataError
from cd4ml.registry import clock

LOST = 0.5
"""The share of the rows of the version before from which on their loss has to be asked for."""


def check_masked(asked: DatasetVersion, last: Commit, *, source: str) -> None:
    """Makes sure that rows that come are masked as those are that stay.

    Args:
        asked: What the next version is to be.
        last: What made the version before the latest.
        source: What errors call the source.

    Raises:
        DataError: They are not.
    """
    other = _masked_otherwise(asked, last)
    if other:
        raise DataError(
            f"{source}: columns.{min(other)}: the rows of version {last.about.version}, which stay with `mode: "
            f"{asked.mode}`, have this column in another way; write `mode: replace` once, with all rows"
        )


def _masked_otherwise(asked: DatasetVersion, last: Commit) -> set[str]:
    """The columns that do not become what they became before."""
    return {one.column for one in {*asked.masked} ^ {*last.about.masked}}


def check_kept(new: Content, last: Commit, *, asked: DatasetVersion, source: str) -> None:
    """Makes sure that most rows of the version before are there again.

    Args:
        new: What came.
        last: What made the version before the latest.
        asked: What the next version is to be; where it names no key, rows are only counted.
        source: What errors call the source.

    Raises:
        DataError: They are not.
    """
    key = asked.key
    if _masked_otherwise(asked, last) & {*key}:
        return  # rows are told apart by other values than before
    before = table.opened(last.about.uri, last.number)
    schema = pa.schema(before.schema().to_arrow())
    if not set(key) <= set(schema.names):
        return  # rows are told apart in another way than before
    if key:
        try:
            of_key = pa.unify_schemas([_only(one, key) for one in (schema, new.schema)], promote_options="permissive")
        except pa.ArrowTypeError:
            return  # likewise
        keys, rows, kept = _keys(new, of_key), 0, 0
        for batch in table.rows_of_version(before, key):
            rows += batch.num_rows
            kept += int(_are_among(_hashes(batch, of_key), keys).sum())
    else:
        rows = before.count()
        kept = min(rows, new.rows)
    if kept < (1 - LOST) * rows:
        raise DataError(
            f"{source}: has {kept:,} of the {rows:,} rows of version {last.about.version}, and the others would be "
            "gone from the next one; write `mode: append` to add rows, `mode: merge` to take the place of those of the "
            "same key, or `mode: replace` where this is meant"
        )


def beside(asked: DatasetVersion, new: Content, last: Commit) -> Content | None:
    """What a dataset holds once the rows that came lie beside those that it has; of it these alone can be read.

    Args:
        asked: What is asked of the next version.
        new: What came.
        last: What made the latest version that.

    Returns:
        None where all rows have to be read and written again: where their columns are of other types, where rows were
        erased or nothing tells their sums, or where a row that came may be there already.
    """
    before = last.about
    if not before.sums:
        return None
    digest = Digest(_without_row_key(new.schema), asked.key if asked.key_column == ROW_KEY else None)
    digest.add_known(before.rows, before.sums)
    latest = table.opened(before.uri, last.number)
    if str(digest) != before.digest or latest.count() != before.rows:
        return None
    keys, row, times, now = Keys([asked.key_column], asked.uri), 1, NO_TIMES, clock.moment()
    wanted = dict.fromkeys(filter(None, [asked.key_column, asked.time_column]))
    for batch in chain(table.rows_of_version(latest, list(wanted)), new.reader()):
        keys.add(batch, of_columns(batch.select([asked.key_column])), row)
        times = times.and_of(batch.column(asked.time_column), now) if asked.time_column else times
        row += batch.num_rows
    repeated = len(keys.repeated())
    if repeated and asked.duplicates != "keep":
        return None
    digest.add_known(new.rows, new.sums)
    said = (equal(repeated, "kept"),) if repeated else ()
    return replace(new, rows=before.rows + new.rows, digest=str(digest), sums=digest.sums, said=said, times=times)


def together(mode: str, new: Content, last: Commit, *, key: Sequence[str], source: str) -> Rows:
    """The rows of a dataset with those that came.

    Args:
        mode: `append` or `merge`.
        new: What came.
        last: What made the latest version that.
        key: The columns that tell rows apart; none where all of them do.
        source: What errors call the source.

    Raises:
        DataError: Rows are to be merged by no key, or a column is of another type than it was.
    """
    if mode == "merge" and not key:
        raise DataError(f"{source}: mode: merge wants a key by which rows take the place of others; write append")
    before = table.opened(last.about.uri, last.number)
    latest = table.rows_of_version(before)
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
        of_key = _only(schema, key)
        keys = _keys(new, of_key) if mode == "merge" else None
        for batch in latest:
            kept = batch if keys is None else batch.filter(pa.array(~_are_among(_hashes(batch, of_key), keys)))
            yield fitted(kept, schema, _refused)
        for batch in new.reader():
            yield fitted(batch, schema, _refused)

    return Rows(schema, batches(), said, latest.close, there=before.count() if mode == "append" else 0)


def _keys(content: Content, key: pa.Schema) -> Hashes:
    """The hashes of the keys of all rows, in order."""
    found = np.concatenate([_hashes(batch, key) for batch in content.reader()], axis=1)
    return found[:, np.lexsort(found[::-1])]


def _hashes(batch: pa.RecordBatch, key: pa.Schema) -> Hashes:
    """The hashes of the keys of rows, as values of the types that both tables have together."""
    return of_rows(of_columns(fitted(batch, key, _refused)).values())


def _are_among(hashes: Hashes, keys: Hashes) -> npt.NDArray[np.bool_]:
    """Whether each is one of the keys, [rows]: found by the first number, told apart by the second."""
    place = np.searchsorted(keys[0], hashes[0])
    inside = np.minimum(place, keys.shape[1] - 1)
    among: npt.NDArray[np.bool_] = (keys[:, inside] == hashes).all(axis=0)
    return among


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


def _only(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])


def _without_row_key(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != ROW_KEY])


def _refused(field: pa.Field, has: pa.DataType, why: str) -> DataError:
    misfit = f"column {field.name!r} is {has} in some rows, and {field.type} in others, which cannot hold them"
    remedy = "; say how it is to be read by `types`, or replace the dataset"
    return ShownError(Example(f"{misfit} ({why}){remedy}", f"{misfit}{remedy}"))
