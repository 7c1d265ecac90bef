"""JSON Lines: an object a line."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.json as pajson

from cd4ml.data.files import File
from cd4ml.data.formats.stream import told, unpacked
from cd4ml.data.formats.typed import TYPES, Opened, joined
from cd4ml.data.reading import Reading, Type
from cd4ml.data.rows import Rows

BLOCK = 16 << 20
"""Bytes, of which the first tell the columns and their types; a line must fit."""


def rows(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> Rows:  # noqa: ARG001 (one door)
    """The rows of files of JSON Lines.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    return joined([_opened(file, types) for file in files], types)


def _opened(file: File, types: Mapping[str, Type]) -> Opened:
    asked = pa.schema([(name, TYPES[type_]) for name, type_ in types.items()]) if types else None
    with told(file.name), unpacked(file) as source:
        schema = pajson.open_json(source, read_options=_OPTIONS, parse_options=_parsing(asked, "infer")).schema

    def batches(_: pa.Schema) -> Iterator[pa.RecordBatch]:
        with unpacked(file) as source:
            yield from pajson.open_json(source, read_options=_OPTIONS, parse_options=_parsing(schema, "error"))

    return Opened(file, schema, batches)


_OPTIONS = pajson.ReadOptions(block_size=BLOCK)


def _parsing(schema: pa.Schema | None, others: str) -> pajson.ParseOptions:
    return pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others)
