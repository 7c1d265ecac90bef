"""What a training reads, on its way to workers in other pods: `workers/TASK/DIGEST` in the store.

Each file is called by the SHA-256 of its bytes, and so is the list of them, by which a pod finds the rest and knows
that it is what was meant. What is asked of the training is one of the files.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from cd4ml.contracts.document import Document
from cd4ml.errors import DocumentError, StorageError, TrainingError
from cd4ml.storage import arrow

FOLDER = "workers"
_LIST = ".list"
_FOR_GOOD = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "NO_SUCH_BUCKET", "SIGNATURE_DOES_NOT_MATCH")
"""What an S3 answers that will answer so again."""


class NotPassedError(TrainingError):
    """The store does not do it now, and may do it later."""


@dataclass(frozen=True)
class Passed(Document, kind="cd4ml/PassedFiles", remedy="run the training again"):
    """The files that one training reads."""

    files: Mapping[str, str]
    """The SHA-256 of each, by its name."""


def put(files: Mapping[str, Path], *, store: str, task: str) -> str:
    """Writes what is not there yet.

    Args:
        files: By the names that they are to have.
        store: A folder, or `s3://bucket/prefix`.
        task: Tells the task from every other, of other runs too.

    Returns:
        The place of the list of them.

    Raises:
        NotPassedError: The store cannot be written.
    """
    place = _place(store, task)
    with _told(place):
        folder = arrow.folder(place)
        there = {one.base_name: one.size for one in _listed(folder)}
        listed = Passed({name: _put(folder, file, there) for name, file in files.items()}).text.encode()
        digest = hashlib.sha256(listed).hexdigest()
        arrow.write(folder, digest, listed)
    return f"{place}/{digest}"


def fetch(place: str, folder: Path) -> None:
    """Reads all of them into a folder.

    Args:
        place: Of their list.
        folder: Where each gets its name.

    Raises:
        NotPassedError: The store does not answer, or has none of them.
        TrainingError: One is not what was written.
    """
    prefix, _, digest = place.rpartition("/")
    with _told(prefix):
        stored = arrow.folder(prefix)
        _fetch(stored, digest, folder / _LIST)
        for name, one in Passed.read(folder / _LIST).files.items():
            _fetch(stored, one, folder / name)


def settle(store: str, task: str) -> None:
    """Removes what was written for a task; in a bucket, where no task may delete, it becomes empty.

    Raises:
        NotPassedError: The store cannot be written.
    """
    place = _place(store, task)
    with _told(place):
        folder = arrow.folder(place)
        for one in _listed(folder):
            if one.size:
                arrow.remove(folder, one.base_name)


def _place(store: str, task: str) -> str:
    return f"{store.rstrip('/')}/{FOLDER}/{task}"


def _listed(folder: fs.SubTreeFileSystem) -> list[fs.FileInfo]:
    found: list[fs.FileInfo] = folder.get_file_info(fs.FileSelector("", allow_not_found=True))
    return found


def _put(folder: fs.SubTreeFileSystem, file: Path, there: Mapping[str, int]) -> str:
    digest = _digest(file)
    if there.get(digest) != file.stat().st_size:
        arrow.copy(file, folder, digest)
    return digest


def _fetch(stored: fs.SubTreeFileSystem, digest: str, file: Path) -> None:
    arrow.fetch(stored, digest, file)
    if _digest(file) != digest:
        raise StorageError(f"{digest} has other bytes than were written; run the training again")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, StorageError, DocumentError) as error:
        if isinstance(error, OSError) and not any(word in str(error) for word in _FOR_GOOD):
            raise NotPassedError(_words(place, error)) from error
        raise TrainingError(_words(place, error)) from error


def _words(place: str, error: Exception) -> str:
    return f"workers: what they read is not passed on by {place}: {error}"
