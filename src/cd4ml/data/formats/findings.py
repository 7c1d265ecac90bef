"""What was found in the columns of a delimited file, in words: how they are read, and what keeps them text."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.data.formats.kinds import (
    MISSING,
    MISSING_NUMBERS,
    EitherDate,
    Instant,
    Kind,
    Moment,
    Number,
    Text,
    Whole,
    fits,
)
from cd4ml.data.reading import Reading
from cd4ml.data.rows import Example
from cd4ml.names import shown

SHARE = 0.5
"""From which share of its texts on a column counts as one of numbers, or dates, with a few that are none."""
SEVERAL = 3
_NUMBER = r"^[-+]?[$€£¥]?\s?\d[\d.,' ]*(e[-+]?\d+)?\s?[%$€£¥]?$"
_DATE = r"^\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?$"
_ZONE = r"(Z|[+-]\d\d:?\d\d)$"


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
            present = texts.filter(pc.invert(pc.is_in(texts, pa.array([*MISSING, *missing]))))
            yield from (_stays_text(name, why) for why in _text(present, kind))


def headless(columns: Mapping[str, tuple[pa.Array, Kind]]) -> Iterator[str]:
    """Whether the header is a row like the others: its names are what the columns hold."""
    typed = {name: kind for name, (_, kind) in columns.items() if kind.type != pa.string()}
    texts = {name: values for name, (values, kind) in columns.items() if kind.type == pa.string()}
    kinds_of_names = {name: Number() if isinstance(kind, Whole) else kind for name, kind in typed.items()}
    if not all(fits(pa.array([name.strip()]), kind) for name, kind in kinds_of_names.items()):
        return
    known = [name for name, values in texts.items() if pc.index(values, name).as_py() >= 0]
    if (typed and (known or not texts)) or (len(texts) > 1 and known == [*texts]):
        names = ", ".join(shown(name) for name in [*columns][:SEVERAL])
        yield f"the header ({names}) holds what the rows do; where the file has none, write `read: {{header: false}}`"


def widened(name: str, before: Kind, after: Kind, *, value: str, place: str) -> Iterator[Example]:
    """What a later row changed, where values are no longer what they seemed."""
    if isinstance(after, Text) and not isinstance(before, Text):
        yield _stays_text(name, f"{shown(value)} ({place}) is no {_word(before)}, as those before it are")


def _stays_text(name: str, why: str) -> Example:
    line = f"column {name!r} stays text"
    return Example(name, f"{line}: {why}", line)


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


def _text(texts: pa.Array, kind: Kind) -> Iterator[str]:
    """Why a column stays text that seems to be something else."""
    if isinstance(kind, EitherDate):
        yield (
            f"{shown(texts[0].as_py())} may have the day or the month first; write `read: {{dates: day first}}` or "
            "`month first`"
        )
        return
    for pattern, word in ((_DATE, "dates"), (_NUMBER, "numbers")):
        fits = pc.match_substring_regex(texts, pattern, ignore_case=True)
        share = pc.mean(fits).as_py() or 0
        if share < SHARE:
            continue
        if share < 1:
            yield f"{_first(texts, fits)} are no {word}; clean them, or say what is missing"
        elif word == "dates":
            yield _mixed_dates(texts)
        else:
            yield _odd_numbers(texts)
        return


def _mixed_dates(texts: pa.Array) -> str:
    zoned = pc.match_substring_regex(texts, _ZONE)
    if 0 < (pc.mean(zoned).as_py() or 0) < 1:
        return f"{_first(texts, zoned)} have no time zone, and others do; write all alike"
    return f"its dates, as {shown(texts[0].as_py())}, are written in several ways"


def _odd_numbers(texts: pa.Array) -> str:
    zeros = pc.match_substring_regex(texts, r"^-?0\d")
    if pc.any(zeros, min_count=0).as_py():
        return f"{_first(texts, pc.invert(zeros))} have leading zeros, as codes have"
    if pc.any(pc.match_substring_regex(texts, r"^-?\d{16,}$"), min_count=0).as_py():
        return "its numbers have more digits than a number holds, as keys have"
    return f"its numbers, as {shown(texts[0].as_py())}, are written in several ways"


def _first(texts: pa.Array, fits: pa.Array) -> str:
    """The first of the texts that do not fit: `'abc' and 'x' (3 rows)`."""
    others = texts.filter(pc.invert(fits))
    values = [shown(one) for one in pc.unique(others).to_pylist()[:SEVERAL]]
    return f"{', '.join(values)} ({len(others):,} of the first {len(texts):,} values)"


def _word(kind: Kind) -> str:
    if isinstance(kind, Whole | Number):
        return "number"
    return "date" if isinstance(kind, Moment | Instant | EitherDate) else "truth value"


def _listed(names: Sequence[str]) -> str:
    """The first of several names."""
    shown_names = ", ".join(map(repr, names[:SEVERAL]))
    return shown_names + (f" and {len(names) - SEVERAL} more" if len(names) > SEVERAL else "")
