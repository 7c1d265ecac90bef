"""What callers say later of a request, in the form of Seldon's `SendFeedback`."""

import math
from dataclasses import dataclass
from typing import Any

from cd4ml.serving import messages
from cd4ml.serving.application import bad

LABELS = 10_000
"""Of a feedback, one a row."""
_EXPECTED = 'send {"response": {"meta": {"puid": "..."}}, "reward": 1, "truth": {"data": {"ndarray": [[1]]}}}'


@dataclass(frozen=True)
class Feedback:
    """What came of a request."""

    request_id: str
    reward: float | None
    labels: list[str] | None
    """JSON of what came to be true, one a row."""


def read(content: Any, header: str | None) -> Feedback:
    """Reads a feedback.

    Args:
        content: Its JSON.
        header: The id of the request, where a header has it.

    Raises:
        RefusedError: It is none.
    """
    if not isinstance(content, dict):
        raise bad(_EXPECTED)
    request_id = messages.request_id(content.get("response"), header) or messages.request_id(content.get("request"))
    if request_id is None:
        raise bad(f"response.meta.puid is not the id that an answer had; {_EXPECTED}")
    reward, truth = content.get("reward"), content.get("truth")
    if reward is not None and not (type(reward) in {int, float} and math.isfinite(reward)):
        raise bad("reward is not a finite number")
    if reward is None and truth is None:
        raise bad(f"a feedback has a reward, a truth or both; {_EXPECTED}")
    return Feedback(request_id, None if reward is None else float(reward), None if truth is None else _labels(truth))


def _labels(truth: Any) -> list[str]:
    try:
        labels = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in truth["data"]["ndarray"]]
    except (KeyError, TypeError) as error:
        raise bad("truth is not a data.ndarray with one label a row") from error
    if not 0 < len(labels) <= LABELS or any(isinstance(label, list | dict | None) for label in labels):
        raise bad(f"truth.data.ndarray does not have 1 to {LABELS:,} rows with one label each")
    return [messages.text(label).decode() for label in labels]
