"""What callers say later of a request: in a plain form, or that of Seldon's `SendFeedback`."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cd4ml.serving import capture, json_body, messages
from cd4ml.serving.application import Answer, Handler, Request, bad, busy
from cd4ml.serving.capture import Capture

PATHS = ("/feedback", "/send-feedback", "/api/v1.0/feedback", "/api/v0.1/feedback")
LABELS = 10_000
"""Of a feedback, one a row."""
FEW = 100
"""Labels, of which each waits by itself to be written; more are one text meanwhile."""
_PLAIN = 'send {"request_id": "...", "reward": 1, "labels": [true]}'
_EXPECTED = 'send {"response": {"meta": {"puid": "..."}}, "reward": 1, "truth": {"data": {"ndarray": [[true]]}}}'


@dataclass(frozen=True)
class Feedback:
    """What came of a request."""

    request_id: str
    reward: float | None
    labels: list[str] | None
    """JSON of what came to be true, one a row."""


def routes(kept: Capture, *, took: Callable[[], None]) -> Mapping[str, Mapping[str, Handler]]:
    """Where a server takes it.

    Args:
        kept: Takes it.
        took: Is told of each.
    """

    async def take(request: Request) -> Answer:
        given = read(messages.parse(request.body), messages.header(request, messages.PUID))
        labels, size = _waiting(given.labels or ())
        told = capture.Told(capture.now(), given.request_id, given.reward, labels)
        if not kept.feedback.add(told, size):
            raise busy("there is no room for more feedback")
        took()
        return json_body.answer({"meta": {"puid": given.request_id}})

    return {path: {"POST": take} for path in PATHS}


def _waiting(labels: Sequence[str]) -> tuple[Sequence[str] | Callable[[], Sequence[str]] | None, int]:
    """Labels as they wait to be written, with the bytes that they take; None where there are none."""
    if len(labels) <= FEW:
        return labels or None, sum(map(sys.getsizeof, labels)) + sys.getsizeof(labels)
    text = "\n".join(labels)  # which JSON of a label has none of
    return partial(text.split, "\n"), sys.getsizeof(text)


def read(content: Any, header: str | None) -> Feedback:
    """Reads a feedback.

    Args:
        content: Its JSON.
        header: The id of the request, where a header has it.

    Raises:
        RefusedError: It is none.
    """
    if not isinstance(content, dict):
        raise bad(f"{_EXPECTED}, or {_PLAIN}")
    if "request_id" in content or "labels" in content:
        return _plain(content, header)
    request_id = messages.request_id(content.get("response"), header) or messages.request_id(content.get("request"))
    if request_id is None:
        raise bad(f"response.meta.puid is not the id that an answer had; {_EXPECTED}")
    reward, truth = content.get("reward"), content.get("truth")
    if reward is None and truth is None:
        raise bad(f"a feedback has a reward, a truth or both; {_EXPECTED}")
    return Feedback(request_id, _reward(reward), None if truth is None else _labels(truth))


def _plain(content: dict[str, Any], header: str | None) -> Feedback:
    request_id = messages.request_id({"id": content.get("request_id")}, header)
    if request_id is None:
        raise bad(f"request_id is not the id that an answer had; {_PLAIN}")
    reward, labels = content.get("reward"), content.get("labels")
    if reward is None and labels is None:
        raise bad(f"a feedback has a reward, labels or both; {_PLAIN}")
    if labels is not None and not isinstance(labels, list):
        raise bad(f"labels is not a list with one label a row; {_PLAIN}")
    return Feedback(request_id, _reward(reward), None if labels is None else _texts(labels, "labels"))


def _reward(given: Any) -> float | None:
    if given is not None and not (type(given) in {int, float} and math.isfinite(given)):
        raise bad("reward is not a finite number")
    return None if given is None else float(given)


def _labels(truth: Any) -> list[str]:
    """JSON of labels that stand in a form in which rows are asked and answered too."""
    match truth:
        case {"data": {"ndarray": [*rows]}}:
            return _texts([_only(row) for row in rows], "truth.data.ndarray")
        case {"data": {"tensor": {"shape": [rows] | [rows, 1], "values": [*values]}}} if rows == len(values):
            return _texts(values, "truth.data.tensor")
        case {"jsonData": rows}:
            return _texts([_only(row) for row in (rows if isinstance(rows, list) else [rows])], "truth.jsonData")
    raise bad("truth is not a data.ndarray with one label a row, nor such a data.tensor or jsonData")


def _only(row: Any) -> Any:
    """What a row has, where that is one value."""
    match row:
        case [value]:
            return value
        case dict() if len(row) == 1:
            return next(iter(row.values()))
    return row


def _texts(labels: list[Any], place: str) -> list[str]:
    """JSON of labels.

    Args:
        labels: One a row.
        place: Where they stand, for complaints.
    """
    wrong = f"{place} does not have 1 to {LABELS:,} rows with one label each"
    if not 0 < len(labels) <= LABELS:
        raise bad(wrong)
    for row, label in enumerate(labels, 1):
        if isinstance(label, list | dict | None):
            raise bad(f"{wrong}; row {row:,} has {'none' if label is None else 'a list or an object'}")
    return [messages.text(label).decode() for label in labels]
