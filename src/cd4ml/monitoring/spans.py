"""Moments and spans of time as a person writes them to monitoring."""

from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from cd4ml.errors import DataError
from cd4ml.settings import Span

YEARS = range(1970, 2200)
"""In which something can have been asked of a model."""


def moment(text: str) -> datetime:
    """A time that a person writes, of UTC where no zone is said.

    Raises:
        DataError: It is none, or of a year that nobody means.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{text!r} is no time; write it as 2026-11-29T08:00Z") from None
    if found.year not in YEARS:
        raise DataError(
            f"{text!r} is no time from {YEARS[0]} until {YEARS[-1]}; see whether the year is right: 2026-11-29T08:00Z"
        )
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def check_order(since: str, until: str) -> None:
    """Makes sure that there is time between two moments, where both are named.

    Raises:
        DataError: There is none.
    """
    if since and until and not moment(since) < moment(until):
        raise DataError(f"until: {until} is not after {since}; name a later end")


def width(text: str) -> timedelta:
    """How long a window is.

    Raises:
        DataError: It is no span of time.
    """
    try:
        return TypeAdapter(Span).validate_python(text)
    except ValidationError:
        raise DataError(f"{text!r} is no span of time; write one such as `1 hour`, 1h, `1 day` or PT1H") from None
