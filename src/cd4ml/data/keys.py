"""What tells the rows of a table apart: columns, or where there are none such, all of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.dataset import ROW_KEY
from cd4ml.data.digest import Hashes, of_rows
from cd4ml.errors import DataError

Places = npt.NDArray[np.int64]


class Keys:
    """The keys of rows that come in batches; 16 bytes of each are kept."""

    def __init__(self, columns: Sequence[str], source: str) -> None:
        """Begins with no rows.

        Args:
            columns: That tell rows apart; none where all of them do.
            source: What errors call the source.
        """
        self._columns, self._source = list(columns), source
        self._found: list[Hashes] = []

    def add(self, batch: pa.RecordBatch, hashes: Mapping[str, Hashes], row: int) -> Hashes:
        """Adds the keys of rows.

        Args:
            batch: The rows.
            hashes: Of their values, by column.
            row: The number of the first of them, for errors.

        Returns:
            The hashes of the keys.

        Raises:
            DataError: A row has no key.
        """
        for name in self._columns:
            column = batch.column(name)
            if column.null_count:
                first = row + pc.index(column.is_null(), True).as_py()
                raise DataError(
                    f"{self._source}: row {first:,} has no key {name!r}, and {column.null_count:,} of {len(column):,} "
                    f"rows from row {row:,} on have none; give every row a key, drop these, or write `key: rows`"
                )
        found = of_rows(hashes[name] for name in self._columns or hashes)
        self._found.append(found)
        return found

    def repeated(self) -> Places:
        """The places of the rows whose key another row had before them, [rows]."""
        first = np.concatenate([one[0] for one in self._found])
        first.sort()
        if not (first[1:] == first[:-1]).any():
            return np.zeros(0, np.int64)
        found = np.concatenate(self._found, axis=1)
        order = np.lexsort(found)
        again = np.zeros(found.shape[1], bool)
        ordered = found[:, order]
        again[1:] = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
        return np.sort(order[again])

    def refusal(self, repeated: Places, *, there: int) -> DataError:
        """The error of a table whose rows the key does not tell apart, without a key, which may tell who a person is.

        Args:
            repeated: What `repeated` gave.
            there: How many of the rows, the first ones, are of a version before.
        """
        again = int(repeated[0])
        found = np.concatenate(self._found, axis=1)
        first = int(np.flatnonzero((found == found[:, [again]]).all(axis=0))[0])
        other = f"row {first + 1 - there:,}" if first >= there else "a row that was there"
        names = " and ".join(map(repr, self._columns))
        return DataError(
            f"{self._source}: key {names}: {len(repeated):,} rows have the key of another row, as row "
            f"{again + 1 - there:,} has that of {other}; keep one row of each, name more columns as the key, or write "
            "`key: rows`"
        )


def with_row_key(batch: pa.RecordBatch, keys: Hashes) -> pa.RecordBatch:
    """Rows with the hash of the key of each as a text of 32 hexadecimal digits."""
    text = np.ascontiguousarray(keys.T.astype(">u8")).tobytes().hex()
    offsets = pa.array(np.arange(0, len(text) + 1, 32, dtype=np.int32)).buffers()[1]
    column = pa.StringArray.from_buffers(batch.num_rows, offsets, pa.py_buffer(text.encode()))
    return batch.append_column(ROW_KEY, column)
