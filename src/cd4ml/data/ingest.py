"""Acquiring data: a team's table becomes a version of a dataset."""

import hashlib

import pyarrow as pa
import pyarrow.csv as pacsv

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.data import raw, sources
from cd4ml.data import table as tables
from cd4ml.storage import check_name


def ingest(source: str, *, store: str, name: str, key: str, time_column: str = "") -> DatasetVersion:
    """Adds a table to the store as the latest version of a dataset; nothing new when nothing changed.

    Args:
        source: A path or `s3://` URI of a file that ends in `.csv` or `.parquet`; or an object as JSON, `{"file": …}`
            (`cd4ml.data.sources`).
        store: A folder, or `s3://bucket/prefix`.
        name: The dataset's name in the store.
        key: The column that tells rows apart.
        time_column: The column that says when a row came to be; empty where there is none.

    Raises:
        DataError: The source is no such table, or the store cannot be written.
        StorageError: The name cannot be that of a dataset.
    """
    check_name(name)
    origin = sources.parse(source)
    table = raw.checked(origin.read(), str(origin), key=key, time_column=time_column)
    digest = content_digest(table)
    uri = tables.location(store, name)
    version = tables.add_version(uri, table, digest)
    return DatasetVersion(name, uri, version, table.num_rows, digest)


def content_digest(table: pa.Table) -> str:
    """`sha256:` over the types and values of a table that is sorted by its key."""
    ordered = table.select(sorted(table.column_names))
    content = _Hash(repr([(field.name, str(field.type)) for field in ordered.schema]))
    pacsv.write_csv(ordered, pa.PythonFile(content, "w"))
    return f"sha256:{content.sha256.hexdigest()}"


class _Hash:
    """A file that keeps no more than the hash of what is written."""

    closed = False

    def __init__(self, start: str) -> None:
        self.sha256 = hashlib.sha256(start.encode())

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
