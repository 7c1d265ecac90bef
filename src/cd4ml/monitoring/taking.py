"""Labels that come late are taken in bulk, from any source of data: once, however often they are brought.

A label is known by the id of its request (and the number of the row within it, where it has several), or by the values
of features that tell whose row it is, where requests are captured with these.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import class_labels, moments, number_texts
from cd4ml.contracts.columns import column, is_text
from cd4ml.contracts.late_labels import ABOUT, BETWEEN, CLOCKS, LABELS, MOMENT, TABLE, Labels, keys_of
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
_MOMENT, _NUMBER = LABELS.field("at").type, pa.float64()
_MIDNIGHT = r"^\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?)?$"
_NO_MOMENT = "no moment as ISO 8601 has them (2026-02-28, 2026-02-28T09:30:00Z)"


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
            key can be of no row, or are personal.
        RegistryError: There is no such model, or the person has no name.
    """
    opened, person = open_store(store), "" if by is None else approvals.who(by)
    version = named.find(opened, model)
    contract, origin = models.contract(opened, version), sources.parse(source)
    doubt = label_keys.check(opened, version.name, contract=contract, key=where.key) if where.key else ""
    with hiding_values(), _read(origin, where.columns(contract)) as (given, format_):
        places = np.arange(len(given))
        reading = _Reading(given, places, str(origin), contract=contract, where=where, is_csv=format_ == "csv")
        table = reading.labels()
    if not len(table):
        raise DataError(f"{origin}: no row has a label yet; take it again once one has")
    if where.key:
        label_keys.check_plain(opened, version.name, labels=table, key=where.key)
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
        strange = [one for one in columns if one in rows.schema.names and one not in found.schema.names]
        if strange:
            raise DataError(
                f"{name}: column {strange[0]!r} holds {rows.schema.field(strange[0]).type}, which is neither text nor "
                "number nor time; give it as text"
            )
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
    places: npt.NDArray[np.int64]
    """Those that are read."""
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
            DataError: A row says something else, or two say different things of one.
        """
        texts = self._texts()
        labelled = replace(self, places=np.flatnonzero(pc.is_valid(texts).to_numpy()))
        return labelled._with_whose(texts.drop_null())

    def _with_whose(self, texts: pa.ChunkedArray) -> pa.Table:
        """The labels with whose they are, and when they were known."""
        rows, where = len(texts), self.where
        columns = [
            pa.nulls(rows, pa.string()) if where.key else self._ids(),
            self._numbers() if where.row else pa.nulls(rows, pa.int32()),
            self._keys() if where.key else pa.nulls(rows, LABELS.field("key").type),
            texts,
            self._moments() if where.known else pa.nulls(rows, _MOMENT),
        ]
        table = pa.table(columns, schema=LABELS)
        self._check_agree(table)
        return table

    def _texts(self) -> pa.ChunkedArray:
        """The labels as text, null where there is none."""
        values = class_labels.without_blanks(self._values(self.column))
        if self.contract.problem.has_classes:
            classes = self.contract.classes
            texts = class_labels.all_of_classes(number_texts.texts(values), classes)
            pair = f"neither {classes[0]!r} nor {classes[-1]!r}"
            why = pair if len(classes) == 2 else f"none of {class_labels.shown(classes)}"
            fits = pc.or_(pc.is_null(texts), pc.is_in(texts, pa.array(classes, pa.string())))
            self._check(self.column, values, fits=fits, why=why)
            return texts
        numbers = _as_numbers(values)
        self._check(self.column, values, fits=pc.or_(pc.is_null(values), pc.is_valid(numbers)), why="no number")
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
        values = class_labels.without_blanks(self._values(self.where.row))
        numbers = _as_numbers(values)
        inside = pc.and_(pc.greater(numbers, 0), pc.less(numbers, _MANY))
        fits = pc.and_(inside, pc.equal(pc.floor(numbers), numbers)).fill_null(False)
        self._check(self.where.row, values, fits=fits, why="no number of a row, from 1")
        return numbers.cast(pa.int32())

    def _keys(self) -> pa.Array:
        columns = [self._told(name).combine_chunks() for name in self.where.key]
        rows, width = len(self.places), len(columns)
        by_row = np.arange(rows * width).reshape(width, rows).T.ravel()
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        return pa.ListArray.from_arrays(offsets, pa.concat_arrays(columns).take(by_row))

    def _moments(self) -> pa.ChunkedArray:
        """When each label was known; of a date its end, for at which time of that day nobody says."""
        values = class_labels.without_blanks(self._values(self.where.known))
        found, are_dates = _as_moments(values), _are_dates(self.given.column(self.where.known))
        self._check(self.where.known, values, fits=pc.is_valid(found), why=_NO_MOMENT)
        last = pa.scalar(clock.exact() + (_ZONES if are_dates else CLOCKS), _MOMENT)
        why = "later than now, so it is not known yet"
        self._check(self.where.known, values, fits=pc.less_equal(found, last), why=why)
        return pc.add(found, pa.scalar(_DAY)) if are_dates else found

    def _told(self, name: str) -> pa.ChunkedArray:
        """A column that every row needs, as text."""
        values = class_labels.without_blanks(self._values(name))
        self._check(name, values, fits=pc.is_valid(values), why="missing")
        texts = number_texts.texts(values)
        return spreadsheet.read(texts) if self.is_csv else texts

    def _values(self, name: str) -> pa.ChunkedArray:
        try:
            return column(self.given, name).take(pa.array(self.places))
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
            what = "" if value is None else f"{value.isoformat() if isinstance(value, datetime) else shown(value)} is "
            more = f", and so it is with {len(wrong):,} of {len(self.given):,} rows" if len(wrong) > 1 else ""
            raise DataError(
                f"{self.source}: row {self.places[wrong[0]] + 1:,}, field {name!r}: {what}{why}{more}; mend the "
                "source, for nothing was taken"
            )

    def _check_agree(self, labels: pa.Table) -> None:
        """Makes sure that no two rows differ that are of one row of a request, or of one key and moment."""
        key = self.where.key
        names = [keys_of(labels, key, key), labels["at"]] if key else [labels["request_id"], labels["row"]]
        texts = [one.cast(pa.string()) for one in names]
        whose = pc.binary_join_element_wise(*texts, BETWEEN, null_handling="replace")
        of, said = _codes(whose), _codes(labels["label"])
        first = np.zeros(len(of), np.int64)
        first[of[::-1]] = np.arange(len(of))[::-1]
        differs = np.flatnonzero(said != said[first[of]])
        if len(differs):
            both = int(first[of[differs[0]]]), int(differs[0])
            rows = " and ".join(f"{self.places[one] + 1:,}" for one in both)
            told = " and ".join(shown(labels["label"][one].as_py()) for one in both)
            request = "row of a request" if self.where.row else "request (of one with several rows, say which is which)"
            raise DataError(
                f"{self.source}: rows {rows}, field {self.column!r}: {told} of the same {'key' if key else request}; "
                "mend the source, for nothing was taken"
            )


def _as_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers and texts that are some as float64; null where there is none."""
    if is_text(values.type):
        return pc.utf8_trim_whitespace(pc.if_else(pc.match_substring_regex(values, NUMBER), values, None)).cast(_NUMBER)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    if not any(one(values.type) for one in kinds):
        return pa.chunked_array([pa.nulls(len(values), _NUMBER)])
    return number_texts.widened(values)


