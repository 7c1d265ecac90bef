"""Acquiring data: a team's table becomes a version of a dataset."""

from contextlib import closing
from dataclasses import replace
from typing import get_args

import pyarrow as pa

from cd4ml.contracts.dataset import ROWS, DatasetVersion, Duplicates, key_columns
from cd4ml.data import content, sources, table
from cd4ml.data.rows import rows_of
from cd4ml.data.sources import Source
from cd4ml.errors import DataError
from cd4ml.storage import check_name
from cd4ml.version import VERSION


def ingest(
    source: str,
    *,
    store: str,
    name: str,
    key: str,
    time_column: str = "",
    duplicates: str = "keep",
    run: str = "",
    revision: str = "",
) -> DatasetVersion:
    """Adds a table to the store as the latest version of a dataset; nothing new when nothing changed.

    A source whose state tells that it is what it was is not read again. Content that an earlier version has becomes
    the latest again, as that version.

    Args:
        source: A path, an `s3://` URI or a web address of files; or an object as JSON, `{"file": …}`
            (`cd4ml.data.sources`).
        store: A folder, or `s3://bucket/prefix`.
        name: The dataset's name in the store.
        key: The column that tells rows apart, several as a list in JSON, or `rows`: all of them.
        time_column: The column that says when a row came to be; empty where there is none.
        duplicates: Where `key` is `rows`, whether equal rows are all kept or one of them: `keep` or `drop`.
        run: The run that asks.
        revision: Of its code.

    Raises:
        DataError: The source is no such table, or the store cannot be written.
        StorageError: The name cannot be that of a dataset.
    """
    check_name(name)
    if duplicates not in get_args(Duplicates):
        raise DataError(f"duplicates: {duplicates!r} is neither `keep` nor `drop`; write one of them")
    origin = sources.parse(source)
    uri = table.location(store, name)
    asked = DatasetVersion(
        name=name,
        uri=uri,
        version=0,
        rows=0,
        digest="",
        source=origin.text,
        state=origin.state(),
        key=tuple(key_columns(key)),
        duplicates=duplicates if key == ROWS else "",
        time_column=time_column,
        run=run,
        revision=revision,
        cd4ml=VERSION,
    )
    latest = table.latest(uri)
    if latest and _is_same(latest, asked):
        return latest
    return _read(origin, asked)


def look(source: Source) -> tuple[pa.Table, list[str]]:
    """The table as a version would hold it, whole in memory; and what was found while it was read, a line each.

    Raises:
        DataError: The source is no such table.
    """
    rows = rows_of(source.read(), str(source))
    with closing(rows), content.kept(rows, str(source), key=None, time_column="", drop=False) as found:
        return found.reader().read_all(), list(found.said)


def _is_same(latest: DatasetVersion, asked: DatasetVersion) -> bool:
    """Whether the source is what it was, and is read as it was."""
    fields = ("source", "state", "key", "duplicates", "time_column", "cd4ml")
    return bool(asked.state) and all(getattr(latest, one) == getattr(asked, one) for one in fields)


def _read(origin: Source, asked: DatasetVersion) -> DatasetVersion:
    source = str(origin)
    rows = rows_of(origin.read(), source)
    with (
        closing(rows),
        content.kept(
            rows,
            source,
            key=asked.key,
            time_column=asked.time_column,
            drop=asked.duplicates == "drop",
        ) as found,
    ):
        about = replace(asked, rows=found.rows, digest=found.digest, said=found.said)
        for line in found.said:
            print(f"{source}: {line}")  # noqa: T201 (the log of the task)
        return table.add_version(about, found)
