"""JSON Lines: an object a line.

What the beginning of each file shows is taken for all. Where a later line does not fit, its column is widened, and all
is read again, so that no value depends on where it stands.
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from cd4ml.data.files import File
from cd4ml.data.formats import findings
from cd4ml.data.formats.kinds import EXACT, Instant, Moment, fits
from cd4ml.data.formats.stream import told, unpacked
from cd4ml.data.formats.typed import merged, widening
from cd4ml.data.reading import Reading, Type
from cd4ml.data.rows import Example, Rows, ShownError
from cd4ml.errors import DataError

BLOCK, LARGEST = 16 << 20, 64 << 20
"""Bytes that are parsed at once, and that a line may have."""
_REMEDY = "write it in one way in all lines, or leave it out"


@dataclass(frozen=True)
class _Lines:
    """Some lines of a file."""

    file: File
    first: int
    """The number of the first of them."""
    content: bytes

    def place(self, number: int) -> str:
        """What errors call one of them."""
        return f"{self.file.name}: line {number:,}"


def rows(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> Rows:  # noqa: ARG001 (one door)
    """The rows of files of JSON Lines.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    beginnings = [_beginning(file, types) for file in files]
    schemas, said = [schema for schema, _ in beginnings], beginnings[0][1]
    return widening(files, schemas, types, tables=_tables, alike=partial(_alike, types), said=said)


def _beginning(file: File, types: Mapping[str, Type]) -> tuple[pa.Schema, list[Example]]:
    """The columns that the first lines show, and why dates among them stay text."""
    with told(file.name):
        lines = next(_blocks(file), None)
        if lines is None:
            return pa.schema([]), []
        table = _read(lines, pa.schema([]))
    texts = [name for name in table.column_names if pa.types.is_string(table[name].type) and name not in types]
    return table.schema, list(findings.dates({name: table[name].combine_chunks() for name in texts}))


def _tables(file: File, known: pa.Schema) -> Iterator[tuple[pa.Table, pa.Schema]]:
    for lines in _blocks(file):
        table = _read(lines, known)
        known = _widened(known, table.schema, lines)
        yield table, known


def _alike(types: Mapping[str, Type], schemas: Sequence[pa.Schema]) -> list[pa.Schema]:
    """The columns of files, none of them dates in one and texts in another."""
    texts = {field.name for schema in schemas for field in schema if pa.types.is_string(field.type)}
    texts |= {name for name, type_ in types.items() if type_ == "text"}
    return [
        pa.schema(
            field.with_type(pa.string()) if field.name in texts and pa.types.is_timestamp(field.type) else field
            for field in schema
        )
        for schema in schemas
    ]


def _blocks(file: File) -> Iterator[_Lines]:
    """The lines of a file, many at once."""
    with unpacked(file) as source:
        line, rest = 1, b""
        while content := source.read(BLOCK):
            rest = rest + content if rest else content.removeprefix(codecs.BOM_UTF8)
            end = rest.rfind(b"\n") + 1
            if rest[:end].strip():
                yield _Lines(file, line, rest[:end])
            line, rest = line + rest.count(b"\n"), rest[end:]
            if len(rest) > LARGEST:
                raise DataError(f"{file.name}: line {line:,} has more than {LARGEST >> 20} MiB; export it with less")
        if rest.strip():
            yield _Lines(file, line, rest)


def _read(lines: _Lines, known: pa.Schema) -> pa.Table:
    """The rows of some lines, in the types that are known, or where they do not fit, in those that they show.

    Raises:
        DataError: They are no JSON, or a column is of two kinds.
    """
    plain = [field for field in known if not pa.types.is_nested(field.type)]
    try:
        table = _parsed(lines.content, pa.schema(plain))
    except pa.ArrowInvalid:
        try:
            table = _parsed(lines.content, pa.schema([]))
        except pa.ArrowInvalid as error:
            raise _refused(lines, known, str(error).splitlines()[0]) from error
    numbers = [table[field.name] for field in table.schema if pa.types.is_floating(field.type)]
    if any(pc.any(pc.greater_equal(pc.abs(one), EXACT), min_count=0).as_py() for one in numbers):
        _check_digits(lines)
    return table


