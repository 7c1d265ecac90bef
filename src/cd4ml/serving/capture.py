"""What a server keeps of requests and feedback, written every few seconds (layout: `cd4ml.contracts.captured`).

What is not written yet has a bound, so that a disk that is full or slow costs rows of the capture, which are counted,
and no caller anything. Rows are made columns one column and some rows at a time, for Python answers nobody meanwhile.
"""

import asyncio
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import captured
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.errors import EnvironmentSetupError
from cd4ml.registry import clock
from cd4ml.serving import closed_hours
from cd4ml.storage import S3, arrow, layout

ROWS = 20_000
"""Of a table: with so many it is written at once."""
BYTES = 16 * 2**20
"""Likewise of its features and predictions, about."""
MOST_ROWS = 100_000
"""Of a table, that wait to be written."""
MOST_BYTES = 128 * 2**20
"""Of a table's features and predictions that wait to be written, about."""
TIDY_SECONDS = 300
"""How often the files of past hours are looked at."""
TOGETHER = 1024
"""Rows of which a column is made at once."""
LATER = {"features", "predictions", "labels"}
"""The columns whose values may be made when they are written."""
PAUSE_SECONDS = 0.001
"""After each column, in which others have their turn."""
END_SECONDS = 9.5
"""How long after a server is told to end what waits may be written still: whoever ends it kills it after 10."""
LEAST_SECONDS = 1.0
"""How long it may be tried in any case."""
BYTES_OF_A_NUMBER = 32
"""Of a list of Python's that waits to be written."""
MOST_OFTEN, MOST_SELDOM = 0.1, 600.0
"""Seconds between two writes."""
MOST_DAYS = 36_500
FIGURES = {
    "capture_written": "Rows of the capture that were written.",
    "capture_waiting": "Rows of the capture that wait to be written.",
    "capture_lost": "Rows of the capture for which there was no room.",
    "feedback_refused": "Feedback for which there was no room, so that it was not taken.",
}
"""What a server tells of what it keeps."""
_AHEAD = round(clock.ahead() * 1e6)
"""Microseconds."""

logger = logging.getLogger(__name__)


class Answered(NamedTuple):
    """A row of `REQUESTS`; what is large may be made when it is written."""

    at: int
    """Microseconds since 1970."""
    request_id: str
    arm: str
    version: str
    propensity: float
    mirrored: bool
    unit: str | None
    status: int
    latency_ms: float | None
    lookup_ms: float | None
    features: str | Callable[[], str | None] | None
    outputs: Sequence[str] | None
    predictions: Sequence[float] | Callable[[], Sequence[float]] | None


class Told(NamedTuple):
    """A row of `FEEDBACK`."""

    at: int
    request_id: str
    reward: float | None
    labels: Sequence[str] | Callable[[], Sequence[str]] | None


Row = Answered | Told


def now() -> int:
    """The moment, as rows have it."""
    return time.time_ns() // 1000 + _AHEAD


