"""The file of a split."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts.model import Contract
from cd4ml.errors import DataError, TrainingError


def for_trial(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """A few rows in two, as a function is tried with them: two of three for train, and every third for eval."""
    places = np.arange(table.num_rows)
    return table.filter(places % 3 > 0), table.filter(places % 3 == 0)


def opened(split: Path) -> pq.ParquetFile:
    """Opens a split; close it, or use it as a context.

    Raises:
        TrainingError: The file is not Parquet.
    """
    try:
        # A buffer would have the whole file in memory, compressed, as soon as the first row is read.
        return pq.ParquetFile(split, pre_buffer=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingError(f"{split}: cannot be read as Parquet ({error}); run split_dataset again") from error


def labels(split: Path, contract: Contract) -> np.ndarray:
    """The label of each row, [rows], as the problem numbers it.

    Raises:
        TrainingError: It cannot be read, or is not what the contract says.
    """
    with opened(split) as file, readable(split, f"the column {contract.label!r}"):
        table = file.read(columns=[contract.label])
    with told(split):
        return contract.labels(table)


@contextmanager
def readable(split: Path, part: str) -> Iterator[None]:
    """Tells that a part of a split, as `the column 'age'`, is broken where it cannot be read.

    Raises:
        TrainingError: It cannot be read.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise unreadable(split, part, error) from error


@contextmanager
def told(split: Path) -> Iterator[None]:
    """Names the split in what is wrong with its data.

    Raises:
        TrainingError: Something is.
    """
    try:
        yield
    except DataError as error:
        raise TrainingError(f"{split}: {error}") from error


def unreadable(split: Path, part: str, error: Exception) -> TrainingError:
    """Says of a part of a split that it cannot be read."""
    return TrainingError(f"{split}: {part} cannot be read ({error}); run split_dataset again")
