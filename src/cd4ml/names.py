"""Names, values, counts and spans of time as messages show them."""

import difflib
import re
import reprlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80

_HARMLESS = str.maketrans("`<>", "'[]")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: `did you mean 'age'?`, or all names that there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"


def words(name: str) -> str:
    """A name in lower case with `_` between its words, as `e_mail` of `eMail` and of `E-Mail`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).strip("_").lower()


def shape(text: str) -> str:
    """What a text looks like, without what it says: `'9,999.99 EUR'` as `'#,###.## aaa'`."""
    return shown(re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "#", text)))


def shown(value: Any) -> str:
    """What was given, cut where it is long: `true`, `null`, `'a text'`."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return _SHORT.repr(value)


def one_line(text: str) -> str:
    """A text whose control characters are written out, so that it forges no line of a log and drives no terminal."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode() for one in text
    )


def first_line(error: Exception) -> str:
    """What an error of a library says before its details; its type where it says nothing."""
    first, *_ = str(error).splitlines() or [type(error).__name__]
    return first


def quoted(text: str) -> str:
    """What somebody else wrote, cut where it is long, so that no chat or terminal takes it for more than a text."""
    short = text if len(text) <= 40 else text[:39] + "…"
    return f"`{one_line(short.translate(_HARMLESS)).replace('://', '[://]')}`"


def amount(value: float, sign: str = "") -> str:
    """A number in any unit: `0.08123`, `12.35`, `12,346`; with `+` for a sign also above 0."""
    return f"{value:{sign}.4g}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def lasting(span: timedelta) -> str:
    """A span in days and hours, where it is shorter in hours and minutes, and below a minute in seconds."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return counted(seconds, "second")
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    parts = [(days, "day"), (hours, "hour"), (0 if days else minutes, "minute")]
    return " ".join(counted(count, unit) for count, unit in parts if count)
