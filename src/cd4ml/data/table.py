"""The dataset's table in the store: a Delta Lake table at `<store>/datasets/<name>`.

Each version is the whole table; its files may be those of the one before and some more. Its commit keeps what it is
(`DatasetVersion`), with the digest of the content, so that the same content makes no new version; no version is ever
cleaned away.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.data.content import Content
from cd4ml.data.digest import PREFIX, Digest, of_columns, of_rows
from cd4ml.data.queries import IN_ORDER, query, quoted
from cd4ml.errors import DataError
from cd4ml.registry import clock
from cd4ml.storage import S3, arrow, local_path, open_store

DIGEST = "cd4ml_digest"
COMMIT = "cd4ml_commit"
ABOUT = "cd4ml_version"
ERASING = "cd4ml_erasing"
"""Of a commit: until when rows may be being taken out of all versions, so that nobody else commits after it."""
FOREVER = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}
ATTEMPTS = 10
PATIENCE = timedelta(minutes=15)
"""How long an erasure is waited for."""
ASKED_EVERY = 2.0
"""Seconds."""
NONE = -1
"""In place of the number of a commit, where there is none."""


def location(store: str, name: str) -> str:
    """Where the dataset of this name lies in a store."""
    return open_store(store).uri(f"datasets/{name}")


def latest(uri: str) -> DatasetVersion | None:
    """The latest version of a dataset; None where there is none, or one that says no more than its digest.

    Raises:
        DataError: The table cannot be read.
        DocumentError: Its commit cannot.
    """
    found = _open(uri)
    commits = _commits(uri) if found else {}
    about = _about(commits.get(found.version(), {}), uri) if found else None
    return _arrived(about, commits) if about else None


class MovedError(DataError):
    """The latest version is another than it was."""


@dataclass(frozen=True)
class Commit:
    """One time at which a version became the latest."""

    number: int
    at: datetime
    about: DatasetVersion


def commits(uri: str) -> list[Commit]:
    """What became of a dataset, the oldest first; of versions that say no more than their digest, just that.

    Returns:
        None of them where there is no such table.

    Raises:
        DataError: The table cannot be read.
        DocumentError: A commit cannot be read.
    """
    if not exists(uri):
        return []
    found = _commits(uri)
    return [Commit(number, _time(found[number]), _known(uri, found, number)) for number in sorted(found)]


def restore(commit: Commit) -> None:
    """Makes what a dataset was after a commit the latest again; whoever comes after it adds to that.

    Raises:
        MovedError: Another run writes to it at the same time.
        DataError: The store cannot be written.
    """
    about = commit.about
    latest = free(about.uri) or opened(about.uri)
    properties = deltalake.CommitProperties(
        custom_metadata={DIGEST: about.digest, ABOUT: about.text}, max_commit_retries=0
    )
    try:
        latest.restore(commit.number, commit_properties=properties)
    except CommitFailedError as error:
        raise MovedError(f"{about.uri}: another run writes to it; run again when it is done") from error
    except (DeltaError, OSError) as error:
        raise DataError(f"{about.uri}: cannot be written ({_brief(error)}); mend the store") from error


def free(uri: str) -> deltalake.DeltaTable | None:
    """The latest version, as soon as no rows are being taken out of all of them; None where there is no table.

    Raises:
        DataError: The table cannot be read, or an erasure takes too long.
    """
    since, told = clock.moment(), ""
    while True:
        table = _open(uri)
        until = table.history(1)[0].get(ERASING, "") if table else ""
        if until < clock.now():
            return table
        if clock.moment() > since + PATIENCE:
            raise DataError(f"{uri}: rows are being taken out of its versions, and that takes long; run again later")
        if until != told:
            print(f"{uri}: waiting for an erasure, at least until {until}")  # noqa: T201 (the log of the task)
        told = until
        time.sleep(ASKED_EVERY)


def begin_erasing(uri: str, until: datetime) -> int:
    """Commits the latest version once more, after which nobody else commits until a time.

    Whoever has read the table before, and makes the next version from that, reads it again.

    Args:
        uri: Of the dataset.
        until: The time; it can be moved on in the log.

    Returns:
        The number of the commit.

    Raises:
        DataError: The store cannot be written, or another erasure takes too long.
    """
    while True:
        last = free(uri)
        if not last:
            raise DataError(f"{uri}: no dataset here")
        with suppress(MovedError):  # another run was faster
            return _commit_again(uri, last.version(), {ERASING: clock.written(until)})


def end_erasing(uri: str, begun: int) -> None:
    """Commits the latest version once more, after which others commit again.

    Raises:
        MovedError: The time was over, and another run has committed.
        DataError: The store cannot be written.
    """
    _commit_again(uri, begun, {})


def _commit_again(uri: str, number: int, more: dict[str, str]) -> int:
    """Commits what a commit has made the latest, right after it; the number of the new one."""
    table, about = opened(uri, number), _known(uri, _commits(uri), number)
    properties = deltalake.CommitProperties(
        custom_metadata={DIGEST: about.digest, ABOUT: about.text, **more}, max_commit_retries=0
    )
    try:
        table.create_write_transaction(
            [], mode="append", schema=table.schema(), partition_by=[], commit_properties=properties
        )
    except CommitFailedError as error:
        raise MovedError(f"{uri}: another run has written to it meanwhile; run again") from error
    except (DeltaError, OSError) as error:
        raise DataError(f"{uri}: cannot be written ({_brief(error)}); mend the store") from error
    return number + 1


def exists(uri: str) -> bool:
    """Whether a dataset has a version.

    Raises:
        DataError: The table cannot be read.
    """
    return _open(uri) is not None


def add_version(
    about: DatasetVersion, content: Content, *, base: int | None = None, beside: bool = False
) -> DatasetVersion:
    """Makes content the latest version, unless it is that already; safe beside others that do the same.

    Args:
        about: What the version is, but for its number.
        content: Its rows; or those that it has more than the one before.
        beside: Whether they come beside the rows of `base`.
        base: The number of the commit whose rows the content is made from; None where it is made from none, and `NONE`
            where there was none.

    Returns:
        The version that holds the content: where an earlier one does, that one, which is made the latest again.

    Raises:
        MovedError: There is a newer commit than `base`.
        DataError: The store cannot be written, or others write to it all the time.
    """
    uri = about.uri
    for _ in range(ATTEMPTS):
        table = free(uri)
        last = table.version() if table else NONE
        commits = {number: one for number, one in (_commits(uri) if table else {}).items() if number <= last}
        if base is not None and base != last:
            raise MovedError(f"{uri}: another run has written to it since it was read; run again")
        if table and _has(table, str(commits[last].get(DIGEST, "")), about.digest):
            found = replace(about, version=_first(commits, last), digest=str(commits[last][DIGEST]))
            return _arrived(_as_left(found, last), commits)
        earlier = next((one for one in sorted(commits) if commits[one].get(DIGEST) == about.digest), None)
        written = replace(about, version=last + 1)
        if earlier is not None:
            written = _as_left(replace(about, version=earlier), earlier)
        commit = uuid.uuid4().hex
        properties = deltalake.CommitProperties(
            custom_metadata={DIGEST: about.digest, COMMIT: commit, ABOUT: written.text}, max_commit_retries=0
        )
        try:
            if table and earlier is not None:
                table.restore(earlier, commit_properties=properties)
            else:
                _write(uri, table, content=content, beside=beside, properties=properties)
        except CommitFailedError:
            continue  # another run was faster, perhaps with this very content
        except (DeltaError, OSError) as error:
            now = _open(uri)
            if now and now.version() != last:
                continue  # likewise, and an erasure removes what is of no commit
            raise DataError(f"{uri}: cannot be written ({_brief(error)}); mend the store, or name another") from error
        commits = _commits(uri)
        if any(one.get(COMMIT) == commit for one in commits.values()):
            return _arrived(written, commits)
    raise DataError(f"{uri}: other runs write to it at the same time; run again when they are done")


def _write(
    uri: str,
    table: deltalake.DeltaTable | None,
    *,
    content: Content,
    beside: bool,
    properties: deltalake.CommitProperties,
) -> None:
    over = "overwrite" if table and not beside else None
    deltalake.write_deltalake(
        table or uri,
        content.reader(),
        mode=over or ("append" if table else "error"),
        schema_mode=over,
        configuration=None if table else FOREVER,
        storage_options=options(uri),
        commit_properties=properties,
    )


def _has(table: deltalake.DeltaTable, digest: str, wanted: str) -> bool:
    """Whether a version with this digest holds the content of another; one with a digest of before is read for it."""
    if not digest or digest.startswith(PREFIX):
        return digest == wanted
    reader = rows_of_version(table)
    found = Digest(reader.schema)
    for batch in reader:
        found.add(of_rows(of_columns(batch).values()))
    return str(found) == wanted


def _as_left(about: DatasetVersion, commit: int) -> DatasetVersion:
    """A version that is there already: where rows of it were erased, the times of the source's are not its own."""
    return about if opened(about.uri, commit).count() == about.rows else about.without_times


