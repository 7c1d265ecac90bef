"""What was found in the columns of a delimited file, in words: how they are read, and what keeps them text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.data.formats.kinds import (
    MISSING,
    MISSING_NUMBERS,
    PHONE,
    Conventions,
    EitherDate,
    Instant,
    Kind,
    Moment,
    Number,
    Text,
    Whole,
    fits,
    guessed,
    misfit,
)
from cd4ml.data.reading import Reading
from cd4ml.data.rows import Example
from cd4ml.names import shape, shown

SHARE = 0.5
"""From which share of its texts on a column counts as one of numbers, or dates, with a few that are none."""
SEVERAL = 3
LOOKED_AT = 20
"""Texts that are looked at for one that is of a kind."""
_Show: TypeAlias = Callable[[str], str]
_NUMBER = r"^[-+]?[$€£¥]?\s?\d[\d.,' \x{a0}\x{202f}]*(e[-+]?\d+)?\s?[%$€£¥]?$"
_DATE = r"^\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?$"
_ZONE = r"(Z|[+-]\d\d:?\d\d)$"
_UNIT = (
    r"^(?P<before>(?:\p{Sc}|[A-Z]{3} )?) ?[-+]?\d+(?:[.,' \x{a0}\x{202f}]\d+)*"
    r" ?(?P<after>(?:[^\d\s.,:/-][^\d\s]{0,9})?)$"
)
"""A number beside what it is of."""


def of(
    columns: Mapping[str, tuple[pa.Array, Kind]], reading: Reading, missing: Sequence[str]
) -> Iterator[str | Example]:
    """What was found by looking, a line each.

    Args:
        columns: The texts and the kind of each column whose type nobody said.
        reading: What people said.
        missing: What they said is missing in every column.
    """
    same: dict[str, list[str]] = {}
    for name, (texts, kind) in columns.items():
        for said in _of_kind(kind, reading):
            same.setdefault(said, []).append(name)
        if reading.missing is None:
            found = texts.filter(pc.is_in(texts, pa.array(sorted({*MISSING_NUMBERS} - {*MISSING}))))
            tokens = ", ".join(repr(one) for one in pc.unique(found).to_pylist()[:SEVERAL])
            if tokens and isinstance(kind, Text):
                remains = f"{tokens} is a text like others (`read: {{missing: […]}}` says otherwise)"
                same.setdefault(remains, []).append(name)
            elif tokens and kind.type != pa.string():
                same.setdefault(f"{tokens} is missing", []).append(name)
        if kind.type != pa.string() and pc.any(pc.match_substring_regex(texts, r"^\s|\s$"), min_count=0).as_py():
            same.setdefault("spaces around values left out", []).append(name)
    yield from (f"{said} in {_listed(names)}" for said, names in same.items())
    for name, (texts, kind) in columns.items():
        if kind.type == pa.string():
            present = pc.if_else(pc.is_in(texts, pa.array([*MISSING, *missing])), pa.scalar(None, pa.string()), texts)
            yield from _stays_text(name, partial(_text, present, kind, reading.dates))


def headless(columns: Mapping[str, tuple[pa.Array, Kind]]) -> Iterator[Example]:
    """Whether the header is a row like the others: its names are what the columns hold."""
    typed = {name: kind for name, (_, kind) in columns.items() if kind.type != pa.string()}
    texts = {name: values for name, (values, kind) in columns.items() if kind.type == pa.string()}
    kinds_of_names = {name: Number() if isinstance(kind, Whole) else kind for name, kind in typed.items()}
    if not all(fits(pa.array([name.strip()]), kind) for name, kind in kinds_of_names.items()):
        return
    known = [name for name, values in texts.items() if pc.index(values, name).as_py() >= 0]
    is_no_year = any(not name.strip().isdecimal() for name in typed)
    if (typed and (known or not texts or is_no_year)) or (len(texts) > 1 and known == [*texts]):
        shows = [", ".join(map(show, [*columns][:SEVERAL])) for show in (shown, shape)]
        remedy = "holds what the rows do; where the file has none, write `read: {header: false}`"
        yield Example(*(f"the header ({names}) {remedy}" for names in shows))


def dates(columns: Mapping[str, pa.Array]) -> Iterator[Example]:
    """Why columns of texts that are dates stay text, a line each."""
    for name, texts in columns.items():
        fit = pc.match_substring_regex(texts, _DATE)
        if (pc.mean(fit).as_py() or 0) >= SHARE:
            mixed, none = partial(_mixed_dates, texts, None), partial(_none, texts, fit, "dates")
            yield from _stays_text(name, mixed if pc.all(fit).as_py() else none)


def widened(name: str, before: Kind, after: Kind, *, value: str, place: str) -> Iterator[Example]:
    """What a later row changed, where values are no longer what they seemed."""
    if isinstance(after, Text) and not isinstance(before, Text):
        none = f"is no {_word(before)}, as those before it are"
        yield from _stays_text(name, lambda show: f"{show(value)} ({place}) {none}")


def _stays_text(name: str, why: Callable[..., str]) -> Iterator[Example]:
    """The line of a column, where `why` gives a reason: with values as they are, and with what they look like."""
    if why(show=shown):
        yield Example(*(f"column {name!r} stays text: {why(show=show)}" for show in (shown, shape)))


def _of_kind(kind: Kind, reading: Reading) -> Iterator[str]:
    match kind:
        case Number(decimal=","):
            if not reading.decimal:
                yield "',' as the decimal sign"
        case Moment(format=str(format_)) if format_ and format_ != reading.dates:
            yield f"dates as {format_}"
    if isinstance(kind, Whole | Number):
        if kind.thousands and not reading.thousands:
            yield f"{kind.thousands!r} between thousands"
        if kind.sign:
            yield f"{kind.sign!r} beside numbers left out" + (" (12 % is 12)" if kind.sign == "%" else "")


def _text(texts: pa.Array, kind: Kind, dates: str | None, *, show: _Show) -> str:
    """Why a column stays text that seems to be something else; empty where it does not seem so.

    Args:
        texts: Its cells, null where they hold nothing.
        kind: What it was taken for.
        dates: How people said that dates are written.
        show: How its values are shown.
    """
    present = texts.drop_null()
    if isinstance(kind, EitherDate):
        return (
            f"{show(present[0].as_py())} may have the day or the month first; write `read: {{dates: day first}}` or "
            "`month first`"
        )
    for pattern, word in ((_DATE, "dates"), (_NUMBER, "numbers")):
        fit = pc.match_substring_regex(texts, pattern, ignore_case=True)
        share = pc.mean(fit).as_py() or 0
        if share < SHARE:
            continue
        if share < 1:
            return _none(texts, fit, word, show=show)
        return _mixed_dates(texts, dates, show=show) if word == "dates" else _odd_numbers(texts, show=show)
    return _units(present, show=show)


def _units(texts: pa.Array, *, show: _Show) -> str:
    """What stands beside all numbers of a column."""
    found = pc.extract_regex(texts, _UNIT)
    if not len(texts) or found.null_count:
        return ""
    units = [one for part in ("before", "after") for one in pc.unique(pc.struct_field(found, part)).to_pylist()]
    if len(units) != 2 or not any(units):
        return ""
    unit = " and ".join(repr(one.strip()) for one in units if one)
    return f"its cells, as {show(texts[0].as_py())}, are numbers and {unit}; export the numbers alone"


def _mixed_dates(texts: pa.Array, dates: str | None, *, show: _Show) -> str:
    zoned = pc.match_substring_regex(texts, _ZONE)
    if 0 < (pc.mean(zoned).as_py() or 0) < 1:
        return f"{_first(texts, zoned, show=show)} have no time zone, and others do; write all alike"
    said = _unlike("dates", texts, Conventions((".",), None, dates), show=show)
    return f"{said}; say it, as `read: {{dates: '%d.%m.%y'}}`"


def _odd_numbers(texts: pa.Array, *, show: _Show) -> str:
    zeros = pc.match_substring_regex(texts, r"^-?0\d")
    if pc.any(zeros, min_count=0).as_py():
        return f"{_first(texts, pc.invert(zeros), show=show)} have leading zeros, as codes have"
    if pc.any(pc.match_substring_regex(texts, r"^-?\d{16,}$"), min_count=0).as_py():
        return "its numbers have more digits than a number holds, as keys have"
    phones = pc.match_substring_regex(texts, PHONE)
    if pc.any(phones, min_count=0).as_py():
        return f"{_first(texts, pc.invert(phones), show=show)} have a plus, as phone numbers have"
    return _unlike("numbers", texts, Conventions((".", ","), None, None), show=show)


def _unlike(what: str, texts: pa.Array, known: Conventions, *, show: _Show) -> str:
    """That texts are not all of one kind, with one of it and one that is not."""
    present = texts.drop_null()
    for text in present.slice(0, LOOKED_AT).to_pylist():
        kind = guessed(pa.array([text]), known)
        if not isinstance(kind, Text):
            other = present[misfit(present, kind)]
            both = f"{show(text)} and {show(other.as_py())} (row {pc.index(texts, other).as_py() + 1:,})"
            return f"its {what}, as {both}, are written in several ways, or some are none"
    return f"its {what}, as {show(present[0].as_py())}, are in no form that is known"


def _none(texts: pa.Array, fit: pa.Array, what: str, *, show: _Show) -> str:
    return f"{_first(texts, fit, show=show)} are no {what}; clean them, or say what is missing"


def _first(texts: pa.Array, fits: pa.Array, *, show: _Show) -> str:
    """The first of the texts that do not fit: `'abc', 'x' (3 of the first 20 values, from row 7 on)`."""
    wrong = pc.fill_null(pc.invert(fits), False)
    others, row = texts.filter(wrong), pc.index(wrong, True).as_py() + 1
    values = list(dict.fromkeys(map(show, pc.unique(others).to_pylist())))[:SEVERAL]
    count = len(texts) - texts.null_count
    return f"{', '.join(values)} ({len(others):,} of the first {count:,} values, from row {row:,} on)"


def _word(kind: Kind) -> str:
    if isinstance(kind, Whole | Number):
        return "number"
    return "date" if isinstance(kind, Moment | Instant | EitherDate) else "truth value"


def _listed(names: Sequence[str]) -> str:
    """The first of several names."""
    shown_names = ", ".join(map(repr, names[:SEVERAL]))
    return shown_names + (f" and {len(names) - SEVERAL} more" if len(names) > SEVERAL else "")
