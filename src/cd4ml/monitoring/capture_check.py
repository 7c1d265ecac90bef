"""Whether a capture has what a server writes there: who may write these files alone ends nothing that way."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from cd4ml.contracts import captured_features
from cd4ml.contracts.moments import EARLIEST, LATEST

MOST_ROWS = 100_000
"""A file of more rows has so many bytes a row at least."""
BYTES_A_ROW = 2
"""Less than the moment of a row takes, however well a file is compressed."""
AT_ONCE = 16
"""Footers that are read at the same time."""
_ALWAYS = {
    "requests": ("at", "request_id", "arm", "version", "propensity", "mirrored", "status"),
    "feedback": ("at", "request_id"),
}
"""By table the columns that no row lacks."""
_FINITE = {"requests": ("propensity", "latency_ms", "lookup_ms"), "feedback": ("reward",)}


@dataclass(frozen=True)
class Size:
    """What footers say of files."""

    rows: int
    memory: int
    """Bytes, about."""


def size(files: ds.FileSystemDataset, folder: fs.FileSystem) -> Size:
    """How much some files have.

    Raises:
        ValueError: One has more rows than its bytes can hold, which would fill the memory of whoever reads it.
        OSError: One cannot be read, or is no Parquet.
    """
    fragments = list(files.get_fragments())
    with ThreadPoolExecutor(AT_ONCE) as beside:
        footers = list(beside.map(lambda one: one.metadata, fragments))
    for fragment, footer in zip(fragments, footers, strict=True):
        if footer.num_rows > MOST_ROWS:
            check_rows(footer, folder.get_file_info(fragment.path).size)
    return Size(sum(one.num_rows for one in footers), sum(map(_memory, footers)))


def check_rows(footer: pq.FileMetaData, bytes_: int) -> None:
    """Makes sure that a file is as large as so many rows are.

    Raises:
        ValueError: It is not.
    """
    if footer.num_rows > MOST_ROWS and bytes_ < BYTES_A_ROW * footer.num_rows:
        raise ValueError(f"{footer.num_rows:,} rows in {bytes_:,} bytes are no capture")


def check(name: str, rows: pa.Table) -> None:
    """Makes sure that rows of a table are such as a server writes.

    Args:
        name: Of the table, in `captured.TABLES`.
        rows: Of it.

    Raises:
        ValueError: They are not.
    """
    for column in _ALWAYS[name]:
        if rows[column].null_count:
            raise ValueError(f"a row has no {column}")
    for column in _FINITE[name]:
        if not pc.all(pc.is_finite(rows[column]), min_count=0).as_py():
            raise ValueError(f"{column} is not finite")
    ends = pc.min_max(rows["at"].cast(pa.int64())).as_py()
    if len(rows) and not EARLIEST <= ends["min"] <= ends["max"] <= LATEST:
        raise ValueError("a moment is beyond the years 1 to 9999")
    if name == "requests" and not captured_features.are_lists(rows["features"]):
        raise ValueError("features are no lists by name")


def _memory(footer: pq.FileMetaData) -> int:
    return sum(footer.row_group(number).total_byte_size for number in range(footer.num_row_groups))
