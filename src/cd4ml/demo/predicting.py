"""What a published version predicts for the rows of a file."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from cd4ml.prediction.loading import LoadedModel

PREDICTIONS = "predictions"
"""The column of the file that is written: a list of what the model gives for the row (list<double>)."""


def predict(rows: str, *, model: str, store: str, output: str) -> None:
    """Predicts rows as a server would.

    Args:
        rows: A Parquet file with the columns that the model takes.
        model: `NAME@VERSION`.
        store: The store that has it.
        output: The Parquet file that takes the predictions, row by row.

    Raises:
        DataError: The rows are not such as the model takes.
        RegistryError: There is no such version.
    """
    found = np.asarray(_loaded(store, model).predict(pq.read_table(rows)), np.float64)
    flat = found.reshape(len(found), -1)
    offsets = pa.array(np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1])
    pq.write_table(pa.table({PREDICTIONS: pa.ListArray.from_arrays(offsets, pa.array(flat.ravel()))}), output)


@lru_cache
def _loaded(store: str, model: str) -> "LoadedModel":
    from cd4ml.prediction.loading import load_model

    return load_model(store, model)
