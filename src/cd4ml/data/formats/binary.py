"""Parquet, and Arrow's own files and streams."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.data.files import File
from cd4ml.data.formats.stream import told, unpacked
from cd4ml.data.formats.typed import Opened, joined
from cd4ml.data.reading import Reading, Type
from cd4ml.data.rows import Rows, at_once
from cd4ml.errors import DataError

_MAGIC = b"ARROW1"


def parquet(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> Rows:  # noqa: ARG001 (one door)
    """The rows of Parquet files.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    return joined([_parquet(file) for file in files], types)


def _parquet(file: File) -> Opened:
    with told(file.name):
        if not file.path.stat().st_size:
            raise DataError(f"{file.name}: is empty; export the table again")
        schema = pq.read_schema(file.path)

    def batches(_: pa.Schema) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(file.path) as opened:
            for group in range(opened.num_row_groups):
                try:
                    yield from opened.iter_batches(batch_size=at_once(len(schema)), row_groups=[group])
                except (pa.ArrowException, OSError) as error:
                    raise DataError(
                        f"{file.name}: row group {group} cannot be read ({str(error).splitlines()[0]}); it is damaged "
                        "or cut short, export it again"
                    ) from error

    return Opened(file, schema, batches)


def arrow(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> Rows:  # noqa: ARG001 (one door)
    """The rows of Arrow's files (Feather among them) and streams.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    return joined([_arrow(file) for file in files], types)


def _arrow(file: File) -> Opened:
    with told(file.name), unpacked(file) as source:
        schema = _file(file).schema if source.read(len(_MAGIC)) == _MAGIC else pa.ipc.open_stream(unpacked(file)).schema

    def batches(_: pa.Schema) -> Iterator[pa.RecordBatch]:
        with unpacked(file) as source:
            is_file = source.read(len(_MAGIC)) == _MAGIC
        if is_file:
            opened = _file(file)
            yield from (opened.get_batch(number) for number in range(opened.num_record_batches))
        else:
            with pa.ipc.open_stream(unpacked(file)) as stream:
                yield from stream

    return Opened(file, schema, batches)


def _file(file: File) -> pa.ipc.RecordBatchFileReader:
    from cd4ml.data import formats

    if formats.compression(file):
        raise DataError(f"{file.name}: Arrow's files are packed within; unpack it first")
    return pa.ipc.open_file(pa.memory_map(str(file.path)))
