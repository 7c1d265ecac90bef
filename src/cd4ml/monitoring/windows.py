"""Windows: what routers captured of a model from a moment until another, collected beside the labels that have come."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured, class_labels
from cd4ml.contracts.captured import FEEDBACK
from cd4ml.contracts.columns import together
from cd4ml.contracts.delays import Delays
from cd4ml.contracts.late_labels import CLOCKS
from cd4ml.contracts.window import ROWS, UNKNOWN, Part, Window
from cd4ml.errors import ArgumentsError, DataError, RegistryError
from cd4ml.monitoring import joined, maturity, window_table
from cd4ml.monitoring.capture_files import CaptureFiles, Feedback
from cd4ml.monitoring.joined import Bulk, Joined
from cd4ml.names import lasting, nearest
from cd4ml.registry import clock, labels_taken, models, numbers
from cd4ml.storage import Store, check_name, open_store
from cd4ml.version import VERSION

SETTLED = timedelta(minutes=1)
"""How long a window must be over, for the router writes what it keeps a little later."""
AGAIN = timedelta(hours=1)
"""How long before a window a request may have come in whose id is sent again within it."""
TOLD_BY = timedelta(days=366)
"""The age of the windows by which the delays of labels are told."""
SAMPLE = 2**20
"""Rows by which they are told, about."""
UNREADABLE = "cut off, or no file of a capture; its rows are left out"
"""What is said of a file that could not be read."""
MANY = 2**20
"""Rows that are looked through at once."""
_ZERO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Span:
    """From a moment until another, which does not count any more."""

    begin: datetime
    until: datetime

    def __post_init__(self) -> None:
        """Makes sure that it is one.

        Raises:
            DataError: It ends before it begins, or has parts of a second.
        """
        if not self.begin < self.until:
            raise DataError(f"a window from {self.begin} until {self.until} has no time in it; name a later end")
        if self.begin.microsecond or self.until.microsecond:
            raise DataError(f"a window from {self.begin} until {self.until}: name whole seconds")

    @classmethod
    def of(cls, window: Window) -> Self:
        """That of a window."""
        return cls(datetime.fromisoformat(window.begin), datetime.fromisoformat(window.until))

    @property
    def written(self) -> tuple[str, str]:
        """As documents have it."""
        return clock.written(self.begin), clock.written(self.until)


def collect(store: str, model: str, span: Span, *, capture: str = "", feedback: Feedback | None = None) -> Window:
    """Collects a window; nothing is added where nothing new is known of it.

    Args:
        store: The store that holds the registry, and takes the window.
        model: The model's name.
        span: Of the requests.
        capture: What a router captured: a folder, or `s3://bucket/prefix`; that of the model if not said.
        feedback: That of several windows (`feedback`); its own if not said.

    Returns:
        The last document of the window.

    Raises:
        DataError: The window is not over yet, overlaps another, or the capture or the store cannot be read or written.
        RegistryError: No version of the model is published.
    """
    if span.until + SETTLED > clock.moment():
        raise DataError(f"{model}: the window until {span.written[1]} is not over yet; collect it a minute after")
    opened = open_store(store)
    files = CaptureFiles(capture or place(opened, model))
    answers, repeated = _answers(files, span)
    said = feedback or Feedback(files.place, span.begin - CLOCKS)
    found = _joined(opened, model, answers, feedback=said, span=span)
    unreadable = files.unreadable | said.unreadable(span.begin)
    about = _document(model, span, answers=answers, found=found, unreadable=unreadable, repeated=repeated)
    return window_table.commit(opened, about, pa.concat_tables([found.rows, found.copies]))


def feedback(store: Store, model: str, wanted: Iterable[Span], *, capture: str = "") -> Feedback:
    """What reads the feedback of some windows once, where it is not too much."""
    begin = min((span.begin for span in wanted), default=clock.moment())
    return Feedback(capture or place(store, model), begin - CLOCKS)


def place(store: Store, model: str) -> str:
    """Where a router captured what a model was asked: in the store, else on this machine."""
    from cd4ml.deployment.targets.machine import Machine  # not there where windows are only read

    uri = store.uri(f"captures/{check_name(model)}")
    return uri if store.children(f"captures/{model}") else str(Machine(store, model).capture)


def delays(store: Store, model: str, *, at: int | None = None) -> Delays:
    """With what delay labels of a model come, by its windows of a year until the last, of many rows by so many of them.

    Args:
        store: The store.
        model: The model's name.
        at: The version of the table of windows; the latest if not said.

    Raises:
        DataError: The table of windows cannot be read.
    """
    every = window_table.every(store, model, at=at)
    last = max((Span.of(one).until for one in every), default=clock.moment())
    known = [one for one in every if Span.of(one).begin > last - TOLD_BY]
    since = Span.of(known[0]).begin if known else last
    part = -(-sum(one.rows for one in known) // SAMPLE)
    rows = window_table.given(store, model, ["at", "labelled_at"], at=at, since=since, part=part)
    begins = np.array([Span.of(one).begin.timestamp() * 1e6 for one in known])
    looked = pa.array([datetime.fromisoformat(one.at) for one in known], ROWS.field("at").type)
    of = np.searchsorted(begins, rows["at"].cast(pa.int64()).to_numpy(), side="right") - 1  # no two overlap
    return maturity.delays(rows, pa.chunked_array([looked.take(pa.array(of))]), clock.moment())


def due(store: Store, model: str, width: timedelta, *, capture: str = "") -> Iterator[Span]:
    """The windows that are over and not collected, and those of which more labels may be known by now.

    Those that are not collected come first: those after the last one that is, and then those that were left out, the
    latest first (`laid`). One is collected again whenever its age has grown by half, until its labels were ripe when it
    was.

    Args:
        store: The store.
        model: The model's name.
        width: Of those that are not collected.
        capture: As `collect` takes it.

    Raises:
        DataError: The table of windows or the capture cannot be read.
        RegistryError: No version of the model is published.
    """
    check_published(store, model)
    day = CaptureFiles(capture or place(store, model)).first_day()
    if not day:
        return
    first, now = datetime.fromisoformat(f"{day}T00:00:00+00:00"), clock.moment()
    known, ripening = window_table.every(store, model), delays(store, model)
    taken = [Span.of(one) for one in known]
    there = set(taken)
    left = [
        one for one in laid(taken, begin=first, until=_floor(now - SETTLED, width), width=width) if one not in there
    ]
    last = taken[-1].until if taken else first
    yield from (one for one in left if one.begin >= last)
    yield from reversed([one for one in left if one.begin < last])
    for window, span in zip(known, taken, strict=True):
        if span.begin >= first and not ripening.is_ripe(window.age) and window_table.is_later(window, now):
            yield span


def laid(known: Sequence[Span], *, begin: datetime, until: datetime, width: timedelta) -> Iterator[Span]:
    """The windows of all time between two moments: those that are known, and of the rest such as are not.

    These end at multiples of their width since 1970, UTC, or where the next known one begins: so one is shorter after
    windows of another width, before such, and where `begin` is no multiple.

    Args:
        known: The earliest first; no two overlap.
        begin: The first moment that is of a window.
        until: The moment that is not any more, a multiple of the width; known ones alone are cut by it nowhere.
        width: Of those that are not known.
    """
    for one in known:
        if one.until > begin and one.begin < until:
            yield from _cut(begin, one.begin, width)
            yield one
            begin = one.until
    yield from _cut(begin, until, width)


def named(
    store: Store, model: str, since: datetime, *, until: datetime | None, width: timedelta, capture: str = ""
) -> list[Span]:
    """The windows that are over from a moment until another, those that are collected already as they are.

    Args:
        store: The store.
        model: The model's name.
        since: Where the first begins.
        until: Where the last ends at the latest; now if not said.
        width: Of those that are not collected.
        capture: As `collect` takes it.

    Raises:
        ArgumentsError: No window begins then, or none is over by then, or nothing was captured.
        DataError: The table of windows or the capture cannot be read.
        RegistryError: No version of the model is published.
    """
    check_published(store, model)
    if until is not None and until <= since:
        raise ArgumentsError(f"until: {clock.written(until)} is not after {clock.written(since)}; name a later end")
    end = min(until or clock.moment(), clock.moment() - SETTLED)
    taken = [Span.of(one) for one in window_table.every(store, model)]
    begin = _floor(since, width)
    after = max(_floor(end, width), begin) + width
    whole = (one for one in laid(taken, begin=begin, until=after, width=width) if one.until > since)
    first = next(whole)
    if first.begin != since or first.until > end:
        raise ArgumentsError(_none_begins(first, since, width))
    files = CaptureFiles(capture or place(store, model))
    _check_captured({first}.difference(taken), files)  # before all others are laid, of which there may be millions
    found = [first, *(one for one in whole if one.until <= end)]
    _check_captured(set(found).difference(taken), files)
    return found


def _none_begins(span: Span, since: datetime, width: timedelta) -> str:
    begin, until = span.written
    if span.begin == since:
        return (
            f"since: the window from {begin} is over at {until}, and one is collected a minute after; name a later end"
        )
    return (
        f"since: {clock.written(since)} is within the window from {begin} until {until}, for windows of "
        f"{lasting(width)} end at multiples of that since 1970, UTC, or where one that is collected begins; name one "
        "of these moments"
    )


def _check_captured(new: Set[Span], files: CaptureFiles) -> None:
    """Makes sure that windows that are new have something captured before they end."""
    days = files.days("requests") if new else []
    if new and not days:
        raise ArgumentsError(_uncaptured(files))
    if any(captured.day(one.until - timedelta(seconds=1)) < days[0] for one in new):
        raise ArgumentsError(
            f"since: nothing is captured at {files.place} before {days[0]}; name that, or a later moment"
        )


def uncaptured(store: Store, model: str, *, capture: str = "") -> str:
    """A sentence where nothing is captured, so that no window can be due; empty otherwise.

    Raises:
        DataError: The capture cannot be read.
    """
    files = CaptureFiles(capture or place(store, model))
    return "" if files.days("requests") or files.strange("requests") else _uncaptured(files)


def _uncaptured(files: CaptureFiles) -> str:
    return (
        f"nothing is captured at {files.place}; see whether the model is asked, and its server captures "
        "(`CAPTURE_SHARE`), or name what a router captured (`capture`)"
    )


def check_published(store: Store, model: str) -> None:
    """Makes sure that there is such a model.

    Raises:
        RegistryError: No version of it is published.
    """
    if not numbers.numbers(store, f"models/{check_name(model)}"):
        near = nearest(model, store.children("models"))
        raise RegistryError(f"store {store.location}: no version of {model} is published; {near}")


def passed_over(store: Store, model: str, *, capture: str = "") -> list[str]:
    """A sentence where folders of the capture are of no day on which a server can have written.

    Raises:
        DataError: The capture cannot be read.
    """
    files = CaptureFiles(capture or place(store, model))
    strange = files.strange("requests")
    if not strange:
        return []
    return [
        f"{files.place}/requests: {class_labels.shown(strange)}: no window is due of what lies there, for on no "
        "such day a server wrote; remove it, or name its time (`--since`)"
    ]


def _cut(begin: datetime, until: datetime, width: timedelta) -> Iterator[Span]:
    """All time between two moments, at multiples of the width."""
    while begin < until:
        end = min(_floor(begin, width) + width, until)
        yield Span(begin, end)
        begin = end


def _floor(moment: datetime, width: timedelta) -> datetime:
    """The last multiple of a width since 1970, UTC, until a moment."""
    return _ZERO + (moment - _ZERO) // width * width


def _answers(files: CaptureFiles, span: Span) -> tuple[pa.Table, int]:
    """The answers of a window, each once, and how many others are kept apart."""
    once = joined.once(files.requests(span.begin - AGAIN, span.until))
    at = pa.scalar(span.begin, ROWS.field("at").type)
    own, repeated = (one.filter(pc.greater_equal(one["at"], at)) for one in (once.table, once.repeated))
    return own, len(repeated)


def _joined(store: Store, model: str, answers: pa.Table, *, feedback: Feedback, span: Span) -> Joined:
    ids = answers["request_id"].combine_chunks()
    bulk = []
    for about in labels_taken.every(store, model):
        labels = labels_taken.read(store, about)
        own = labels if about.key else labels.filter(pc.is_in(labels["request_id"], ids))
        bulk.append(Bulk(own, about.key))
    labels, classes = _feedback(feedback, span.begin - CLOCKS, ids), _classes(store, model, answers)
    return joined.join(answers, classes=classes, feedback=labels, bulk=bulk, now=clock.exact())


def _feedback(feedback: Feedback, since: datetime, ids: pa.Array) -> pa.Table:
    """The labels of some requests."""
    labels = together(feedback.labels(since), MANY)
    return pa.concat_tables([FEEDBACK.empty_table(), *(one.filter(pc.is_in(one["request_id"], ids)) for one in labels)])


def _classes(store: Store, model: str, answers: pa.Table) -> list[str]:
    """What labels can be: the classes of the versions that answered; none of numbers."""
    published = models.versions(store, model)
    if not published:
        raise RegistryError(f"store {store.location}: no version of {model} is published, so its labels are not known")
    answered = set(pc.unique(answers["version"]).to_pylist())
    versions = [one for one in published if str(one.version) in answered] or published[-1:]
    return list(dict.fromkeys(name for one in versions for name in models.contract(store, one).classes))


def _document(
    model: str, span: Span, *, answers: pa.Table, found: Joined, unreadable: Iterable[str], repeated: int
) -> Window:
    begin, until = span.written
    rows = pa.concat_tables([found.rows, found.copies])
    features = tuple(field.name for field in found.rows.schema.field("features").type)
    apart = {why: count for why, count in found.counts.items() if why != UNKNOWN}
    return Window(
        model=model,
        begin=begin,
        until=until,
        number=0,
        digest=window_table.digest(rows),
        parts=tuple(_parts(answers, found)),
        apart=apart,
        repeated=repeated,
        unreadable=tuple(sorted(unreadable)),
        features=features,
        at=clock.now(),
        cd4ml=VERSION,
    )


def _parts(answers: pa.Table, found: Joined) -> Iterator[Part]:
    by = ["arm", "version", "mirrored"]
    every = pa.concat_tables([found.rows.select([*by, "label"]), found.copies.select([*by, "label"])])
    for one in answers.select(by).group_by(by).aggregate([]).sort_by([(name, "ascending") for name in by]).to_pylist():
        own, rows = _where(answers, one), _where(every, one)
        yield Part(
            **one,
            requests=len(own),
            first=clock.written(pc.min(own["at"]).as_py()),
            last=clock.written(pc.max(own["at"]).as_py()),
            statuses={str(each["values"]): each["counts"] for each in pc.value_counts(own["status"]).to_pylist()},
            latency_ms=_percentiles(own["latency_ms"]),
            lookup_ms=_percentiles(own["lookup_ms"]),
            rows=len(rows),
            labelled=len(rows) - rows["label"].null_count,
        )


def _percentiles(milliseconds: pa.ChunkedArray) -> dict[str, float]:
    """Of those that are known."""
    known = milliseconds.drop_null().to_numpy()
    return {f"p{share}": float(np.percentile(known, share)) for share in (50, 95, 99)} if len(known) else {}


def _where(table: pa.Table, values: dict[str, Any]) -> pa.Table:
    for name, value in values.items():
        table = table.filter(pc.equal(table[name], value))
    return table
