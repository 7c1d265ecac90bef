"""The store: immutable objects under names like `models/uptake/3/card.md`, written whole or not at all.

It lies in a folder of this machine, or in a bucket of MinIO or S3.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cd4ml.errors import StorageError
from cd4ml.names import shown

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""A part of a name in the store."""
S3 = "s3://"
LONGEST_NAME = 128
LONGEST_PART = 255
"""Bytes of a part of a path or key, for file systems and MinIO alike."""


class AlreadyStoredError(StorageError):
    """The name is taken; what is stored never changes."""


class Store(ABC):
    """Where datasets, published models and deployments are kept."""

    location: str
    """A folder, or `s3://bucket/prefix`."""

    def uri(self, name: str) -> str:
        """Where the object or folder of this name lies.

        Raises:
            StorageError: The name would lead out of the store.
        """
        return "/".join([self.location, *map(check_name, name.split("/"))])

    @abstractmethod
    def children(self, name: str) -> list[str]:
        """The names directly under a name, sorted; none where nothing is stored.

        Raises:
            StorageError: The store cannot be read.
        """

    @abstractmethod
    def read(self, name: str) -> str:
        """The text of an object.

        Raises:
            StorageError: There is no such object, or it cannot be read.
        """

    @abstractmethod
    def add(self, name: str, text: str) -> None:
        """Stores a text.

        Raises:
            AlreadyStoredError: The name is taken.
            StorageError: The store cannot be written.
        """

    @abstractmethod
    def add_folder(self, name: str, contents: Mapping[str, Path | str]) -> None:
        """Stores a folder, all of it or nothing that a reader sees.

        Args:
            name: The folder's name in the store.
            contents: By name in the folder: a file or folder to copy, or a text.

        Raises:
            AlreadyStoredError: The name is taken.
            StorageError: The store cannot be written.
        """


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


def check_name(name: str) -> str:
    """Makes sure that a model or dataset can have this name.

    Raises:
        StorageError: It cannot; says which names can be.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise StorageError(
            f"{shown(name)} cannot be a name: use letters, digits, '_', '-' and '.', the last not first, "
            f"{LONGEST_NAME} characters at most"
        )
    return name
