"""The dataset's table in the store: a Delta Lake table at `<store>/datasets/<name>`.

Each version holds the whole table. Its commit keeps the digest of the content, so that the same content makes no
new version; no version is ever cleaned away.
"""

import uuid
from typing import Any

import deltalake
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cd4ml.errors import DataError
from cd4ml.storage import S3, open_store

DIGEST = "cd4ml_digest"
COMMIT = "cd4ml_commit"
FOREVER = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}
ATTEMPTS = 10


def location(store: str, name: str) -> str:
    """Where the dataset of this name lies in a store."""
    return open_store(store).uri(f"datasets/{name}")


def add_version(uri: str, table: pa.Table, digest: str) -> int:
    """Makes the table the latest version, unless it is that already; safe beside others that do the same.

    Returns:
        The number of the version that holds the table.

    Raises:
        DataError: The store cannot be written, or others write to it all the time.
    """
    for _ in range(ATTEMPTS):
        latest = _open(uri)
        if latest and _commits(uri).get(latest.version(), {}).get(DIGEST) == digest:
            return int(latest.version())
        commit = uuid.uuid4().hex
        try:
            deltalake.write_deltalake(
                latest or uri,
                table,
                mode="overwrite" if latest else "error",
                schema_mode="overwrite" if latest else None,
                configuration=None if latest else FOREVER,
                storage_options=_options(uri),
                commit_properties=deltalake.CommitProperties(
                    custom_metadata={DIGEST: digest, COMMIT: commit}, max_commit_retries=0
                ),
            )
        except CommitFailedError:
            continue  # another run was faster, perhaps with this very content
        except (DeltaError, OSError) as error:
            if not latest and _open(uri):
                continue
            raise DataError(f"{uri}: cannot be written ({_brief(error)}); mend the store, or name another") from error
        return next(version for version, one in _commits(uri).items() if one.get(COMMIT) == commit)
    raise DataError(f"{uri}: other runs write to it at the same time; run again when they are done")


def at_version(uri: str, version: int) -> tuple[deltalake.DeltaTable, str]:
    """A version of the dataset as it was, and its digest.

    Raises:
        DataError: There is no such version.
    """
    latest = _open(uri)
    if not latest:
        raise DataError(f"{uri}: no dataset here; run ingest_dataset first")
    if not 0 <= version <= latest.version():
        raise DataError(f"{uri}: has no version {version}; its versions are 0 to {latest.version()}")
    digest = _commits(uri).get(version, {}).get(DIGEST, "")
    return deltalake.DeltaTable(uri, version=version, storage_options=_options(uri)), str(digest)


def _commits(uri: str) -> dict[int, dict[str, Any]]:
    """The commits by version.

    deltalake numbers them downwards from the version that it opened, so they count only if none came meanwhile.
    """
    while True:
        table = deltalake.DeltaTable(uri, storage_options=_options(uri))
        history = table.history()
        if deltalake.DeltaTable(uri, storage_options=_options(uri)).version() == table.version():
            return {int(one["version"]): one for one in history}


def _open(uri: str) -> deltalake.DeltaTable | None:
    try:
        return deltalake.DeltaTable(uri, storage_options=_options(uri))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise DataError(f"{uri}: cannot be read ({_brief(error)}); mend the store, or name another") from error


def _options(uri: str) -> dict[str, str] | None:
    if not uri.startswith(S3):
        return None
    from cd4ml.storage.bucket import delta_options

    return delta_options()


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0]
