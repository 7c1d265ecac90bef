"""Statistics of the splits: TFDV's own, computed in memory.

Their folder holds `train.pb`, `eval.pb` and `test.pb`, each a serialized `DatasetFeatureStatisticsList`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.validation.quiet_tfdv import stats_impl, tfdv

Statistics: TypeAlias = Any
"""A `tensorflow_metadata.proto.v0.statistics_pb2.DatasetFeatureStatisticsList` of one split."""

OPTIONS = tfdv.StatsOptions(num_histogram_buckets=100)
"""Finer histograms than TFDV's ten buckets, for those who look at the statistics with its own tools."""


def compute(table: pa.Table, split: str) -> Statistics:
    """The statistics of a split.

    Args:
        table: Of plain columns, as `ingest_dataset` keeps them. Booleans count as 0 and 1, moments as seconds.
        split: Its name, which the statistics keep.
    """
    columns = [_lists(_without_nulls(table.column(name)), table.column(name)) for name in table.column_names]
    batch = pa.RecordBatch.from_arrays(columns, table.column_names)
    statistics = stats_impl.generate_statistics_in_memory(batch, OPTIONS)
    statistics.datasets[0].name = split
    return statistics


def write(statistics: Mapping[str, Statistics], folder: str | Path) -> None:
    """Writes the statistics of the splits, by their names."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, content in statistics.items():
        (Path(folder) / f"{split}.pb").write_bytes(content.SerializeToString(deterministic=True))


def _without_nulls(column: pa.ChunkedArray) -> pa.Array:
    values = pa.concat_arrays(column.drop_null().chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8()).cast(pa.int64())
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.timestamp("s", values.type.tz), safe=False).cast(pa.int64())
    return values


def _lists(values: pa.Array, column: pa.ChunkedArray) -> pa.ListArray:
    """The column as TFDV takes it: a list of one value a row, null where the value is missing."""
    there = pc.is_valid(column).to_numpy()
    starts = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(starts, mask=np.append(~there, False)), values)
