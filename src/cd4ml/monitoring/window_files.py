"""The files of the table of windows, and which windows have lost one."""

from urllib.parse import unquote

import deltalake
import pyarrow as pa

from cd4ml.contracts.window import ends_of
from cd4ml.data import table as tables
from cd4ml.errors import DataError
from cd4ml.names import counted, first_line
from cd4ml.registry import clock
from cd4ml.storage import S3, arrow, local_path

WINDOW = "window"
"""The column that says which window a row is of; the files of a window are in a folder by it."""


def lost(opened: deltalake.DeltaTable, uri: str, window: str = "") -> list[str]:
    """The keys of the windows of which a file is not there, or cut off.

    Args:
        opened: The table.
        uri: Where it lies.
        window: The key of the one that is looked at; all if not said.
    """
    actions = pa.table(opened.get_add_actions(flatten=True))
    sizes = dict(zip(map(unquote, actions["path"].to_pylist()), actions["size_bytes"].to_pylist(), strict=True))
    folder = arrow.folder(uri if uri.startswith(S3) else local_path(uri))
    there = folder.get_file_info([file for file in sizes if file.startswith(f"{WINDOW}={window}")])
    gone = [one.path.partition("/")[0] for one in there if one.size != sizes[one.path]]
    return sorted({one.removeprefix(f"{WINDOW}=") for one in gone})


def unread(uri: str, error: Exception) -> DataError:
    """Why the table could not be read, with what mends it."""
    gone = lost(tables.opened(uri), uri)
    if not gone:
        return DataError(f"{uri}: cannot be read ({first_line(error)}); mend the store")
    begin, until = map(clock.written, ends_of(gone[0]))
    model, more = uri.rpartition("/")[2], f", and {counted(len(gone) - 1, 'window')} more" if gone[1:] else ""
    return DataError(
        f"{uri}: a file of the window from {begin} until {until} is lost or cut off{more}; write it again: "
        f"`cd4ml monitor collect {model} --since {begin} --until {until}`"
    )