def _first(commits: dict[int, dict[str, Any]], version: int) -> int:
    """The first of the versions that hold what a version holds."""
    digest = commits[version].get(DIGEST)
    return min(number for number, one in commits.items() if one.get(DIGEST) == digest)


def opened(uri: str, version: int | None = None) -> deltalake.DeltaTable:
    """A version of any Delta table; the latest where none is named.

    Raises:
        DataError: There is no such table, or no such version, or it cannot be read.
    """
    place = uri if uri.startswith(S3) else str(local_path(uri))
    try:
        return deltalake.DeltaTable(place, version=version, storage_options=options(place))
    except TableNotFoundError as error:
        raise DataError(f"{uri}: no Delta table here; check the place") from error
    except (DeltaError, OSError) as error:
        which = "" if version is None else f"version {version} "
        raise DataError(f"{uri}: {which}cannot be read ({_brief(error)}); name another version, or mend it") from error


def dataset(uri: str, version: int | None = None) -> ds.Dataset:
    """The rows of a version of any Delta table as Arrow reads them, by filters and columns; the latest if not said.

    Arrow opens the files itself: those that deltalake opens for it are closed by threads that need Python, and a
    process that ends meanwhile aborts.

    Raises:
        DataError: There is no such table, or no such version, or it cannot be read.
    """
    place = uri if uri.startswith(S3) else local_path(uri)
    return opened(uri, version).to_pyarrow_dataset(filesystem=arrow.folder(place))


