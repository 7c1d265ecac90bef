"""Acquiring data: a team's table becomes a version of a dataset."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, get_args

import pyarrow as pa

from cd4ml.contracts.dataset import ROWS, DatasetVersion, Duplicates, Mode, key_columns
from cd4ml.data import content, masks, modes, sources, table
from cd4ml.data.content import Content
from cd4ml.data.masking import Masking
from cd4ml.data.masks import Mask
from cd4ml.data.rows import hiding_values, rows_of, without_values
from cd4ml.data.sources import Source
from cd4ml.data.table import Commit
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.registry import catalogue, clock
from cd4ml.storage import check_name
from cd4ml.version import VERSION


def ingest(
    source: str,
    *,
    store: str,
    name: str,
    key: str,
    time_column: str = "",
    mode: str = "",
    owner: str = "",
    duplicates: str = "keep",
    columns: Mapping[str, Any] | None = None,
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
        mode: How its rows go together with those that the dataset has: `replace`, `append` or `merge` (`Mode`).
        owner: Who answers for it.
        duplicates: Where `key` is `rows`, whether equal rows are all kept or one of them: `keep` or `drop`.
        columns: What becomes of columns that the dataset is not to hold as the source has them (`cd4ml.data.masks`).
        run: The run that asks.
        revision: Of its code.

    Raises:
        DataError: The source is no such table, or the store cannot be written.
        StorageError: The name cannot be that of a dataset.
    """
    check_name(name)
    if duplicates not in get_args(Duplicates):
        raise DataError(f"duplicates: {duplicates!r} is neither `keep` nor `drop`; write one of them")
    if mode not in get_args(Mode):
        raise DataError(f"mode: {mode!r} is none; {nearest(mode, filter(None, get_args(Mode)))}")
    masked = masks.parse(columns or {})
    if wrong := masks.unfit(masked, {"key": key_columns(key), "time_column": [time_column]}):
        raise DataError("\n".join(wrong))
    masking = Masking(masked)
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
        masked=masking.record,
        mode=mode,
        owner=owner,
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
    with hiding_values():
        found = _read(origin, asked, masking)
    catalogue.came(store, found, table.columns(uri, found.version))
    return found


def look(source: Source) -> tuple[pa.Table, list[str]]:
    """The table as a version would hold it, whole in memory; and what was found while it was read, a line each.

    Raises:
        DataError: The source is no such table.
    """
    rows = rows_of(source.read(), str(source))
    with closing(rows), content.kept(rows, str(source), key=None, time_column="", drop=False) as found:
        return found.reader().read_all(), [one if isinstance(one, str) else one.line for one in found.said]


def first(source: Source, most: int, masked: Mapping[str, Mask]) -> pa.Table:
    """The first rows of a table as a version would hold them.

    Args:
        source: Where they come from.
        most: How many, at most.
        masked: What becomes of columns.

    Raises:
        DataError: The source is no such table.
    """
    rows = rows_of(source.read(), str(source))
    few = replace(rows, batches=_until(most, rows.batches))
    masking = Masking(masked)
    with (
        closing(rows),
        content.kept(few, str(source), key=None, time_column="", drop=False, masking=masking) as found,
    ):
        return found.reader().read_all().slice(0, most)


def _until(rows: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        rows -= batch.num_rows
        if rows <= 0:
            return


def _is_same(latest: DatasetVersion, asked: DatasetVersion) -> bool:
    """Whether the source is what it was, and is read as it was."""
    fields = ("source", "state", "masked", "mode", "key", "duplicates", "time_column", "cd4ml")
    timed = latest.newest or latest.last or not asked.time_column  # versions of before did not say
    return bool(asked.state and timed) and all(getattr(latest, one) == getattr(asked, one) for one in fields)


def _read(origin: Source, asked: DatasetVersion, masking: Masking) -> DatasetVersion:
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
            masking=masking,
        ) as found,
    ):
        for line in without_values(found.said):
            print(f"{source}: {line}")  # noqa: T201 (the log of the task)
        while True:
            with suppress(table.MovedError):
                return _added(asked, found, source)


def _added(asked: DatasetVersion, came: Content, source: str) -> DatasetVersion:
    """Makes a version of what came and, as the mode has it, of what was there."""
    if asked.mode == "replace":
        return table.add_version(_about(asked, came), came)
    table.free(asked.uri)
    before = table.commits(asked.uri)
    if not before:
        return table.add_version(_about(asked, came), came, base=table.NONE)
    last = before[-1]
    if not asked.mode:
        modes.check_kept(came, last, asked=asked, source=source)
        return table.add_version(_about(asked, came), came, base=last.number)
    if asked.mode == "append" and came.digest in _made_of(last.about, before):
        return last.about
    modes.check_masked(asked, last, source=source)
    if asked.mode == "append" and (larger := modes.beside(asked, came, last)):
        return table.add_version(_about_both(asked, came, larger), larger, base=last.number, beside=True)
    rows = modes.together(asked.mode, came, last, key=asked.key, source=source)
    with (
        closing(rows),
        content.kept(
            rows, asked.uri, key=asked.key, time_column=asked.time_column, drop=asked.duplicates == "drop"
        ) as whole,
    ):
        return table.add_version(_about_both(asked, came, whole), whole, base=last.number)


def _about(asked: DatasetVersion, found: Content) -> DatasetVersion:
    times = found.times
    return replace(
        asked,
        rows=found.rows,
        digest=found.digest,
        sums=found.sums,
        said=without_values(found.said),
        newest=clock.written(times.newest) if times.newest else "",
        ahead=times.ahead,
        last=clock.written(times.last) if times.last else "",
    )


def _about_both(asked: DatasetVersion, came: Content, whole: Content) -> DatasetVersion:
    return replace(_about(asked, whole), came=came.digest, said=without_values((*came.said, *whole.said)))


def _made_of(latest: DatasetVersion, before: Sequence[Commit]) -> Iterator[str]:
    """The digests of the tables whose rows a version has: those that were added, and the one that they began with."""
    by_number = {commit.number: commit.about for commit in before}
    while latest.came:
        yield latest.came
        latest = by_number[latest.version - 1]
    yield latest.digest
