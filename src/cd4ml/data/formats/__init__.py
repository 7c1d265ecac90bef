"""Files as rows, by their format."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

from cd4ml.data.files import File
from cd4ml.data.reading import Reading, Type
from cd4ml.data.rows import Rows
from cd4ml.errors import DataError

Reader: TypeAlias = Callable[[Sequence[File], Reading, Mapping[str, Type]], Rows]

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
"""In the names of files that Beam writes; TFX's are called as `data_tfrecord-00000-of-00010.gz`."""
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def rows(files: Sequence[File], reading: Reading, *, types: Mapping[str, Type], close: Callable[[], object]) -> Rows:
    """The rows of files, one after the other.

    Args:
        files: All of one format.
        reading: How they are read.
        types: What columns hold.
        close: Frees what is held for the files.

    Raises:
        DataError: They are of no known format or of several, one of them is empty, or it cannot be read.
    """
    try:
        name = reading.format or _format(files)
        found = _reader(name)(files, reading, types)
    except BaseException:
        close()
        raise
    return Rows(found.schema, found.batches, found.said, close, format=name)


def compression(file: File) -> str | None:
    """How a file is compressed, by its name."""
    return COMPRESSIONS.get(PurePosixPath(file.path.name).suffix.lower())


def _format(files: Sequence[File]) -> str:
    """The one format of all files."""
    formats = {file.name: _format_of(file) for file in files}
    first = files[0].name
    other = next((name for name, one in formats.items() if one != formats[first]), None)
    if other is not None:
        raise DataError(
            f"{other}: is not of the format of {first}; name the files of one format by a glob such as FOLDER/*.parquet"
        )
    return formats[first]


def _format_of(file: File) -> str:
    name = _SHARD.sub("", file.path.name.lower()).replace("_tfrecord", ".tfrecord")
    suffixes = PurePosixPath(name).suffixes
    suffix = next((one for one in reversed(suffixes) if one not in COMPRESSIONS), "")
    if suffix not in FORMATS:
        raise DataError(
            f"{file.name}: of no known format; give a file that ends in {', '.join(FORMATS)}, perhaps with "
            f"{', '.join(COMPRESSIONS)} after it, or write `read: {{format: csv}}`"
        )
    return FORMATS[suffix]


def _reader(name: str) -> Reader:
    match name:
        case "csv":
            from cd4ml.data.formats import delimited

            return delimited.rows
        case "jsonl":
            from cd4ml.data.formats import json_lines

            return json_lines.rows
        case "tfrecord":
            from cd4ml.data.formats import tfrecord

            return tfrecord.rows
    from cd4ml.data.formats import binary

    return binary.parquet if name == "parquet" else binary.arrow
