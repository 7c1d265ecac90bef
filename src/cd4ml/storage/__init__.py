"""The store: immutable objects under names like `models/uptake/3/card.md`, written whole or not at all.

It lies in a folder of this machine, or in a bucket of MinIO or S3. What moves on (which version is the champion) is a
pointer: a row of immutable objects `1`, `2`, `3` under its name, of which the last counts. So nothing is ever
overwritten, and of many that move a pointer at once, the one that creates the next object wins.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import TypeAlias

from cd4ml.errors import StorageError
from cd4ml.names import shown
from cd4ml.storage.layout import check_kind, check_replaced

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""A part of a name in the store."""
NUMBER = re.compile(r"[1-9][0-9]{0,17}")
"""A part that is a number which was given, from 1."""
S3 = "s3://"
LONGEST_NAME = 128
LONGEST_PART = 255
"""Bytes of a part of a path or key, for file systems and MinIO alike."""


Content: TypeAlias = str | bytes | Path
"""What is stored as an object: a text, bytes, or a file, which may be larger than memory."""


class AlreadyStoredError(StorageError):
    """The name is taken; what is stored never changes."""


class PointerMovedError(StorageError):
    """The pointer is not where it was expected: another has moved it."""


@dataclass(frozen=True)
class Pointer:
    """Where a pointer stands."""

    value: str
    version: int
    """How often it has been moved; 1 at first."""


class Store(ABC):
    """Where datasets, published models and deployments are kept."""

    location: str
    """A folder, or `s3://bucket/prefix`."""

    def uri(self, name: str) -> str:
        """Where the object or folder of this name lies.

        Raises:
            StorageError: The name would lead out of the store, or is of no kind that the store keeps.
        """
        for part in name.split("/"):
            check_name(part)
        return f"{self.location}/{check_kind(name)}"

    @abstractmethod
    def children(self, name: str) -> list[str]:
        """The names directly under a name, sorted; none where nothing is stored.

        A folder whose writer has not finished is none of them, nor is what somebody put there whose name no object can
        have.

        Raises:
            StorageError: The store cannot be read.
        """

    @abstractmethod
    def below(self, name: str) -> dict[str, datetime]:
        """The names of all objects below a name, each with when it was written; none where nothing is stored.

        Whether the writer of a folder has finished is not asked.

        Raises:
            StorageError: The store cannot be read.
        """

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[BufferedReader]:
        """An object to read from, open as long as the context lasts.

        Raises:
            StorageError: There is no such object, or it cannot be read.
        """

    def read_bytes(self, name: str) -> bytes:
        """All bytes of an object.

        Raises:
            StorageError: There is no such object, or it cannot be read.
        """
        with self.open(name) as stream:
            return stream.read()

    def read(self, name: str) -> str:
        """The text of an object.

        Raises:
            StorageError: There is no such object, or it cannot be read, or it is no text in UTF-8.
        """
        try:
            return self.read_bytes(name).decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"store {self.location}: {name} is no text in UTF-8; read its bytes") from error

    @abstractmethod
    def add(self, name: str, content: Content) -> None:
        """Stores an object, whole or not at all; of many that add one name at once, one does.

        Raises:
            AlreadyStoredError: The name is taken.
            StorageError: The store cannot be written, or there is no such file.
        """

    def replace(self, name: str, text: str) -> None:
        """Stores a text in the place of the one that has its name; readers see the one or the other, whole.

        Raises:
            StorageError: Objects of this kind are never replaced, or the store cannot be written.
        """
        self._replace(check_replaced(name), text)

    @abstractmethod
    def _replace(self, name: str, text: str) -> None: ...

    @abstractmethod
    def add_folder(self, name: str, contents: Mapping[str, Content], *, claim: str = "") -> None:
        """Stores a folder, all of it or nothing that a reader sees.

        Args:
            name: The folder's name in the store.
            contents: By name in the folder: a file or folder to copy, a text, or bytes.
            claim: Tells these contents from all others, so that whoever adds the same goes on where one was killed; a
                name that a killed writer leaves taken stays so where nothing is said.

        Raises:
            AlreadyStoredError: The name is taken.
            StorageError: The store cannot be written.
        """

    def pointer(self, name: str) -> Pointer | None:
        """Where a pointer stands; None where it was never moved.

        Raises:
            StorageError: The store cannot be read.
        """
        version = max((int(child) for child in self.children(name) if NUMBER.fullmatch(child)), default=0)
        return Pointer(self.read(f"{name}/{version}"), version) if version else None

    def move(self, name: str, value: str, expected: Pointer | None) -> Pointer:
        """Moves a pointer on from where it is expected to stand; of many that do so at once, one does.

        Args:
            name: The pointer's.
            value: What it points at from now on.
            expected: Where it stood when it was asked (`pointer`).

        Returns:
            Where it stands.

        Raises:
            PointerMovedError: It stands elsewhere.
            StorageError: The store cannot be written.
        """
        moved = Pointer(value, expected.version + 1 if expected else 1)
        try:
            self.add(f"{name}/{moved.version}", value)
        except AlreadyStoredError as error:
            raise PointerMovedError(
                f"store {self.location}: {name} has been moved by another since it was asked; ask again"
            ) from error
        return moved


