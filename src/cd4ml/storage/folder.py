"""A store in a folder of this machine."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from cd4ml.errors import StorageError
from cd4ml.storage import AlreadyStoredError, Content, Store, is_name, local_path, scratch

UNFINISHED = ".unfinished"


class FolderStore(Store):
    """A store in a folder.

    Writing goes through a folder `.unfinished` beside the objects and a rename, so that a reader never sees half
    an object and a killed writer leaves none.
    """

    def __init__(self, location: str | Path) -> None:
        """Opens the store; its folder is made at the first write.

        Raises:
            StorageError: The location is a file, or no path.
        """
        self.root = local_path(location).resolve()
        self.location = str(self.root)
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"store {self.root}: is a file; name a folder")

    def path(self, name: str) -> Path:
        """Where the object or folder of this name lies."""
        return Path(self.uri(name))

    def children(self, name: str) -> list[str]:  # noqa: D102
        folder = self.path(name)
        try:
            found = [child.name for child in folder.iterdir()] if folder.is_dir() else []
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot list {name}: {error.strerror}") from error
        return sorted(child for child in found if is_name(child))

    def below(self, name: str) -> dict[str, datetime]:  # noqa: D102
        found: dict[str, datetime] = {}
        for child in self.children(name):
            path = self.path(f"{name}/{child}")
            if path.is_dir():
                found |= self.below(f"{name}/{child}")
            else:
                found[f"{name}/{child}"] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedReader]:  # noqa: D102
        try:
            with self.path(name).open("rb") as stream:
                yield stream
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot read {name}: {error.strerror}") from error

    def add(self, name: str, content: Content) -> None:  # noqa: D102
        if isinstance(content, Path) and not content.is_file():
            raise StorageError(f"store {self.root}: cannot write {name}: no such file: {content}")
        with self._written(name) as unfinished:
            _put(content, unfinished)

    def _replace(self, name: str, text: str) -> None:
        with self._written(name, over=True) as unfinished:
            _put(text, unfinished)

    def add_folder(  # noqa: D102
        self,
        name: str,
        contents: Mapping[str, Content],
        *,
        claim: str = "",  # noqa: ARG002  a killed writer leaves nothing taken
    ) -> None:
        with self._written(name) as unfinished:
            unfinished.mkdir()
            for child, content in contents.items():
                _put(content, unfinished / child)

    def clean(self) -> None:
        """Removes what killed writers have left."""
        scratch.clean(self.root / UNFINISHED)

    @contextmanager
    def _written(self, name: str, *, over: bool = False) -> Iterator[Path]:
        """Where to write what is then moved to its name, over what has it where that is wanted."""
        try:
            (self.root / UNFINISHED).mkdir(parents=True, exist_ok=True)
            with scratch.folder(self.root / UNFINISHED) as folder:
                yield folder / "content"
                self._move(folder / "content", name, over=over)
        except OSError as error:
            raise StorageError(f"store {self.root}: cannot write {name}: {error}") from error

    def _move(self, unfinished: Path, name: str, *, over: bool) -> None:
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if over or unfinished.is_dir():
                unfinished.rename(target)
            else:
                os.link(unfinished, target)  # unlike a rename, refuses to replace a file
        except OSError as error:
            if target.exists():
                raise AlreadyStoredError(f"store {self.root}: {name} is already there") from error
            raise


def _put(content: Content, target: Path) -> None:
    if isinstance(content, str):
        target.write_bytes(content.encode())
    elif isinstance(content, bytes):
        target.write_bytes(content)
    elif content.is_dir():
        shutil.copytree(content, target)
    else:
        shutil.copyfile(content, target)
