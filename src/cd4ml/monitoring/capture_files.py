"""The files of a capture that can be read: what a kill or a full disk has cut off is passed over, and told."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from cd4ml.contracts import captured
from cd4ml.errors import DataError
from cd4ml.registry import clock
from cd4ml.storage import arrow, layout

LATE = timedelta(hours=2)
"""How long after a request came in its file may still be written, as where the store was away."""
OLDEST = timedelta(days=layout.PASSING["captures"] + 1)
"""Days before are over, of which no window is due by itself."""
FILES = 64
"""That are read at once."""
ROUNDS = 3
"""Of looking for files that took the place of such as were merged while the others were read."""
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
            DataError: The capture cannot be read.
        """
        at = pc.field("at")
        wanted = (at >= pa.scalar(begin, _MOMENT)) & (at < pa.scalar(until, _MOMENT))
        tables = self._read("requests", wanted, first=captured.day(begin), last=captured.day(until + LATE))
        return pa.concat_tables([captured.REQUESTS.empty_table(), *tables])

    def labels(self, since: datetime) -> Iterator[pa.Table]:
        """The feedback with labels of the days from a moment on, some at a time (`captured.FEEDBACK`); likewise."""
        yield from self._read("feedback", pc.field("labels").is_valid(), first=captured.day(since), last=captured.LAST)

    def of_request(self, name: str, request: str, day: str) -> pa.Table:
        """What is kept of one request in the folder of a day; likewise.

        Args:
            name: Of the table, in `captured.TABLES`.
            request: Its id.
            day: What the folder is called.

        Raises:
            DataError: The capture cannot be read.
        """
        tables = self._read(name, pc.field("request_id") == request, first=day, last=day)
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
        """What the folders of a table are called that are of no day, or of one that is over for long; likewise."""
        oldest = captured.day(clock.moment() - OLDEST)
        return [one for one in self._folders(name) if not _is_day(one) or one < oldest]

    def _folders(self, name: str) -> list[str]:
        try:
            return captured.days(arrow.folder(self.place), name)
        except OSError as error:
            raise self._told(error) from error

    def _read(self, name: str, wanted: pc.Expression, *, first: str, last: str) -> Iterator[pa.Table]:
        """The rows of a table that are wanted, of the days from one to another."""
        seen: set[str] = set()
        for _ in range(ROUNDS):
            new = [one for one in self._listed(name, first, last) if one not in seen]
            seen.update(new)
            gone: list[str] = []
            for begin in range(0, len(new), FILES):
                yield self._some(name, new[begin : begin + FILES], wanted, gone=gone)
            if not gone:
                return

    def _listed(self, name: str, first: str, last: str) -> list[str]:
        try:
            return captured.files(arrow.folder(self.place), name, first, last=last)
        except OSError as error:
            raise self._told(error) from error

    def _some(self, name: str, files: list[str], wanted: pc.Expression, *, gone: list[str]) -> pa.Table:
        """The rows of some files; `gone` takes those that are not there any more."""
        folder = arrow.folder(self.place)
        try:
            return captured.opened(folder, name, files).to_table(filter=wanted)
        except (OSError, pa.ArrowException):
            if len(files) > 1:
                return pa.concat_tables([self._some(name, [one], wanted, gone=gone) for one in files])
        try:
            whole = _bytes(folder, files[0])
        except FileNotFoundError:
            gone += files
            return captured.TABLES[name].empty_table()
        except OSError as error:
            raise self._told(error) from error
        try:
            return pq.read_table(whole, schema=captured.TABLES[name], filters=wanted)
        except (OSError, pa.ArrowException):
            self.unreadable.update(files)
        return captured.TABLES[name].empty_table()

    def _told(self, error: OSError) -> DataError:
        return DataError(f"{self.place}: what was captured cannot be read ({error}); collect again once it can")


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