def open_store(location: str | Path) -> Store:
    """Opens a store; nothing is read or written yet.

    Args:
        location: A folder, made at the first write, or `s3://bucket/prefix`. Where S3 is, and as whom to ask, is said
            by AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and SSL_CERT_FILE.

    Raises:
        StorageError: The location is no such place.
    """
    if "://" in str(location):
        from cd4ml.storage.bucket import S3Store

        return S3Store(str(location))
    from cd4ml.storage.folder import FolderStore

    return FolderStore(location)


def region() -> str:
    """The region of S3 that the environment names."""
    return os.environ.get("AWS_REGION") or "us-east-1"


def check_uri(uri: str) -> str:
    """Makes sure that something can lie there: a path of this machine, or `s3://bucket/name`.

    Raises:
        StorageError: Nothing can.
    """
    if uri.startswith(S3):
        open_store(uri)
    else:
        local_path(uri)
    return uri


def local_path(path: str | Path) -> Path:
    """A path of this machine; `~` is the home folder.

    Raises:
        StorageError: There can be no such path.
    """
    if not str(path).strip():
        raise StorageError("the path is empty; name a file or folder")
    try:
        expanded = Path(path).expanduser()
        if max(len(os.fsencode(part)) for part in expanded.parts) > LONGEST_PART:
            raise StorageError(f"{str(path)[:40]}…: a name has more than {LONGEST_PART} bytes; name another path")
        expanded.resolve().exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(f"{path}: cannot be used as a path ({error}); name another") from error
    return expanded


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """What lies at a URI, as a file or folder of this machine, there as long as the context lasts.

    Args:
        uri: A path, or `s3://bucket/name` of an object or of all objects under a name.

    Raises:
        StorageError: Nothing is there in the bucket, or it cannot be read; or there can be no such path.
    """
    if not uri.startswith(S3):
        yield local_path(uri)
        return
    from cd4ml.storage.bucket import downloaded

    with downloaded(uri) as path:
        yield path


def is_name(name: str) -> bool:
    """Whether a model, a dataset or an object can have this name."""
    return bool(NAME.fullmatch(name)) and len(name) <= LONGEST_NAME


def listed(bucket: str, prefix: str) -> dict[str, str]:
    """The ETags of the objects of a bucket whose names begin so, by name.

    Args:
        bucket: `s3://bucket`.
        prefix: The beginning of the names.

    Raises:
        StorageError: The bucket cannot be asked.
    """
    from cd4ml.storage.bucket import etags

    return etags(bucket, prefix)


def check_name(name: str) -> str:
    """Makes sure that a model or dataset can have this name.

    Raises:
        StorageError: It cannot; says which names can be.
    """
    if not is_name(name):
        raise StorageError(
            f"{shown(name)} cannot be a name: use letters, digits, '_', '-' and '.', the last not first, "
            f"{LONGEST_NAME} characters at most"
        )
    return name