class Table:
    """One of the two.

    Args:
        place: Of its files: a folder, or `s3://bucket/prefix`.
        schema: Of its rows.
    """

    def __init__(self, place: str, schema: pa.Schema) -> None:
        self._place, self._folder, self._schema = place, arrow.folder(place), schema
        self._rows: list[Row] = []
        self._bytes = self._bytes_on_their_way = self._rows_on_their_way = 0
        self._many, self._alone = asyncio.Event(), asyncio.Lock()
        self._failed = self._full = False
        self.lost = self.written = 0
        """The rows for which there was no room, and those that were written."""
        arrow.clean(self._folder)

    def add(self, row: Row, size: int = 0) -> bool:
        """Keeps a row.

        Args:
            row: As the schema has it.
            size: The bytes of what in it may be large, about.

        Returns:
            Whether there was room; else it is counted and lost.
        """
        rows = len(self._rows) + self._rows_on_their_way
        if rows >= MOST_ROWS or self._bytes + self._bytes_on_their_way + size > MOST_BYTES:
            self._lose()
            return False
        self._rows.append(row)
        self._bytes += size
        if (len(self._rows) >= ROWS or self._bytes >= BYTES) and not self._failed:
            self._many.set()
        return True

    async def keep(self, seconds: float) -> None:
        """Writes for ever what waits, after so many seconds or earlier."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._many.wait()
            await asyncio.shield(asyncio.ensure_future(self.write()))  # whoever ends it waits for that in `close`

    async def write(self) -> None:
        """Writes what waits, after what is being written; what cannot be written waits on."""
        async with self._alone:
            self._many.clear()
            rows, self._rows = self._rows, []
            size, self._bytes = self._bytes, 0
            if not rows:
                return
            self._bytes_on_their_way, self._rows_on_their_way = size, len(rows)
            try:
                await _beside(partial(self._write, rows))
                self.written += len(rows)
                self._failed = self._full = False
            except OSError as error:
                self._rows[:0] = rows
                self._bytes += size
                if not self._failed:
                    logger.error("%s: cannot be written (%s); rows wait, as long as there is room", self._place, error)
                self._failed = True
            except Exception as error:  # without its message, which may hold values of requests
                self.lost += len(rows)
                logger.error(
                    "%s: %d rows cannot be written (%s), and are lost", self._place, len(rows), type(error).__name__
                )
            finally:
                self._bytes_on_their_way = self._rows_on_their_way = 0

    @property
    def waiting(self) -> int:
        """The rows that are not written, but for those that are on their way."""
        return len(self._rows)

    async def tidy(self, folder: Path, days: int) -> None:
        """Merges the files of past hours for ever, and removes days that are old.

        Args:
            folder: Where its files lie, on this machine.
            days: How many stay.
        """
        while True:
            try:
                await _beside(partial(closed_hours.tidy, folder, self._schema, days=days))
            except (OSError, ValueError, pa.ArrowException) as error:
                logger.error("%s: the files of past hours cannot be merged or removed (%s)", folder, error)
            await asyncio.sleep(TIDY_SECONDS)

    def _lose(self) -> None:
        self.lost += 1
        if not self._full:
            logger.error("%s: no room for more rows, which are counted and lost until it is written", self._place)
        self._full = True

    def _write(self, rows: list[Row]) -> None:
        moment, written = clock.exact(), pa.BufferOutputStream()
        table = pa.Table.from_batches(_batches(rows, self._schema), self._schema)
        pq.write_table(table, written, compression="zstd")
        name = f"{captured.day(moment)}/{moment.strftime('%H%M%S')}-{uuid.uuid4().hex}.parquet"
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

    @property
    def figures(self) -> dict[str, int]:
        """How it stands, by the names of `FIGURES`."""
        tables = (self.requests, self.feedback)
        return {
            "capture_written": sum(one.written for one in tables),
            "capture_waiting": sum(one.waiting for one in tables),
            "capture_lost": self.lost,
            "feedback_refused": self.feedback.lost,
        }

    async def keep(self) -> None:
        """Writes for ever, and keeps a folder tidy."""
        tables = {"requests": self.requests, "feedback": self.feedback}
        doing = [table.keep(self._seconds) for table in tables.values()]
        if not self._place.startswith(S3):
            doing += [table.tidy(Path(self._place) / name, self._days) for name, table in tables.items()]
        await asyncio.gather(*doing)

    async def close(self, told: float | None = None) -> None:
        """Writes what waits still; nobody keeps it any more.

        It has until the server is killed. Where that is not enough, the process ends here, for nobody could end what
        hangs.

        Args:
            told: When the server was told to end, by the clock of its loop; now where nothing is said.
        """
        at = asyncio.get_running_loop().time()
        told = at if told is None else told
        try:
            async with asyncio.timeout_at(max(told + END_SECONDS, at + LEAST_SECONDS)):
                await asyncio.gather(self.requests.write(), self.feedback.write())
        except TimeoutError:
            logger.error("%s: was not written in time, and the last rows are lost", self._place)
            logging.shutdown()
            os._exit(0)
        if left := self.requests.waiting + self.feedback.waiting:
            logger.error("%s: %d rows could not be written, and are lost", self._place, left)


def of_environment() -> Capture | None:
    """Where and how a server keeps what it is asked, as its environment says; None where nothing is kept.

    Raises:
        EnvironmentSetupError: A setting is not as it has to be.
    """
    folder = os.environ.get("CAPTURE_FOLDER")
    seconds = number("CAPTURE_SECONDS", 5, least=MOST_OFTEN, most=MOST_SELDOM)
    days = number("CAPTURE_DAYS", layout.PASSING["captures"], least=1, most=MOST_DAYS)
    return Capture(folder, seconds, int(days)) if folder else None


def number(variable: str, default: float, *, least: float, most: float) -> float:
    """What a variable of the environment says.

    Raises:
        EnvironmentSetupError: No number, or one that is too small or too great.
    """
    given = os.environ.get(variable) or str(default)
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise EnvironmentSetupError(f"{variable}: {given!r} is not a number from {least} to {most}")
    return found


def _batches(rows: Sequence[Row], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as columns, some at a time."""
    for begin in range(0, len(rows), TOGETHER):
        columns = zip(*rows[begin : begin + TOGETHER], strict=True)
        arrays = [_array(column, field) for column, field in zip(columns, schema, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def _array(column: Sequence[Any], field: pa.Field) -> pa.Array:
    if field.name in LATER:
        column = [_part(value) if callable(value) else value for value in column]
    made = pa.array(column, field.type)
    time.sleep(PAUSE_SECONDS)
    return made


def _part(make: Callable[[], Any]) -> Any:
    """What is made; None where it cannot be, so that the rows beside it are written."""
    try:
        return make()
    except Exception as error:  # without its message, likewise
        logger.error("a part of a row cannot be made (%s), and is left out", type(error).__name__)
        return None
    finally:
        time.sleep(PAUSE_SECONDS)


async def _beside(do: Callable[[], None]) -> None:
    """Does something in a thread, for which the end of the process does not wait."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            do()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=run, name="capture", daemon=True).start()
    await asyncio.wrap_future(done)
