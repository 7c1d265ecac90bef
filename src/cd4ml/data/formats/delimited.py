"""Delimited files, as CSV: texts, of which each column becomes what its texts show.

What the beginning of the first file shows is taken for all. Where a later row does not fit, its column is widened, and
all is read again, so that no value depends on where it stands.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from cd4ml.data.files import File
from cd4ml.data.formats import dialect as dialects
from cd4ml.data.formats import findings, kinds
from cd4ml.data.formats.dialect import Dialect
from cd4ml.data.formats.kinds import Conventions, Kind, Text
from cd4ml.data.formats.stream import told, unpacked
from cd4ml.data.formats.typed import refused, with_folders, with_partition
from cd4ml.data.reading import Reading, Type
from cd4ml.data.rows import Example, ReadAgain, Rows, ShownError, fitted
from cd4ml.errors import DataError
from cd4ml.names import nearest, shape, shown

SAMPLE = 4 << 20
"""Bytes at the beginning of a file that are looked at."""
BLOCK, LARGE_BLOCK = 4 << 20, 64 << 20
"""Bytes that are parsed at once; a row must fit into the larger of them."""


@dataclass(frozen=True)
class _Column:
    """A column of the files."""

    name: str
    place: int
    """Its place in the first file."""
    kind: Kind
    said: Type | None
    """What a person said that it holds."""


@dataclass(frozen=True)
class _Plan:
    """How the files are read."""

    files: Sequence[File]
    reading: Reading
    dialect: Dialect
    conventions: Conventions
    columns: Sequence[_Column]
    missing: tuple[str, ...]
    """What is missing in every column, beside what is in a column of a kind."""
    said: Sequence[str | Example]
    block: int


@dataclass
class _Comments:
    """The lines among the rows that are comments."""

    lines: int = 0
    first: str = ""

    def add(self, text: str, lines: int = 1) -> None:
        """Adds lines, the first of which has this text."""
        self.first = self.first or text
        self.lines += lines


@dataclass
class _Widened:
    """What did not fit."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    said: list[Example] = field(default_factory=list)


