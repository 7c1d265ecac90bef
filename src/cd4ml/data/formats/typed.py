"""Files whose columns have types: one schema for all of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from cd4ml.data.files import File
from cd4ml.data.formats.stream import told
from cd4ml.data.reading import Type
from cd4ml.data.rows import Example, ReadAgain, Rows, ShownError, fitted
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


def as_asked(rows: Rows, types: Mapping[str, Type], source: str) -> Rows:
    """Rows of which some columns hold what a person says.

    Raises:
        DataError: There is no such column, or, as they are read, a value is not of its type.
    """
    for name in types:
        if name not in rows.schema.names:
            raise DataError(f"{source}: types: no column {name!r} is there; {nearest(name, rows.schema.names)}")
    schema = pa.schema(
        field.with_type(TYPES[types[field.name]]) if field.name in types else field for field in rows.schema
    )
    batches = (fitted(batch, schema, partial(_misfit, source)) for batch in rows.batches)
    return replace(rows, schema=schema, batches=batches)


def widening(
    files: Sequence[File],
    schemas: Sequence[pa.Schema],
    types: Mapping[str, Type],
    *,
    tables: Callable[[File, pa.Schema], Iterator[tuple[pa.Table, pa.Schema]]],
    alike: Callable[[Sequence[pa.Schema]], list[pa.Schema]] = list,
    said: Sequence[str | Example] = (),
) -> Rows:
    """The rows of files whose columns only their rows tell: where a later one does not fit, all are read again.

    Columns of lists and objects have no values, for they are left out.

    Args:
        files: The files.
        schemas: Of each, as far as it is known.
        types: What columns hold.
        tables: Gives the rows of a file whose schema is known so far, some at once, each time with the schema that
            holds them as well.
        alike: Makes of the schemas of files such as go together.
        said: What is said of them already.

    Raises:
        DataError: As `joined`.
    """
    known = alike(schemas)
    seen = list(known)

    def of_file(place: int, _: pa.Schema) -> Iterator[pa.RecordBatch]:
        for table, schema in tables(files[place], known[place]):
            seen[place] = schema
            if seen == known:
                left_out = [name for name in table.column_names if pa.types.is_nested(schema.field(name).type)]
                yield from table.drop_columns(left_out).to_batches()

    found = joined([Opened(file, known[place], partial(of_file, place)) for place, file in enumerate(files)], types)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from found.batches
        if seen != known:
            again = [*said, *(_no_dates(name) for name in _lost_dates(known, seen))]
            raise ReadAgain(widening(files, seen, types, tables=tables, alike=alike, said=again))

    return Rows(found.schema, batches(), [*said, *found.said])


def _lost_dates(before: Sequence[pa.Schema], after: Sequence[pa.Schema]) -> list[str]:
    """The columns of moments that later rows made texts."""
    return list(
        dict.fromkeys(
            field.name
            for one, other in zip(before, after, strict=True)
            for field in one
            if pa.types.is_timestamp(field.type) and pa.types.is_string(other.field(field.name).type)
        )
    )


def _no_dates(name: str) -> str:
    return f"column {name!r} stays text: some of its values are no dates, or some have a time zone and others none"


def with_folders(fields: Mapping[str, pa.DataType], files: Sequence[File]) -> tuple[pa.Schema, list[str]]:
    """The fields of files with those that the names of their folders tell, and what is missing in some folders.

    Raises:
        DataError: A column is in the files and in the name of a folder.
    """
    tail = dict[str, pa.DataType]()
    lacking = dict[str, list[File]]()
    for name in dict.fromkeys(name for file in files for name in file.partition):
        values = [file.partition[name] for file in files if name in file.partition]
        tail[name] = pa.int64() if all(one.isdecimal() and str(int(one)) == one for one in values) else pa.string()
        lacking[name] = [file for file in files if name not in file.partition]
        if name in fields:
            where = next(file.name for file in files if name in file.partition)
            raise DataError(f"{where}: column {name!r} is in the files and in the name of their folder; rename one")
    return pa.schema({**fields, **tail}), _missing(lacking, len(files))


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
    for one in opened:
        twice = next((name for name, count in Counter(one.schema.names).items() if count > 1), None)
        if twice is not None:
            raise DataError(f"{one.file.name}: column {twice!r} is there more than once; rename one of them")
        for field in one.schema:
            known = asked.get(field.name) or fields.get(field.name, field.type)
            wider = asked.get(field.name) or merged(known, field.type)
            if wider is None:
                raise DataError(
                    f"column {field.name!r} holds {known} in {first[field.name]} and {field.type} in "
                    f"{one.file.name}; export them alike, or write `types: {{{field.name}: text}}`"
                )
            fields[field.name] = wider
            first.setdefault(field.name, one.file.name)
    lacking = {name: [one.file for one in opened if name not in one.schema.names] for name in sorted(fields)}
    schema, said = with_folders(fields, [one.file for one in opened])
    return schema, [*_missing(lacking, len(opened)), *said]


def _missing(lacking: Mapping[str, Sequence[File]], count: int) -> list[str]:
    """The columns that some files lack, a line each."""
    return [
        f"{name!r} is missing in {len(files)} of {count} files, the first {files[0].name}"
        for name, files in lacking.items()
        if files
    ]


def merged(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
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
                yield fitted(with_partition(batch, one.file, schema), schema, partial(refused, one.file))


def refused(file: File, field: pa.Field, _: pa.DataType, why: str) -> DataError:
    """The error of a column of a file that does not fit the type that it is to have."""
    return _misfit(file.name, field, _, why)


def _misfit(source: str, field: pa.Field, _: pa.DataType, why: str) -> DataError:
    misfit = f"{source}: column {field.name!r} does not fit {field.type}"
    remedy = "; clean the source, or say another type under `types`"
    return ShownError(Example(f"{misfit} ({why}){remedy}", f"{misfit}{remedy}"))