def columns(uri: str, version: int) -> dict[str, str]:
    """The columns of a version by their names, each with its type.

    Raises:
        DataError: There is no such version, or it cannot be read.
    """
    fields = opened(uri, version).schema().fields
    return {field.name: str(getattr(field.type, "type", field.type)) for field in fields}


def rows_of_version(
    table: deltalake.DeltaTable, columns: Sequence[str] | None = None, *, in_order: bool = False
) -> pa.RecordBatchReader:
    """The rows of a version of a table, as plain Arrow: text is `string`.

    Args:
        table: The version.
        columns: Those that are read; all where None.
        in_order: Whether they come in the same order each time.
    """
    wanted = "*" if columns is None else ", ".join(map(quoted, columns))
    found = query(f"SELECT {wanted} FROM data", settings=IN_ORDER if in_order else (), data=table)  # noqa: S608 (quoted)
    fields = [field.with_type(plain(field.type)) for field in found.schema]
    schema = pa.schema(fields)
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in found))


def plain(type_: pa.DataType) -> pa.DataType:
    """A type as plain Arrow has it: text is `string`."""
    return pa.string() if pa.types.is_string_view(type_) or pa.types.is_large_string(type_) else type_


def _about(commit: dict[str, Any], uri: str) -> DatasetVersion | None:
    """What a commit says of its version, wherever the store lay; None where it says no more than the digest."""
    return replace(DatasetVersion.parse(commit[ABOUT], uri), uri=uri) if ABOUT in commit else None


def _known(uri: str, commits: dict[int, dict[str, Any]], number: int) -> DatasetVersion:
    """What is known of the version that one of the commits made the latest."""
    commit = commits[number]
    rows = commit.get("operationMetrics", {}).get("num_added_rows", 0)
    plain = DatasetVersion(uri.rsplit("/", 1)[-1], uri, number, rows, str(commit.get(DIGEST, "")))
    return _arrived(_about(commit, uri) or plain, commits)


def at_version(uri: str, version: int) -> tuple[deltalake.DeltaTable, DatasetVersion]:
    """A version of the dataset as it was, and what is known of it.

    Raises:
        DataError: There is no such version.
        DocumentError: What its commit says cannot be read.
    """
    while True:
        latest = free(uri)
        if not latest:
            raise DataError(f"{uri}: no dataset here; run ingest_dataset first")
        if not 0 <= version <= latest.version():
            raise DataError(f"{uri}: has no version {version}; its versions are 0 to {latest.version()}")
        found = opened(uri, version), _known(uri, _commits(uri), version)
        after = free(uri)
        if after and after.version() == latest.version():  # else rows may have been taken out while it was opened
            return found


def _arrived(about: DatasetVersion, commits: dict[int, dict[str, Any]]) -> DatasetVersion:
    """A version with the time at which its content first came, however often it has become the latest again since."""
    return replace(about, arrived=clock.written(_time(commits[about.version])))


def _time(commit: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)


def _commits(uri: str) -> dict[int, dict[str, Any]]:
    """The commits by version.

    deltalake numbers them downwards from the version that it opened, so they count only if none came meanwhile.
    """
    while True:
        table = deltalake.DeltaTable(uri, storage_options=options(uri))
        history = table.history()
        if deltalake.DeltaTable(uri, storage_options=options(uri)).version() == table.version():
            return {int(one["version"]): one for one in history}


def _open(uri: str) -> deltalake.DeltaTable | None:
    try:
        return deltalake.DeltaTable(uri, storage_options=options(uri))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise DataError(f"{uri}: cannot be read ({_brief(error)}); mend the store, or name another") from error


def options(uri: str) -> dict[str, str] | None:
    """What deltalake has to know of where a table lies."""
    if not uri.startswith(S3):
        return None
    from cd4ml.storage.bucket import delta_options

    return delta_options()


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0]
