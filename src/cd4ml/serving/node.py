"""A server of your own between callers and models: a function answers, which asks the models (docs/chains.md).

    async def mean(columns, *models):
        first, *others = await asyncio.gather(*(model(columns) for model in models))
        values = np.mean([one.values for one in (first, *others)], axis=0)
        return Predictions(first.names, values, first.tags)

    serve(mean, ["http://127.0.0.1:9001", "http://127.0.0.1:9002"])

    MODEL_HOST       the address to listen on; 127.0.0.1 keeps the node to this machine
    PORT             where requests are answered (9000)
    ANSWER_SECONDS   how long a model may take (8): less than whoever asks the node waits
    CALLER_HEADER    the header by which a router behind the node knows callers, which is passed on to it

It speaks Seldon's protocol, as a model server does, and asks in it.
"""

import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvloop

from cd4ml.contracts.traffic import Arm
from cd4ml.errors import Cd4mlError, EnvironmentSetupError
from cd4ml.serving import json_body, listening, messages, seldon_protocol
from cd4ml.serving.application import JSON, Answer, Application, Handler, Protocol, RefusedError, Request
from cd4ml.serving.arms import TRACES, Arms, Asked, passed_on
from cd4ml.serving.listening import Port
from cd4ml.serving.messages import PUID, header
from cd4ml.serving.seldon_protocol import HEALTH, PING, PREDICT, PREDICTIONS

MOST_SECONDS = 600.0
Columns = Mapping[str, Sequence[Any]]
"""The rows of a request: values by name, one a row; None is missing."""


@dataclass(frozen=True)
class Predictions:
    """What answers a request."""

    names: Sequence[str]
    """What is predicted."""
    values: np.ndarray
    """Finite numbers [rows, names]."""
    tags: Mapping[str, Any]
    """What is said besides: of which model they are, and how they came to be."""


Model = Callable[[Columns], Awaitable[Predictions]]
Predict = Callable[..., Awaitable[Predictions]]
"""Takes the columns of a request, and each model in turn."""


def serve(predict: Predict, urls: Sequence[str]) -> None:
    """Answers by a function, until the process is told to end.

    What the function raises as a `RefusedError`, as asking a model does, callers get; all else that it raises is a
    fault of the node, a 500 whose place the log has.

    Args:
        predict: Answers a request; everybody waits while it computes and awaits nothing.
        urls: The models that it asks: servers that speak Seldon's protocol, `http://HOST:PORT`.
    """
    listening.prepare()
    try:
        uvloop.run(_serve(predict, urls))
    except Cd4mlError as error:
        sys.exit(str(error))


async def _serve(predict: Predict, urls: Sequence[str]) -> None:
    arms = Arms(_seconds())
    node = Node(predict, urls, arms=arms, caller_header=os.environ.get("CALLER_HEADER", ""))
    application = Application([node.protocol], lambda *_: None)
    await listening.serve([Port(application, listening.bind_named("PORT", 9000))])
    await arms.close()


def _seconds() -> float:
    given = os.environ.get("ANSWER_SECONDS", "8")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= MOST_SECONDS:
        raise EnvironmentSetupError(f"ANSWER_SECONDS: {given!r} is not a number above 0, {MOST_SECONDS:g} at most")
    return seconds


class Node:
    """What callers ask.

    Args:
        predict: Answers.
        urls: The models that it asks.
        arms: The connections to them.
        caller_header: What they know callers by; empty where they do not.
    """

    def __init__(self, predict: Predict, urls: Sequence[str], *, arms: Arms, caller_header: str) -> None:
        self._predict, self._arms = predict, arms
        self._passed_on = {*TRACES, caller_header.lower().encode()}
        self._models = [Arm(urlsplit(url).netloc, url, weight=1) for url in urls]

    @property
    def protocol(self) -> Protocol:
        """Seldon's: predictions, and whether there can be any."""
        routes: dict[str, Mapping[str, Handler]] = {PING: {"GET": seldon_protocol.pong}}
        routes |= {path: {"POST": self._answer} for path in (PREDICT, *PREDICTIONS)}
        routes |= {path: {"GET": self._ready} for path in HEALTH}
        return Protocol("seldon", routes, seldon_protocol.failure)

    async def _answer(self, request: Request) -> Answer:
        message = json_body.parse(request)
        rows = seldon_protocol.given(message)
        request_id = messages.request_id(message, header(request, PUID)) or uuid.uuid4().hex
        headers = passed_on(request, self._passed_on) | {PUID: request_id, "Content-Type": JSON}
        predictions = await self._predict(rows.columns, *(partial(self._ask, one, headers) for one in self._models))
        values = np.asarray(predictions.values)
        if values.shape != (rows.rows, len(predictions.names)) or not np.isfinite(values).all():
            raise RefusedError(500, "the node gives no finite numbers, one list a row", "NODE_FAILED")
        content = {"data": seldon_protocol.predicted(predictions.names, values, as_tensor=rows.as_tensor)}
        messages.tag(content, request_id, dict(predictions.tags))
        return json_body.answer(content)

    async def _ask(self, model: Arm, headers: Mapping[str, str], columns: Columns) -> Predictions:
        rows = [*zip(*columns.values(), strict=True)]
        body = json_body.answer({"data": {"names": [*columns], "ndarray": rows}}).content
        answer = await self._arms.ask(model, Asked("POST", PREDICTIONS[0], headers, body))
        content = messages.parse(answer.content)
        if answer.status >= 400:
            info, reason = messages.failure(content) or (f"answers {answer.status}", "MODEL_FAILED")
            raise RefusedError(answer.status, f"{model.name}: {info}", reason, headers=answer.headers)
        names, numbers = messages.predictions(content)
        values = np.array(numbers)
        if answer.status != 200 or names is None or values.size != len(rows) * len(names):
            raise RefusedError(502, f"{model.name} gives no finite numbers, one list a row", "NO_PREDICTIONS")
        return Predictions(names, values.reshape(len(rows), len(names)), messages.tags(content))

    async def _ready(self, _: Request) -> Answer:
        away = await self._arms.not_ready(self._models)
        if away:
            raise RefusedError(503, f"models that cannot answer: {', '.join(away)}", "NOT_READY")
        return json_body.answer({"models": [one.name for one in self._models]})
