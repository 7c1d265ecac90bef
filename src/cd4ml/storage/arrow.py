"""Folders of files as Arrow sees them, on this machine or in a bucket, for programs without the store's own client."""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from cd4ml.storage import S3, region

UNFINISHED = ".unfinished-"
TLS_ARROW = 11
"""The first after that of validation."""
_COPIED_BYTES = 2**23
"""How much of a file is in memory at once."""
NOBODYS_SECONDS = 600
"""After which an unfinished file is that of a process that was killed."""


def bucket() -> fs.S3FileSystem:
    """The S3 that the environment names."""
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    return fs.S3FileSystem(
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=os.environ.get("AWS_SESSION_TOKEN") or None,
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
        region=region(),
        **_certificates(),
    )


def _certificates() -> dict[str, str | None]:
    """Whose certificates count; the Arrow of validation takes them from `SSL_CERT_FILE` by itself, and not here."""
    if int(pa.__version__.split(".")[0]) < TLS_ARROW:
        return {}
    return {"tls_ca_file_path": os.environ.get("SSL_CERT_FILE")}


def folder(place: str | Path) -> fs.SubTreeFileSystem:
    """What lies in a folder; nothing is asked yet.

    Args:
        place: A path, or `s3://bucket/prefix`.
    """
    if str(place).startswith(S3):
        return fs.SubTreeFileSystem(str(place).removeprefix(S3), bucket())
    return fs.SubTreeFileSystem(str(Path(place).absolute()), fs.LocalFileSystem())


def write(place: fs.SubTreeFileSystem, name: str, content: bytes) -> None:
    """Writes a file, whole or not at all; its folders are made, for this user alone.

    Raises:
        OSError: It cannot be written.
    """
    here = _here(place)
    if here is None:
        with place.open_output_stream(name) as stream:
            stream.write(content)
        return
    with _whole(here / name) as unfinished:
        unfinished.write_bytes(content)


def copy(file: Path, place: fs.SubTreeFileSystem, name: str) -> None:
    """Writes what another file holds, of whatever size; on this machine whole or not at all.

    Raises:
        OSError: It cannot be read or written.
    """
    here = _here(place)
    if here is None:
        with file.open("rb") as stream, place.open_output_stream(name) as written:
            shutil.copyfileobj(stream, written, _COPIED_BYTES)
        return
    with _whole(here / name) as unfinished:
        shutil.copyfile(file, unfinished)


def fetch(place: fs.SubTreeFileSystem, name: str, file: Path) -> None:
    """Writes what a file of any size holds into another, whose folders are made.

    Raises:
        OSError: It cannot be read or written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with place.open_input_stream(name) as stream, file.open("wb") as written:
        shutil.copyfileobj(stream, written, _COPIED_BYTES)


def remove(place: fs.SubTreeFileSystem, name: str) -> None:
    """Removes a file, and its folder where that is empty then.

    In a bucket, where no task may delete, it becomes empty; what expires there by a rule is then next to nothing.

    Raises:
        OSError: It cannot be removed.
    """
    here = _here(place)
    if here is None:
        write(place, name, b"")
        return
    file = here / name
    file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are there
        file.parent.rmdir()


def clean(place: fs.SubTreeFileSystem) -> None:
    """Removes what killed processes have begun to write; a bucket shows none of that."""
    here = _here(place)
    for file in here.rglob(f"{UNFINISHED}*") if here else ():
        if file.stat().st_mtime < time.time() - NOBODYS_SECONDS:
            file.unlink()


def expire(place: fs.SubTreeFileSystem, seconds: float) -> None:
    """Removes the files on this machine that are older, and their folders where those are empty then.

    Raises:
        OSError: One cannot be removed.
    """
    here = _here(place)
    for file in list(here.rglob("*")) if here else ():
        if file.is_file() and file.stat().st_mtime < time.time() - seconds:
            remove(folder(file.parent), file.name)


def _here(place: fs.SubTreeFileSystem) -> Path | None:
    return Path(place.base_path) if isinstance(place.base_fs, fs.LocalFileSystem) else None


@contextlib.contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """What a file is called until it is whole; its folders are made, for this user alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        yield unfinished
        unfinished.rename(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
