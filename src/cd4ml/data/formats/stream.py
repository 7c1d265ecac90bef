"""The bytes of a file, unpacked as they are read."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pyarrow as pa

from cd4ml.data import formats
from cd4ml.data.files import File
from cd4ml.errors import DataError
from cd4ml.names import first_line

FREE = 1 << 30
"""Bytes that any file may become."""
TIMES = 200
"""How many times its size a packed file may become beyond that; tables become about ten times as large."""


@contextmanager
def told(name: str) -> Iterator[None]:
    """Says which file cannot be read.

    Raises:
        DataError: Where a library raises.
    """
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{name}: cannot be read ({first_line(error)}); it is damaged or cut short, export it again"
        ) from error


def unpacked(file: File) -> pa.NativeFile:
    """The file to read from, unpacked where its name says that it is packed.

    Raises:
        DataError: It is empty.
    """
    with told(file.name):
        size = file.path.stat().st_size
        if not size:
            raise DataError(f"{file.name}: is empty; export the table again")
        packed = formats.compression(file)
        source = pa.OSFile(str(file.path))
        if packed is None:
            return source
        bounded = _Bounded(pa.CompressedInputStream(source, packed), file.name, size)
        return pa.PythonFile(bounded, "r")


def check_size(size: int, *, packed: int, name: str) -> None:
    """Refuses a file that becomes suspiciously large.

    Args:
        size: The bytes that it has become so far.
        packed: Its bytes, packed.
        name: What errors call it.

    Raises:
        DataError: It is such a file.
    """
    if size > max(FREE, TIMES * packed):
        raise DataError(
            f"{name}: becomes more than {TIMES} times as large when it is unpacked, as no table does; unpack it first "
            "if you trust it"
        )


class _Bounded(io.RawIOBase):
    """A stream that ends in an error where it becomes suspiciously long."""

    def __init__(self, stream: pa.NativeFile, name: str, packed: int) -> None:
        self._stream, self._name, self._packed, self._size = stream, name, packed, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = cast(bytes, self._stream.read(size))
        self._size += len(content)
        check_size(self._size, packed=self._packed, name=self._name)
        return content

    def close(self) -> None:
        self._stream.close()
        super().close()
