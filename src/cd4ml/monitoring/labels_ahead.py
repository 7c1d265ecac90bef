"""Labels that were taken in bulk and that windows may not have yet: of which rows and windows they are."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.captured_values import by_feature
from cd4ml.contracts.late_labels import BETWEEN, Labels, keys_of, one_text
from cd4ml.contracts.window import Window, ends_of
from cd4ml.monitoring import window_table
from cd4ml.registry import labels_taken
from cd4ml.storage import Store

Flags = npt.NDArray[np.bool_]


def are_taken(store: Store, model: str, rows: pa.Table) -> Flags:
    """Which rows a label was taken for, whether their windows were collected with it or not (bool [rows]).

    Args:
        store: The store.
        model: The model's name.
        rows: Of windows (`cd4ml.contracts.window`), all that a request has.
    """
    found = np.zeros(len(rows), bool)
    for about in labels_taken.every(store, model):
        labels = labels_taken.read(store, about)
        found |= _by_key(labels, about.key, rows) if about.key else _by_request(labels, rows)
    return found


def windows(store: Store, labels: Labels) -> list[Window]:
    """The windows with rows that labels name, and that were collected before these were taken; the earliest first.

    Args:
        store: The store.
        labels: By request; for those by key none are looked for.

    Raises:
        DataError: The table of windows cannot be read.
    """
    known = [one for one in window_table.every(store, labels.model) if one.at <= labels.taken_at]
    if labels.key or not known:
        return []
    rows = window_table.given(store, labels.model, ["request_id", "at"])
    own = rows.filter(pc.is_in(rows["request_id"], labels_taken.read(store, labels)["request_id"].combine_chunks()))
    asked = np.sort(own["at"].cast(pa.int64()).to_numpy())
    ends = np.array([[end.timestamp() * 1e6 for end in ends_of(one.key)] for one in known])
    begin, until = np.searchsorted(asked, ends).T
    return [one for one, some in zip(known, until > begin, strict=True) if some]


def _by_request(labels: pa.Table, rows: pa.Table) -> Flags:
    """Those that labels name; labels without the number of a row name that of requests with one row."""
    whole = pc.is_null(labels["row"])
    counts = rows.group_by("request_id").aggregate([("row", "count")])
    alone = counts.filter(pc.equal(counts["row_count"], 1))["request_id"]
    ids = labels.filter(whole)["request_id"]
    single = ids.filter(pc.is_in(ids, alone.combine_chunks()))
    named = pc.is_in(_named(rows), _named(labels.filter(pc.invert(whole))).combine_chunks())
    return _flags(pc.or_(named, pc.is_in(rows["request_id"], single.combine_chunks())))


def _named(rows: pa.Table) -> pa.ChunkedArray:
    """The request and the number of each row, as one text."""
    return pc.binary_join_element_wise(rows["request_id"], rows["row"].cast(pa.string()), BETWEEN)


def _by_key(labels: pa.Table, key: tuple[str, ...], rows: pa.Table) -> Flags:
    """Those of which a label by such a key was known after they were asked for."""
    features = by_feature(rows)
    if not features.keys() >= {*key}:
        return np.zeros(len(rows), bool)
    each = pa.table({"key": keys_of(labels, key, key), "at": labels["at"]})
    last = each.group_by("key").aggregate([("at", "max")])
    names = one_text([features[name] for name in key])
    place = pc.index_in(names, last["key"].combine_chunks(), skip_nulls=True)
    return _flags(pc.greater_equal(last["at_max"].take(place), rows["at"]))


def _flags(found: pa.ChunkedArray) -> Flags:
    """Bool [rows]; what is not known is not so."""
    flags: Flags = pc.fill_null(found, False).to_numpy().astype(bool)
    return flags
