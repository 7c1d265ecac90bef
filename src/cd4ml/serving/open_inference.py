"""The Open Inference Protocol, version 2, over HTTP, for one model: a tensor an input, each of one value a row."""

from collections.abc import Sequence
from typing import Any

from cd4ml.serving import arrow_body
from cd4ml.serving.application import Answer, Handler, Protocol, Request, bad
from cd4ml.serving.asked import Asked
from cd4ml.serving.json_body import answer, failure, parse
from cd4ml.serving.predictor import Predictor
from cd4ml.serving.rows import check_names, check_numbers, check_size
from cd4ml.version import VERSION

EXPECTED = (
    'send {"inputs": [{"name": ..., "datatype": ..., "shape": [rows], "data": [...]}, ...]} with one row at least'
)
DATATYPES = frozenset(
    {"BOOL", "BYTES", "FP16", "FP32", "FP64", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))}
)


class OpenInference:
    """The protocol for one model.

    Args:
        predictor: The model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def protocol(self) -> Protocol:
        """Its paths."""
        routes: dict[str, dict[str, Handler]] = {
            "/v2": {"GET": self._describe_server},
            "/v2/health/live": {"GET": self._live},
            "/v2/health/ready": {"GET": self._ready},
        }
        name, version = self._predictor.name, self._predictor.identity["version"]
        for model in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            routes[model] = {"GET": self._describe}
            routes[f"{model}/ready"] = {"GET": self._ready}
            routes[f"{model}/infer"] = {"POST": self._infer}
        return Protocol("open-inference", routes, failure, prefix="/v2")

    async def _describe_server(self, _: Request) -> Answer:
        return answer({"name": "cd4ml", "version": VERSION, "extensions": []})

    async def _describe(self, _: Request) -> Answer:
        return answer(self._predictor.metadata())

    async def _live(self, _: Request) -> Answer:
        self._predictor.check_lives()
        return answer({"live": True})

    async def _ready(self, _: Request) -> Answer:
        await self._predictor.check()
        return answer({"name": self._predictor.name, "ready": True})

    async def _infer(self, request: Request) -> Answer:
        if request.content_type == arrow_body.TYPE:
            return await arrow_body.predict(self._predictor, request)
        asked, predictions = await self._predictor.predict(request, self._read)
        return answer(
            {
                "model_name": self._predictor.name,
                "model_version": self._predictor.identity["version"],
                **({"id": asked.id} if asked.id else {}),
                "parameters": _parameters(self._predictor.said(asked.inputs)),
                "outputs": [self._predictor.output({"shape": predictions.shape, "data": predictions.ravel()})],
            },
            self._predictor.headers(asked),
        )

    def _read(self, request: Request) -> Asked[None]:
        message = parse(request)
        given = message.get("inputs") if isinstance(message, dict) else None
        if not (isinstance(given, list) and given and all(type(one) is dict for one in given)):
            raise bad(EXPECTED)
        self._check_outputs(message.get("outputs"))
        names = [one.get("name") for one in given]
        if not all(type(name) is str for name in names):
            raise bad(f"an input has no name; {EXPECTED}")
        check_size(0, len(names))
        check_names(names, "inputs")
        columns = {name: _values(name, one) for name, one in zip(names, given, strict=True)}
        sizes = {name: len(values) for name, values in columns.items()}
        rows = sizes[names[0]]
        if min(sizes.values()) != max(sizes.values()):
            other = next(name for name in names if sizes[name] != rows)
            raise bad(f"input {names[0]!r} has {rows:,} rows and input {other!r} {sizes[other]:,}")
        check_size(rows, len(names))
        check_numbers(rows, self._predictor.contract.names)
        called = message.get("id")
        inputs = self._predictor.encoder.inputs(columns, rows, "inputs")
        return Asked(inputs, None, columns, called if isinstance(called, str) and called else None)

    def _check_outputs(self, wanted: Any) -> None:
        output = self._predictor.contract.output
        if wanted and not (isinstance(wanted, list) and all(type(one) is dict for one in wanted)):
            raise bad('outputs is a list of {"name": ...}')
        if any(one.get("name") != output for one in wanted or ()):
            raise bad(f"the model has one output, {output!r}")


def _parameters(said: dict[str, Any]) -> dict[str, Any]:
    """What is said of an answer, flat, as parameters have to be: `missing.age`."""
    flat: dict[str, Any] = {}
    for name, value in said.items():
        counts = {f"{name}.{feature}": count for feature, count in value.items()} if type(value) is dict else None
        flat |= {name: value} if counts is None else counts
    return flat


def _values(name: str, tensor: dict[str, Any]) -> Sequence[Any]:
    """The values of a tensor, one a row."""
    shape, data = tensor.get("shape"), tensor.get("data")
    datatype = tensor.get("datatype")
    if not (isinstance(datatype, str) and datatype in DATATYPES):
        raise bad(f"input {name!r} has no datatype such as FP32 or BYTES")
    if not (isinstance(shape, list) and isinstance(data, list) and data):
        raise bad(f"input {name!r} has no shape and data; {EXPECTED}")
    if all(type(one) is list and len(one) == 1 for one in data):
        data = [one[0] for one in data]
    if shape not in ([len(data)], [len(data), 1]):
        raise bad(f"input {name!r} has {len(data):,} values, so its shape must be [{len(data)}]")
    return data
