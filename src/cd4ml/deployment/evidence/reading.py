"""What was captured, as one finds it who looks again and again: a look reads the files that no earlier one has read.

A capture of weeks is larger than memory. So of its rows the columns alone are kept that are asked for; ids as numbers
of 64 bits, of which two are the same by chance once in a million captures of five million requests; and of a caller
the first request, where the others do not count.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.deployment.evidence.compared import callers, first_of_each, unreadable
from cd4ml.storage import arrow

EVERYTHING = frozenset(REQUESTS.names) | frozenset(FEEDBACK.names)
_ALWAYS = {"requests": {"at", "request_id", "arm", "version", "propensity", "mirrored", "unit"}}
_ALWAYS["feedback"] = {"at", "request_id"}
_IDS, _WORDS = {"request_id", "unit"}, {"arm", "version", "features"}
ROWS = 2**15
"""That are read at once."""
MANY = 2**19
"""That are put in order at once."""
LATE = timedelta(hours=2)
"""How long after a moment the files of its day may still change; later ones are not even listed."""


class Captured:
    """What a router captured of some answers, and the feedback of all.

    Args:
        folder: A path, or `s3://bucket/prefix`.
        asked: Which answers.
        since: The first moment of their requests; None takes all.
        needed: The columns, besides those that say who answered whom and when.
        first: Whether of the requests of one caller the first alone counts.
    """

    def __init__(
        self,
        folder: str | Path,
        asked: pc.Expression,
        *,
        since: datetime | None = None,
        needed: Collection[str] = EVERYTHING,
        first: bool = True,
    ) -> None:
        self.folder = folder
        if since is not None:
            asked &= pc.field("at") >= since
        self._requests = _Table(folder, "requests", asked, since=since, needed=needed, first=first)
        self._feedback = _Table(folder, "feedback", None, since=since, needed=needed, first=False)

    def requests(self, until: datetime | None = None) -> pa.Table:
        """The answers, in the order in which their requests came.

        Args:
            until: The moment that does not count any more, no earlier than that of the look before.

        Raises:
            UnreadableError: They cannot be read now.
        """
        return self._requests.read(until)

    def feedback(self, until: datetime | None = None) -> pa.Table:
        """The feedback, in the order in which it came; likewise."""
        found = self._feedback.read(until)
        self._feedback.begin = max(self._feedback.begin, self._requests.begin)
        return found


def columns(folder: str | Path, names: list[str], asked: pc.Expression, *, since: datetime | None = None) -> pa.Table:
    """Some columns of the captured answers, in any order.

    Args:
        folder: Of the capture, a path or `s3://bucket/prefix`.
        names: Of the columns.
        asked: Which answers.
        since: What was captured on earlier days is not read.

    Raises:
        UnreadableError: They cannot be read now.
    """
    try:
        return captured.requests(arrow.folder(folder), since).filter(asked).to_table(columns=names)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(folder, error) from error


class _Table:
    """Rows of files that come one after another."""

    def __init__(
        self,
        folder: str | Path,
        name: str,
        wanted: pc.Expression | None,
        *,
        since: datetime | None,
        needed: Collection[str],
        first: bool,
    ) -> None:
        self._folder, self._name, self._wanted, self._first = folder, name, wanted, first
        schema = captured.TABLES[name]
        self._columns = [one for one in schema.names if one in _ALWAYS[name] or one in needed]
        self._rows = _kept(schema.empty_table().select(self._columns))
        self._read: frozenset[str] = frozenset()
        self.begin = captured.day(since) if since else ""
        """The first day whose files are listed."""

    def read(self, until: datetime | None) -> pa.Table:
        try:
            self._read_new()
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self._folder, error) from error
        if until is None:
            return self._rows
        self.begin = max(self.begin, captured.day(until - LATE))
        moment = np.datetime64(until.astimezone(UTC).replace(tzinfo=None))
        return self._rows.slice(0, int(np.searchsorted(self._rows["at"].to_numpy(), moment)))

    def _read_new(self) -> None:
        folder = arrow.folder(self._folder)
        listed = frozenset(captured.files(folder, self._name, self.begin))
        new = sorted(listed - self._read)
        files = captured.opened(folder, self._name, new)
        batches = files.to_batches(columns=self._columns, filter=self._wanted, batch_size=ROWS, batch_readahead=2)
        rows = self._rows
        for some in _together(map(_kept, batches)):
            rows = _added(rows, some)
            if self._first:
                rows = _first(rows)
        again = len(self._rows) > 0 and any(captured.is_merged(Path(file).name) for file in new)
        if again and not self._first:
            rows = rows.take(first_of_each(_row(rows)))
        self._rows, self._read = rows, listed


def _kept(batch: pa.RecordBatch | pa.Table) -> pa.Table:
    """Rows as they are kept: ids as numbers, words that come often once."""
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    for place, name in enumerate(table.column_names):
        if name in _IDS:
            table = table.set_column(place, name, _numbers(table[name]))
        elif name in _WORDS:
            table = table.set_column(place, name, table[name].dictionary_encode())
    return table


def _numbers(ids: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if one is None else hash(one) for one in ids.to_pylist()], pa.int64())


def _together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of many rows, of those of few."""
    some: list[pa.Table] = []
    for table in tables:
        some.append(table)
        if sum(map(len, some)) >= MANY:
            yield pa.concat_tables(some)
            some = []
    if some:
        yield pa.concat_tables(some)


def _added(rows: pa.Table, new: pa.Table) -> pa.Table:
    """Rows in order, with others; those that are older than all of these are not copied."""
    if not len(new):
        return rows
    before = int(np.searchsorted(rows["at"].to_numpy(), new["at"].to_numpy().min(), side="right"))
    mixed = pa.concat_tables([rows.slice(before), new]).unify_dictionaries().combine_chunks()
    mixed = mixed.take(np.argsort(mixed["at"].to_numpy(), kind="stable"))
    return pa.concat_tables([rows.slice(0, before), mixed]).unify_dictionaries()


def _first(rows: pa.Table) -> pa.Table:
    """Without the requests of a caller that are not its first; of copies all."""
    own = np.flatnonzero(pc.invert(rows["mirrored"]).to_numpy())
    first = first_of_each(callers(rows).take(own))
    if len(first) == len(own):
        return rows
    wanted = rows["mirrored"].to_numpy().copy()
    wanted[own[first]] = True
    return rows.filter(wanted)


def _row(rows: pa.Table) -> pa.ChunkedArray:
    """Tells rows apart, of which a merged file has those again that were read of its parts."""
    return pc.bit_wise_xor(rows["request_id"], rows["at"].cast(pa.int64()))
