"""One request, found by its id: in the windows that were collected, and else in what routers captured.

A capture of months has a hundred thousand files. So the day is taken from the id where that tells it, as a UUID of
version 1 or 7 does, or from whoever asks; and else only the days are looked through that no window has.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured, class_labels
from cd4ml.contracts.captured_values import by_feature
from cd4ml.contracts.late_labels import LABELS, keys_of, one_text
from cd4ml.contracts.window import CONTRADICTING, TWICE, Window
from cd4ml.monitoring import joined, window_table, windows
from cd4ml.monitoring.capture_files import CaptureFiles
from cd4ml.monitoring.joined import Bulk
from cd4ml.monitoring.window_files import WINDOW
from cd4ml.names import counted
from cd4ml.registry import clock, labels_taken, models
from cd4ml.storage import Store

MOST_DAYS = 7
"""Whose captures are looked through where nothing tells the day, and where feedback of a request is looked for."""
DAY = timedelta(days=1)
_GREGORIAN = datetime(1582, 10, 15, tzinfo=UTC)
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)
"""No request comes in later, and days after it can be told still."""

Row = Mapping[str, Any]
Say = Callable[[str], None]
"""Is told what is looked through next."""


@dataclass(frozen=True)
class Asked:
    """The request that is looked for."""

    id: str
    at: datetime | None = None
    """When it came in, about; None where nobody says."""
    capture: str = ""
    """What a router captured; that of the model if not said."""

    @property
    def moment(self) -> datetime | None:
        """When it came in, as whoever asks says, or its id tells."""
        return self.at or told_by(self.id)


@dataclass(frozen=True)
class Label:
    """What came to be true of a row, as one source has it."""

    row: int | None
    """The row's number within the request, from 1; None where the source does not say."""
    label: str
    at: str
    """When it was known, ISO 8601, UTC."""
    source: str
    """Where it was found, for people."""
    why_not: str = ""
    """Why it does not count (`cd4ml.contracts.window.WHYS`); empty where it does."""


@dataclass(frozen=True)
class Answer:
    """An answer of one arm."""

    at: str
    arm: str
    version: str
    """Of the model."""
    mirrored: bool
    """Whether it was given to nobody."""
    predictions: tuple[tuple[float, ...], ...]
    """By row, a value an output."""
    outputs: tuple[str, ...]
    status: int | None = None
    """None where only windows have it."""
    latency_ms: float | None = None
    lookup_ms: float | None = None
    """How long features were looked up, where the request says so."""


@dataclass(frozen=True)
class Found:
    """A request, as far as the store has it."""

    model: str
    answers: tuple[Answer, ...]
    labels: tuple[Label, ...]
    rewards: tuple[tuple[str, float], ...]
    """When each came, and how much."""
    windows: tuple[str, ...]
    """The keys of those that have it; none where it is in the capture alone."""
    looked: str
    """What was looked through for its feedback, for people."""


def find(store: Store, model: str, asked: Asked, *, say: Say) -> Found | None:
    """The request of an id that a model was asked; None where it is nowhere that was looked.

    Raises:
        DataError: The windows or the capture cannot be read.
    """
    files = CaptureFiles(asked.capture or windows.place(store, model))
    looking = _Looking(store, model, asked, files, say)
    known = window_table.every(store, model)
    rows = looking.in_windows(known)
    if len(rows):
        return looking.of_windows(rows)
    for day in days(files.days("requests"), asked.moment, known):
        say(f"{model}: looking through what was captured on {day}")
        requests = files.of_request("requests", asked.id, day)
        if len(requests):
            others = [files.of_request("requests", asked.id, other) for other in _beside(day)]
            return looking.of_capture(pa.concat_tables([requests, *others]))
    return None


def days(there: Sequence[str], moment: datetime | None, known: Sequence[Window]) -> list[str]:
    """The days of a capture in which a request may be that no window has, the likeliest first.

    Args:
        there: What the folders of the days are called.
        moment: When it came in, about; None where nothing tells.
        known: The windows that were collected.
    """
    if moment:
        likely = [captured.day(moment), captured.day(moment + DAY), captured.day(moment - DAY)]
        return [one for one in likely if one in there]
    first = captured.day(max(datetime.fromisoformat(one.until) for one in known)) if known else ""
    return sorted((one for one in there if one >= first), reverse=True)[:MOST_DAYS]


