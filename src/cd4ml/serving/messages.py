"""Requests and answers as whoever keeps them reads them, of Seldon's protocol and of the Open Inference Protocol v2.

What a model server would refuse is no mistake here: it is without features, and the arm's answer says what is wrong.
"""

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

import orjson

from cd4ml.serving.application import Request

PUID = "seldon-puid"
"""The header with the id of a request."""
SKIP = "seldon-skip-logging"
"""The header by which Seldon is told to keep nothing of a request: whoever keeps it himself sends it."""
LOOKUP = "cd4ml-lookup-ms"
"""The header by which a caller says for how many milliseconds it looked features up."""
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_NOT_THERE = (AttributeError, LookupError, StopIteration, TypeError, ValueError)


def parse(body: bytes) -> Any:
    """JSON; None where it is something else."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def text(content: Any) -> bytes:
    """JSON of what `parse` gave."""
    made: bytes = orjson.dumps(content)
    return made


def header(request: Request, name: str) -> str | None:
    """What a header says; None where it says nothing."""
    value = request.headers.get(name.lower().encode())
    return value.decode("latin-1") if value else None


def lookup_ms(request: Request) -> float | None:
    """For how long the features of a request were looked up; None where it says nothing, or no such number."""
    said = request.headers.get(LOOKUP.encode())
    if not said:
        return None
    with suppress(ValueError):
        milliseconds = float(said)
        return milliseconds if 0 <= milliseconds < math.inf else None
    return None


def is_kept(request: Request) -> bool:
    """Whether whoever sends a request lets it be kept."""
    return request.headers.get(SKIP.encode(), b"").lower() != b"true"


def request_id(content: Any, header: str | None = None) -> str | None:
    """What a request or an answer is called; None where it does not say so, or in more than 128 printable letters.

    Args:
        content: Its JSON.
        header: What its header says, which goes first.
    """
    given = header
    if given is None and isinstance(content, dict):
        meta = content.get("meta")
        given = meta.get("puid") if isinstance(meta, dict) else content.get("id")
    return given if isinstance(given, str) and _ID.fullmatch(given) else None


def feature(content: Any, name: str) -> list[Any] | None:
    """The values that a request has for a feature, one a row; None where it has none."""
    try:
        if "inputs" in content:
            values = next(one["data"] for one in content["inputs"] if one["name"] == name)
            return [one[0] if isinstance(one, list) and len(one) == 1 else one for one in values]  # [rows, 1] or [rows]
        if "jsonData" in content:
            rows = content["jsonData"]
            return [row[name] for row in (rows if isinstance(rows, list) else [rows])]
        data = content["data"]
        column = data["names"].index(name)
        if "tensor" in data:
            _, width = data["tensor"]["shape"]
            return list(data["tensor"]["values"][column::width])
        return [row[column] for row in data["ndarray"]]
    except _NOT_THERE:
        return None


def features(content: Any, names: Iterable[str]) -> dict[str, list[Any]]:
    """The values of some features by name, one a row, of those that a request has."""
    return {name: values for name in names if (values := feature(content, name)) is not None}


def caller(content: Any, name: str) -> str | None:
    """What a feature says of who asks: its value in the first row; None where that has none that is a key."""
    values = feature(content, name)
    if not values or values[0] is None or values[0] == "":
        return None
    with suppress(TypeError):
        return key(values[0])
    return None


def key(value: Any) -> str:
    """A value as text, as keys have it: `5` also of 5.0.

    Raises:
        TypeError: It is nested too deeply.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) in {int, str}:
        return str(value)  # also a number that JSON here is too small for
    made: bytes = orjson.dumps(value, default=str)
    return made.decode().strip('"')


def predictions(content: Any) -> tuple[list[str], list[float]] | tuple[None, None]:
    """The names of what an answer predicts, and row after row the values; None where those are no numbers."""
    try:
        outputs, values = _v2_values(content["outputs"]) if "outputs" in content else _seldon_values(content["data"])
        numbers = [float(value) for value in values]
    except (*_NOT_THERE, OverflowError):
        return None, None
    if not all(isinstance(name, str) for name in outputs) or not all(map(math.isfinite, numbers)):
        return None, None
    if not numbers or len(numbers) % len(outputs):
        return None, None
    return outputs, numbers


def tags(content: Any) -> Mapping[str, Any]:
    """What an answer of Seldon's protocol says besides its predictions."""
    meta = content.get("meta") if isinstance(content, dict) else None
    said = meta.get("tags") if isinstance(meta, dict) else None
    return said if isinstance(said, dict) else {}


def failure(content: Any) -> tuple[str, str] | None:
    """What Seldon's form of a failed request says is wrong, and the same in one word; None of another form."""
    status = content.get("status") if isinstance(content, dict) else None
    info, reason = (status.get("info"), status.get("reason")) if isinstance(status, dict) else (None, None)
    return (info, reason) if isinstance(info, str) and isinstance(reason, str) else None


def tag(content: Any, request_id: str, tags: dict[str, Any]) -> bool:
    """Writes into an answer what it is called, and how it came to be; says whether it could."""
    if not isinstance(content, dict):
        return False
    if "outputs" in content:
        content["id"] = request_id
        _object(content, "parameters").update(tags)
    else:
        meta = _object(content, "meta")
        meta["puid"] = request_id
        _object(meta, "tags").update(tags)
    return True


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(content.get(name), dict):
        content[name] = {}
    found: dict[str, Any] = content[name]
    return found


def _seldon_values(data: Any) -> tuple[list[str], Iterable[Any]]:
    if "tensor" in data:
        return data["names"], data["tensor"]["values"]
    return data["names"], chain.from_iterable(data["ndarray"])


def _v2_values(tensors: Any) -> tuple[list[str], Iterable[Any]]:
    shape = tensors[0].get("shape", ())
    if len(tensors) == 1 and len(shape) == 2 and shape[1] > 1:
        return _names(tensors[0], shape[1]), tensors[0]["data"]
    columns = [one["data"] for one in tensors]
    return [one["name"] for one in tensors], chain.from_iterable(zip(*columns, strict=True))


def _names(tensor: Any, width: int) -> list[str]:
    """What the columns of a tensor are called: as the server says, or by their places."""
    said = tensor.get("parameters", {}).get("classes")
    names = orjson.loads(said) if isinstance(said, str) else None
    if isinstance(names, list) and len(names) == width:
        return names
    return [f"{tensor['name']}.{place}" for place in range(width)]
