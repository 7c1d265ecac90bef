"""The same statistics by TFDV's own pipeline, on the workers of a runner of Beam."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.beam_runner import pipeline
from cd4ml.errors import DataError
from cd4ml.validation.on_disk import footer
from cd4ml.validation.quiet_tfdv import tfdv
from cd4ml.validation.statistics import BATCH_ROWS, OPTIONS, Statistics, as_lists

_Rows = tuple[str, int]
"""A file, and the number of one of its row groups."""


def on_beam(
    splits: Mapping[str, str | Path], folder: str | Path, *, runner: str, options: Sequence[str] = ()
) -> dict[str, Statistics]:
    """Computes the statistics of the splits in one pipeline, each row group where a worker is free.

    What the workers write holds values of personal data, and is removed whatever comes.

    Args:
        splits: The Parquet files by the names of the splits; the workers read them.
        folder: Beside which the workers write, and where nothing is left.
        runner: The name of a runner of Beam, such as FlinkRunner, SparkRunner or DataflowRunner.
        options: The options of the pipeline, as on Beam's command line: `--flink_master=...`.

    Raises:
        DataError: A file cannot be read, Beam knows no such runner or does not take its options, no job server
            answers, or the runner failed.
    """
    footers = {split: footer(file) for split, file in splits.items()}
    beside = Path(folder).parent
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="statistics-", dir=beside) as written:
        with pipeline(runner, options, reached=f"the files of the splits and {beside}", told=DataError) as computed:
            for split, known in footers.items():
                groups = [(str(splits[split]), number) for number in range(known.num_row_groups)]
                _ = (
                    computed
                    | f"{split}: row groups" >> beam.Create(groups)
                    | f"{split}: spread" >> beam.Reshuffle()
                    | f"{split}: rows" >> beam.FlatMap(_read).with_output_types(pa.RecordBatch)
                    | f"{split}: statistics" >> tfdv.GenerateStatistics(OPTIONS)
                    | f"{split}: file" >> tfdv.WriteStatisticsToBinaryFile(str(_file(written, split)))
                )
        return {
            split: _named(_file(written, split), split, known.schema.to_arrow_schema().names)
            for split, known in footers.items()
        }


def _read(rows: _Rows) -> Iterator[pa.RecordBatch]:
    file, group = rows
    for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS, row_groups=[group]):
        yield as_lists(batch)


def _file(folder: str | Path, split: str) -> Path:
    return Path(folder) / f"{split}.pb"


def _named(file: Path, split: str, columns: Sequence[str]) -> Statistics:
    """As they are computed without Beam: with the name of the split, and the columns in their order."""
    found = tfdv.load_stats_binary(str(file))
    found.datasets[0].name = split
    found.datasets[0].features.sort(key=lambda feature: columns.index(feature.path.step[0]))
    return found
