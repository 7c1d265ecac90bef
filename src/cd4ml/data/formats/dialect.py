"""How a delimited file is written: found by looking at its beginning, where nobody said it."""

import codecs
import contextlib
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cd4ml.data.reading import Reading
from cd4ml.errors import DataError

ROWS = 1_000
"""How many are looked at for the delimiter."""
DELIMITERS = ("\t", ";", "|", ",")
"""The first of those that explain a file equally well: a comma stands in texts and numbers too."""
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NAMES = {"\t": "a tab", " ": "a space"}
_OTHERS = {
    b"\x1f\x8b": "is packed by gzip; give it a name that ends in .gz",
    b"BZh": "is packed by bzip2; give it a name that ends in .bz2",
    b"\x28\xb5\x2f\xfd": "is packed by zstandard; give it a name that ends in .zst",
    b"PK\x03\x04": "is a ZIP archive or a workbook of Excel; unpack it, or export it as CSV",
    b"\xd0\xcf\x11\xe0": "is a workbook of Excel; export it as CSV",
    b"PAR1": "is of Parquet; give it a name that ends in .parquet, or write `read: {format: parquet}`",
}
"""What files that are no text begin with."""
_WEB_PAGE = re.compile(r"\s*<(!doctype\s+html|html)\b", re.IGNORECASE)
_FIRST_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?\s*")
"""As Excel writes it, and reads it."""


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written."""

    encoding: str
    delimiter: str
    quote: str
    escape: str | None
    comment: str | None
    """What begins a line that is no row, where its cells do not fit."""
    always: bool
    """Whether such a line is none even where its cells fit: a person said so."""
    spaced: bool
    """Whether a space stands after each delimiter, which is no part of the cells."""
    skip: int
    """The lines before the rows: titles, comments and the header."""
    names: tuple[str, ...]
    """Of the columns, as they stand in the file; by its place where one has none."""
    nameless: tuple[str, ...]
    """Those that are called by their place."""
    said: tuple[str, ...]
    """What was found, for people."""


def find(sample: bytes, *, name: str, whole: bool, reading: Reading) -> Dialect:
    """Looks at the beginning of a file.

    Args:
        sample: The beginning.
        name: What errors call the file.
        whole: Whether it is all of the file.
        reading: What is known.

    Raises:
        DataError: It is no text, or not in the encoding that was said.
    """
    if other := next((said for mark, said in _OTHERS.items() if sample.startswith(mark)), None):
        raise DataError(f"{name}: {other}")
    encoding = reading.encoding or _encoding(sample)
    text = _decoded(sample, encoding=encoding, name=name)
    if _WEB_PAGE.match(text):
        raise DataError(
            f"{name}: is a web page and no table; a page to log in, perhaps: look at it, and check the address"
        )
    lines = _lines(text, whole=whole)
    named = None if reading.skip is not None else _FIRST_LINE.fullmatch(lines[0])
    before = 1 if named else reading.skip or 0
    lines = lines[before:]
    quote = reading.quote or '"'
    escape = reading.escape or _escape(lines, quote)
    comment = reading.comment or _comment(lines)
    of_rows = [number for number, line in enumerate(lines) if not (comment and line.startswith(comment))]
    signs = _Signs(quote, escape, [lines[number] for number in of_rows])
    delimiter = reading.delimiter or (named[1] if named else _delimiter(signs))
    table = signs.parsed(delimiter)
    titles = 0 if reading.skip is not None else _titles(table, _width(table))
    table = table[titles:]
    if not table:
        raise DataError(f"{name}: holds no table; export it again")
    spaced = _is_spaced(table, delimiter)
    names = _names(table[0], reading)
    if reading.header is True and spaced:
        names = tuple(one.lstrip(" ") for one in names)
    numbered = tuple(f"column_{number}" for number in range(1, len(names) + 1))
    nameless = tuple(number for name, number in zip(names, numbered, strict=True) if not name)
    names = tuple(name or number for name, number in zip(names, numbered, strict=True))
    if len(names) != len(table[0].cells):
        raise DataError(f"{name}: has {len(table[0].cells)} columns, and `header` names {len(names)}; name them all")
    rows = table[1:] if reading.header is True else table
    _check_width(names, rows, name)
    begin = of_rows[table[0].line]
    skip = of_rows[table[0].end - 1] + 1 if reading.header is True else begin
    found = {
        f"{_NAMES.get(delimiter, repr(delimiter))} as the delimiter": not reading.delimiter,
        f"{encoding} as the encoding": not reading.encoding and encoding not in ("utf-8", "utf-8-sig"),
        f"{escape} before quotes": not reading.escape and escape is not None,
        f"{comment!r} as the beginning of comments": not reading.comment and comment is not None,
        "a space after each delimiter": spaced,
        f"{titles} line{'s' * (titles > 1)} before the header as a title": titles > 0,
    }
    said = ", ".join([*(one for one, is_so in found.items() if is_so), f"{len(names)} column{'s' * (len(names) > 1)}"])
    return Dialect(
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        comment=comment,
        always=reading.comment is not None,
        spaced=spaced,
        skip=skip + before,
        names=names,
        nameless=nameless,
        said=(f"read {said}",),
    )


@dataclass(frozen=True)
class _Row:
    """A row, with its first line and the one after its last."""

    line: int
    end: int
    cells: list[str]


@dataclass(frozen=True)
class _Signs:
    """What parses the lines, but for the delimiter."""

    quote: str
    escape: str | None
    lines: Sequence[str]

    def parsed(self, delimiter: str) -> list[_Row]:
        """The rows that are not blank."""
        reader = csv.reader(
            self.lines,
            delimiter=delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            doublequote=self.escape is None,
        )
        found: list[_Row] = []
        before = 0
        with contextlib.suppress(csv.Error):  # a cell longer than it takes: what comes before tells enough
            for cells in reader:
                if cells:
                    found.append(_Row(before, reader.line_num, cells))
                before = reader.line_num
                if len(found) >= ROWS:
                    break
        return found


def _lines(text: str, *, whole: bool) -> list[str]:
    lines = [f"{line}\n" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return lines if whole or len(lines) == 1 else lines[:-1]


def _encoding(sample: bytes) -> str:
    for mark, name in _MARKS.items():
        if sample.startswith(mark):
            return name
    beginning = sample[:4096]
    if beginning.count(0) > len(beginning) // 4:
        return "utf-16-le" if beginning[1::2].count(0) > beginning[::2].count(0) else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        sample.decode("cp1252")
        return "cp1252"
    except UnicodeDecodeError:
        return "latin-1"


def _decoded(sample: bytes, *, encoding: str, name: str) -> str:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: is not in {encoding} (byte {error.start:,}: {error.reason}); write its encoding under `read`"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{name}: line {line} has a NUL, which no table has; it is damaged or no text")
    return text


def _escape(lines: Sequence[str], quote: str) -> str | None:
    r"""A backslash, where quotes within cells are written as `\"` and never doubled."""
    text = "".join(lines[:ROWS])
    escaped = re.search(rf"\\{re.escape(quote)}[^\s,;|]", text)
    doubled = re.search(rf"[^,;|\t\n]{re.escape(quote) * 2}[^,;|\t\n]", text)
    return "\\" if escaped and not doubled else None


def _comment(lines: Sequence[str]) -> str | None:
    """`#`, where the first lines begin with it and those after them do not; a single one may be the header."""
    marked = 0
    for line in lines:
        if not line.startswith("#"):
            break
        marked += 1
    rest = [line for line in lines[marked : marked + 10] if line.strip()]
    if not marked or not rest:
        return None
    is_header = marked == 1 and any(0 < lines[0].count(one) == rest[0].count(one) for one in DELIMITERS)
    return None if is_header else "#"


def _delimiter(signs: _Signs) -> str:
    fits = {one: _fit(signs.parsed(one)) for one in DELIMITERS}
    best = max(DELIMITERS, key=lambda one: fits[one])
    return best if fits[best][1] > 1 else ","


def _width(rows: Sequence[_Row]) -> int:
    counts = Counter(len(row.cells) for row in rows)
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _fit(rows: Sequence[_Row]) -> tuple[float, int]:
    """How well a delimiter explains the rows: which share has one width, and how wide they are."""
    width = _width(rows)
    if width < 2:
        return 0.0, 0
    return round(sum(len(row.cells) == width for row in rows) / len(rows), 2), width


def _titles(table: Sequence[_Row], width: int) -> int:
    """How many rows before the header hold a title: one cell alone, where others have several."""
    count = 0
    for row in table:
        filled = sum(bool(cell.strip()) for cell in row.cells)
        if width < 2 or filled > 1 or (len(row.cells) == width and width == 2):
            break
        count += 1
    return count if count < len(table) else 0


def _is_spaced(table: Sequence[_Row], delimiter: str) -> bool:
    later = [cell for row in table[1:] for cell in row.cells[1:] if cell]
    return bool(later) and not delimiter.isspace() and all(cell.startswith(" ") for cell in later)


def _names(first: _Row, reading: Reading) -> tuple[str, ...]:
    if reading.header is True:
        return tuple(first.cells)
    if reading.header is False:
        return tuple(f"column_{number}" for number in range(1, len(first.cells) + 1))
    return tuple(reading.header)


def _check_width(names: Sequence[str], rows: Sequence[_Row], name: str) -> None:
    """Refuses a header that names fewer or more columns than every row has."""
    widths = {len(row.cells) for row in rows}
    if len(widths) == 1 and widths != {len(names)}:
        raise DataError(
            f"{name}: the header has {len(names)} names, and every row has {widths.pop()} cells; export the table with "
            "a name for each column, or name them all by `read: {skip: 1, header: […]}`"
        )
