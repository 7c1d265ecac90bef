"""TFRecord files of tf.Example, as TensorFlow and TFX write them.

A feature becomes a column of texts, numbers or whole numbers where no record has several values of it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format, unknown_fields

from cd4ml.data.files import File
from cd4ml.data.formats.stream import told, unpacked
from cd4ml.data.formats.typed import widening
from cd4ml.data.reading import Reading, Type
from cd4ml.data.rows import Rows
from cd4ml.errors import DataError

SAMPLE, BLOCK, LARGEST = 1 << 20, 16 << 20, 64 << 20
"""Bytes that first tell the columns of a file, that are worked on at once, and that a record may have."""
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_PROTO = """
name: "example.proto" package: "tensorflow" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type {
  name: "Feature"
  oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type_name: ".tensorflow.BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: ".tensorflow.FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: ".tensorflow.Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry"
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type_name: ".tensorflow.Feature" }
    options { map_entry: true }
  }
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: ".tensorflow.Features.FeatureEntry" }
}
message_type { name: "Example" field { name: "features" number: 1 type_name: ".tensorflow.Features" } }
"""
"""What of TensorFlow's example.proto and feature.proto a tf.Example is made of."""
_TYPES = {"bytes_list": pa.string(), "float_list": pa.float32(), "int64_list": pa.int64()}


def rows(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> Rows:  # noqa: ARG001 (one door)
    """The rows of TFRecord files.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    return widening(files, [_beginning(file) for file in files], types, tables=_tables)


def _beginning(file: File) -> pa.Schema:
    with told(file.name):
        return next((_table(records, {}).schema for records in _blocks(file, SAMPLE)), pa.schema([]))


def _tables(file: File, known: pa.Schema) -> Iterator[tuple[pa.Table, pa.Schema]]:
    lists: dict[str, str] = {}
    for records in _blocks(file, BLOCK):
        table = _table(records, lists)
        fields = {one.name: one.type for one in known}
        known = pa.schema(fields | {one.name: _wider(fields.get(one.name, one.type), one.type) for one in table.schema})
        yield table, known


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The one of two types of a feature that says more: several values in a record, or bytes that are no text."""
    ranks = [
        (pa.types.is_list(type_), pa.types.is_binary(type_), not pa.types.is_null(type_)) for type_ in (one, other)
    ]
    return one if ranks[0] >= ranks[1] else other


@dataclass(frozen=True)
class _Records:
    """Some records of a file."""

    file: File
    first: int
    """The number of the first of them."""
    contents: Sequence[bytes]


def _blocks(file: File, size: int) -> Iterator[_Records]:
    number, rest = 1, b""
    with unpacked(file) as source:
        while content := source.read(size):
            rest += content
            places = list(_framed(rest, file, number))
            if places:
                yield _Records(file, number, [rest[start:end] for start, end in places])
                number, rest = number + len(places), rest[places[-1][1] + _CHECKSUM.size :]
    if rest:
        raise _refused(file, number, "is cut short; export it again")


def _framed(content: bytes, file: File, number: int) -> Iterator[tuple[int, int]]:
    """Where the records begin and end that are whole; the first of them has a number."""
    at, head = 0, _LENGTH.size + _CHECKSUM.size
    while at + head <= len(content):
        start = at + head
        if not _is_sound(content, at, at + _LENGTH.size):
            raise _refused(file, number, "is damaged, or the file is no TFRecord; export it again")
        end = start + _LENGTH.unpack_from(content, at)[0]
        if end - start > LARGEST:
            raise _refused(file, number, f"has more than {LARGEST >> 20} MiB; export it with less")
        if end + _CHECKSUM.size > len(content):
            return
        if not _is_sound(content, start, end):
            raise _refused(file, number, "is damaged; export it again")
        yield start, end
        at, number = end + _CHECKSUM.size, number + 1


def _is_sound(content: bytes, start: int, end: int) -> bool:
    """Whether bytes have the checksum that stands after them."""
    checksum = google_crc32c.value(content[start:end])
    turned = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return bool(turned == _CHECKSUM.unpack_from(content, end)[0])


def _refused(file: File, number: int, why: str) -> DataError:
    return DataError(f"{file.name}: record {number:,} {why}")


@dataclass
class _Feature:
    """A feature of some records."""

    rows: list[int] = field(default_factory=list)
    """Those that have it."""
    counts: list[int] = field(default_factory=list)
    """How many values each of these has."""
    values: list[Any] = field(default_factory=list)
    """All of them, one after the other."""


def _table(records: _Records, lists: dict[str, str]) -> pa.Table:
    """Records as a table; columns of several values are empty, for they are left out.

    Args:
        records: The records.
        lists: By feature, the list that it is in the records before; those that are new are added.

    Raises:
        DataError: One of them is no tf.Example, or a feature is of two kinds.
    """
    found: dict[str, _Feature] = {}
    for row, content in enumerate(records.contents):
        for name, value in _features(records, row, content).items():
            held = value.WhichOneof("kind")
            if name not in found:
                found[name] = _Feature()
            if held is None:
                continue
            if lists.setdefault(name, held) != held:
                both = f"{_TYPES[held]}, and {_TYPES[lists[name]]} before"
                why = f"has feature {name!r} as {both}; write it in one way in all records"
                raise _refused(records.file, records.first + row, why)
            values = getattr(value, held).value
            feature = found[name]
            feature.rows.append(row)
            feature.counts.append(len(values))
            feature.values.extend(values)
    rows = len(records.contents)
    return pa.table({name: _column(feature, lists.get(name), rows) for name, feature in sorted(found.items())})


def _features(records: _Records, row: int, content: bytes) -> Mapping[str, Any]:
    try:
        example = _EXAMPLE.FromString(content)
    except message.DecodeError:
        example = None
    if example is None or (row == 0 and len(unknown_fields.UnknownFieldSet(example))):
        why = "is no tf.Example; write tf.train.Example, or give the table in another format"
        raise _refused(records.file, records.first + row, why)
    features: Mapping[str, Any] = example.features.feature
    return features


def _column(feature: _Feature, held: str | None, rows: int) -> pa.Array:
    if held is None:
        return pa.nulls(rows)
    counts = np.array(feature.counts, np.int64)
    if (counts > 1).any():
        return pa.nulls(rows, pa.list_(_TYPES[held]))
    values = pa.array(feature.values, pa.binary() if held == "bytes_list" else _TYPES[held])
    if held == "bytes_list":
        with suppress(pa.ArrowInvalid):  # bytes that are no text
            values = values.cast(pa.string())
    places = np.full(rows, -1)
    places[np.array(feature.rows, np.int64)[counts == 1]] = np.arange(len(values))
    return values.take(pa.array(places, mask=places < 0))


def _class() -> type[message.Message]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()).SerializeToString())
    found: type[message.Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
    return found


_EXAMPLE = _class()
