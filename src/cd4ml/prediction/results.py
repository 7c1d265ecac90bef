"""The table of predictions in the store: a Delta Lake table at `<store>/predictions/<model>/<output>`.

Each version is what one model predicted for one table, whole. Its files are immutable objects called by what they were
made from, so that a run which is started again, or which meets most of the rows of the one before, finds them there;
readers see a version when all of it is there.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import deltalake
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, create_table_with_add_actions

from cd4ml.contracts.predicted import Predicted
from cd4ml.data import table
from cd4ml.errors import DataError
from cd4ml.registry import clock
from cd4ml.storage import check_name

FOLDER = "predictions"
ABOUT = "cd4ml_predicted"
ATTEMPTS = 10


@dataclass(frozen=True)
class File:
    """One file of a version, which lies in the store."""

    name: str
    size: int
    """In bytes."""
    rows: int


def folder(model: str, output: str) -> str:
    """The name of a table in the store."""
    return f"{FOLDER}/{check_name(model)}/{check_name(output)}"


def latest(uri: str) -> Predicted | None:
    """What the latest version is; None where there is none.

    Raises:
        DataError: The table cannot be read.
        DocumentError: Its commit cannot.
    """
    return _latest_of(table.opened(uri), uri) if table.exists(uri) else None


def _latest_of(opened: deltalake.DeltaTable, uri: str) -> Predicted | None:
    text = next((one[ABOUT] for one in opened.history() if ABOUT in one), None)  # the newest first
    return Predicted.parse(text, uri) if text else None


def commit(about: Predicted, files: Sequence[File], schema: pa.Schema) -> Predicted:
    """Makes files the latest version, unless they are that already; safe beside others that do the same.

    Args:
        about: What the version is, but for its number and time.
        files: All of it.
        schema: Of their rows.

    Raises:
        DataError: The store cannot be written, or others write to the table all the time.
    """
    for _ in range(ATTEMPTS):
        opened = table.opened(about.uri) if table.exists(about.uri) else None
        before = _latest_of(opened, about.uri) if opened else None
        if before and before.is_as(about) and before.fingerprint == about.fingerprint:
            return before
        made = replace(about, version=opened.version() + 1 if opened else 0, at=clock.now())
        properties = CommitProperties(custom_metadata={ABOUT: made.text}, max_commit_retries=0)
        try:
            _write(made.uri, opened, files=files, schema=schema, properties=properties)
        except CommitFailedError:
            continue  # another run was faster
        except (DeltaError, OSError) as error:
            if opened is None and table.exists(made.uri):
                continue
            said = str(error).splitlines()[0]
            raise DataError(f"{made.uri}: cannot be written ({said}); mend the store") from error
        return made
    raise DataError(f"{about.uri}: other runs write to it at the same time; run again when they are done")


def _write(
    uri: str,
    opened: deltalake.DeltaTable | None,
    *,
    files: Sequence[File],
    schema: pa.Schema,
    properties: CommitProperties,
) -> None:
    fields = deltalake.Schema.from_arrow(schema)
    if opened is None:
        create_table_with_add_actions(
            uri,
            fields,
            [_added(one) for one in files],
            mode="error",
            partition_by=[],
            configuration=table.FOREVER,
            storage_options=table.options(uri),
            commit_properties=properties,
        )
        return
    there, wanted = _files(opened), {one.name for one in files}
    added = [_added(one) for one in files if one.name not in there]
    removed = [_removed(name, size) for name, size in there.items() if name not in wanted]
    alike = opened.schema() == fields
    opened.create_write_transaction(
        [*removed, *added] if alike else added,
        mode="append" if alike else "overwrite",
        schema=fields,
        partition_by=[],
        commit_properties=properties,
    )


def _files(opened: deltalake.DeltaTable) -> Mapping[str, int]:
    """The sizes of the files of a version, by their names."""
    actions = pa.table(opened.get_add_actions())
    return dict(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))


def _added(file: File) -> AddAction:
    stats = json.dumps({"numRecords": file.rows})
    return AddAction(file.name, file.size, {}, _milliseconds(), True, stats)


def _removed(name: str, size: int) -> RemoveAction:
    return RemoveAction(name, True, _milliseconds(), size=size, partition_values={})


def _milliseconds() -> int:
    return int(time.time() * 1000)