def _as_moments(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times, and texts that are some as ISO 8601 has them; null where there is none."""
    if pa.types.is_timestamp(values.type):
        return values.cast(_MOMENT)
    if not is_text(values.type):
        return pa.chunked_array([pa.nulls(len(values), _MOMENT)])
    coded = values.combine_chunks().dictionary_encode()
    return pa.chunked_array([pa.array(map(_moment, coded.dictionary.to_pylist()), _MOMENT).take(coded.indices)])


def _moment(text: str) -> int | None:
    """Microseconds since 1970."""
    try:
        return moments.of_text(text.strip()) if re.match(MOMENT, text.strip()) else None
    except ValueError:
        return None


def _codes(values: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.int64]:
    """The same number for the same text."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    codes: npt.NDArray[np.int64] = whole.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _are_dates(values: pa.ChunkedArray) -> bool:
    """Whether all values are those of dates, which reading makes midnights of; not where an offset from UTC is said."""
    if is_text(values.type):
        texts = pc.utf8_trim_whitespace(class_labels.without_blanks(values))
        midnights = pc.match_substring_regex(texts, _MIDNIGHT)
    elif pa.types.is_timestamp(values.type) and values.type.tz is None:
        midnights = pc.equal(pc.floor_temporal(values, unit="day"), values)
    else:
        return False
    return bool(pc.all(midnights, min_count=0).as_py())


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
