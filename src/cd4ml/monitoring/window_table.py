"""The table of windows in the store: a Delta Lake table at `<store>/windows/<model>`, with each row once.

The document of a window (`Window`) is in the commit that brought its rows: so both are there or none, and of two that
collect one window at once one does. A window that is collected again changes nothing unless something new is known, as
late labels. Then it has a further document, and its rows take the place of those before, which earlier versions of the
table keep.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import reduce
from itertools import chain
from operator import or_

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import CommitProperties, create_table_with_add_actions

from cd4ml.contracts import feature_names, moments
from cd4ml.contracts.captured_values import by_feature
from cd4ml.contracts.late_labels import one_text
from cd4ml.contracts.window import ROWS, Window
from cd4ml.data import table as tables
from cd4ml.errors import DataError
from cd4ml.monitoring import window_files
from cd4ml.monitoring.window_files import WINDOW
from cd4ml.names import first_line
from cd4ml.storage import Store, check_name

ATTEMPTS = 10
ABOUT = "cd4ml_window"
_SCHEMA = pa.schema([*ROWS, (WINDOW, pa.string())])


def version(store: Store, model: str) -> int | None:
    """The version of the table as it is now, by which all of it can be read as it is now; None where there is none.

    Raises:
        DataError: The table of windows cannot be read.
    """
    uri = _uri(store, model)
    return tables.opened(uri).version() if tables.exists(uri) else None


def every(store: Store, model: str, *, at: int | None = None) -> list[Window]:
    """The last document of each window of a model, the earliest window first.

    Args:
        store: The store.
        model: The model's name.
        at: The version of the table; the latest if not said.

    Raises:
        DataError: The table of windows cannot be read.
    """
    uri = _uri(store, model)
    return _last_of(tables.opened(uri, at), uri) if tables.exists(uri) else []


def rows(store: Store, window: Window, *, mirrored: bool = False, at: int | None = None) -> pa.Table:
    """The rows of a window (`cd4ml.contracts.window`), by when their requests came in.

    Args:
        store: The store.
        window: Its document.
        mirrored: Whether those of mirrors, in place of those that were given to somebody.
        at: The version of the table; the latest if not said.

    Raises:
        DataError: The table of windows cannot be read.
    """
    wanted = (pc.field(WINDOW) == window.key) & (pc.field("mirrored") == mirrored)
    uri = _uri(store, window.model)
    try:
        found = tables.dataset(uri, at).to_table(filter=wanted)
    except (OSError, pa.ArrowException) as error:
        raise window_files.unread(uri, error) from error
    ordered = found.drop_columns([WINDOW]).sort_by([(name, "ascending") for name in ("at", "request_id", "row")])
    return feature_names.as_captured(ordered)


def given(
    store: Store,
    model: str,
    columns: Sequence[str],
    *,
    at: int | None = None,
    since: datetime | None = None,
    part: int = 1,
) -> pa.Table:
    """Some columns of the rows of all windows that were given to somebody, in any order.

    Args:
        store: The store.
        model: The model's name.
        columns: Their names.
        at: The version of the table; the latest if not said.
        since: The moment from which on the requests came in; all if not said.
        part: Of how many requests one is read, the same each time, as if chance had chosen.

    Raises:
        DataError: The table of windows cannot be read.
    """
    uri = _uri(store, model)
    if not tables.exists(uri):
        return _SCHEMA.empty_table().select(list(columns))
    wanted = pc.invert(pc.field("mirrored"))
    if since:
        wanted &= pc.field("at") >= pa.scalar(since, ROWS.field("at").type)
    try:
        read = tables.dataset(uri, at).scanner(columns=list(dict.fromkeys([*columns, "at"])), filter=wanted).to_reader()
        found = [_chosen(pa.Table.from_batches([some]), part) for some in read]
        return pa.concat_tables([read.schema.empty_table(), *found]).select(list(columns))
    except (OSError, pa.ArrowException) as error:
        raise window_files.unread(uri, error) from error


def features(store: Store, model: str, names: Sequence[str]) -> Iterator[pa.Table]:
    """Some features of the rows of all windows that were given to somebody, some rows at a time.

    Args:
        store: The store.
        model: The model's name.
        names: The features.

    Returns:
        Texts by row, the columns in the order of the names; of files that lack one of them no rows.

    Raises:
        DataError: The table of windows cannot be read.
    """
    uri = _uri(store, model)
    if not tables.exists(uri):
        return
    try:
        found = tables.dataset(uri)
        wanted = list(feature_names.of_table(names, found.schema).values())
        for fragment in found.get_fragments():
            with pq.ParquetFile(fragment.open()) as file:  # a scan by `pc.field` would read all features
                for some in file.iter_batches(columns=["mirrored", *(f"features.{name}" for name in wanted)]):
                    yield from _features(some, wanted)
    except (OSError, pa.ArrowException) as error:
        raise window_files.unread(uri, error) from error


def _features(rows: pa.RecordBatch, names: Sequence[str]) -> Iterator[pa.Table]:
    own = rows.filter(pc.invert(rows["mirrored"]))
    features = own["features"] if "features" in own.schema.names else pa.array([], pa.struct([]))
    if {field.name for field in features.type}.issuperset(names):
        yield pa.table({str(place): pc.struct_field(features, [name]) for place, name in enumerate(names)})


def _chosen(rows: pa.Table, part: int) -> pa.Table:
    """One of so many rows, by a hash of when their requests came in."""
    if part <= 1:
        return rows
    mixed = rows["at"].cast(pa.int64()).to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return rows.filter(pa.array((mixed >> np.uint64(40)) % np.uint64(part) == 0))


def of_request(store: Store, model: str, request: str, *, windows: Sequence[Window] | None = None) -> pa.Table:
    """The rows of one request, those of mirrors too, with the `window` of each (`cd4ml.contracts.window`).

    Args:
        store: The store.
        model: The model's name.
        request: The request's id.
        windows: Those that are looked through; all if not said.

    Raises:
        DataError: The table of windows cannot be read.
    """
    wanted = pc.field("request_id") == request
    if windows is not None:
        wanted = pc.field(WINDOW).isin([one.key for one in windows]) & wanted
    return _where(store, model, wanted)


def of_features(store: Store, model: str, values: Mapping[str, Sequence[str]]) -> pa.Table:
    """The rows that were given to somebody and have some features, in all windows; likewise.

    Args:
        store: The store.
        model: The model's name.
        values: By feature, the texts of which a row has one, dates and times in any form.

    Raises:
        DataError: The table of windows cannot be read.
    """
    uri = _uri(store, model)
    called = feature_names.of_table(values, tables.dataset(uri).schema) if tables.exists(uri) else {}
    wanted = pc.invert(pc.field("mirrored"))
    for name, texts in values.items():
        field = pc.field("features", called.get(name, name))
        days = (pc.starts_with(field, day) for day in _days(texts))
        wanted &= reduce(or_, days, field.isin(list(texts)))

    def own(rows: pa.Table) -> pa.Table:
        features = by_feature(rows)
        for name, texts in values.items():
            same = pc.is_in(one_text([features[name]]), one_text([pa.array(texts, pa.string())]))
            rows, features = rows.filter(same), {other: some.filter(same) for other, some in features.items()}
        return rows

    return _where(store, model, wanted, own=own)


def _days(texts: Iterable[str]) -> set[str]:
    """What texts begin with that may be the same moments as some texts, by whatever offset from UTC."""
    day = 24 * 60 * 60 * 10**6
    found = []
    for text in texts:
        with suppress(ValueError):
            found += [moments.of_text(text) + step * day for step in (-1, 0, 1)]
    return {moments.text_of(one)[:10] for one in found if moments.EARLIEST <= one <= moments.LATEST}


def _where(
    store: Store, model: str, wanted: pc.Expression, *, own: Callable[[pa.Table], pa.Table] = lambda rows: rows
) -> pa.Table:
    """The rows that are wanted, and of these what `own` leaves of some at a time."""
    uri = _uri(store, model)
    if not tables.exists(uri):
        return _SCHEMA.empty_table()
    try:
        read = tables.dataset(uri).scanner(filter=wanted).to_reader()
        parts = chain([read.schema.empty_table()], (pa.Table.from_batches([some]) for some in read))
        found = pa.concat_tables([own(feature_names.as_captured(one)) for one in parts])
    except (OSError, pa.ArrowException) as error:
        raise window_files.unread(uri, error) from error
    return found.sort_by([(name, "ascending") for name in ("at", "mirrored", "request_id", "row")])


def is_later(window: Window, now: datetime) -> bool:
    """Whether a window is half as old again as when it was collected, and older by its own width at least."""
    begin, until, looked = map(datetime.fromisoformat, (window.begin, window.until, window.at))
    return now - until >= 1.5 * (looked - until) and now - looked >= until - begin


def commit(store: Store, about: Window, rows: pa.Table) -> Window:
    """Commits a window, unless its last document says as much.

    A document that says the same counts where it is of a much later look: that no label has come since is news too.
    One of fewer requests does not, for then what was captured is gone.

    Args:
        store: The store.
        about: What the window is, but for the number of its document.
        rows: Of the window, those of mirrors too, with their features.

    Returns:
        The last document.

    Raises:
        DataError: The window overlaps another, or the store cannot be written.
    """
    uri = _uri(store, about.model)
    _make(uri)
    for _ in range(ATTEMPTS):
        opened = tables.opened(uri)
        known = _last_of(opened, uri)
        _check_apart(about, known)
        before = next((one for one in known if one.key == about.key), None)
        lost = bool(before and window_files.lost(opened, uri, before.key))
        if before and _stays(before, about, lost=lost):
            return before
        made = replace(about, number=before.number + 1 if before else 1)
        properties = CommitProperties(custom_metadata={ABOUT: made.text}, max_commit_retries=0)
        try:
            if (before and before.digest == made.digest and not lost) or not (len(rows) or before):
                opened.create_write_transaction(
                    [], mode="append", schema=opened.schema(), partition_by=[WINDOW], commit_properties=properties
                )
            else:
                deltalake.write_deltalake(
                    opened,
                    _with_window(rows, made.key, opened),
                    mode="overwrite",
                    schema_mode="merge",
                    predicate=f"{WINDOW} = '{made.key}'",
                    commit_properties=properties,
                )
        except CommitFailedError:
            continue  # another was faster, perhaps with this very window
        except (DeltaError, OSError) as error:
            raise DataError(f"{uri}: cannot be written ({first_line(error)}); mend the store") from error
        return made
    raise DataError(f"{uri}: others write to it at the same time; collect again when they are done")


def digest(rows: pa.Table) -> str:
    """Tells rows, in their order, from all others."""
    whole = hashlib.sha256()
    for name in sorted(rows.column_names):
        whole.update(f"{name}\n".encode())
        _add(whole, rows[name].combine_chunks())
    return f"sha256:{whole.hexdigest()}"


def _make(uri: str) -> None:
    """Makes the table where there is none."""
    if tables.exists(uri):
        return
    try:
        create_table_with_add_actions(
            uri,
            deltalake.Schema.from_arrow(_SCHEMA),
            [],
            mode="error",
            partition_by=[WINDOW],
            configuration=tables.FOREVER,
            storage_options=tables.options(uri),
        )
    except (DeltaError, OSError) as error:
        if not tables.exists(uri):  # else another was faster
            raise DataError(f"{uri}: cannot be written ({first_line(error)}); mend the store") from error


def _check_apart(about: Window, known: Sequence[Window]) -> None:
    """Makes sure that no row is in two windows."""
    for one in known:
        if one.key != about.key and one.begin < about.until and about.begin < one.until:
            raise DataError(
                f"{about.model}: the window from {about.begin} until {about.until} overlaps that from {one.begin} "
                f"until {one.until}, and a row is of one window; keep to one width, or begin after the last window"
            )


def _last_of(opened: deltalake.DeltaTable, uri: str) -> list[Window]:
    found: dict[str, Window] = {}
    for commit in opened.history()[-(opened.version() + 1) :]:  # the newest first, without those after this version
        if ABOUT in commit:
            one = Window.parse(commit[ABOUT], uri)
            if one.key not in found or found[one.key].number < one.number:
                found[one.key] = one
    return sorted(found.values(), key=lambda one: one.begin)


def _stays(before: Window, about: Window, *, lost: bool) -> bool:
    """Whether the last document of a window counts on; one of which rows are lost is written again, where it can be."""
    is_gone = before.requests > about.requests
    if lost and is_gone:
        raise DataError(
            f"{about.model}: rows of the window from {before.begin} until {before.until} are lost, and not all that it "
            f"had is captured any more; bring back windows/{about.model}/{WINDOW}={before.key} of a copy of the store"
        )
    says_as_much = before.says_as(about) and not is_later(before, datetime.fromisoformat(about.at))
    return is_gone or (says_as_much and not lost)


def _with_window(rows: pa.Table, key: str, table: deltalake.DeltaTable) -> pa.Table:
    """Rows as the table has them, which has no struct without fields."""
    named = feature_names.as_stored(rows, pa.schema(table.schema().to_arrow()))
    whole = named if named.schema.field("features").type.num_fields else named.drop_columns(["features"])
    return whole.append_column(WINDOW, pa.array([key] * len(whole), pa.string()))


def _uri(store: Store, model: str) -> str:
    return store.uri(f"windows/{check_name(model)}")


def _add(whole: "hashlib._Hash", values: pa.Array) -> None:
    """Adds values, and which are missing, and nothing else that lies beside them in memory."""
    if values.null_count:
        whole.update(np.packbits(values.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_struct(values.type):
        for field, column in zip(values.type, values.flatten(), strict=True):
            whole.update(f"{field.name}\n".encode())
            _add(whole, column)
    elif pa.types.is_list(values.type):
        whole.update(values.value_lengths().fill_null(0).to_numpy().tobytes())
        _add(whole, values.flatten())
    elif pa.types.is_string(values.type):
        filled = pa.concat_arrays([values.fill_null("")])
        lengths = pc.binary_length(filled).to_numpy()
        whole.update(lengths.tobytes())
        whole.update(memoryview(filled.buffers()[2] or b"")[: int(lengths.sum())])
    else:
        whole.update(values.fill_null(_zero(values.type)).to_numpy(zero_copy_only=False).tobytes())


def _zero(type_: pa.DataType) -> pa.Scalar:
    return pa.scalar(0, pa.int64()).cast(type_)
