"""Seldon's protocol, version 1, for one model: what its clients, its executor and its wrapper speak.

A request has rows as `data.ndarray` or `data.tensor`, with `data.names`, or as `jsonData`, a list of objects by name.
An answer has the form of its request; to `jsonData` it is a tensor. Its `meta.tags` say which model it comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import orjson

from cd4ml.serving import arrow_body
from cd4ml.serving.application import Answer, Handler, Protocol, RefusedError, Request, bad
from cd4ml.serving.asked import Asked
from cd4ml.serving.json_body import answer, parse, parse_text
from cd4ml.serving.predictor import Predictor
from cd4ml.serving.rows import check_names, check_numbers, check_size

PREDICTIONS = ("/api/v1.0/predictions", "/api/v0.1/predictions")
PREDICT = "/predict"
"""As its wrapper has it; a request may also be the field `json` of a form, or of the query."""
PING = "/health/ping"
HEALTH = ("/health/status", "/api/v1.0/health/status")
METADATA = ("/metadata", "/api/v1.0/metadata")
FORM = "application/x-www-form-urlencoded"
EXPECTED = 'send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row'


@dataclass(frozen=True)
class Given:
    """The rows of a request."""

    columns: Mapping[str, Sequence[Any]]
    """By name, as many values each as there are rows."""
    rows: int
    place: str
    """Where the names stand in it, for complaints."""
    as_tensor: bool
    """Whether a tensor answers it."""


class SeldonProtocol:
    """The protocol for one model.

    Args:
        predictor: The model.
        further: Paths of the server besides.
    """

    def __init__(self, predictor: Predictor, further: Mapping[str, Mapping[str, Handler]] | None = None) -> None:
        self._predictor, self._further = predictor, further or {}

    def protocol(self) -> Protocol:
        """Its paths."""
        post, get = "POST", "GET"
        routes: dict[str, Mapping[str, Handler]] = {
            **self._further,
            PREDICT: {get: self._predict, post: self._predict},
            **{path: {post: self._predict} for path in PREDICTIONS},
            PING: {get: self._ping},
            **{path: {get: self._check} for path in HEALTH},
            **{path: {get: self._describe} for path in METADATA},
        }
        return Protocol("seldon", routes, failure)

    async def _predict(self, request: Request) -> Answer:
        if request.content_type == arrow_body.TYPE:
            return await arrow_body.predict(self._predictor, request)
        asked, predictions = await self._predictor.predict(request, self._read)
        names = self._predictor.contract.names
        data = predicted(names, predictions.reshape(-1, len(names)), as_tensor=asked.form)
        meta = {**({"puid": asked.id} if asked.id else {}), "tags": self._predictor.said(asked.inputs)}
        return answer({"data": data, "meta": meta}, self._predictor.headers(asked))

    async def _ping(self, request: Request) -> Answer:
        self._predictor.check_lives()
        return await pong(request)

    async def _check(self, _: Request) -> Answer:
        return answer({"data": {"names": [], **_tensor(await self._predictor.check())}, "meta": {}})

    async def _describe(self, _: Request) -> Answer:
        return answer({**self._predictor.metadata(), "custom": self._predictor.identity})

    def _read(self, request: Request) -> Asked[bool]:
        """Reads a request; its form is whether a tensor answers it."""
        message = _message(request)
        rows = given(message)
        check_numbers(rows.rows, self._predictor.contract.names)
        meta = message.get("meta")
        puid = meta.get("puid") if isinstance(meta, dict) else None
        inputs = self._predictor.encoder.inputs(rows.columns, rows.rows, rows.place)
        return Asked(inputs, rows.as_tensor, rows.columns, puid if isinstance(puid, str) and puid else None)


def given(message: Any) -> Given:
    """The rows of a request.

    Args:
        message: Its JSON.

    Raises:
        RefusedError: It has none, or not as they have to be; the client's mistake.
    """
    if not isinstance(message, dict):
        raise bad(EXPECTED)
    if "jsonData" in message:
        return _of_objects(message["jsonData"])
    data = message.get("data")
    if not isinstance(data, dict):
        raise bad(EXPECTED)
    names = data.get("names")
    if not (isinstance(names, list) and names and _all(str, names)):
        raise bad(EXPECTED)
    if "tensor" in data:
        return _of_tensor(names, data["tensor"])
    rows = data.get("ndarray")
    if not (isinstance(rows, list) and rows and _all(list, rows)):
        raise bad(EXPECTED)
    return _of_rows(names, rows)


def predicted(names: Sequence[str], values: np.ndarray, *, as_tensor: bool) -> dict[str, Any]:
    """The data of an answer.

    Args:
        names: What is predicted.
        values: [rows, names].
        as_tensor: Whether a tensor has them, or lists.
    """
    return {"names": names, **(_tensor(values) if as_tensor else {"ndarray": values})}


def failure(refused: RefusedError) -> bytes:
    """Seldon's form of a failed request."""
    status = {"code": -1, "info": refused.complaint, "reason": refused.reason, "status": 1}
    content: bytes = orjson.dumps({"status": status})
    return content


