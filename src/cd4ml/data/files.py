"""The files of a source: found by paths, folders and globs, on this machine or in a bucket."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from cd4ml.errors import DataError, StorageError
from cd4ml.storage import S3, listed, local_copy, local_path

_PARTITION = re.compile(r"([^/=]+)=([^/]*)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What stands in the name of a folder, as Hive and Spark write it, where the column is missing."""


@dataclass(frozen=True)
class File:
    """A file of a source, on this machine."""

    path: Path
    name: str
    """What errors call it."""
    partition: Mapping[str, str] = field(default_factory=dict)
    """What the folders above it say of all its rows, as `year=2026`."""


@dataclass(frozen=True)
class Found:
    """A file of a source, where it lies."""

    uri: str
    state: str
    """What tells its content from what it is at another time."""
    below: str
    """Its path within the folder that was named; its own name where none was."""


def find(uris: Sequence[str]) -> list[Found]:
    """The files that paths, folders, globs and `s3://` URIs stand for, sorted by name; hidden ones are none.

    Raises:
        DataError: One of them stands for none on this machine, or has a `**`.
        StorageError: One of them stands for none in its bucket, or the bucket cannot be asked.
    """
    for uri in uris:
        if "**" in uri.split("/"):
            raise DataError(f"{uri}: ** is no part of a glob; name the folder above it, or write * for each folder")
    return [one for uri in uris for one in (_in_bucket(uri) if uri.startswith(S3) else _here(uri))]


def local(found: Sequence[Found], held: ExitStack) -> list[File]:
    """The files on this machine; those of a bucket are copied.

    Args:
        found: What `find` gave.
        held: Holds the copies.
    """
    return [File(held.enter_context(local_copy(one.uri)), one.uri, _partition(one.below)) for one in found]


def _here(uri: str) -> Iterator[Found]:
    path = local_path(uri)
    try:
        if path.is_dir():
            yield from _in_folder(path, uri)
        elif path.exists() or not has_magic(uri):
            yield _of(path, path.name, uri)
        else:
            yield from _matching(path, uri)
    except OSError as error:
        raise DataError(f"{uri}: cannot be read ({error.strerror}); check the path, and who may read it") from error


def _matching(path: Path, uri: str) -> Iterator[Found]:
    root = Path(path.anchor) if path.is_absolute() else Path.cwd()
    pattern = str(path.relative_to(path.anchor))
    found = sorted(one for one in root.glob(pattern) if one.is_file() and not _is_hidden(one.name))
    if not found:
        raise DataError(f"{uri}: no file matches it; check the path")
    for one in found:
        shown = one if path.is_absolute() else one.relative_to(root)
        yield _of(shown, str(shown), str(shown))


def _in_folder(folder: Path, uri: str) -> Iterator[Found]:
    if (folder / "_delta_log").is_dir():
        raise DataError(f"{uri}: is a Delta table; write it as {{delta: {uri}}}")
    names = sorted(str(file.relative_to(folder)) for file in _files_of(folder))
    if not names:
        raise DataError(f"{uri}: holds no file; name a folder with data")
    for name in names:
        yield _of(folder / name, name, str(Path(uri) / name))


def _files_of(folder: Path) -> Iterator[Path]:
    """The files in a folder and in the folders that it links to; of two ways to one folder, that without a link."""
    seen, links = set[str](), [folder]
    for start in links:
        for place, folders, files in os.walk(start, onerror=_raise):
            real = os.path.realpath(place)
            folders[:] = [one for one in folders if not _is_hidden(one) and real not in seen]
            if real not in seen:
                seen.add(real)
                links += [Path(place, one) for one in folders if Path(place, one).is_symlink()]
                yield from (Path(place, one) for one in files if not _is_hidden(one))


def _raise(error: OSError) -> None:
    raise error


def _of(path: Path, below: str, uri: str) -> Found:
    if not path.exists() and not path.is_symlink():
        raise DataError(f"{uri}: no such file; check the path")
    status = path.stat()
    if not path.is_file():
        raise DataError(f"{uri}: is no file; name a file, a folder or a glob")
    return Found(uri, f"{status.st_size} bytes of {status.st_mtime_ns}", below)


def _in_bucket(uri: str) -> list[Found]:
    bucket, _, key = uri.removeprefix(S3).partition("/")
    asked = key.rstrip("/")
    fixed = asked[: re.search(r"[*?[]|$", asked).start()]  # type: ignore[union-attr] # the end always matches
    found = []
    for name, etag in sorted(listed(f"{S3}{bucket}", fixed).items()):
        if name.startswith(f"{asked}/_delta_log/"):
            raise DataError(f"{uri}: is a Delta table; write it as {{delta: {uri}}}")
        below = _below(name, asked=asked, fixed=fixed)
        if below:
            found.append(Found(f"{S3}{bucket}/{name}", etag, below))
    if not found:
        raise StorageError(f"{uri}: nothing is stored there; check the name")
    return found


def _below(name: str, *, asked: str, fixed: str) -> str:
    """Where an object lies within what was asked for; empty where it is none of that, or hidden.

    Args:
        name: The object's.
        asked: An object, a folder, or a glob.
        fixed: The beginning of a glob, up to its first sign; else all of it.
    """
    if fixed != asked:
        below, seen = name, name[len(fixed.rpartition("/")[0]) :]
        is_in = _matches(name, asked)
    else:
        below = seen = PurePosixPath(name).name if name == asked else name.removeprefix(f"{asked}/")
        is_in = name == asked or name.startswith(f"{asked}/")
    return below if is_in and not any(map(_is_hidden, seen.split("/"))) else ""


def _matches(name: str, pattern: str) -> bool:
    """Whether a name matches a glob, part by part."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _partition(below: str) -> dict[str, str]:
    found = [match for one in PurePosixPath(below).parts[:-1] if (match := _PARTITION.fullmatch(one))]
    return {unquote(match[1]): unquote(match[2]) for match in found if match[2] != _NO_VALUE}
