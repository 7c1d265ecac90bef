"""Dates and times as models take them: microseconds since 1970 in UTC, whether a table or a request has them."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from cd4ml.contracts.columns import is_text
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = -(2**63)
"""In place of a moment that is not there, as NumPy has it."""
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999: others cannot be written."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)


def is_moment(type_: "pa.DataType") -> bool:
    """Whether a column of this type holds dates or times."""
    import pyarrow as pa

    return bool(pa.types.is_timestamp(type_) or pa.types.is_date(type_))


def of_text(text: str) -> int:
    """The moment that a text means; without an offset it is in UTC, and a date is its first moment.

    Raises:
        ValueError: It is no date or time as ISO 8601 has them, or its offset takes it beyond those that can be written.
    """
    told = datetime.fromisoformat(text)
    offset = told.utcoffset() or timedelta()
    moment = (told.replace(tzinfo=None) - _EPOCH - offset) // _MICROSECOND
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{text} is beyond the years 1 to 9999 in UTC")
    return moment


def text_of(moment: int) -> str:
    """A moment as ISO 8601 in UTC: a date where it is the first moment of one."""
    found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
    return found.date().isoformat() if moment % (24 * 60 * 60 * 10**6) == 0 else found.isoformat()


def of_column(column: "pa.ChunkedArray", name: str) -> np.ndarray:
    """The moments of a column, int64 [rows]; what has no zone is in UTC, and an empty text is missing.

    Args:
        column: Of dates or times (`is_moment`), of texts as `of_text` takes them, or of nulls.
        name: Its own, for errors.

    Raises:
        DataError: A text is no date or time, or a moment is beyond those that can be written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(column.type):
        return _of_texts(column, name)
    try:
        zone = getattr(column.type, "tz", None)
        moments = column.cast(pa.timestamp("us", zone), safe=not _is_finer(column.type)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise _beyond(name) from error
    ends = pc.min_max(moments).as_py()
    if ends["min"] is not None and not EARLIEST <= ends["min"] <= ends["max"] <= LATEST:
        raise _beyond(name)
    found: np.ndarray = moments.fill_null(MISSING).to_numpy()
    return found


def _of_texts(column: "pa.ChunkedArray", name: str) -> np.ndarray:
    """Each text is read once, however many rows have it."""
    import pyarrow as pa

    coded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    places: np.ndarray = coded.indices.to_numpy()
    found = np.empty(len(coded.dictionary), np.int64)
    for place, text in enumerate(coded.dictionary.to_pylist()):
        try:
            found[place] = of_text(text) if text else MISSING
        except ValueError as error:
            row = int(np.argmax(places == place)) + 1
            raise DataError(
                f"column {name!r} holds a text that is no date or time as ISO 8601, first in row {row:,}; mend it"
            ) from error
    moments: np.ndarray = found[places]
    return moments


def _is_finer(type_: "pa.DataType") -> bool:
    return getattr(type_, "unit", "") == "ns"


def _beyond(name: str) -> DataError:
    return DataError(f"column {name!r} holds a moment beyond the years 1 to 9999; clean the source")
