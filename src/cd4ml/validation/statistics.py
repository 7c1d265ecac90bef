"""Statistics of the splits: TFDV's own, computed batch by batch.

Their folder holds `train.pb`, `eval.pb` and `test.pb`, each a serialized `DatasetFeatureStatisticsList`.
"""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.errors import DataError
from cd4ml.validation.on_disk import footer, unreadable
from cd4ml.validation.quiet_tfdv import BasicStatsGenerator, TopKUniquesSketchStatsGenerator, stats_impl, tfdv

Statistics: TypeAlias = Any
"""A `tensorflow_metadata.proto.v0.statistics_pb2.DatasetFeatureStatisticsList` of one split."""

DISTINCT_VALUES = 2**14
"""As many values of a text column are counted exactly; of more, the distinct ones and the rarer are estimated."""
OPTIONS = tfdv.StatsOptions(
    add_default_generators=False,
    generators=[
        BasicStatsGenerator(num_histogram_buckets=100),
        TopKUniquesSketchStatsGenerator(
            num_top_values=20,
            num_rank_histogram_buckets=1000,
            num_misragries_buckets=DISTINCT_VALUES,
            num_kmv_buckets=DISTINCT_VALUES,
        ),
    ],
)
"""TFDV's default generators in memory, but for finer histograms, and top values that are exact where TFDV itself keeps
1,024 and gives others with each run."""
BATCH_ROWS = 2**18


class Partial:
    """Statistics of the rows so far; what it holds grows with the columns, not with the rows."""

    def __init__(self) -> None:
        self._generators = stats_impl.get_generators(OPTIONS, in_memory=True)
        self._accumulators = [one.create_accumulator() for one in self._generators]

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds rows of plain columns, as `ingest_dataset` keeps them; booleans count as 0 and 1, moments as seconds."""
        lists = as_lists(batch)
        self._accumulators = [
            one.add_input(known, lists) for one, known in zip(self._generators, self._accumulators, strict=True)
        ]

    def merge(self, other: "Partial") -> None:
        """Adds the rows that another one has seen, which is used up."""
        self._accumulators = [
            one.merge_accumulators(both)
            for one, *both in zip(self._generators, self._accumulators, other._accumulators, strict=True)
        ]

    def statistics(self, split: str) -> Statistics:
        """The statistics; nothing can be added after that.

        Args:
            split: Its name, which the statistics keep.
        """
        found = stats_impl.extract_statistics_output(self._accumulators, self._generators)
        found.datasets[0].name = split
        return found


def compute(table: pa.Table, split: str) -> Statistics:
    """The statistics of a split.

    Args:
        table: Of plain columns.
        split: Its name, which the statistics keep.
    """
    return _by_column(table.schema, split, read=lambda name: table.select([name]).to_batches(max_chunksize=BATCH_ROWS))


def of_files(files: Sequence[str | Path], split: str) -> Statistics:
    """The statistics of a split that lies in Parquet files, which are never in memory whole.

    Args:
        files: Of the same columns.
        split: Its name, which the statistics keep.

    Raises:
        DataError: One cannot be read, or has other columns than the first.
    """
    footers = {file: footer(file) for file in files}
    schema = footers[files[0]].schema.to_arrow_schema()
    for file, known in footers.items():
        _check_columns(file, schema, known.schema.to_arrow_schema())

    def read(name: str) -> Iterator[pa.RecordBatch]:
        for file, known in footers.items():
            try:
                yield from pq.ParquetFile(file, metadata=known).iter_batches(BATCH_ROWS, columns=[name])
            except (pa.ArrowException, OSError) as error:
                raise unreadable(file, error) from error

    return _by_column(schema, split, read)


def forget(statistics: Statistics, columns: Container[str]) -> None:
    """Takes the values of some columns out of the statistics: how many there are stays.

    What preprocessing finds no values of is no feature, so that no model has them in its vocabulary.
    """
    for feature in statistics.datasets[0].features:
        if feature.path.step[0] not in columns:
            continue
        if feature.HasField("string_stats"):
            for field in ("rank_histogram", "top_values"):
                feature.string_stats.ClearField(field)
        else:
            feature.bytes_stats.common_stats.CopyFrom(feature.num_stats.common_stats)


def write(statistics: Mapping[str, Statistics], folder: str | Path) -> None:
    """Writes the statistics of the splits, by their names."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, content in statistics.items():
        (Path(folder) / f"{split}.pb").write_bytes(content.SerializeToString(deterministic=True))


def as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Plain columns as TFDV takes them: a list of one value a row, null where the value is missing."""
    return pa.RecordBatch.from_arrays([_lists(column) for column in batch.columns], batch.schema.names)


def _by_column(schema: pa.Schema, split: str, read: Callable[[str], Iterable[pa.RecordBatch]]) -> Statistics:
    """Each column by itself, as TFDV computes them, as many at a time as there are cores."""

    def of_column(field: pa.Field) -> Statistics:
        found = Partial()
        found.add(pa.RecordBatch.from_arrays([pa.array([], field.type)], [field.name]))  # where there are no rows
        for batch in read(field.name):
            found.add(batch)
        return found.statistics(split)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole, *others = pool.map(of_column, schema)
    for one in others:
        whole.datasets[0].features.extend(one.datasets[0].features)
    return whole


def _check_columns(file: str | Path, wanted: pa.Schema, there: pa.Schema) -> None:
    types = dict(zip(there.names, there.types, strict=True))
    other = [field.name for field in wanted if types.pop(field.name, None) != field.type] + [*types]
    if other:
        raise DataError(f"{file}: column {other[0]!r} is not as in the first file; write all with the same columns")


def _lists(column: pa.Array) -> pa.ListArray:
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(starts, mask=np.append(~there, False)), _plain(column.drop_null()))


def _plain(values: pa.Array) -> pa.Array:
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8()).cast(pa.int64())
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.timestamp("s", values.type.tz), safe=False).cast(pa.int64())
    return values
