"""Checkpoints of a training: what one that was ended goes on from (in the store: `checkpoints/KEY/{0,1}`).

Two files are written in turn, so that one is whole while the other is written. Each is the SHA-256 of the rest, a line
end, and NumPy's archive of the arrays and of a JSON text. They are read and written by Arrow: where training runs there
is no client of the store.
"""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pyarrow import fs

from cd4ml.errors import StorageError
from cd4ml.storage import S3, arrow, layout, local_path

FOLDER = "checkpoints"
EVERY_SECONDS = 300.0
"""How long ago the last checkpoint is at most, give or take the steps that are taken at once."""
_FILES = ("0", "1")
_TEXT = "state"
_DIGEST_BYTES = 64
_FAULTS = (OSError, StorageError, ValueError, MemoryError)
"""What a store and the memory may raise."""


@dataclass(frozen=True)
class State:
    """A training between two steps."""

    progress: Mapping[str, Any]
    """How far it is, as JSON has it."""
    arrays: Sequence[np.ndarray]
    """All that training changes."""


class Checkpoints:
    """The checkpoints of one training. None of their faults ends it: each is told in the log."""

    def __init__(
        self,
        store: str,
        key: str,
        *,
        every_seconds: float = EVERY_SECONDS,
        written: Callable[[], object] = lambda: None,
    ) -> None:
        """Names the place; nothing is asked yet.

        Args:
            store: A folder, or `s3://bucket/prefix`.
            key: Tells the training from every other: its data, settings, seed and code.
            every_seconds: How long ago the last one may be.
            written: Is called after each that could be written.
        """
        self._store, self._key, self._every, self._written = store, key, every_seconds, written
        self._number, self._parts = 0, 0
        self._saved = time.monotonic()

    def of_next(self, settings: str) -> "Checkpoints":
        """Those of the next of several networks that one training trains one after the other.

        Args:
            settings: Those of the network, which with its place among the others tell it from them.
        """
        self._parts += 1
        key = hashlib.sha256(f"{self._key}\n{self._parts}\n{settings}".encode()).hexdigest()[:32]
        return Checkpoints(self._store, key, every_seconds=self._every, written=self._written)

    @property
    def due(self) -> bool:
        """Whether the last one is long enough ago."""
        return time.monotonic() - self._saved >= self._every

    def latest(self, like: Sequence[np.ndarray]) -> State | None:
        """The last one that is whole and of this training; what is not is told and passed over.

        Args:
            like: Arrays of the shapes and types that those of the checkpoint must have.

        Returns:
            None where the training begins.
        """
        names = self._names()
        found = [one for name in names if (one := self._read(name, like))]
        if not found:
            return None
        self._number, state = max(found, key=lambda one: one[0])
        return state

    def save(self, state: State) -> bool:
        """Writes one, whole or not at all, over the last but one; whether it could be written."""
        number = self._number + 1
        self._saved = time.monotonic()
        try:
            arrow.write(self._folder, _FILES[number % 2], _content(self._key, number, state))
        except _FAULTS as error:
            _tell(f"no checkpoint could be written to {self._place} ({error}); training goes on, and tries again later")
            return False
        self._number = number
        self._written()
        return True

    def settle(self) -> None:
        """Removes what is of no use once training is done, and on this machine what nobody has taken up for 30 days.

        The last one stays, for the model is not in the store yet.
        """
        try:
            older = _FILES[(self._number + 1) % 2]
            if older in self._names():
                arrow.remove(self._folder, older)
            if not self._store.startswith(S3):
                arrow.expire(arrow.folder(local_path(self._store) / FOLDER), layout.PASSING[FOLDER] * 24 * 3600)
        except _FAULTS as error:
            _tell(f"old checkpoints in {self._store} could not be removed ({error}); remove them")

    @property
    def _place(self) -> str:
        return f"{self._store.rstrip('/')}/{FOLDER}/{self._key}"

    @cached_property
    def _folder(self) -> fs.SubTreeFileSystem:
        return arrow.folder(self._place if self._store.startswith(S3) else local_path(self._place))

    def _names(self) -> list[str]:
        """The files that are there, but for those that a bucket keeps empty; what was begun and not ended goes."""
        try:
            arrow.clean(self._folder)
            there = self._folder.get_file_info(fs.FileSelector("", allow_not_found=True))
        except _FAULTS as error:
            _tell(f"the checkpoints in {self._place} cannot be listed ({error}); none is used")
            return []
        return [one.base_name for one in there if one.base_name in _FILES and one.size]

    def _read(self, name: str, like: Sequence[np.ndarray]) -> tuple[int, State] | None:
        """A checkpoint with its number; None where it is of no use."""
        try:
            with self._folder.open_input_stream(name) as stream:
                number, key, state = _parsed(stream.read())
        except (*_FAULTS, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
            _tell(f"the checkpoint {self._place}/{name} is broken ({error}); it is passed over")
            return None
        if key != self._key or _kinds(state.arrays) != _kinds(like):
            _tell(f"the checkpoint {self._place}/{name} is of another training; it is passed over")
            return None
        return number, state


def _kinds(arrays: Sequence[np.ndarray]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    return [(one.shape, one.dtype) for one in arrays]


def packed(state: State) -> bytes:
    """A state as bytes: NumPy's archive of the arrays and of a JSON text."""
    text = json.dumps(state.progress).encode()
    written = io.BytesIO()
    arrays: dict[str, Any] = {str(place): array for place, array in enumerate(state.arrays)}
    arrays[_TEXT] = np.frombuffer(text, np.uint8)
    np.savez(written, **arrays)
    return written.getvalue()


def unpacked(content: bytes) -> State:
    """What `packed` made bytes of; raises ValueError and the like of others."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        progress = json.loads(found[_TEXT].tobytes())
        return State(progress, [found[str(place)] for place in range(len(found.files) - 1)])


def _content(key: str, number: int, state: State) -> bytes:
    told = {"key": key, "number": number, "progress": state.progress}
    content = packed(State(told, state.arrays))
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _parsed(content: bytes) -> tuple[int, str, State]:
    """The number, the key and the state of a checkpoint; raises ValueError and the like where it is none."""
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES + 1 :]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("its digest is another than it says")
    state = unpacked(content)
    told = state.progress
    return int(told["number"]), str(told["key"]), State(told["progress"], state.arrays)


def _tell(what: str) -> None:
    print(what, flush=True)  # noqa: T201 (the task's log)
