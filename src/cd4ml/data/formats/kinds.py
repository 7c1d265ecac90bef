"""What a column of texts holds: numbers, dates, truth values, or texts; each kind turns the texts into values.

A kind takes a text or does not: it takes what it can turn into a value so that nothing is lost (`007` is no number).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.data.reading import Reading, Type

MISSING = ("", "null", "NULL", "NaN", "nan")
"""In every column. Not `NA`, which is also a country and a region."""
MISSING_NUMBERS = (
    *(*MISSING, "NA", "N/A", "n/a", "n.a.", "N.A.", "Null", "None", "none", "NAN", "?", "-", "--", r"\N"),
    *("NaT", "<NA>", ".", "#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"),
    *("0000-00-00", "0000-00-00 00:00:00"),
)
"""In a column whose other cells are numbers, dates or truth values; also of pandas, SAS, Excel and MySQL."""
SIGNS = "%$€£¥"
EXACT = 2**53
"""From here on a floating-point number does not hold every whole one."""
PHONE = r"^\+\d{7,}$"
_GROUPED = r"^-?[1-9]\d{0,2}(%s\d{3})+(%s\d*)?$"
_DATES = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")
_TIMES, _HALVES = (" %H:%M", " %H:%M:%S"), (" %I:%M %p", " %I:%M:%S %p")
_PLAIN_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d-%b-%Y", "%d %b %Y", "%d.%m.%y")
_NAMED_DATES = ("%d %B %Y", "%d. %B %Y", "%b %d %Y", "%b %d, %Y", "%B %d %Y", "%B %d, %Y")


class Kind:
    """What a column holds."""

    missing: ClassVar[Sequence[str]] = MISSING_NUMBERS
    type: ClassVar[pa.DataType] = pa.string()

    def values(self, texts: pa.Array) -> pa.Array:
        """The texts, of which none is missing, as values; may have fewer or none, which means a misfit.

        Raises:
            pa.ArrowInvalid: One of them is not of this kind.
        """
        raise NotImplementedError

    def joined(self, other: "Kind") -> "Kind":
        """The narrowest kind that takes what both take."""
        return self if self == other else Text()


@dataclass(frozen=True)
class Text(Kind):
    """Any text, as it is."""

    missing: ClassVar[Sequence[str]] = MISSING

    def values(self, texts: pa.Array) -> pa.Array:
        """The texts."""
        return texts


@dataclass(frozen=True)
class Unknown(Kind):
    """Nothing that could tell: every cell so far may be a missing one. They stay as they are."""

    missing: ClassVar[Sequence[str]] = MISSING

    def values(self, texts: pa.Array) -> pa.Array:
        """The texts, as long as all of them may be missing."""
        if not _all(pc.is_in(texts.drop_null(), pa.array(MISSING_NUMBERS))):
            raise pa.ArrowInvalid("a value")
        return texts

    def joined(self, other: Kind) -> Kind:
        """The other one: nothing was known."""
        return other


@dataclass(frozen=True)
class Whole(Kind):
    """Whole numbers."""

    thousands: str = ""
    sign: str = ""
    type: ClassVar[pa.DataType] = pa.int64()

    def values(self, texts: pa.Array) -> pa.Array:
        """Whole numbers, each of which is written as its text."""
        plain = _plain(texts, thousands=self.thousands, sign=self.sign)
        numbers = plain.cast(pa.int64())
        if not _all(pc.equal(numbers.cast(pa.string()), plain)):
            raise pa.ArrowInvalid("it has leading zeros or signs")
        return numbers

    def joined(self, other: Kind) -> Kind:
        """Numbers, where the other one is such."""
        match other:
            case Whole() if other.sign == self.sign:
                return replace(self, thousands=self.thousands or other.thousands)
            case Number() if other.sign == self.sign and self.thousands in ("", other.thousands):
                return other
        return super().joined(other)


@dataclass(frozen=True)
class Number(Kind):
    """Numbers."""

    decimal: str = "."
    thousands: str = ""
    sign: str = ""
    type: ClassVar[pa.DataType] = pa.float64()

    def values(self, texts: pa.Array) -> pa.Array:
        """Floating-point numbers."""
        plain = _plain(texts, thousands=self.thousands, sign=self.sign, decimal=self.decimal)
        if self.decimal != ".":
            if _any(pc.match_substring(plain, ".")):
                raise pa.ArrowInvalid("it has a point")
            plain = pc.replace_substring(plain, self.decimal, ".")
        if _any(pc.match_substring_regex(plain.filter(pc.starts_with(plain, "0")), r"^0\d")):
            raise pa.ArrowInvalid("it has leading zeros")
        if _any(pc.match_substring_regex(plain.filter(pc.starts_with(plain, "+")), PHONE)):
            raise pa.ArrowInvalid("it has a plus, as phone numbers have")
        numbers = plain.cast(pa.float64())
        large = plain.filter(pc.greater_equal(pc.abs(numbers), EXACT))
        if len(large) and _any(pc.match_substring_regex(large, r"^-?\d{16,}$")):
            raise pa.ArrowInvalid("it has more digits than a number holds")
        return numbers

    def joined(self, other: Kind) -> Kind:
        """Numbers, where the other one is such."""
        match other:
            case Whole():
                return other.joined(self)
            case Number() if (other.sign, other.decimal) == (self.sign, self.decimal):
                return replace(self, thousands=self.thousands or other.thousands)
        return super().joined(other)


@dataclass(frozen=True)
class Boolean(Kind):
    """`true` and `false`."""

    type: ClassVar[pa.DataType] = pa.bool_()

    def values(self, texts: pa.Array) -> pa.Array:
        """Truth values."""
        lower = pc.utf8_lower(texts)
        if not _all(pc.is_in(lower.drop_null(), pa.array(["true", "false"]))):
            raise pa.ArrowInvalid("it is neither true nor false")
        return pc.equal(lower, "true")


@dataclass(frozen=True)
class Moment(Kind):
    """Dates and times without a zone: as ISO 8601, or in a format."""

    format: str = ""
    type: ClassVar[pa.DataType] = pa.timestamp("us")

    def values(self, texts: pa.Array) -> pa.Array:
        """Moments in microseconds."""
        if self.format:
            return _dates(texts, self.format)
        if _any(pc.less(pc.utf8_length(texts), 10)):  # Arrow takes a year alone
            raise pa.ArrowInvalid("it is no date")
        return _cut(texts).cast(self.type)


@dataclass(frozen=True)
class Instant(Kind):
    """Dates and times with a zone, as ISO 8601."""

    type: ClassVar[pa.DataType] = pa.timestamp("us", "UTC")

    def values(self, texts: pa.Array) -> pa.Array:
        """Moments in microseconds, in UTC."""
        return _cut(texts).cast(self.type)


@dataclass(frozen=True)
class EitherDate(Kind):
    """Dates that may have the day first or the month first: they stay text, unless a later one decides."""

    formats: tuple[str, str] = ("", "")

    def values(self, texts: pa.Array) -> pa.Array:
        """The texts, as long as both formats take them."""
        for format_ in self.formats:
            _dates(texts, format_)
        return texts

    def joined(self, other: Kind) -> Kind:
        """The format that the other one decides on."""
        return other if isinstance(other, Moment) and other.format in self.formats else super().joined(other)


@dataclass(frozen=True)
class Conventions:
    """How numbers and dates are written in a file."""

    decimals: Sequence[str]
    thousands: str | None
    dates: str | None
    """`day first`, `month first` or a format, where it is known."""

    def kinds(self, like: str) -> Iterator[Kind]:
        """All that a column can be, the first that takes its texts is meant.

        Args:
            like: One of them.
        """
        sign = next((one for one in SIGNS if one in like), "")
        yield Whole(sign=sign)
        for decimal in self.decimals:
            yield Number(decimal, sign=sign)
            for thousands in self._thousands(decimal):
                yield Whole(thousands, sign)
                yield Number(decimal, thousands, sign)
        if sign:
            return
        yield Boolean()
        if self.dates and "%" in self.dates:
            yield Moment(self.dates)
        yield Moment()
        yield Instant()
        times = [""] if ":" not in like else _HALVES if like[-1] in "mM" else _TIMES
        for separator in "./-":
            for time in times:
                day, month = (date.format(separator) + time for date in _DATES)
                if separator == "." or self.dates == "day first":
                    yield Moment(day)
                elif self.dates == "month first":
                    yield Moment(month)
                else:
                    yield EitherDate((day, month))
                    yield Moment(day)
                    yield Moment(month)
        for date in (*_PLAIN_DATES, *_NAMED_DATES):
            for time in times:
                yield Moment(date + time)

    def _thousands(self, decimal: str) -> list[str]:
        if self.thousands is not None:
            return [self.thousands]
        return [one for one in (",", ".", " ", "'", "\u00a0", "\u202f") if one != decimal]


def conventions(columns: Sequence[pa.Array], *, delimiter: str, reading: Reading) -> Conventions:
    """Finds how a file writes numbers.

    Args:
        columns: The different texts of each column, without missing ones.
        delimiter: Of the file: where it is no comma, a comma is free to be the decimal sign.
        reading: What is known.
    """
    if reading.decimal:
        return Conventions([reading.decimal], reading.thousands, reading.dates)
    points = sum(
        _any(pc.match_substring(one, "."))
        and fits(one, Number("."))
        and not _all(pc.match_substring_regex(one, _GROUPED % ("[.]", ",") + r"|^-?\d+$"))
        for one in columns
    )
    commas = sum(
        _any(pc.match_substring(one, ","))
        and fits(one, Number(","))
        and (delimiter != "," or not _all(pc.match_substring_regex(one, _GROUPED % (",", "[.]") + r"|^-?\d+$")))
        for one in columns
    )
    return Conventions([",", "."] if commas > points else [".", ","], reading.thousands, reading.dates)


def order_of_dates(found: Sequence[Kind]) -> str | None:
    """The order of day and month that the columns of a file decide on; None where none does, or they do not agree."""
    formats = [kind.format for kind in found if isinstance(kind, Moment)]
    orders = {"day first" if one.startswith("%d") else "month first" for one in formats if one[:2] in ("%d", "%m")}
    orders = {one for one in orders if any("/" in format_ or "-" in format_ for format_ in formats)}
    return orders.pop() if len(orders) == 1 else None


def guessed(texts: pa.Array, known: Conventions) -> Kind:
    """The narrowest kind that takes texts, but for the spaces around them.

    Args:
        texts: As they stand in a column, missing ones among them.
        known: How numbers and dates are written.
    """
    different = pc.unique(pc.utf8_trim_whitespace(pc.unique(texts))).drop_null()
    told = different.filter(pc.invert(pc.is_in(different, pa.array(MISSING_NUMBERS))))
    if not len(told):
        return Unknown()
    few = told.slice(0, 20)
    for kind in known.kinds(told[0].as_py()):
        if fits(few, kind) and fits(told, kind):
            return kind
    return Text()


def of_type(type_: Type, texts: pa.Array, known: Conventions) -> Kind:
    """The kind that a person said: its convention is found by looking."""
    found = guessed(texts, known)
    match type_:
        case "text":
            return Text()
        case "whole":
            return found if isinstance(found, Whole) else Whole()
        case "number":
            if isinstance(found, Whole):
                return Number(known.decimals[0], found.thousands, found.sign)
            return found if isinstance(found, Number) else Number(known.decimals[0], known.thousands or "")
        case "boolean":
            return Boolean()
    format_ = known.dates or ""
    return found if isinstance(found, Moment | Instant) else Moment(format_ if "%" in format_ else "")


def misfit(texts: pa.Array, kind: Kind) -> int:
    """The place of the first of several texts that is not of a kind, where one is not."""
    first = 0
    while len(texts) > 1:
        half = len(texts) // 2
        if fits(texts.slice(0, half), kind):
            first, texts = first + half, texts.slice(half)
        else:
            texts = texts.slice(0, half)
    return first


def fits(texts: pa.Array, kind: Kind) -> bool:
    """Whether texts are of a kind; missing ones are of any."""
    try:
        kind.values(texts.drop_null())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _plain(texts: pa.Array, *, thousands: str, sign: str, decimal: str = ".") -> pa.Array:
    """Numbers as text without the signs around them and between their digits.

    Raises:
        pa.ArrowInvalid: The signs do not stand where they should.
    """
    if sign:
        if not _all(pc.match_substring(texts, sign)):
            raise pa.ArrowInvalid(f"it has no {sign}")
        texts = pc.utf8_trim_whitespace(pc.replace_substring(texts, sign, "", max_replacements=1))
    if thousands:
        grouped = texts.filter(pc.match_substring(texts, thousands))
        escaped = "".join(f"[{one}]" if one in ".'" else one for one in thousands)
        if len(grouped) and not _all(pc.match_substring_regex(grouped, _GROUPED % (escaped, f"[{decimal}]"))):
            raise pa.ArrowInvalid("its digits are not in threes")
        texts = pc.replace_substring(texts, thousands, "")
    return texts


def _dates(texts: pa.Array, format_: str) -> pa.Array:
    """Moments of a format; Arrow takes 30 February for 2 March, and the year 26 for one of antiquity.

    Raises:
        pa.ArrowInvalid: There is no such moment.
    """
    found = pc.strptime(texts, format=format_, unit="us")
    of_antiquity = texts.filter(pc.fill_null(pc.less(pc.year(found), 100), False))
    if not _all(pc.match_substring_regex(of_antiquity, r"(^|\D)00\d\d(\D|$)")):
        raise pa.ArrowInvalid("its year has two digits")
    early = pc.fill_null(pc.less_equal(pc.day(found), 3), False)
    written = pc.strftime(found.filter(early).cast(pa.timestamp("s"), safe=False), format=format_)
    if not _all(pc.equal(_without_zeros(written), _without_zeros(texts.filter(early)))):
        raise pa.ArrowInvalid("there is no such day")
    return found


def _without_zeros(dates: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(pc.utf8_lower(dates), r"(^|\D)0+(\d)", r"\1\2")


def _cut(texts: pa.Array) -> pa.Array:
    """Moments as text without what is finer than a microsecond."""
    if not _any(pc.greater(pc.utf8_length(texts), 26)):
        return texts
    return pc.replace_substring_regex(texts, r"([.]\d{6})\d+", r"\1")


def _all(values: pa.Array) -> bool:
    return bool(pc.all(values, min_count=0).as_py())


def _any(values: pa.Array) -> bool:
    return bool(pc.any(values, min_count=0).as_py())
