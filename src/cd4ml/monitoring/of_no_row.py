"""Labels that are of no row in the windows that were collected so far."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.columns import together
from cd4ml.contracts.late_labels import CLOCKS, Labels, keys_of, one_text, row_places
from cd4ml.monitoring import window_table, windows
from cd4ml.monitoring.capture_files import CaptureFiles
from cd4ml.registry import labels_taken
from cd4ml.storage import Store


@dataclass(frozen=True)
class Fed:
    """Labels of feedback."""

    labels: int
    """That came from the first window on, until the end of the last."""
    of_no_row: int
    """Of these, those of requests that have no row in the windows."""
    until: str
    """The end of the last window, ISO 8601, UTC."""


def taken(store: Store, model: str, labels: Sequence[Labels]) -> dict[str, int]:
    """How many labels in bulk are of requests without such a row, or have a key that no row has.

    Args:
        store: The store.
        model: The model's name.
        labels: What was taken.

    Returns:
        By digest of what was taken at once.

    Raises:
        DataError: The table of windows cannot be read.
    """
    counts = {}
    by_key: dict[tuple[str, ...], list[Labels]] = {}
    for one in labels:
        by_key.setdefault(one.key, []).append(one)
    for key, some in by_key.items():
        tables = {one.digest: labels_taken.read(store, one) for one in some}
        if key:
            names = {digest: keys_of(own, key, key) for digest, own in tables.items()}
            there = _there(_of_rows(store, model, key), pa.concat_arrays(list(names.values())))
            counts.update({digest: len(own) - _count(own, there) for digest, own in names.items()})
        else:
            requests = _rows_by_request(store, model)
            counts.update({digest: _of_no_request(own, requests) for digest, own in tables.items()})
    return counts


def fed(store: Store, model: str) -> Fed | None:
    """The labels of feedback; None where no window was collected.

    Args:
        store: The store.
        model: The model's name.

    Raises:
        DataError: The table of windows or the capture cannot be read.
    """
    known = window_table.every(store, model)
    if not known:
        return None
    ids = _rows_by_request(store, model)["request_id"].combine_chunks()
    until, total, of_rows = max(one.until for one in known), 0, 0
    files = CaptureFiles(windows.place(store, model))
    for some in together(files.labels(datetime.fromisoformat(known[0].begin) - CLOCKS), windows.MANY):
        came = some.filter(pc.less(some["at"], pa.scalar(datetime.fromisoformat(until), some["at"].type)))
        total += _labels(came)
        of_rows += _labels(came.filter(pc.is_in(came["request_id"], ids)))
    return Fed(total, total - of_rows, until)


def _rows_by_request(store: Store, model: str) -> pa.Table:
    """The ids of requests with rows (`request_id`), and the number of the last (`row_max`)."""
    return window_table.given(store, model, ["request_id", "row"]).group_by("request_id").aggregate([("row", "max")])


def _of_no_request(labels: pa.Table, requests: pa.Table) -> int:
    """How many labels are of no request, or of a row that it does not have."""
    place = pc.index_in(labels["request_id"], requests["request_id"].combine_chunks())
    counts = requests["row_max"].take(place.combine_chunks()).fill_null(0).to_numpy().astype(np.int64)
    return int(np.count_nonzero(~row_places(labels["row"], counts, np.zeros_like(counts))[1]))


def _of_rows(store: Store, model: str, key: tuple[str, ...]) -> Iterator[pa.StringArray]:
    """The keys of the rows."""
    for some in together(window_table.features(store, model, key), windows.MANY):
        yield one_text([one.combine_chunks() for one in some.columns])


def _there(names: Iterable[pa.StringArray], wanted: pa.StringArray) -> pa.StringArray:
    """Those of the names that are wanted, each once."""
    found = [pc.unique(some.filter(pc.is_in(some, wanted))) for some in names]
    return pc.unique(pa.concat_arrays([pa.array([], pa.string()), *found]))


def _count(names: pa.StringArray, there: pa.StringArray) -> int:
    return int(pc.sum(pc.is_in(names, there), min_count=0).as_py())


def _labels(feedback: pa.Table) -> int:
    return int(pc.sum(pc.list_value_length(feedback["labels"]), min_count=0).as_py())
