"""Tables in files, of which a column or some rows are read when they are asked for, so that none is in memory whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.errors import DataError

BATCH_ROWS = 2**16


class OnDisk:
    """The rows of Parquet files of the same columns, one file after the other; read as a `pyarrow.Table` is.

    Args:
        files: The files.
        names: The columns to read; all where None.

    Raises:
        DataError: One cannot be read.
    """

    def __init__(self, files: Sequence[str | Path], names: Sequence[str] | None = None) -> None:
        self._files = files
        footers = [footer(file) for file in files]
        whole = footers[0].schema.to_arrow_schema()
        self.schema: pa.Schema = whole if names is None else pa.schema([whole.field(name) for name in names])
        self.num_rows = sum(one.num_rows for one in footers)

    @property
    def column_names(self) -> list[str]:
        """Of all columns."""
        return list(self.schema.names)

    @property
    def num_columns(self) -> int:
        """How many there are."""
        return len(self.schema)

    def select(self, names: Sequence[str]) -> "OnDisk":
        """The same rows with some of the columns."""
        return OnDisk(self._files, names)

    def column(self, name: str) -> pa.ChunkedArray:
        """All values of a column."""
        found = [batch.column(0) for batch in self._batches([name])]
        return pa.chunked_array(found, self.schema.field(name).type)

    def take(self, places: pa.Array) -> pa.Table:
        """Some rows.

        Args:
            places: Where they stand, rising.
        """
        wanted, start, found = places.to_numpy(), 0, []
        for batch in self._batches(self.column_names):
            low, high = np.searchsorted(wanted, (start, start + batch.num_rows))
            rows = pa.Table.from_batches([batch]).select(self.column_names)
            found.append(rows.take(pa.array(wanted[low:high] - start)))
            start += batch.num_rows
        return pa.concat_tables([self.schema.empty_table(), *found])

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            try:
                with pq.ParquetFile(file) as opened:
                    for batch in opened.iter_batches(BATCH_ROWS, columns=names):
                        yield batch.replace_schema_metadata(self.schema.metadata)
            except (pa.ArrowException, OSError) as error:
                raise unreadable(file, error) from error


Table: TypeAlias = pa.Table | OnDisk
"""What is read by column, or by some rows."""


def footer(file: str | Path) -> pq.FileMetaData:
    """What a Parquet file says of itself.

    Raises:
        DataError: It is none.
    """
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from error


def unreadable(file: str | Path, error: Exception) -> DataError:
    """What is said of a file that is no Parquet."""
    return DataError(f"{file}: cannot be read as Parquet ({error}); run split_dataset again")
