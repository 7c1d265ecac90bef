"""Many rows at once: a stream of Arrow's IPC format, a column a feature, which is answered by one.

What is sent is looked at before it is read, for a small body can stand for more than any memory holds: no buffer may be
compressed, no column encoded, and the rows are counted as they are announced.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa
from flatbuffers.number_types import Int64Flags
from flatbuffers.table import Table

from cd4ml.contracts.predictions import column_of
from cd4ml.errors import DataError
from cd4ml.serving.application import Answer, Request, bad, too_large
from cd4ml.serving.asked import Asked
from cd4ml.serving.predictor import Predictor
from cd4ml.serving.rows import NAMES, check_names, check_numbers

TYPE = "application/vnd.apache.arrow.stream"
ROWS = 250_000
MOST_NUMBERS = 2_000_000
"""Of an answer; a router takes one of 8 MiB."""
LENGTH, COMPRESSION = 4, 10
"""Where the fields of a record batch stand in its table of offsets (Arrow's Message.fbs)."""
HEADER = 8
"""Likewise, the record batch in its message."""


async def predict(predictor: Predictor, request: Request) -> Answer:
    """Answers the rows of a stream by a stream of one column; the metadata of its schema says which model it is.

    Of classes it is a column of lists, and the metadata says in which order.
    """

    def read(request: Request) -> Asked[None]:
        table = _table(request.body)
        check_numbers(len(table), predictor.contract.names, MOST_NUMBERS)
        try:
            return Asked(predictor.encoder.inputs_of_table(table), None, _Columns(table))
        except DataError as error:
            raise bad(str(error)) from error

    asked, predictions = await predictor.predict(request, read)
    contract, column = predictor.contract, column_of(predictions)
    about = predictor.said(asked.inputs) | ({"classes": contract.classes} if contract.shape else {})
    said = {f"cd4ml.{name}": _text(value) for name, value in about.items()}
    schema = pa.schema([pa.field(contract.output, column.type)], metadata=said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    return Answer(sink.getvalue().to_pybytes(), TYPE, headers=predictor.headers(asked))


class _Columns(Mapping[str, list[Any]]):
    """The columns of a table as lists, each made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __getitem__(self, name: str) -> list[Any]:
        values: list[Any] = self._table[name].to_pylist()
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.column_names)

    def __len__(self) -> int:
        return len(self._table.column_names)


def _text(value: object) -> str | bytes:
    content: bytes = orjson.dumps(value)
    return value if isinstance(value, str) else content


def _table(body: bytes) -> pa.Table:
    """The table of a stream.

    Raises:
        RefusedError: It is none, or one that stands for more than it holds.
    """
    try:
        rows = sum(_rows(body))
        if rows > ROWS:
            raise too_large(f"a stream has {ROWS:,} rows at most, not {rows:,}; send the rows in several requests")
        with pa.ipc.open_stream(body) as reader:
            names = reader.schema.names
            if len(names) > NAMES:
                raise too_large(f"a stream has {NAMES:,} columns at most, not {len(names):,}")
            check_names(names, "the schema")
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError, struct.error) as error:
        raise bad("the body is not a stream of Arrow's IPC format") from error
    if not len(table):
        raise bad("the stream has no row")
    return table


def _rows(body: bytes) -> Iterator[int]:
    """The rows of each record batch, as they are announced."""
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type == "dictionary":
            raise bad("a column is encoded by a dictionary; send its values as they are")
        if message.type == "record batch":
            batch = _batch(message.metadata.to_pybytes())
            if batch.Offset(COMPRESSION):
                raise bad("the stream is compressed; send it as it is")
            place = batch.Offset(LENGTH)
            yield batch.Get(Int64Flags, batch.Pos + place) if place else 0


def _batch(metadata: bytes) -> Table:
    """The record batch of a message, which Arrow has checked to be well formed."""
    (root,) = struct.unpack_from("<I", metadata)
    message = Table(metadata, root)
    return Table(metadata, message.Indirect(message.Pos + message.Offset(HEADER)))
