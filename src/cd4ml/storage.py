"""The store: immutable objects under names like `models/uptake/3/card.md`, written whole or not at all."""

import os
import re
import shutil
import uuid
from pathlib import Path

from cd4ml.errors import StorageError

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""A part of a name in the store."""


class AlreadyStoredError(StorageError):
    """The name is taken; what is stored never changes."""


class Store:
    """A store in a local folder.

    Writing goes through a folder `.unfinished` beside the objects and a rename, so that a reader never sees half
    an object and a killed writer leaves none.
    """

    def __init__(self, location: str | Path) -> None:
        """Opens the store; its folder is made at the first write.

        Raises:
            StorageError: The location is not one that this store can serve.
        """
        if "://" in str(location):
            raise StorageError(f"store {location}: only a local folder can be a store here; name a folder")
        self.root = Path(location).resolve()
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"store {self.root}: is a file; name a folder")

    def path(self, name: str) -> Path:
        """Where the object or folder of this name lies.

        Raises:
            StorageError: The name would lead out of the store.
        """
        return self.root.joinpath(*map(check_name, name.split("/")))

    def children(self, name: str) -> list[str]:
        """The names directly under a name, sorted; none where nothing is stored."""
        folder = self.path(name)
        return sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []

    def read(self, name: str) -> str:
        """The text of an object.

        Raises:
            StorageError: There is no such object, or it cannot be read.
        """
        try:
            return self.path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot read {name}: {error.strerror}") from error

    def add(self, name: str, text: str) -> None:
        """Stores a text.

        Raises:
            AlreadyStoredError: The name is taken.
            StorageError: The store cannot be written.
        """
        unfinished = self._unfinished()
        try:
            unfinished.write_text(text, encoding="utf-8")
            self._move(unfinished, name)
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot write {name}: {error}") from error
        finally:
            unfinished.unlink(missing_ok=True)

    def add_folder(self, name: str, contents: dict[str, Path | str]) -> None:
        """Stores a folder, all of it or nothing.

        Args:
            name: The folder's name in the store.
            contents: By name in the folder: a file or folder to copy, or a text.

        Raises:
            AlreadyStoredError: The name is taken.
            StorageError: The store cannot be written.
        """
        unfinished = self._unfinished()
        try:
            unfinished.mkdir()
            for child, content in contents.items():
                _put(content, unfinished / child)
            self._move(unfinished, name)
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot write {name}: {error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _unfinished(self) -> Path:
        folder = self.root / ".unfinished"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot be written: {error.strerror}") from error
        return folder / uuid.uuid4().hex

    def _move(self, unfinished: Path, name: str) -> None:
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if unfinished.is_dir():
                unfinished.rename(target)
            else:
                os.link(unfinished, target)  # unlike a rename, refuses to replace a file
        except OSError as error:
            if target.exists():
                raise AlreadyStoredError(f"store {self.root}: {name} is already there") from error
            raise


def _put(content: Path | str, target: Path) -> None:
    if isinstance(content, str):
        target.write_text(content, encoding="utf-8")
    elif content.is_dir():
        shutil.copytree(content, target)
    else:
        shutil.copyfile(content, target)


def check_name(name: str) -> str:
    """Makes sure that a model or dataset can have this name.

    Raises:
        StorageError: It cannot; says which names can be.
    """
    if not NAME.fullmatch(name):
        raise StorageError(f"{name!r} cannot be a name: use letters, digits, '_', '-' and '.', the last not first")
    return name
