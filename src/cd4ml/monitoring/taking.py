"""Labels that come late are taken in bulk, from any source of data: once, however often they are brought.

A label is known by the id of its request (and the number of the row within it, where it has several), or by the values
of features that tell whose row it is, where requests are captured with these.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import class_labels, number_texts
from cd4ml.contracts.columns import column, is_text
from cd4ml.contracts.late_labels import ABOUT, CLOCKS, LABELS, TABLE, Labels
from cd4ml.contracts.model import Contract
from cd4ml.data import content, sources
from cd4ml.data.digest import Digest, of_columns, of_rows
from cd4ml.data.rows import ReadAgain, Rows, hiding_values, rows_of
from cd4ml.errors import DataError
from cd4ml.monitoring import label_keys, spreadsheet
from cd4ml.names import shown
from cd4ml.registry import approvals, clock, labels_taken, models, named
from cd4ml.storage import AlreadyStoredError, Store, open_store

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
"""A text that is a number."""
MOST_ROWS = 20_000_000
"""That are taken at once."""
MOST_BYTES = 2**30
"""Of their labels, and of what tells whose they are."""
_MANY = 2**31 - 1
"""How far the clock of whoever says when a label was known may be ahead."""
_ZONES = timedelta(hours=14)
"""By how much a day begins earlier where it begins first."""
_DAY = timedelta(days=1, microseconds=-1)
_MOMENT = LABELS.field("at").type


@dataclass(frozen=True)
class Where:
    """The columns of a source of labels."""

    label: str = ""
    """What came to be true; called as the label of the model if not said."""
    request: str = "request_id"
    """The id of the request, where no key is named."""
    row: str = ""
    """The number of the row within its request, from 1; none where each request has one row."""
    key: tuple[str, ...] = ()
    """Features that tell whose row it is, in place of the request."""
    known: str = ""
    """When the label was known; the time of taking it if not said."""

    def columns(self, contract: Contract) -> list[str]:
        """All that are read."""
        named = (*(self.key or (self.request,)), self.row, self.label or contract.label, self.known)
        return [*dict.fromkeys(filter(None, named))]


@dataclass(frozen=True)
class Taken:
    """What became of labels that were brought."""

    labels: Labels
    """As they lie in the store."""
    before: bool
    """Whether they lay there already, and stay as they are, with whoever gave them first."""
    doubt: str = ""
    """Why they may be of no row, where that can be told."""


def take(model: str, *, source: str, store: str, where: Where = Where(), by: str | None = None) -> Taken:
    """Takes labels into the store; nothing new where the same were taken before.

    Args:
        model: `NAME@VERSION`, or `NAME`: the champion, whose contract says what a label can be.
        source: As ingestion takes it (`cd4ml.data.sources`).
        store: The store that holds the registry, and takes the labels.
        where: The columns.
        by: The person who gave them; None where another system did.

    Returns:
        What was taken, now or before.

    Raises:
        DataError: The source cannot be read, or a row of it is no label: says which row and column; or labels by such a
            key can be of no row.
        RegistryError: There is no such model, or the person has no name.
    """
    opened, person = open_store(store), "" if by is None else approvals.who(by)
    version = named.find(opened, model)
    contract, origin = models.contract(opened, version), sources.parse(source)
    doubt = label_keys.check(opened, version.name, contract=contract, key=where.key) if where.key else ""
    with hiding_values(), _read(origin, where.columns(contract)) as (given, format_):
        reading = _Reading(given, str(origin), contract, where, is_csv=format_ == "csv")
        table = reading.labels()
    if not len(table):
        raise DataError(f"{origin}: no row has a label yet; take it again once one has")
    about = Labels(
        model=version.name,
        version=version.version,
        digest=_digest(table, where),
        rows=len(table),
        column=reading.column,
        source=origin.text,
        taken_at=clock.now(),
        key=where.key,
        known=where.known,
        without=len(given) - len(table),
        by=person,
    )
    return replace(_stored(opened, about, table), doubt=doubt)


@contextmanager
def _read(origin: sources.Source, columns: list[str]) -> Iterator[tuple[pa.Table, str]]:
    """The columns of a source; where it lacks one, all of them, of the first row. And the format of its files."""
    name = str(origin)
    rows = _bounded(rows_of(origin.read(), name), columns, name)
    with closing(rows), content.kept(rows, name, key=None, time_column="", drop=False) as found:
        yield found.reader().read_all(), rows.format


def _bounded(rows: Rows, columns: list[str], source: str) -> Rows:
    there = set(columns) <= set(rows.schema.names)
    schema = pa.schema([rows.schema.field(one) for one in columns]) if there else rows.schema

    def batches() -> Iterator[pa.RecordBatch]:
        count = size = 0
        try:
            for batch in rows.batches:
                if not there:
                    yield batch.slice(0, 1)
                    return
                told = batch.select(columns)
                count += told.num_rows
                size += sum(map(_bytes, told.columns))
                if count > MOST_ROWS or size > MOST_BYTES:
                    raise DataError(
                        f"{source}: has more than {MOST_ROWS:,} rows, or than {MOST_BYTES / 2**30:g} GiB of labels and "
                        "of what tells whose they are; take it in parts, for nothing was taken"
                    )
                yield told
        except ReadAgain as again:
            raise ReadAgain(_bounded(again.rows, columns, source)) from again

    return replace(rows, schema=schema, batches=batches())


def _bytes(values: pa.Array) -> int:
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return int(plain.nbytes)


@dataclass(frozen=True)
class _Reading:
    """What rows of a source say."""

    given: pa.Table
    """The rows."""
    source: str
    """What errors call it."""
    contract: Contract
    where: Where
    is_csv: bool
    """Whether a spreadsheet may have written it."""

    @property
    def column(self) -> str:
        """That of the labels."""
        return self.where.label or self.contract.label

    def labels(self) -> pa.Table:
        """Those that are there (`LABELS`); without the time of taking them.

        Raises:
            DataError: A row says something else.
        """
        rows, texts = len(self.given), self._texts()
        found = [
            self._keys() if self.where.key else pa.nulls(rows, LABELS.field("key").type),
            texts,
            self._moments(pc.is_valid(texts)) if self.where.known else pa.nulls(rows, LABELS.field("at").type),
        ]
        ids = pa.nulls(rows, pa.string()) if self.where.key else self._ids()
        numbers = self._numbers() if self.where.row else pa.nulls(rows, pa.int32())
        table = pa.table([ids, numbers, *found], schema=LABELS)
        return table.filter(pc.is_valid(table["label"]))

    def _texts(self) -> pa.ChunkedArray:
        """The labels as text, null where there is none."""
        values = class_labels.without_blanks(self._values(self.column))
        if self.contract.problem.has_classes:
            texts, classes = number_texts.texts(values), self.contract.classes
            pair = f"neither {classes[0]!r} nor {classes[-1]!r}"
            why = pair if len(classes) == 2 else f"none of {class_labels.shown(classes)}"
            fits = pc.or_(pc.is_null(texts), pc.is_in(texts, pa.array(classes, pa.string())))
            self._check(self.column, values, fits=fits, why=why)
            return texts
        if is_text(values.type):
            self._check(self.column, values, fits=pc.match_substring_regex(values, NUMBER), why="no number")
            values = pc.utf8_trim_whitespace(values)
        elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            self._check(self.column, values, fits=pa.nulls(len(values), pa.bool_()).fill_null(False), why="no number")
        numbers = number_texts.widened(values)
        self._check(self.column, values, fits=pc.is_finite(numbers), why="not finite")
        return number_texts.texts(numbers)

    def _ids(self) -> pa.ChunkedArray:
        if self.where.request not in self.given.column_names:
            raise DataError(
                f"{self.source}: has no column {self.where.request!r} with the ids of requests; name the one that "
                "has them, or a key: features that tell whose row it is"
            )
        return self._told(self.where.request)

    def _numbers(self) -> pa.ChunkedArray:
        values = self._values(self.where.row)
        whole = pa.types.is_integer(values.type)
        fits = pc.and_(pc.greater(values, 0), pc.less(values, _MANY)) if whole else pa.nulls(len(values), pa.bool_())
        self._check(self.where.row, values, fits=fits.fill_null(False), why="no number of a row, from 1")
        return values.cast(pa.int32())

    def _keys(self) -> pa.Array:
        columns = [self._told(name).combine_chunks() for name in self.where.key]
        rows, width = len(self.given), len(columns)
        by_row = np.arange(rows * width).reshape(width, rows).T.ravel()
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        return pa.ListArray.from_arrays(offsets, pa.concat_arrays(columns).take(by_row))

    def _moments(self, there: pa.ChunkedArray) -> pa.ChunkedArray:
        """When each label was known; of a date its end, for at which time of that day nobody says.

        Args:
            there: Of each row, whether it has a label; of others nothing needs to be known.
        """
        values, none_ = self._values(self.where.known), pc.invert(there)
        is_time = pa.types.is_timestamp(values.type)
        fits = pc.is_valid(values) if is_time else pa.nulls(len(values), pa.bool_()).fill_null(False)
        self._check(self.where.known, values, fits=pc.or_(none_, fits), why="no moment")
        if not is_time:
            return pa.nulls(len(values), _MOMENT)
        moments, are_dates = values.cast(_MOMENT), _are_dates(values)
        last = pa.scalar(clock.exact() + (_ZONES if are_dates else CLOCKS), _MOMENT)
        fits = pc.or_(none_, pc.less_equal(moments, last))
        self._check(self.where.known, values, fits=fits, why="later than now, so it is not known yet")
        return pc.add(moments, pa.scalar(_DAY)) if are_dates else moments

    def _told(self, name: str) -> pa.ChunkedArray:
        """A column that every row needs, as text."""
        values = class_labels.without_blanks(self._values(name))
        self._check(name, values, fits=pc.is_valid(values), why="missing")
        texts = number_texts.texts(values)
        return spreadsheet.read(texts) if self.is_csv else texts

    def _values(self, name: str) -> pa.ChunkedArray:
        try:
            return column(self.given, name)
        except DataError as error:
            raise DataError(f"{self.source}: {error}") from error

    def _check(self, name: str, values: pa.ChunkedArray, *, fits: pa.ChunkedArray, why: str) -> None:
        """Makes sure that each value fits; one whose answer is missing does.

        Args:
            name: Of the column.
            values: Its values, for the first that does not.
            fits: Of each row.
            why: What those are that do not.
        """
        wrong = np.flatnonzero(~fits.fill_null(True).to_numpy(zero_copy_only=False))
        if len(wrong):
            value = values[int(wrong[0])].as_py()
            what = "" if value is None else f"{shown(value)} is "
            more = f", and so it is with {len(wrong):,} of {len(values):,} rows" if len(wrong) > 1 else ""
            raise DataError(
                f"{self.source}: row {wrong[0] + 1:,}, field {name!r}: {what}{why}{more}; mend the source, for "
                "nothing was taken"
            )


def _are_dates(moments: pa.ChunkedArray) -> bool:
    """Whether moments are those of dates, which reading makes midnights of; not where an offset from UTC is said."""
    midnights = pc.equal(pc.floor_temporal(moments, unit="day"), moments)
    return moments.type.tz is None and bool(pc.all(midnights, min_count=0).as_py())


def _digest(labels: pa.Table, where: Where) -> str:
    """Tells labels from all others, whatever the order of the rows, and whenever they were taken."""
    names = where.key or ("request_id",)
    parts = [pc.list_element(labels["key"], place) for place in range(len(where.key))] or [labels["request_id"]]
    flat = pa.table([*parts, *(labels[one] for one in ("row", "label", "at"))], [*names, "row ", "label ", "at "])
    whole = Digest(flat.schema)
    for batch in flat.to_batches():
        whole.add(of_rows(of_columns(batch).values()))
    return str(whole).rpartition(":")[2]


def _stored(store: Store, about: Labels, labels: pa.Table) -> Taken:
    now = pa.scalar(clock.moment(), _MOMENT)
    at = pc.if_else(pc.less(labels["at"], now).fill_null(False), labels["at"], now)
    dated = labels.set_column(labels.column_names.index("at"), "at", at)
    with tempfile.TemporaryDirectory() as folder, suppress(AlreadyStoredError):
        file = Path(folder) / TABLE
        pq.write_table(dated, file, compression="zstd")
        store.add_folder(about.folder, {TABLE: file, ABOUT: about.text}, claim=about.digest)
        return Taken(about, before=False)
    return Taken(labels_taken.about(store, about.folder), before=True)
