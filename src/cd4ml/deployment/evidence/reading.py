"""What was captured, as one finds it who looks again and again: a look reads the files that no earlier one has read.

A capture of weeks is larger than memory. So of its rows the columns alone are kept that are asked for; ids as numbers
of 64 bits, of which two are the same by chance once in a million captures of five million requests; and of a caller
the first request, where the others do not count.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.columns import together
from cd4ml.deployment.evidence.compared import callers, first_of_each, unreadable
from cd4ml.deployment.evidence.late import Late
from cd4ml.errors import DocumentError, StorageError
from cd4ml.storage import arrow

EVERYTHING = frozenset(REQUESTS.names) | frozenset(FEEDBACK.names)
_ALWAYS = {"requests": {"at", "request_id", "arm", "version", "propensity", "mirrored", "unit"}}
_ALWAYS["feedback"] = {"at", "request_id"}
_IDS, _WORDS = {"request_id", "unit"}, {"arm", "version", "features"}
ROWS = 2**15
"""That are read at once."""
MANY = 2**19
"""That are put in order at once."""
ROWS_OF = "rows"
"""The column of how many rows a request has, which is no column of a capture."""


class Captured:
    """What a router captured of some answers, and the feedback of all.

    Args:
        folder: A path, or `s3://bucket/prefix`.
        asked: Which answers.
        since: The first moment of their requests; None takes all.
        needed: The columns, besides those that say who answered whom and when.
        first: Whether of the requests of one caller the first alone counts.
        late: The labels that were taken in bulk, which are feedback too where labels are needed.
    """

    def __init__(
        self,
        folder: str | Path,
        asked: pc.Expression,
        *,
        since: datetime | None = None,
        needed: Collection[str] = EVERYTHING,
        first: bool = True,
        late: Late | None = None,
    ) -> None:
        self.folder = folder
        self._late = late if "labels" in needed else None
        if since is not None:
            asked &= pc.field("at") >= since
        own = {ROWS_OF, *({"features"} if self._late.key else ())} if self._late else set[str]()
        self._requests = _Table(folder, "requests", asked, since=since, needed={*needed, *own}, first=first)
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
        """The feedback, in the order in which it came; likewise, after the answers."""
        found = self._feedback.read(until)
        self._feedback.begin = max(self._feedback.begin, self._requests.begin)
        return _until(self._with_late(found, self._late), until) if self._late else found

    def _with_late(self, feedback: pa.Table, late: Late) -> pa.Table:
        try:
            labels = late.feedback(self._requests.rows, _numbers)
        except (OSError, pa.ArrowException, StorageError, DocumentError) as error:
            raise unreadable(late.store.location, error) from error
        if not len(labels):
            return feedback
        absent = [name for name in feedback.column_names if name not in labels.column_names]
        for name in absent:
            labels = labels.append_column(name, pa.nulls(len(labels), feedback[name].type))
        both = pa.concat_tables([feedback, labels.select(feedback.column_names)]).combine_chunks()
        return both.take(np.argsort(both["at"].to_numpy(), kind="stable"))


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
        self._counted = ("outputs", "predictions") if ROWS_OF in needed else ()
        self.rows = self._kept(schema.empty_table())
        """Those that were read, in order."""
        self._read: frozenset[str] = frozenset()
        self.begin = captured.day(since) if since else ""
        """The first day whose files are listed."""

    def read(self, until: datetime | None) -> pa.Table:
        try:
            self._read_new()
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self._folder, error) from error
        if until is not None:
            self.begin = max(self.begin, captured.day(until - captured.LATE))
        return _until(self.rows, until)

    def _read_new(self) -> None:
        folder = arrow.folder(self._folder)
        listed = frozenset(captured.files(folder, self._name, self.begin))
        new = sorted(listed - self._read)
        files = captured.opened(folder, self._name, new)
        columns = [name for name in files.schema.names if name in {*self._columns, *self._counted}]
        batches = files.to_batches(columns=columns, filter=self._wanted, batch_size=ROWS, batch_readahead=2)
        rows = self.rows
        for some in together(map(self._kept, batches), MANY):
            rows = _added(rows, some)
            if self._first:
                rows = _first(rows)
        again = len(self.rows) > 0 and any(captured.is_merged(Path(file).name) for file in new)
        if again and not self._first:
            rows = rows.take(first_of_each(_row(rows)))
        self.rows, self._read = rows, listed

    def _kept(self, batch: pa.RecordBatch | pa.Table) -> pa.Table:
        """Rows as they are kept: ids as numbers, words that come often once."""
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        counted = [_counted(table)] if self._counted else []
        table = table.select(self._columns)
        for place, name in enumerate(table.column_names):
            if name in _IDS:
                table = table.set_column(place, name, _numbers(table[name]))
            elif name in _WORDS:
                table = table.set_column(place, name, table[name].dictionary_encode())
        for rows in counted:
            table = table.append_column(ROWS_OF, rows)
        return table


def _until(rows: pa.Table, until: datetime | None) -> pa.Table:
    """Those before a moment, of rows in order."""
    if until is None:
        return rows
    moment = np.datetime64(until.astimezone(UTC).replace(tzinfo=None))
    return rows.slice(0, int(np.searchsorted(rows["at"].to_numpy(), moment)))


def _counted(answers: pa.Table) -> pa.ChunkedArray:
    """Of how many rows each answer is (int32); null where nothing was predicted."""
    values, width = (pc.list_value_length(answers[name]) for name in ("predictions", "outputs"))
    return pc.divide(values, pc.max_element_wise(width, 1))


def _numbers(ids: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if one is None else hash(one) for one in ids.to_pylist()], pa.int64())


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