def rows(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> Rows:
    """The rows of delimited files.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    return _rows(_plan(files, reading, types))


def _rows(plan: _Plan) -> Rows:
    schema, lacking = with_folders({column.name: column.kind.type for column in plan.columns}, plan.files)
    said = [*plan.said, *lacking]
    return Rows(schema, _batches(plan, schema, said), said)


def _plan(files: Sequence[File], reading: Reading, types: Mapping[str, Type]) -> _Plan:
    first = files[0]
    dialect = _dialect(first, reading)
    for name in types:
        if name not in dialect.names:
            raise DataError(f"{first.name}: types: no column {name!r} is there; {nearest(name, dialect.names)}")
    sample = _sample(first, dialect)
    missing = tuple(reading.missing) if reading.missing is not None else ()
    texts = [_present(pc.utf8_trim_whitespace(one), (*kinds.MISSING_NUMBERS, *missing)) for one in sample.columns]
    known = kinds.conventions([pc.unique(one) for one in texts], delimiter=dialect.delimiter, reading=reading)
    columns, unnamed = [], []
    for place, name in enumerate(dialect.names):
        column = _present(sample.column(place), missing)
        if name in dialect.nameless:
            if _says_nothing(column):
                unnamed.append("left out a column without a name, which numbers the rows or is empty")
                continue
            unnamed.append(f"called a column without a name {name!r}")
        asked = types.get(name)
        kind = kinds.of_type(asked, column, known) if asked else kinds.guessed(column, known)
        columns.append(_Column(name, place, kind, asked))
    _check_names([column.name for column in columns], first.name)
    if order := kinds.order_of_dates([column.kind for column in columns]):
        known = replace(known, dates=order)
        columns = [
            replace(one, kind=kinds.guessed(_present(sample.column(one.place), missing), known))
            if isinstance(one.kind, kinds.EitherDate)
            else one
            for one in columns
        ]
    seen = {column.name: (sample.column(column.place), column.kind) for column in columns}
    told_of = {column.name: seen[column.name] for column in columns if not column.said}
    headless = findings.headless(seen) if reading.header is True else ()
    said = [*dialect.said, *unnamed, *headless, *findings.of(told_of, reading, missing)]
    return _Plan(files, reading, dialect, known, columns, missing, said, _block(len(columns)))


def _block(columns: int) -> int:
    """Bytes that are parsed at once: more where rows are wide, for each block has its price by column."""
    return max(BLOCK, min(LARGE_BLOCK, columns << 14))


def _dialect(file: File, reading: Reading) -> Dialect:
    with told(file.name), unpacked(file) as source:
        sample = source.read(SAMPLE)
        whole = len(sample) < SAMPLE
        if not reading.delimiter and file.path.name.lower().partition(".tsv")[1]:
            reading = reading.model_copy(update={"delimiter": "\t"})
        return dialects.find(sample, name=file.name, whole=whole, reading=reading)


def _check_names(names: Sequence[str], file: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{file}: column {twice!r} is there more than once; rename one of them")


def _sample(file: File, dialect: Dialect) -> pa.RecordBatch:
    """The first rows, as texts."""
    for block in (BLOCK, LARGE_BLOCK):
        try:
            for batch in _texts(file, dialect, block=block, comments=_Comments()):
                if batch.num_rows:
                    return batch
            break
        except _LongRowError as error:
            if block == LARGE_BLOCK:
                raise _too_long(file) from error
    return pa.RecordBatch.from_pydict({str(place): pa.array([], pa.string()) for place in range(len(dialect.names))})


def _says_nothing(texts: pa.Array) -> bool:
    """Whether a column numbers the rows from 0 or 1, or is empty."""
    if not _present(texts, kinds.MISSING).is_valid().true_count:
        return True
    return any(texts.equals(pa.array(map(str, range(start, start + len(texts))), pa.string())) for start in (0, 1))


def _batches(plan: _Plan, schema: pa.Schema, said: list[str | Example]) -> Iterator[pa.RecordBatch]:
    """The rows; at their end is said what was left out."""
    widened, comments = _Widened(), _Comments()
    for file in plan.files:
        dialect = plan.dialect if file is plan.files[0] else _dialect(file, plan.reading)
        places = _places(file, dialect.names, plan)
        start = 1
        try:
            for batch in _texts(file, dialect, block=plan.block, comments=comments):
                columns = [
                    _values(batch.column(place), column, plan=plan, at=(file, start), widened=widened)
                    for place, column in zip(places, plan.columns, strict=True)
                ]
                start += batch.num_rows
                if not widened.kinds:
                    typed = pa.RecordBatch.from_arrays(columns, names=[column.name for column in plan.columns])
                    yield fitted(with_partition(typed, file, schema), schema, partial(refused, file))
        except _LongRowError as error:
            if plan.block == LARGE_BLOCK:
                raise _too_long(file) from error
            raise ReadAgain(_rows(replace(plan, block=LARGE_BLOCK))) from error
    if widened.kinds:
        columns = [replace(one, kind=widened.kinds.get(one.name, one.kind)) for one in plan.columns]
        raise ReadAgain(_rows(replace(plan, columns=columns, said=[*plan.said, *widened.said])))
    if comments.lines:
        left_out = f"left out {comments.lines:,} lines among the rows as comments"
        said.append(Example(f"{left_out}, the first {shown(comments.first)}", left_out))


def _places(file: File, names: Sequence[str], plan: _Plan) -> list[int]:
    """Where the columns stand in a file, which may have them in another order.

    Raises:
        DataError: It has other columns.
    """
    if names == plan.dialect.names:
        return [column.place for column in plan.columns]
    _check_names(list(filter(None, names)), file.name)
    lacking = set(plan.dialect.names) - set(names)
    other = next(iter(sorted(lacking or set(names) - set(plan.dialect.names))), None)
    if other is not None:
        raise DataError(
            f"column {other!r} is in {plan.files[0 if lacking else plan.files.index(file)].name} and not in "
            f"{(file if lacking else plan.files[0]).name}; export them alike"
        )
    return [names.index(column.name) for column in plan.columns]


def _values(texts: pa.Array, column: _Column, *, plan: _Plan, at: tuple[File, int], widened: _Widened) -> pa.Array:
    """The texts of a column as values; where they do not fit, what fits is noted, and the texts are given back."""
    kind = widened.kinds.get(column.name, column.kind)
    missing = (*kind.missing, *plan.missing)
    present = _present(texts, missing)
    try:
        return kind.values(present)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        present = _present(pc.utf8_trim_whitespace(texts), missing)
    try:
        return kind.values(present)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        file, start = at
        place = _first(present, kind)
        value = present[place].as_py()
        if column.said:
            cell = f"{file.name}: row {start + place}, column {column.name!r}:"
            is_none = f"is no {column.said}; clean the source, or say another type under `types`"
            raise ShownError(Example(f"{cell} {shown(value)} {is_none}", f"{cell} {shape(value)} {is_none}")) from error
        found = kind.joined(kinds.guessed(_present(texts, plan.missing), plan.conventions))
        found = Text() if found == kind else found
        widened.kinds[column.name] = found
        row = f"row {start + place} of {file.name}"
        widened.said += findings.widened(column.name, kind, found, value=value, place=row)
        return present


def _first(texts: pa.Array, kind: Kind) -> int:
    """The place of the first text that is not of a kind."""
    numbered = pa.table({"text": texts, "place": pa.array(range(len(texts)))}).filter(texts.is_valid())
    values = numbered["text"].combine_chunks()
    return int(numbered["place"][kinds.misfit(values, kind)].as_py())


def _present(texts: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Texts, null where they are missing."""
    none = pc.is_in(texts, pa.array(missing, pa.string()))
    return pc.if_else(none, pa.scalar(None, pa.string()), texts) if pc.any(none, min_count=0).as_py() else texts


class _LongRowError(Exception):
    """A row does not fit into a block."""


def _texts(file: File, dialect: Dialect, *, block: int, comments: _Comments) -> Iterator[pa.RecordBatch]:
    """The rows of a file, all cells as texts; the lines that are comments are added to those before.

    Raises:
        DataError: A row has more or fewer cells than the header, or is not in the encoding of the file.
    """
    ragged: list[pacsv.InvalidRow] = []
    count, last = 0, ""
    try:
        with unpacked(file) as source:
            if _ends_in_header(file, dialect):
                return
            for batch in _opened(source, dialect, block=block, ragged=ragged, comments=comments):
                if batch.num_rows:
                    count, last = count + batch.num_rows, batch.column(-1)[-1].as_py()
                yield _without_comments(_trimmed(batch, dialect), dialect, comments)
        if ("\n" in last or "\r" in last) and not _ends_in_quote(file, dialect):
            raise DataError(
                f"{file.name}: row {count:,}, column {dialect.names[-1]!r}: its quote is never closed, so that all "
                'after it would be one cell; close it, or say another quote, as `read: {quote: "\'"}`'
            )
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise _LongRowError from error
        if ragged:
            raise _ragged(file, dialect, block) from error
        if "UTF8" in str(error):
            raise DataError(
                f"{file.name}: holds bytes that are not {dialect.encoding}; export it as UTF-8, or write its encoding, "
                "as `read: {encoding: cp1252}`"
            ) from error
        if "Empty CSV" in str(error):
            return
        with told(file.name):
            raise
    except (OSError, EOFError, UnicodeDecodeError):
        with told(file.name):
            raise


def _opened(
    source: pa.NativeFile,
    dialect: Dialect,
    *,
    block: int,
    ragged: list[pacsv.InvalidRow],
    comments: _Comments,
    in_order: bool = False,
) -> pacsv.CSVStreamingReader:
    names = [str(place) for place in range(len(dialect.names))]

    def invalid(row: pacsv.InvalidRow) -> str:
        if dialect.comment and row.text.startswith(dialect.comment):
            comments.add(row.text)
            return "skip"
        ragged.append(row)
        return "error"

    return pacsv.open_csv(
        source,
        read_options=pacsv.ReadOptions(
            use_threads=not in_order,
            block_size=block,
            skip_rows=dialect.skip,
            column_names=names,
            encoding="utf8" if dialect.encoding.startswith("utf-8") else dialect.encoding,
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            double_quote=dialect.escape is None,
            escape_char=dialect.escape or False,
            newlines_in_values=True,
            invalid_row_handler=invalid,
        ),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )


def _ends_in_header(file: File, dialect: Dialect) -> bool:
    """Whether nothing comes after the header, which Arrow takes for an error."""
    with unpacked(file) as source:
        beginning = source.read(SAMPLE)
    lines = beginning.decode(dialect.encoding, "ignore").splitlines()
    return len(beginning) < SAMPLE and not any(line.strip() for line in lines[dialect.skip :])


def _ends_in_quote(file: File, dialect: Dialect) -> bool:
    """Whether the last cell of a file is closed, where it has a quote."""
    end = b""
    with unpacked(file) as source:
        while content := source.read(BLOCK):
            end = (end + content).replace(b"\0", b"").rstrip()[-8:]  # UTF-16 has NULs
    return end.endswith(dialect.quote.encode())


def _ragged(file: File, dialect: Dialect, block: int) -> DataError:
    """The error of the first row that has another number of cells; Arrow numbers rows where it has one thread only."""
    ragged: list[pacsv.InvalidRow] = []
    try:
        with unpacked(file) as source:
            for _ in _opened(source, dialect, block=block, ragged=ragged, comments=_Comments(), in_order=True):
                pass
    except pa.ArrowInvalid:
        pass
    row = ragged[0]
    counted = (
        f"{file.name}: row {row.number - dialect.skip} has {row.actual_columns} cells, and the header "
        f"{len(dialect.names)}"
    )
    remedy = f"; mend it, put quotes around cells that hold {dialect.delimiter!r}, or say another delimiter"
    return ShownError(Example(f"{counted}: {shown(row.text)}{remedy}", f"{counted}{remedy}"))


def _trimmed(batch: pa.RecordBatch, dialect: Dialect) -> pa.RecordBatch:
    if not dialect.spaced:
        return batch
    return pa.RecordBatch.from_arrays([pc.utf8_ltrim(one, " ") for one in batch.columns], batch.schema.names)


def _without_comments(batch: pa.RecordBatch, dialect: Dialect, comments: _Comments) -> pa.RecordBatch:
    if not dialect.always or not batch.num_columns:
        return batch
    are = pc.starts_with(batch.column(0), dialect.comment)
    found = batch.column(0).filter(are)
    if len(found):
        comments.add(found[0].as_py(), len(found))
    return batch.filter(pc.invert(are))


def _too_long(file: File) -> DataError:
    return DataError(
        f"{file.name}: has a row of more than {LARGE_BLOCK >> 20} MiB; a quote may never be closed, "
        "or leave out the column that holds so much"
    )
