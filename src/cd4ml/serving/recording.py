"""What a model server keeps of what it is asked (layout: `cd4ml.contracts.captured`), as the only arm of its model.

A request is kept after it is answered, so that nobody waits for that. Who keeps it already, as a router does, asks with
a header that says so (`messages.SKIP`).
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cd4ml.contracts.model import Contract
from cd4ml.contracts.traffic import arm_of
from cd4ml.serving import capture, kept_values, messages
from cd4ml.serving.application import RefusedError, Request
from cd4ml.serving.asked import Asked
from cd4ml.serving.capture import Answered, Capture
from cd4ml.serving.chance import drawn
from cd4ml.serving.kept_values import Masks

VALUES_AT_ONCE = 1000
"""Of a request; those of a larger one are written out when the capture is."""
MOST_ROWS = 10_000
"""Of a request whose values are kept; of a larger one it is kept that it was there."""
READ_AGAIN_BYTES = 128 * 2**10
"""Of a request that was refused, in which its id is looked for."""
BYTES_OF_A_VALUE = 40
"""Of Python's, until it is written out, besides what was sent, about."""

Answer = tuple[Asked[Any], np.ndarray]


class _Outcome(NamedTuple):
    """Of a request."""

    request: Request
    at: int
    """When it had come in."""
    request_id: str
    status: int
    seconds: float
    answer: Answer | None


class _Values(NamedTuple):
    """Of a row of the capture."""

    features: str | Callable[[], str | None] | None
    outputs: Sequence[str] | None
    predictions: Sequence[float] | Callable[[], Sequence[float]] | None
    size: int
    """Bytes, about."""


_NOTHING = _Values(None, None, None, 0)


class Recording:
    """Keeps requests.

    Args:
        kept: Takes them.
        contract: Of the model.
        version: Its version.
        features: Those whose values are kept.
        masks: How they are.
        share: Of the requests that are kept, in (0, 1]; which are, their ids say.
    """

    def __init__(
        self,
        kept: Capture,
        *,
        contract: Contract,
        version: str,
        features: Collection[str],
        masks: Masks,
        share: float,
    ) -> None:
        self._kept, self._features, self._masks, self._share = kept.requests, frozenset(features), masks, share
        self._outputs = list(contract.names)
        self._bytes_of_outputs = sum(map(len, self._outputs)) + 50 * len(self._outputs)
        self._version, self._arm = version, arm_of(version)
        self._outcomes: list[_Outcome] = []

    async def of(self, request: Request, answering: Awaitable[Answer]) -> Answer:
        """What answers a request, which has an id from then on, and is kept.

        Raises:
            RefusedError: As it comes; the answer's header has the id.
        """
        at, begun = capture.now(), time.perf_counter()
        try:
            answer = await answering
        except Exception as error:
            seconds, request_id = time.perf_counter() - begun, _id_of_refused(request)
            if isinstance(error, RefusedError):
                error.headers = {**error.headers, messages.PUID: request_id}
            status = error.status if isinstance(error, RefusedError) else 500
            self._keep_later(_Outcome(request, at, request_id, status, seconds, None))
            raise
        seconds, asked = time.perf_counter() - begun, answer[0]
        asked.id = _id(request, asked.id)
        self._keep_later(_Outcome(request, at, asked.id, 200, seconds, answer))
        return answer

    def _keep_later(self, outcome: _Outcome) -> None:
        """Has all outcomes of this turn of the loop kept in one of its next."""
        if not self._outcomes:
            asyncio.get_running_loop().call_soon(self._keep)
        self._outcomes.append(outcome)

    def _keep(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        for one in outcomes:
            if self._share == 1 or drawn(f"captured\0{one.request_id}") <= self._share:
                row, size = self._row(one)
                self._kept.add(row, size)

    def _row(self, outcome: _Outcome) -> tuple[Answered, int]:
        """What is kept of a request, and about how many bytes that takes."""
        request, answer = outcome.request, outcome.answer
        values = self._values(*answer, len(request.body)) if answer else _NOTHING
        row = Answered(
            at=outcome.at,
            request_id=outcome.request_id,
            arm=self._arm,
            version=self._version,
            propensity=1.0,
            mirrored=False,
            unit=None,
            status=outcome.status,
            latency_ms=outcome.seconds * 1000,
            lookup_ms=messages.lookup_ms(request),
            features=values.features,
            outputs=values.outputs,
            predictions=values.predictions,
        )
        return row, values.size

    def _values(self, asked: Asked[Any], predictions: np.ndarray, sent: int) -> _Values:
        """What was asked, in so many bytes, and predicted; of much, what makes it when it is written."""
        rows = asked.inputs.rows
        if rows > MOST_ROWS:
            return _NOTHING
        columns = asked.columns
        if columns.keys() != self._features:
            columns = {name: columns[name] for name in columns if name in self._features}
        values = rows * (len(self._features) + len(self._outputs))
        if values > VALUES_AT_ONCE:
            size = self._bytes_of_outputs + BYTES_OF_A_VALUE * values + sent
            return _Values(partial(self._masks.text, columns), self._outputs, predictions.ravel().tolist, size)
        text, numbers = self._masks.text(columns), predictions.ravel().tolist()
        size = self._bytes_of_outputs + sys.getsizeof(text) + capture.BYTES_OF_A_NUMBER * len(numbers)
        return _Values(text, self._outputs, numbers, size)


def of_environment(kept: Capture, contract: Contract, version: str) -> Recording:
    """Keeps what the environment says.

    Raises:
        EnvironmentSetupError: A setting is not as it has to be.
    """
    named = kept_values.names("CAPTURE_FEATURES")
    masks = kept_values.of_environment().with_personal(one.name for one in contract.inputs if one.personal)
    return Recording(
        kept,
        contract=contract,
        version=version,
        features=[one.name for one in contract.inputs] if named is None else named,
        masks=masks,
        share=_share(),
    )


def capture_of_environment() -> Capture | None:
    """Where the environment says that requests are kept; None where they are not.

    Raises:
        EnvironmentSetupError: A setting is not as it has to be.
    """
    kept = capture.of_environment()
    return kept if _share() else None


def _share() -> float:
    return capture.number("CAPTURE_SHARE", 1, least=0, most=1)


def _id_of_refused(request: Request) -> str:
    content = messages.parse(request.body) if len(request.body) <= READ_AGAIN_BYTES else None
    return _id(request, messages.request_id(content))


def _id(request: Request, own: str | None) -> str:
    """What a request is called: as its header says, or as it says itself, or anew."""
    header = messages.header(request, messages.PUID)
    given = messages.request_id({"id": own}, header) if own or header else None
    return given or os.urandom(16).hex()
