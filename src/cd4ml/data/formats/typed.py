"""Files whose columns have types: one schema for all of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from cd4ml.data.files import File
from cd4ml.data.formats.stream import told
from cd4ml.data.reading import Type
from cd4ml.data.rows import Rows, fitted
from cd4ml.errors import DataError
from cd4ml.names import nearest

TYPES: Mapping[Type, pa.DataType] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("us"),
}


@dataclass(frozen=True)
class Opened:
    """A file whose schema is known, and whose batches are read when they are asked for."""

    file: File
    schema: pa.Schema
    batches: Callable[[pa.Schema], Iterator[pa.RecordBatch]]
    """Given the schema of all files."""


def joined(opened: Sequence[Opened], types: Mapping[str, Type]) -> Rows:
    """The rows of all files, with all columns that any of them has.

    Raises:
        DataError: A column is of two types, or there more than once, or one whose type was said is not there.
    """
    schema, said = _schema(opened, {name: TYPES[type_] for name, type_ in types.items()})
    for name in types:
        if name not in schema.names:
            raise DataError(f"types: no column {name!r} is there; {nearest(name, schema.names)}")
    return Rows(schema, _batches(opened, schema), said)


def partitioned(files: Sequence[File]) -> pa.Schema:
    """The columns that the names of folders tell, whole numbers where all values are."""
    names = dict.fromkeys(name for file in files for name in file.partition)
    values = {name: [file.partition.get(name, "") for file in files] for name in names}
    return pa.schema(
        (name, pa.int64() if all(one.isdecimal() and str(int(one)) == one for one in found) else pa.string())
        for name, found in values.items()
    )


def with_partition(batch: pa.RecordBatch, file: File, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with what the folders above its file tell."""
    for name, value in file.partition.items():
        column = pa.repeat(pa.scalar(value), batch.num_rows).cast(schema.field(name).type)
        batch = batch.append_column(name, column)
    return batch


def _schema(opened: Sequence[Opened], asked: Mapping[str, pa.DataType]) -> tuple[pa.Schema, list[str]]:
    """The fields of all files, and what of them is not in every file."""
    fields: dict[str, pa.DataType] = {}
    first: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    for one in opened:
        twice = next((name for name, count in Counter(one.schema.names).items() if count > 1), None)
        if twice is not None:
            raise DataError(f"{one.file.name}: column {twice!r} is there more than once; rename one of them")
        for field in one.schema:
            known = asked.get(field.name) or fields.get(field.name, field.type)
            merged = asked.get(field.name) or _merged(known, field.type)
            if merged is None:
                raise DataError(
                    f"column {field.name!r} holds {known} in {first[field.name]} and {field.type} in "
                    f"{one.file.name}; export them alike, or write `types: {{{field.name}: text}}`"
                )
            fields[field.name] = merged
            first.setdefault(field.name, one.file.name)
    for one in opened:
        for name in set(fields) - set(one.schema.names):
            lacking.setdefault(name, []).append(one.file.name)
    said = [
        f"{name!r} is missing in {len(files)} of {len(opened)} files, the first {files[0]}"
        for name, files in sorted(lacking.items())
    ]
    tail = partitioned([one.file for one in opened])
    clash = next((name for name in tail.names if name in fields), None)
    if clash is not None:
        raise DataError(f"{first[clash]}: column {clash!r} is in the file and in the name of its folder; rename one")
    return pa.schema([*fields.items(), *tail]), said


def _merged(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both without loss; None where none does."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    try:
        fields = [pa.schema([("", type_)]) for type_ in (one, other)]
        merged: pa.DataType = pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    return merged


def _batches(opened: Sequence[Opened], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for one in opened:
        with told(one.file.name):
            for batch in one.batches(schema):
                yield fitted(with_partition(batch, one.file, schema), schema, partial(_refused, one.file))


def _refused(file: File, field: pa.Field, _: pa.DataType, why: str) -> DataError:
    return DataError(
        f"{file.name}: column {field.name!r} does not fit {field.type} ({why}); clean the source, or say another type "
        "under `types`"
    )
