"""Labels that were taken in bulk, as the feedback that they would have been had callers sent them when they came.

A rollout that looked before they came may have decided by what it knew then. So a label counts from when it was here,
and not from when it was known elsewhere: what a look has seen as over stays as it was, and errors stay as stated.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured_features
from cd4ml.contracts.captured import FEEDBACK
from cd4ml.contracts.late_labels import CLOCKS, Labels, keys_of, matches, one_text, row_places
from cd4ml.deployment.evidence.compared import places_in
from cd4ml.registry import labels_taken
from cd4ml.storage import Store

_MOMENT = FEEDBACK.field("at").type


@dataclass(frozen=True)
class Late:
    """The labels that were taken of a model, of which a look reads those that none before it has read."""

    store: Store
    model: str
    key: tuple[str, ...] = ()
    """The features that tell whose row a label is; labels by others are of no request."""
    since: datetime | None = None
    """The first moment of the requests; what was known before is of none."""
    _taken: dict[str, pa.Table | None] = field(default_factory=dict)
    """By their folder: a row a label (`_of`), or None of labels by another key."""

    def feedback(self, requests: pa.Table, numbers: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Table:
        """What they say of requests, once all rows of a request have one; of each row the first counts.

        Args:
            requests: By when they came in: `at`, `request_id`, of how many `rows` each is (0 where nothing was
                predicted), and where there is a key their `features`.
            numbers: What makes ids of those that labels name.

        Returns:
            `at`, `request_id` and `labels`, by request.

        Raises:
            StorageError: The store cannot be read.
            DocumentError: What is said there of labels cannot be read.
        """
        labels = self._read(numbers)
        rows = _Rows.of(requests)
        there, known = (labels[name].to_numpy().astype(np.int64) for name in ("there", "known"))
        found = list[tuple[np.ndarray, np.ndarray]]()
        clocks = CLOCKS // timedelta(microseconds=1)
        for (row, label), slack in ((rows.by_id(labels), clocks), (self._by_key(rows, labels), 0)):
            fits = known[label] + slack >= rows.asked[rows.of_request[row]]
            found.append((row[fits], label[fits]))
        row, label = (np.concatenate(both) for both in zip(*found, strict=True))
        order = np.lexsort((there[label], row))
        row, first = np.unique(row[order], return_index=True)
        label = label[order][first]
        whole = np.bincount(rows.of_request[row], minlength=len(rows.counts)) == rows.counts
        own = whole[rows.of_request[row]]
        return _as_feedback(requests.filter(pa.array(whole)), rows.counts[whole], labels.take(pa.array(label[own])))

    def _by_key(self, rows: "_Rows", labels: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        if not self.key or labels["key"].null_count == len(labels):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        label, row = matches(labels["key"], rows.keys(sorted(self.key)))
        return row, label

    def _read(self, numbers: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Table:
        for folder in labels_taken.folders(self.store, self.model):
            if folder not in self._taken:
                about = labels_taken.about(self.store, folder)
                fits = not about.key or sorted(about.key) == sorted(self.key)
                table = labels_taken.read(self.store, about) if fits else None
                self._taken[folder] = None if table is None else _of(self._later(table), about, numbers)
        return pa.concat_tables([_NONE, *(one for one in self._taken.values() if one is not None)]).combine_chunks()

    def _later(self, labels: pa.Table) -> pa.Table:
        if self.since is None:
            return labels
        return labels.filter(pc.greater_equal(labels["at"], pa.scalar(self.since - CLOCKS, _MOMENT)))


_NONE = pa.schema(
    [
        ("request_id", pa.int64()),
        ("row", pa.int32()),
        ("key", pa.string()),  # its values as one text
        ("label", pa.string()),  # JSON
        ("known", pa.int64()),  # microseconds
        ("there", pa.int64()),  # likewise: from when one could see it here
    ]
).empty_table()


def _of(labels: pa.Table, about: Labels, numbers: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Table:
    """Labels that were taken at once."""
    keys = pa.nulls(len(labels), pa.string())
    if about.key:
        keys = keys_of(labels, about.key, sorted(about.key))
    texts = labels["label"].combine_chunks().dictionary_encode()
    as_json = pa.array([json.dumps(text) for text in texts.dictionary.to_pylist()], pa.string())
    known = labels["at"].cast(pa.int64())
    taken = int(datetime.fromisoformat(about.taken_at).timestamp() * 1_000_000)
    columns = [
        numbers(labels["request_id"]),
        labels["row"],
        keys,
        as_json.take(texts.indices),
        known,
        pc.max_element_wise(known, pa.scalar(taken)),
    ]
    return pa.table(columns, schema=_NONE.schema)


@dataclass(frozen=True)
class _Rows:
    """The rows of requests, one after another."""

    requests: pa.Table
    counts: np.ndarray
    """Of each request (int64 [requests]); 1 where nothing was predicted, for a label may be of that all the same."""
    first: np.ndarray
    """The place of its first row (int64 [requests])."""
    of_request: np.ndarray
    """Of each row the place of its request (int64 [rows])."""
    asked: np.ndarray
    """Microseconds (int64 [requests])."""

    @classmethod
    def of(cls, requests: pa.Table) -> "_Rows":
        counts = np.maximum(requests["rows"].fill_null(0).to_numpy().astype(np.int64), 1)
        of_request = np.repeat(np.arange(len(counts)), counts)
        return cls(requests, counts, np.cumsum(counts) - counts, of_request, requests["at"].cast(pa.int64()).to_numpy())

    def by_id(self, labels: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """The row and the label of each label that names a request, and a row where it has several."""
        places = places_in(self.requests["request_id"], labels["request_id"])
        label = np.flatnonzero(places.is_valid())
        request = places.drop_null().to_numpy()
        row, fits = row_places(labels["row"].take(pa.array(label)), self.counts[request], self.first[request])
        return row[fits], label[fits]

    def keys(self, names: list[str]) -> pa.Array:
        """What the rows have of some features, as one text; null where they lack one."""
        features = captured_features.of_rows(self.requests["features"].cast(pa.string()), self.counts)
        if not {each.name for each in features.type}.issuperset(names):
            return pa.nulls(len(self.of_request), pa.string())
        return one_text([pc.struct_field(features, name) for name in names])


def _as_feedback(requests: pa.Table, counts: np.ndarray, labels: pa.Table) -> pa.Table:
    """Feedback, of the labels of each request's rows in order."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    there = labels["there"].to_numpy()
    at = np.maximum.reduceat(there, offsets[:-1]) if len(counts) else there
    lists = pa.ListArray.from_arrays(pa.array(offsets), labels["label"].combine_chunks())
    return pa.table({"at": pa.array(at).cast(_MOMENT), "request_id": requests["request_id"], "labels": lists})
