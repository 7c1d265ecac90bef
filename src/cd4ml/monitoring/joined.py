"""What was predicted beside what came to be true: one row a predicted row, with its label where that is known.

A label comes in feedback, or in bulk (`taking`), any number of times and in any order; the rows are the same. Where the
labels of a row differ, neither the first nor the last counts: who is right is not known here, and all of them are kept
apart, as are labels that can be of no row. Callers may bring ids of their own for requests; of several answers that
have one id the first counts, and the others are kept apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured_features, class_labels, number_texts
from cd4ml.contracts.captured import FEEDBACK
from cd4ml.contracts.late_labels import CLOCKS, LABELS, keys_of, matches, one_text, row_places
from cd4ml.contracts.window import (
    AHEAD,
    APART,
    CONTRADICTING,
    EARLY,
    OTHER_ROW,
    OTHER_TYPE,
    ROWS,
    TWICE,
    UNKNOWN,
    WHYS,
)
from cd4ml.monitoring.taking import NUMBER

Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_KEY = ("request_id", "key")
_PAIR = pa.int64()


@dataclass(frozen=True)
class Bulk:
    """Labels that were taken at once."""

    labels: pa.Table
    """As `LABELS` has them."""
    key: tuple[str, ...] = ()
    """The features that tell which rows they are of; none where request ids do."""


@dataclass(frozen=True)
class Answers:
    """Each answer once."""

    table: pa.Table
    """Those that count, by when their requests came in (`captured.REQUESTS`)."""
    repeated: pa.Table
    """Those of requests that have the id of an earlier one; likewise."""


@dataclass(frozen=True)
class Joined:
    """Predicted rows, and the labels that are of none of them."""

    rows: pa.Table
    """Of answers that were given, by when their requests came in (`window.ROWS`, with `features`)."""
    copies: pa.Table
    """Of answers that were given to nobody: those of mirrors; likewise."""
    apart: pa.Table
    """Labels that are kept apart (`window.APART`), those of copies alone not counted among the unknown."""

    @property
    def counts(self) -> dict[str, int]:
        """How many labels are kept apart for which reason."""
        found = dict.fromkeys(WHYS, 0)
        for one in pc.value_counts(self.apart["why"]).to_pylist():
            found[one["values"]] = one["counts"]
        return found


def once(requests: pa.Table) -> Answers:
    """Leaves out what was captured twice, and keeps answers apart whose request has the id of an earlier one.

    Args:
        requests: As `captured.REQUESTS` has them, in any order. Answers of mirrors share the id of what they copy.
    """
    by = [(name, "ascending") for name in ("at", "request_id", "arm", "version", "status", "latency_ms")]
    order = pc.sort_indices(requests, sort_keys=by)
    ordered = requests.select(["at", "request_id", "arm", "mirrored"]).take(order)
    ids, arms = (_codes(ordered[name]) for name in ("request_id", "arm"))
    mirrored = ordered["mirrored"].to_numpy()
    group = ids * (arms.max(initial=0) + 2) + np.where(mirrored, arms + 1, 0)
    _, first, of = np.unique(group, return_index=True, return_inverse=True)
    moments = _moments(ordered["at"])
    counts = _flags(len(ordered), first)
    again = ~counts & (moments == moments[first[of]]) & (arms == arms[first[of]])
    return Answers(*(requests.take(order.filter(pa.array(one))) for one in (counts, ~counts & ~again)))


def join(
    answers: pa.Table,
    *,
    classes: Sequence[str],
    feedback: pa.Table | None = None,
    bulk: Iterable[Bulk] = (),
    now: datetime | None = None,
) -> Joined:
    """Gives each predicted row the label that came to be true of it.

    A label that names its request may be a little earlier than that, by `CLOCKS`, and counts from the request on.

    Args:
        answers: Each once, as `once` has them.
        classes: What a label can be, as text; none of a number.
        feedback: As `captured.FEEDBACK` has it, of these and of other requests.
        bulk: Labels that were taken in bulk, likewise.
        now: What is known later than this does not count yet; all does if not said.
    """
    rows = _Rows.of(answers)
    labels = _labels(feedback, list(bulk), classes)
    pairs = _Pairs.of(labels, rows)
    label, labelled_at, why = _settled(labels, rows, pairs, now=now)
    table = rows.table.append_column(ROWS.field("label"), label).append_column(ROWS.field("labelled_at"), labelled_at)
    table = table.select([*ROWS.names, "features"])
    apart = labels.table.append_column("why", why).select(APART.names).cast(APART)
    return Joined(
        table.filter(pc.invert(table["mirrored"])), table.filter(table["mirrored"]), apart.filter(pc.is_valid(why))
    )


def reasons(
    answers: pa.Table,
    *,
    classes: Sequence[str],
    feedback: pa.Table,
    bulk: Sequence[Bulk],
    now: datetime,
) -> pa.Table:
    """Each label that `join` is given, with why it is of no row.

    Args:
        answers: As those of `join`, and so all else.
        classes: What a label can be.
        feedback: Of these answers.
        bulk: Likewise, those of one key together.
        now: What is known later does not count yet.

    Returns:
        As `window.APART`, in the order of the feedback and of the labels in bulk; `why` is null of what counts.
    """
    rows, labels = _Rows.of(answers), _labels(feedback, bulk, classes)
    *_, why = _settled(labels, rows, _Pairs.of(labels, rows), now=now)
    return labels.table.append_column("why", why).select(APART.names).cast(APART)


@dataclass(frozen=True)
class _Rows:
    """The rows of answers."""

    table: pa.Table
    """`ROWS` without labels, with `features`."""
    answers: pa.Table
    first: Places
    """The place of the first row of each answer."""
    counts: Places
    """How many each has; 0 where nothing was predicted."""

    @classmethod
    def of(cls, answers: pa.Table) -> "_Rows":
        widths = pc.fill_null(pc.list_value_length(answers["outputs"]), 0).to_numpy().astype(np.int64)
        values = pc.fill_null(pc.list_value_length(answers["predictions"]), 0).to_numpy().astype(np.int64)
        whole = (widths > 0) & (values % np.maximum(widths, 1) == 0)
        counts = np.where(whole, values // np.maximum(widths, 1), 0)
        first = np.cumsum(counts) - counts
        of = np.repeat(np.arange(len(answers)), counts)
        given = answers["predictions"].filter(pa.array(counts > 0)).combine_chunks()
        table = answers.select([name for name in ROWS.names if name in answers.column_names]).take(pa.array(of))
        offsets = np.concatenate([[0], np.cumsum(widths[of])]).astype(np.int32)
        predictions = pa.ListArray.from_arrays(pa.array(offsets), pc.list_flatten(given))
        number = pa.array((np.arange(len(of)) - first[of] + 1).astype(np.int32))
        table = table.set_column(table.column_names.index("predictions"), ROWS.field("predictions"), predictions)
        features = captured_features.of_rows(answers["features"], counts)
        table = table.append_column(ROWS.field("row"), number).append_column("features", features)
        return cls(table, answers, first, counts)

    def keys(self, names: Sequence[str]) -> pa.Array:
        """What the rows have of some features, as one text (`one_text`)."""
        features = self.table["features"].combine_chunks()
        there = {field.name for field in features.type}
        if not there.issuperset(names):
            return pa.nulls(len(features), pa.string())
        return one_text([pc.struct_field(features, name) for name in names])


@dataclass(frozen=True)
class _Labels:
    """Labels, wherever they come from."""

    table: pa.Table
    """`LABELS`, and `told`: how many rows the feedback has labels for; null of labels in bulk."""
    keys: dict[tuple[str, ...], slice]
    """By the features of a key: the places of the labels that go by it."""


def _labels(feedback: pa.Table | None, bulk: Sequence[Bulk], classes: Sequence[str]) -> _Labels:
    by_key: dict[tuple[str, ...], list[pa.Table]] = {}
    for one in bulk:
        by_key.setdefault(one.key, []).append(one.labels.cast(LABELS))
    told = pa.field("told", pa.int32())
    schema = pa.schema([*LABELS, told])
    tables = [_of_feedback(FEEDBACK.empty_table() if feedback is None else feedback, classes)]
    keys: dict[tuple[str, ...], slice] = {}
    for key, some in by_key.items():
        table = pa.concat_tables(some)
        texts = _typed(table["label"], classes)
        table = table.set_column(table.column_names.index("label"), "label", texts)
        if key:
            begin = sum(map(len, tables))
            keys[key] = slice(begin, begin + len(table))
        tables.append(table.append_column(told, pa.nulls(len(table), pa.int32())))
    return _Labels(pa.concat_tables([one.select(schema.names).cast(schema) for one in tables]).combine_chunks(), keys)


def _of_feedback(feedback: pa.Table, classes: Sequence[str]) -> pa.Table:
    """The labels of feedback, one a row of its request."""
    given = feedback.filter(pc.is_valid(feedback["labels"])).combine_chunks()
    lists = given["labels"].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    of = np.repeat(np.arange(len(given)), lengths)
    number = np.arange(len(of)) - (np.cumsum(lengths) - lengths)[of] + 1
    return pa.table(
        {
            "request_id": given["request_id"].take(pa.array(of)),
            "row": pa.array(number.astype(np.int32)),
            "key": pa.nulls(len(of), LABELS.field("key").type),
            "label": _of_json(pc.list_flatten(lists), classes),
            "at": given["at"].take(pa.array(of)),
            "told": pa.array(lengths[of].astype(np.int32)),
        }
    )


def _of_json(labels: pa.Array, classes: Sequence[str]) -> pa.Array:
    """Labels as text, of their JSON; null where they are none that the model has."""
    if not classes:
        quoted = pc.match_substring_regex(labels, r'^".*"$')
        return _typed(pc.if_else(quoted, pc.utf8_slice_codeunits(labels, 1, -1), labels), classes)
    encoded = labels.dictionary_encode()
    texts = pa.array([class_labels.of_json(one) for one in encoded.dictionary.to_pylist()], pa.string())
    return _typed(texts.take(encoded.indices), classes)


def _typed(texts: pa.ChunkedArray, classes: Sequence[str]) -> pa.ChunkedArray:
    """Labels as text; null where they are none that the model has."""
    if classes:
        texts = class_labels.all_of_classes(texts, classes)
        return pc.if_else(pc.is_in(texts, pa.array(classes, pa.string())), texts, None)
    texts = pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, None)
    numbers = pc.utf8_trim_whitespace(texts).cast(pa.float64())
    return number_texts.texts(pc.if_else(pc.is_finite(numbers), numbers, None))


@dataclass(frozen=True)
class _Pairs:
    """A label and a row that it is of."""

    label: Places
    row: Places
    slack: Places
    """By how many microseconds the label may be earlier than the row."""
    known: Flags
    """Of each label: whether a request has its id, or a row its key."""

    @classmethod
    def of(cls, labels: _Labels, rows: _Rows) -> "_Pairs":
        label, answer = matches(labels.table["request_id"], rows.answers["request_id"])
        known = np.zeros(len(labels.table), bool)
        known[label] = True
        count, told = rows.counts[answer], _whole(labels.table["told"])[label]
        row, there = row_places(labels.table["row"].take(pa.array(label)), count, rows.first[answer])
        fits = there & ((told == 0) | (told == count))
        label, row = label[fits], row[fits]
        pairs = [(label, row, np.full(len(label), CLOCKS // timedelta(microseconds=1)))]
        for key, places in labels.keys.items():
            label, row = matches(keys_of(labels.table[places], key, key), rows.keys(key))
            label = label + places.start
            known[label] = True
            pairs.append((label, row, np.zeros(len(label), np.int64)))
        label, row, slack = map(np.concatenate, zip(*pairs, strict=True))
        return cls(label, row, slack, known)


def _settled(
    labels: _Labels, rows: _Rows, pairs: _Pairs, *, now: datetime | None
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The label of each row and when it was known, and why each label is kept apart; null where there is none."""
    texts = labels.table["label"].combine_chunks().dictionary_encode()
    code = texts.indices.fill_null(-1).to_numpy().astype(np.int64)
    known_at, asked_at = _moments(labels.table["at"]), _moments(rows.table["at"])
    fits = _flags(len(code), pairs.label)
    ahead = known_at > (_microseconds(now + CLOCKS) if now else np.inf)
    early = known_at[pairs.label] + pairs.slack < asked_at[pairs.row]
    counts = (code[pairs.label] >= 0) & ~early & ~ahead[pairs.label]
    label, row = pairs.label[counts], pairs.row[counts]
    order = np.lexsort((label, known_at[label], row))
    label, row = label[order], row[order]
    begins = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]])) if len(row) else np.zeros(0, np.int64)
    least, most = ((of.reduceat(code[label], begins)) if len(row) else begins for of in (np.minimum, np.maximum))
    agree = least == most
    row_code, row_at = np.full(len(asked_at), -1), np.zeros(len(asked_at), np.int64)
    row_code[row[begins][agree]] = least[agree]
    row_at[row[begins][agree]] = np.maximum(known_at[label[begins]], asked_at[row[begins]])[agree]
    lacks = row_code < 0
    differs = np.repeat(~agree, np.diff(np.append(begins, len(row))))
    reasons = {
        UNKNOWN: ~pairs.known,
        OTHER_TYPE: code < 0,
        OTHER_ROW: ~fits,
        AHEAD: ahead,
        EARLY: ~_flags(len(code), label),
        CONTRADICTING: _flags(len(code), label[differs]),
        TWICE: ~_flags(len(code), label[begins]),
    }
    why = np.select(list(reasons.values()), list(reasons), default="")
    words = pa.array(why.astype(object), pa.string())
    return (
        texts.dictionary.take(pa.array(row_code, mask=lacks)),
        pa.array(row_at, mask=lacks).cast(ROWS.field("labelled_at").type),
        pc.if_else(pc.equal(words, ""), None, words),
    )


def _codes(values: pa.ChunkedArray) -> Places:
    """The same number for the same value (int64)."""
    codes: Places = values.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64) + 1
    return codes


def _moments(values: pa.ChunkedArray) -> Places:
    """Microseconds (int64)."""
    moments: Places = values.cast(pa.int64()).fill_null(0).to_numpy()
    return moments


def _microseconds(moment: datetime) -> int:
    return int(pa.scalar(moment, ROWS.field("at").type).value)


def _whole(values: pa.ChunkedArray) -> Places:
    """Whole numbers, 0 where there is none (int64)."""
    whole: Places = values.fill_null(0).to_numpy().astype(np.int64)
    return whole


def _flags(size: int, places: Places) -> Flags:
    """True at some places (bool [size])."""
    flags = np.zeros(size, bool)
    flags[places] = True
    return flags