def _parsed(block: bytes, known: pa.Schema) -> pa.Table:
    """The rows of some lines; Arrow would leave the zones of moments out."""
    schema = _moments_as_text(known)
    table = _inferred(block, schema)
    inferred = pa.schema(field for field in table.schema if field.name not in known.names)
    if any(pa.types.is_timestamp(type_) for type_ in inferred.types):
        table = _inferred(block, pa.schema([*schema, *_moments_as_text(inferred)]))
    for place, field in enumerate(table.schema):
        wanted = known.field(field.name).type if field.name in known.names else None
        if pa.types.is_string(field.type) and wanted != pa.string():
            table = table.set_column(place, field.name, _moments(table.column(place), wanted))
    return table


def _moments_as_text(schema: pa.Schema) -> pa.Schema:
    return pa.schema(field.with_type(pa.string()) if pa.types.is_timestamp(field.type) else field for field in schema)


def _moments(column: pa.ChunkedArray, wanted: pa.DataType | None) -> pa.ChunkedArray:
    """Texts as moments, where all are, and of the type that is wanted, if any is; else as they are."""
    texts = column.combine_chunks()
    for kind in (Moment(), Instant()):
        if wanted in (None, kind.type) and fits(texts, kind):
            return pa.chunked_array([kind.values(texts)])
    return column


def _inferred(block: bytes, schema: pa.Schema) -> pa.Table:
    """The rows of some lines, in types that are known or that they show."""
    return pajson.read_json(
        pa.BufferReader(block),
        read_options=pajson.ReadOptions(block_size=len(block)),
        parse_options=pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
    )


def _widened(known: pa.Schema, found: pa.Schema, lines: _Lines) -> pa.Schema:
    """The columns that are known, so that they hold what was found."""
    fields = {field.name: field.type for field in known}
    for field in found:
        wider = _wider(fields.get(field.name, pa.null()), field.type)
        if wider is None:
            raise _refused(lines, known, f"column {field.name!r}")
        fields[field.name] = wider
    return pa.schema(fields)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both; of lists and objects, which are left out, one stands for all."""
    if pa.types.is_nested(one) and pa.types.is_nested(other):
        return one
    texts = [pa.types.is_string(type_) or pa.types.is_timestamp(type_) for type_ in (one, other)]
    return pa.string() if all(texts) and pa.string() in (one, other) else merged(one, other)


def _refused(lines: _Lines, known: pa.Schema, why: str) -> DataError:
    """The error of the first line that cannot be read, or does not fit those before it."""
    kinds = {field.name: kind for field in known if (kind := _kind_of(field.type))}
    for number, row in _objects(lines):
        for path, kind in _kinds(row):
            before = kinds.setdefault(path, kind)
            if kind != before:
                return DataError(
                    f"{lines.place(number)}, column {path!r}: holds {kind}, and {before} before; {_REMEDY}"
                )
    return DataError(f"{lines.file.name}: the lines from {lines.first:,} on cannot be read ({why}); {_REMEDY}")


def _check_digits(lines: _Lines) -> None:
    """Refuses whole numbers that a column of other numbers would change."""
    for number, row in _objects(lines):
        for name, value in row.items():
            if isinstance(value, int) and abs(value) >= EXACT and int(float(value)) != value:
                cell = f"{lines.place(number)}, column {name!r}:"
                why = "has more digits than a number holds; write it as text, in quotes"
                raise ShownError(Example(f"{cell} {value} {why}", f"{cell} a value {why}"))


def _objects(lines: _Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines one by one, for errors, with the number of each."""
    for number, text in enumerate(lines.content.split(b"\n"), lines.first):
        if text.strip():
            try:
                row = json.loads(text, object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{lines.place(number)} is no JSON ({error}); export it again") from error
            if not isinstance(row, dict):
                raise DataError(f'{lines.place(number)} holds no object; write one a line, as {{"id": 1}}')
            yield number, row


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there more than once")
    return found


def _kinds(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """What a value holds, and what is in it, by their places: `order.items[]`."""
    match value:
        case dict():
            within = [(f"{path}.{name}" if path else name, each) for name, each in value.items()]
        case list():
            within = [(f"{path}[]", each) for each in value]
        case _:
            within = []
    if path and value is not None:
        yield path, _KINDS[type(value)]
    for place, each in within:
        yield from _kinds(each, place)


_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "text", dict: "an object", list: "a list"}


def _kind_of(type_: pa.DataType) -> str:
    """The kind of a type; empty where nothing is known."""
    types = pa.types
    if types.is_null(type_):
        return ""
    if types.is_string(type_) or types.is_timestamp(type_):
        return _KINDS[str]
    if types.is_nested(type_):
        return _KINDS[dict if types.is_struct(type_) else list]
    return _KINDS[bool if types.is_boolean(type_) else float]
