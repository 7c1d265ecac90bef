"""The files of a capture that can be read: what a kill or a full disk has cut off is passed over, and told."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from cd4ml.contracts import captured
from cd4ml.errors import DataError
from cd4ml.monitoring import capture_check
from cd4ml.registry import clock
from cd4ml.storage import arrow, layout

OLDEST = timedelta(days=layout.PASSING["captures"] + 1)
"""Days before are over, of which no window is due by itself."""
FIRST = "2000-01-01"
"""No server wrote on a day before, but by a clock that was not set."""
EARLY = timedelta(minutes=5)
"""How much a file may seem to be written before a request of it came in, as where a clock was set back meanwhile."""
MOST_BYTES = 640 * 2**20
"""Of one window, in memory."""
FILES = 64
"""That are read at once."""
ROUNDS = 3
"""Of looking for files that took the place of such as were merged while the others were read."""
MOST_KEPT = 256 * 2**20
"""Bytes of feedback that are kept for the windows to come."""
MANY = 2**20
"""Rows of several files that are read at once."""
MANY_BYTES = 256 * 2**20
_TIMED = re.compile(r"\d{6}-")
_LAST_OF_DAY = timedelta(days=1, microseconds=-1)
_MOMENT = pa.timestamp("us", "UTC")


@dataclass
class CaptureFiles:
    """What a router captured."""

    place: str
    """A folder, or `s3://bucket/prefix`."""
    unreadable: set[str] = field(default_factory=set)
    """The files that could not be read so far."""

    def requests(self, begin: datetime, until: datetime) -> pa.Table:
        """The answers whose requests came in from a moment until another, which does not count (`captured.REQUESTS`).

        What is merged while it is read may be there twice.

        Raises:
            DataError: The capture cannot be read, or is too much for one window.
        """
        at = pc.field("at")
        wanted = (at >= pa.scalar(begin, _MOMENT)) & (at < pa.scalar(until, _MOMENT))
        found = [captured.REQUESTS.empty_table()]
        for some in self._read("requests", wanted, written=(begin - EARLY, until + captured.LATE)):
            found.append(some)
            if (size := sum(one.nbytes for one in found)) > MOST_BYTES:
                raise DataError(
                    f"{self.place}: more than {size / 2**20:,.0f} MiB were captured from {begin} until {until}, too "
                    "much for the memory; collect narrower windows (`--every`), or capture fewer features"
                )
        return pa.concat_tables(found)

    def labels(self, since: datetime) -> Iterator[pa.Table]:
        """The feedback with labels of the days from a moment on, some at a time (`captured.FEEDBACK`); likewise."""
        begin = _midnight(since)
        wanted = pc.field("labels").is_valid() & (pc.field("at") >= pa.scalar(begin, _MOMENT))
        yield from self._read("feedback", wanted, written=(begin, None))

    def of_request(self, name: str, request: str, day: str) -> pa.Table:
        """What is kept of one request in the folder of a day; likewise.

        Args:
            name: Of the table, in `captured.TABLES`.
            request: Its id.
            day: What the folder is called.

        Raises:
            DataError: The capture cannot be read.
        """
        begin = datetime.fromisoformat(f"{day}T00:00:00+00:00")
        tables = self._read(name, pc.field("request_id") == request, written=(begin, begin + _LAST_OF_DAY))
        return pa.concat_tables([captured.TABLES[name].empty_table(), *tables])

    def first_day(self) -> str:
        """What the folder of the first day is called of which windows are due; empty where there are none.

        Raises:
            DataError: The capture cannot be read.
        """
        oldest = captured.day(clock.moment() - OLDEST)
        return min((one for one in self.days("requests") if one >= oldest), default="")

    def days(self, name: str) -> list[str]:
        """What the folders of the days are called that a table has, until tomorrow; likewise."""
        return [one for one in self._folders(name) if _is_day(one)]

    def strange(self, name: str) -> list[str]:
        """What the folders of a table are called that are of no day on which a server can have written; likewise."""
        return [one for one in self._folders(name) if not _is_day(one) or one < FIRST]

    def _folders(self, name: str) -> list[str]:
        try:
            return captured.days(arrow.folder(self.place), name)
        except OSError as error:
            raise self._told(error) from error

    def _read(
        self, name: str, wanted: pc.Expression, *, written: tuple[datetime, datetime | None]
    ) -> Iterator[pa.Table]:
        """The rows of a table that are wanted, of the files that were written from a moment until another."""
        seen: set[str] = set()
        for _ in range(ROUNDS):
            new = [one for one in self._listed(name, *written) if one not in seen]
            seen.update(new)
            gone: list[str] = []
            for begin in range(0, len(new), FILES):
                yield from self._some(name, new[begin : begin + FILES], wanted, gone=gone)
            if not gone:
                return

    def _listed(self, name: str, begin: datetime, until: datetime | None) -> list[str]:
        last = captured.day(until) if until else captured.LAST
        try:
            files = captured.files(arrow.folder(self.place), name, captured.day(begin), last=last)
        except OSError as error:
            raise self._told(error) from error
        return [one for one in files if _is_of(one, begin, until)]

    def _some(self, name: str, files: list[str], wanted: pc.Expression, *, gone: list[str]) -> Iterator[pa.Table]:
        """The rows of some files; `gone` takes those that are not there any more."""
        folder = arrow.folder(self.place)
        parts = [[one] for one in files]
        try:
            opened = captured.opened(folder, name, files)
            size = capture_check.size(opened, folder)
            if len(files) == 1 or (size.rows <= MANY and size.memory <= MANY_BYTES):
                rows = opened.to_table(filter=wanted)
                capture_check.check(name, rows)
                yield rows
                return
            parts = [files[: len(files) // 2], files[len(files) // 2 :]]
        except (OSError, ValueError, pa.ArrowException):
            if len(files) == 1:
                yield self._alone(name, files[0], wanted, gone=gone)
                return
        for part in parts:
            yield from self._some(name, part, wanted, gone=gone)

    def _alone(self, name: str, file: str, wanted: pc.Expression, *, gone: list[str]) -> pa.Table:
        """The rows of one file that may be broken; none where it is."""
        try:
            whole = _bytes(arrow.folder(self.place), file)
        except FileNotFoundError:
            gone.append(file)
            return captured.TABLES[name].empty_table()
        except OSError as error:
            raise self._told(error) from error
        try:
            capture_check.check_rows(pq.read_metadata(whole), whole.size())
            rows = pq.read_table(whole, schema=captured.TABLES[name], filters=wanted)
            capture_check.check(name, rows)
        except (OSError, ValueError, pa.ArrowException):
            self.unreadable.add(file)
            return captured.TABLES[name].empty_table()
        return rows

    def _told(self, error: OSError) -> DataError:
        return DataError(f"{self.place}: what was captured cannot be read ({error}); collect again once it can")


class Feedback:
    """The feedback with labels of several windows, which is read once where it is not too much.

    Args:
        place: Of the capture.
        since: The moment from which on the first of the windows has requests.
    """

    def __init__(self, place: str, since: datetime) -> None:
        self._files, self._since = CaptureFiles(place), since
        self._kept: list[pa.Table] | None = None
        self._is_much = False

    def labels(self, since: datetime) -> Iterator[pa.Table]:
        """As `CaptureFiles.labels`, of a moment that is not before the first; likewise."""
        if self._kept is None and not self._is_much:
            self._kept = self._read()
        if self._kept is None:
            yield from self._files.labels(since)
            return
        at = pa.scalar(_midnight(since), _MOMENT)
        yield from (some.filter(pc.greater_equal(some["at"], at)) for some in self._kept)

    def unreadable(self, since: datetime) -> set[str]:
        """The files that could not be read so far, of those that may have what came from a moment on."""
        return {one for one in self._files.unreadable if one.split("/")[1] >= captured.day(since)}

    def _read(self) -> list[pa.Table] | None:
        """All that came from the first moment on; None where it is too much to keep."""
        found: list[pa.Table] = []
        for some in self._files.labels(self._since):
            found.append(some)
            if sum(one.nbytes for one in found) > MOST_KEPT:
                self._is_much = True
                return None
        return found


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _is_of(file: str, begin: datetime, until: datetime | None) -> bool:
    """Whether a file may have been written from a moment until another, as far as its name tells."""
    _, day, name = file.split("/")
    if not _TIMED.match(name):
        return True
    try:
        at = datetime.strptime(f"{day} {name[:6]} +0000", "%Y-%m-%d %H%M%S %z")
    except ValueError:
        return True
    return at >= begin and (until is None or at <= until)


def _is_day(folder: str) -> bool:
    """Whether a folder is called as that of a day until tomorrow, for clocks differ."""
    try:
        whole = date.fromisoformat(folder).isoformat() == folder
    except ValueError:
        return False
    return whole and folder <= captured.day(clock.moment() + timedelta(days=1))


def _bytes(folder: fs.FileSystem, file: str) -> pa.BufferReader:
    """A file, whole."""
    with folder.open_input_stream(file) as stream:
        return pa.BufferReader(stream.read())
