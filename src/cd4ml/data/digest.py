"""What tells the content of a table from every other, whatever the order of its rows and columns.

Each row has a hash of 128 bits over its columns' names and values, as two numbers of 64; the digest is over the types,
the count and the sums of the rows' hashes. So rows are read once, in batches, and need no order. The hash tells
accidents apart; it is no protection from whoever looks for two tables that are told alike. It never changes: the
digests of versions rest on it.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cd4ml.contracts.dataset import ROW_KEY
from cd4ml.contracts.mixing import mixed

Hashes = npt.NDArray[np.uint64]
"""Two rows of numbers, [2, rows]."""

PREFIX = "rows:"
"""Of a digest; those of versions before had `sha256:`."""
AT_ONCE = 1 << 20
"""Bytes of texts that are worked on at once."""
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SEEDS = np.array([[0x243F6A8885A308D3], [0x13198A2E03707344]], np.uint64)
_MASK = (1 << 64) - 1


class Digest:
    """The digest of rows that come in batches."""

    def __init__(self, schema: pa.Schema, row_key: Sequence[str] | None = None) -> None:
        """Begins with no rows.

        Args:
            schema: Of what the source gives.
            row_key: The columns whose values a key is made of that the rows get; None where they have one.
        """
        types = [(field.name, str(field.type)) for field in schema]
        made = [] if row_key is None else [(ROW_KEY, repr(list(row_key)))]
        self._types = repr(sorted([*types, *made]))
        self._rows = 0
        self._sums = [0, 0]

    def add(self, rows: Hashes) -> None:
        """Adds rows by their hashes."""
        self._add(rows.shape[1], map(int, rows.sum(axis=1)))

    def add_known(self, rows: int, sums: str) -> None:
        """Adds rows by their number and their `sums`."""
        self._add(rows, (int(one, 16) for one in sums.split()))

    @property
    def sums(self) -> str:
        """The sums of the rows' hashes, as two numbers of 16 hexadecimal digits."""
        return f"{self._sums[0]:016x} {self._sums[1]:016x}"

    def __str__(self) -> str:
        """`rows:` and 64 hexadecimal digits."""
        return PREFIX + hashlib.sha256(f"{self._types} {self._rows} {self.sums}".encode()).hexdigest()

    def _add(self, rows: int, sums: Iterable[int]) -> None:
        self._rows += rows
        self._sums = [(before + more) & _MASK for before, more in zip(self._sums, sums, strict=True)]


def of_columns(batch: pa.RecordBatch) -> dict[str, Hashes]:
    """The hashes of the values of each column, by its name: [2, rows].

    Args:
        batch: Its columns hold texts, truth values, numbers and moments.
    """
    return {
        name: mixed(_values(column) + _salt(name))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def of_rows(columns: Iterable[Hashes]) -> Hashes:
    """The hashes of rows, [2, rows], given those of their columns."""
    first, *others = columns
    total = first.copy()
    for one in others:
        total += one
    return mixed(total)


def _salt(name: str) -> Hashes:
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], "<u8")
    return words.astype(np.uint64).reshape(2, 1)


def _values(column: pa.Array) -> Hashes:
    """A hash of each value; of missing ones always the same."""
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        found = _texts(encoded.dictionary)
        with_missing = np.concatenate([found, _SEEDS], axis=1)
        return with_missing[:, encoded.indices.fill_null(found.shape[1]).to_numpy()]
    if pa.types.is_floating(column.type):
        bits = column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False).view(np.uint64)
    else:
        whole = column.cast(pa.uint8() if pa.types.is_boolean(column.type) else pa.int64())
        bits = whole.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
    found = mixed(bits[np.newaxis, :] + _SEEDS)
    if column.null_count:
        found[:, column.is_null().to_numpy(zero_copy_only=False)] = _SEEDS
    return found


def _texts(texts: pa.Array) -> Hashes:
    """Sums over the words of eight bytes, those of all texts of one length at once."""
    found = np.empty((2, len(texts)), np.uint64)
    if not len(texts):
        return found
    starts = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    content = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    lengths = np.diff(starts)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        for some in np.array_split(chosen, 1 + length * len(chosen) // AT_ONCE):
            words = _words(content, starts[some], int(length))
            for lane in (0, 1):
                weights = _SEEDS[lane] + _STEP * np.arange(1, words.shape[1] + 1, dtype=np.uint64)
                found[lane, some] = mixed(words + weights).sum(axis=1) + mixed(_SEEDS[lane] + np.uint64(length))
    return mixed(found)


def _words(content: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], length: int) -> Hashes:
    """The bytes of texts of one length, as [texts, words of eight bytes]."""
    padded = np.zeros((len(starts), -(-length // 8) * 8), np.uint8)
    padded[:, :length] = content[starts[:, np.newaxis] + np.arange(length)]
    return padded.view("<u8").astype(np.uint64)
