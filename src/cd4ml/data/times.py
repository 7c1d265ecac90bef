"""When the rows of a table came to be, by its time column."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Times:
    """The times of rows, held against the moment at which they were read; in UTC where they have no zone."""

    newest: datetime | None = None
    """Of the rows that were no later than that moment; None where there are none."""
    ahead: int = 0
    """Rows that were later."""
    last: datetime | None = None
    """Of these; None where there are none."""

    def and_of(self, column: pa.Array, now: datetime) -> "Times":
        """Those of more rows.

        Args:
            column: The times, which may be missing.
            now: The moment at which they are read.
        """
        times = column.cast(pa.timestamp("us", "UTC"))
        is_ahead = pc.greater(times, pa.scalar(now, times.type))
        ahead = times.filter(is_ahead)
        return Times(
            _later(self.newest, times.filter(pc.invert(is_ahead))), self.ahead + len(ahead), _later(self.last, ahead)
        )


NO_TIMES = Times()


def _later(known: datetime | None, times: pa.Array) -> datetime | None:
    """The latest of times and one that is known."""
    microseconds = pc.max(times.cast(pa.int64())).as_py()
    if microseconds is None:
        return known
    found = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    return max(found, known or found)