def told_by(request: str) -> datetime | None:
    """When a request came in, as its id tells; None where it tells nothing."""
    try:
        found = uuid.UUID(request)
    except ValueError:
        return None
    try:
        if found.version == 1:
            at = _GREGORIAN + timedelta(microseconds=found.time // 10)
        elif found.version == 7:
            at = datetime.fromtimestamp((found.int >> 80) / 1000, UTC)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return at if at < _NEVER else None


@dataclass(frozen=True)
class _Looking:
    """Looks for one request of a model."""

    store: Store
    model: str
    asked: Asked
    files: CaptureFiles
    say: Say

    def in_windows(self, known: Sequence[Window]) -> pa.Table:
        """The rows that windows have of it; all are looked through where those of its time do not have it."""
        moment = self.asked.moment
        if moment:
            text = clock.written(moment)
            near = [one for one in known if one.begin <= text < one.until]
            rows = window_table.of_request(self.store, self.model, self.asked.id, windows=near) if near else ()
            if len(rows):
                return rows
        return window_table.of_request(self.store, self.model, self.asked.id)

    def of_windows(self, rows: pa.Table) -> Found:
        """What is known of it by its rows in windows."""
        feedback, looked = self._feedback(rows["at"][0].as_py())
        given, by_answer = rows.to_pylist(), dict[tuple[datetime, str, bool], list[Row]]()
        for one in given:
            by_answer.setdefault((one["at"], one["arm"], one["mirrored"]), []).append(one)
        kept = [
            Label(one["row"], one["label"], _text(one["labelled_at"]), "its window")
            for one in given
            if one["label"] is not None and not one["mirrored"]
        ]
        answers = pa.Table.from_pylist([_as_captured(some) for some in by_answer.values()], captured.REQUESTS)
        return Found(
            self.model,
            answers=tuple(_answer(some) for some in by_answer.values()),
            labels=tuple(self._labels(answers, feedback, kept)),
            rewards=_rewards(feedback),
            windows=tuple(dict.fromkeys(one[WINDOW] for one in given)),
            looked=looked,
        )

    def of_capture(self, requests: pa.Table) -> Found:
        """What is known of it by what a router captured: as a window of it alone would have it."""
        once = joined.once(requests).table
        feedback, looked = self._feedback(once["at"][0].as_py())
        answers, labels = tuple(map(_captured, once.to_pylist())), tuple(self._labels(once, feedback))
        return Found(self.model, answers, labels, rewards=_rewards(feedback), windows=(), looked=looked)

    def _labels(self, answers: pa.Table, feedback: pa.Table, kept: Sequence[Label] = ()) -> list[Label]:
        """The labels of its rows: first those that count.

        Args:
            answers: Each once, as `joined.once` has them.
            feedback: Of the request.
            kept: Those that windows have, which may have come with feedback that is not looked for.
        """
        versions = models.versions(self.store, self.model)
        classes = list(dict.fromkeys(name for one in versions for name in models.contract(self.store, one).classes))
        both = joined.join(answers, classes=classes)
        rows = pa.concat_tables([both.rows, both.copies])
        told = [(one, [one.row]) for one in (*_told(feedback), *kept)]
        bulk = [Bulk(_as_taken(kept, self.asked.id))]
        for about in sorted(labels_taken.every(self.store, self.model), key=lambda one: one.key):
            own, numbers = _own(labels_taken.read(self.store, about), key=about.key, rows=rows, request=self.asked.id)
            bulk.append(Bulk(own, about.key))
            source = f"{about.headline}, taken {about.taken_at}"
            for one, places in zip(own.to_pylist(), numbers, strict=True):
                told.append((Label(None, one["label"], _text(one["at"]), source), places))
        now = clock.exact()
        whys = joined.reasons(answers, classes=classes, feedback=feedback, bulk=bulk, now=now).to_pylist()
        there, found = {(one.row, one.label) for one in kept}, list[Label]()
        for (label, places), reason in zip(told, whys, strict=True):
            text = reason["label"] or label.label
            why_not = (reason["why"] or "") if versions else ""  # else nobody knows what a label can be
            if label in kept:
                found.append(replace(label, why_not=why_not if why_not == CONTRADICTING else ""))
                continue
            same = there if why_not in ("", TWICE, CONTRADICTING) else set()
            new = (row for row in places if (row, text) not in same)
            found += [replace(label, row=row, label=text, why_not=why_not) for row in new]
        return sorted(found, key=lambda one: bool(one.why_not))

    def _feedback(self, since: datetime) -> tuple[pa.Table, str]:
        """The feedback of the first days after it came in, and what was looked through."""
        first, last = captured.day(since), captured.day(since + (MOST_DAYS - 1) * DAY)
        there = self.files.days("feedback")
        wanted = [one for one in there if first <= one <= last]
        if wanted:
            self.say(f"{self.model}: looking through the feedback of {counted(len(wanted), 'day')} from {wanted[0]} on")
        found = [self.files.of_request("feedback", self.asked.id, day) for day in wanted]
        later = sum(one > last for one in there)
        looked = f"feedback from {first} until {last}" if wanted else f"no feedback is kept of {first} until {last}"
        beyond = f", not that of {counted(later, 'later day')}" if later else ""
        return pa.concat_tables([captured.FEEDBACK.empty_table(), *found]), looked + beyond


def _beside(day: str) -> Iterator[str]:
    """The days before and after: an answer, and that of a mirror, may be written at different sides of midnight."""
    at = datetime.fromisoformat(day)
    yield from ((at + step).strftime("%Y-%m-%d") for step in (-DAY, DAY))


def _captured(one: Row) -> Answer:
    """An answer as the capture has it."""
    values, width = one["predictions"] or [], len(one["outputs"] or []) or 1
    return Answer(
        at=_text(one["at"]),
        arm=one["arm"],
        version=one["version"],
        mirrored=one["mirrored"],
        predictions=tuple(tuple(values[begin : begin + width]) for begin in range(0, len(values), width)),
        outputs=tuple(one["outputs"] or ()),
        status=one["status"],
        latency_ms=one["latency_ms"],
        lookup_ms=one["lookup_ms"],
    )


def _answer(rows: Sequence[Row]) -> Answer:
    """An answer by its rows in windows."""
    first = rows[0]
    return Answer(
        at=_text(first["at"]),
        arm=first["arm"],
        version=first["version"],
        mirrored=first["mirrored"],
        predictions=tuple(tuple(one["predictions"]) for one in rows),
        outputs=tuple(first["outputs"]),
    )


def _as_captured(rows: Sequence[Row]) -> Row:
    """An answer by its rows in windows, as a router captured it (`captured.REQUESTS`)."""
    features = [one.get("features") or {} for one in rows]
    values = {name: [one.get(name) for one in features] for name in features[0]}
    predictions = [value for one in rows for value in one["predictions"]]
    return {**rows[0], "features": json.dumps(values) if values else None, "predictions": predictions}


def _as_taken(labels: Sequence[Label], request: str) -> pa.Table:
    """Labels of a request, as those that were taken in bulk (`late_labels.LABELS`)."""
    rows = [
        {"request_id": request, "row": one.row, "label": one.label, "at": datetime.fromisoformat(one.at)}
        for one in labels
    ]
    return pa.Table.from_pylist(rows, LABELS)


def _own(
    labels: pa.Table, *, key: tuple[str, ...], rows: pa.Table, request: str
) -> tuple[pa.Table, list[list[int | None]]]:
    """Those of the labels that are of a request, and the numbers of the rows that each is of.

    Args:
        labels: As `late_labels.LABELS` has them.
        key: The features that tell which rows they are of; none where the request's id does.
        rows: Of the request, with their features.
        request: Its id.
    """
    numbers = rows["row"].to_pylist()
    if not key:
        own = labels.filter(pc.equal(labels["request_id"], request))
        only = 1 if set(numbers) == {1} else None
        return own, [[one or only] for one in own["row"].to_pylist()]
    features = by_feature(rows)
    if not features.keys() >= set(key):
        return labels.slice(0, 0), []
    of_rows = one_text([features[name] for name in key])
    keys = keys_of(labels, key, key)
    wanted = pc.is_in(keys, of_rows.drop_null())
    by_text: dict[str, list[int | None]] = {}
    for text, number in dict.fromkeys(zip(of_rows.to_pylist(), numbers, strict=True)):
        by_text.setdefault(text, []).append(number)
    return labels.filter(wanted), [by_text[one] for one in keys.filter(wanted).to_pylist()]


def _told(feedback: pa.Table) -> Iterator[Label]:
    """The labels of feedback."""
    for one in feedback.filter(pc.is_valid(feedback["labels"])).to_pylist():
        for number, text in enumerate(one["labels"], 1):
            yield Label(number, class_labels.of_json(text) or text, _text(one["at"]), "feedback")


def _rewards(feedback: pa.Table) -> tuple[tuple[str, float], ...]:
    given = feedback.filter(pc.is_valid(feedback["reward"])).to_pylist()
    return tuple((_text(one["at"]), one["reward"]) for one in given)


def _text(at: datetime | None) -> str:
    return clock.written(at) if at else ""
