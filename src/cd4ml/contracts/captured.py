"""What the router keeps of requests, and of what became of them: two tables of Parquet files in one folder.

    requests/<day>/*.parquet    one row an answer of an arm, those of mirrors included (`REQUESTS`)
    feedback/<day>/*.parquet    one row a feedback (`FEEDBACK`); it is about the request with its `request_id`

Files are written whole, and never changed; one day's (UTC) lie in one folder, so that old days can be removed. A file
that is written every few seconds is called by its time (`142503-....parquet`). Those of an hour may be merged into one
that is called by the hour (`14.parquet`) and says in its metadata what it is made of, for both may be there for a time.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

REQUESTS = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),  # when the request had come in
        ("request_id", pa.string()),  # one for an answer and its mirrored ones
        ("arm", pa.string()),
        ("version", pa.string()),  # of the arm's model
        ("propensity", pa.float64()),  # how likely this arm was to get this request, or a copy of it
        ("mirrored", pa.bool_()),  # whether the answer was given to nobody
        ("unit", pa.string()),  # tells whose requests are one caller's; null where the caller is not known
        ("status", pa.int16()),  # of HTTP; 502, 503 and 504 also where the arm was broken, away or late
        ("latency_ms", pa.float64()),  # of the arm, as the router sees it; null of a copy that was dropped (503)
        ("lookup_ms", pa.float64()),  # how long features were looked up, as the request says; else null
        ("features", pa.string()),  # JSON: the values of the rows by name, for features that may be captured; else null
        (
            "outputs",
            pa.list_(pa.string()),
        ),  # the names of what is predicted for a row, of three classes or more theirs; null where nothing was
        ("predictions", pa.list_(pa.float64())),  # row after row, each with a value an output; null where nothing was
    ]
)
FEEDBACK = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),  # when it had come in
        ("request_id", pa.string()),
        ("reward", pa.float64()),  # of the whole request; null where it has labels alone
        (
            "labels",
            pa.list_(pa.string()),
        ),  # what came to be true, one a row, as JSON text; null where it has a reward alone
    ]
)
SUFFIX = ".parquet"
LATE = timedelta(hours=2)
"""How long after a request came in its file may still be written, as where the store was away."""
LAST = "9999"
"""After the folder of any day."""
_PARTS = b"cd4ml.parts"
TABLES = {"requests": REQUESTS, "feedback": FEEDBACK}
"""By the folders of their files."""


def requests(folder: Path | fs.FileSystem, since: datetime | None = None) -> ds.Dataset:
    """What is kept of requests, of the days from a moment on; empty where nothing is yet."""
    return _dataset(folder, "requests", since)


def feedback(folder: Path | fs.FileSystem, since: datetime | None = None) -> ds.Dataset:
    """What is kept of feedback, of the days from a moment on; empty where nothing is yet."""
    return _dataset(folder, "feedback", since)


def day(at: datetime) -> str:
    """What the folder of a day is called."""
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def _dataset(folder: Path | fs.FileSystem, name: str, since: datetime | None) -> ds.Dataset:
    if isinstance(folder, Path):
        folder = fs.SubTreeFileSystem(str(folder.absolute()), fs.LocalFileSystem())
    return opened(folder, name, files(folder, name, day(since) if since else ""))


def files(folder: fs.FileSystem, name: str, first: str = "", *, last: str = LAST) -> list[str]:
    """The files that have each row of a table once.

    Args:
        folder: Of the capture.
        name: Of the table, in `TABLES`.
        first: What the folder of the first day is called.
        last: Likewise.
    """
    wanted = [one for one in days(folder, name) if first <= one <= last]
    return [f"{name}/{one}/{file}" for one in wanted for file in _files(folder, f"{name}/{one}")]


def days(folder: fs.FileSystem, name: str) -> list[str]:
    """What the folders of the days are called that a table has; likewise."""
    found = folder.get_file_info(fs.FileSelector(name, allow_not_found=True))
    return sorted(one.base_name for one in found if one.type is fs.FileType.Directory)


def opened(folder: fs.FileSystem, name: str, chosen: list[str]) -> ds.Dataset:
    """Some files of a table; likewise."""
    return ds.dataset(chosen, schema=TABLES[name], format="parquet", filesystem=folder)


def _files(folder: fs.FileSystem, day_folder: str) -> list[str]:
    """The names of the files of a day, without those of an hour that are merged into another that can be read."""
    found = folder.get_file_info(fs.FileSelector(day_folder))
    names = {one.base_name for one in found if one.extension == "parquet" and not one.base_name.startswith(".")}
    for hour in [name for name in names if is_merged(name)]:
        if any(name != hour and name.startswith(hour.removesuffix(SUFFIX)) for name in names):
            with suppress(pa.ArrowException, ValueError, OSError):
                of = hour.removesuffix(SUFFIX)
                names -= {one for one in parts(f"{day_folder}/{hour}", folder) if one.startswith(of) and one != hour}
    return sorted(names)


def is_merged(name: str) -> bool:
    """Whether a file is made of those of an hour."""
    return re.fullmatch(rf"\d\d{re.escape(SUFFIX)}", name) is not None


def made_of(names: Iterable[str]) -> dict[bytes, bytes]:
    """The metadata of a file that is made of others."""
    return {_PARTS: "\n".join(names).encode()}


def parts(file: str, folder: fs.FileSystem | None = None) -> set[str]:
    """The names of the files that a merged one is made of."""
    return set((pq.read_schema(file, filesystem=folder).metadata or {}).get(_PARTS, b"").decode().split("\n"))