async def pong(_: Request) -> Answer:
    """Says that the server lives."""
    return Answer(b"pong", "text/plain")


def _tensor(values: np.ndarray) -> dict[str, Any]:
    return {"tensor": {"shape": values.shape, "values": values.ravel()}}


def _message(request: Request) -> Any:
    if request.content_type == FORM:
        return _field(request.body)
    if request.body or request.content_type:
        return parse(request)
    return _field(request.query)


def _field(form: bytes) -> Any:
    try:
        (text,) = parse_qs(form, max_num_fields=10).get(b"json", [b""])
    except ValueError as error:
        raise bad("a form has one field `json`") from error
    return parse_text(text)


def _of_rows(names: list[str], rows: list[list[Any]]) -> Given:
    _check(names, len(rows))
    if set(map(len, rows)) != {len(names)}:
        raise bad(f"every row of data.ndarray must be a list of {len(names)} values, one a name")
    return _of_values(names, list(chain.from_iterable(rows)), as_tensor=False)


def _of_tensor(names: list[str], tensor: Any) -> Given:
    shape, values = (tensor.get("shape"), tensor.get("values")) if isinstance(tensor, dict) else (None, None)
    if not (isinstance(shape, list) and isinstance(values, list) and values and _all(int, shape)):
        raise bad('data.tensor has {"shape": [rows, names], "values": [...]}; ' + EXPECTED)
    if shape != [len(values) // len(names), len(names)] or len(values) % len(names):
        raise bad(f"the shape of data.tensor must be [rows, {len(names)}], with as many values; or {EXPECTED}")
    _check(names, shape[0])
    return _of_values(names, values, as_tensor=True)


def _of_values(names: list[str], values: list[Any], *, as_tensor: bool) -> Given:
    """Rows that stand one behind the other."""
    columns = {name: values[place :: len(names)] for place, name in enumerate(names)}
    return Given(columns, len(values) // len(names), "data.names", as_tensor=as_tensor)


def _of_objects(content: Any) -> Given:
    rows = content if isinstance(content, list) else [content]
    if not (rows and _all(dict, rows)):
        raise bad(f"jsonData is an object by name, or a list of some; or {EXPECTED}")
    names = rows[0].keys()
    check_size(len(rows), len(names))
    if any(row.keys() != names for row in rows):
        raise bad("every object of jsonData must have the same names")
    return Given({name: [row[name] for row in rows] for name in names}, len(rows), "jsonData", as_tensor=True)


def _check(names: list[str], rows: int) -> None:
    check_size(rows, len(names))
    check_names(names, "data.names")


def _all(kind: type, values: list[Any]) -> bool:
    return set(map(type, values)) == {kind}
