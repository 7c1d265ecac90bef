"""What the router keeps of requests and feedback, written every few seconds (layout: `cd4ml.contracts.captured`).

What is not written yet has a bound, so that a disk that is full or slow costs rows of the capture, which are counted,
and no caller anything.
"""

import asyncio
import logging
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import captured
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.serving import closed_hours
from cd4ml.storage import S3, arrow

ROWS = 20_000
"""Of a table: with so many it is written at once."""
MOST_ROWS = 100_000
"""Of a table, that wait to be written."""
MOST_BYTES = 128 * 2**20
"""Of a table's features and predictions that wait to be written, about."""
TIDY_SECONDS = 300
"""How often the files of past hours are looked at."""

Row = dict[str, Any]

logger = logging.getLogger(__name__)


class Table:
    """One of the two.

    Args:
        place: Of its files: a folder, or `s3://bucket/prefix`.
        schema: Of its rows.
    """

    def __init__(self, place: str, schema: pa.Schema) -> None:
        self._place, self._folder, self._schema = place, arrow.folder(place), schema
        self._rows: list[tuple[Row, int]] = []
        self._bytes = 0
        self._many = asyncio.Event()
        self._failed = False
        self.lost = 0
        """The rows for which there was no room."""
        arrow.clean(self._folder)

    def add(self, row: Row, size: int = 0) -> None:
        """Keeps a row.

        Args:
            row: By the names of the schema.
            size: The bytes of what in it may be large, about.
        """
        if len(self._rows) >= MOST_ROWS or self._bytes + size > MOST_BYTES:
            self.lost += 1
            return
        self._rows.append((row, size))
        self._bytes += size
        if len(self._rows) == ROWS:
            self._many.set()

    async def keep(self, seconds: float) -> None:
        """Writes for ever what waits, after so many seconds or earlier."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._many.wait()
            await self.write()

    async def write(self) -> None:
        """Writes what waits; what cannot be written waits on."""
        self._many.clear()
        rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            await asyncio.to_thread(self._write, [row for row, _ in rows])
            self._bytes -= sum(size for _, size in rows)
            self._failed = False
        except OSError as error:
            self._rows[:0] = rows
            if not self._failed:
                logger.error("%s: cannot be written (%s); rows wait, as long as there is room", self._place, error)
            self._failed = True

    async def tidy(self, folder: Path, days: int) -> None:
        """Merges the files of past hours for ever, and removes days that are old.

        Args:
            folder: Where its files lie, on this machine.
            days: How many stay.
        """
        while True:
            try:
                await asyncio.to_thread(closed_hours.tidy, folder, self._schema, days=days)
            except (OSError, pa.ArrowException) as error:
                logger.error("%s: the files of past hours cannot be merged or removed (%s)", folder, error)
            await asyncio.sleep(TIDY_SECONDS)

    def _write(self, rows: list[Row]) -> None:
        now, written = datetime.now(UTC), pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, self._schema), written, compression="zstd")
        name = f"{captured.day(now)}/{now.strftime('%H%M%S')}-{uuid.uuid4().hex}.parquet"
        arrow.write(self._folder, name, written.getvalue())


class Capture:
    """Both tables in a folder.

    Args:
        place: Theirs: a folder, which is made, or `s3://bucket/prefix`.
        seconds: After which what waits is written.
        days: How many stay, in a folder; what lies in a bucket its owner removes.
    """

    def __init__(self, place: str, seconds: float, days: int) -> None:
        self._place, self._seconds, self._days = place, seconds, days
        self.requests = Table(f"{place}/requests", REQUESTS)
        self.feedback = Table(f"{place}/feedback", FEEDBACK)

    @property
    def lost(self) -> int:
        """The rows for which there was no room."""
        return self.requests.lost + self.feedback.lost

    async def keep(self) -> None:
        """Writes for ever, and keeps a folder tidy."""
        tables = {"requests": self.requests, "feedback": self.feedback}
        doing = [table.keep(self._seconds) for table in tables.values()]
        if not self._place.startswith(S3):
            doing += [table.tidy(Path(self._place) / name, self._days) for name, table in tables.items()]
        await asyncio.gather(*doing)

    async def close(self) -> None:
        """Writes what waits still; nobody keeps it any more."""
        await asyncio.gather(self.requests.write(), self.feedback.write())
