"""JSON as it is read from a request, and written into an answer."""

from collections.abc import Mapping
from typing import Any

import orjson

from cd4ml.serving.application import JSON, Answer, RefusedError, Request, bad


def parse(request: Request) -> Any:
    """What the body of a request says.

    Raises:
        RefusedError: It is no JSON.
    """
    if request.content_type != JSON:
        raise RefusedError(415, f"send JSON, with the Content-Type {JSON}", "UNSUPPORTED_MEDIA_TYPE")
    return parse_text(request.body)


def parse_text(text: bytes) -> Any:
    """What a text says.

    Raises:
        RefusedError: It is no JSON, which `NaN` and `Infinity` are not, or nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad(f"the request is not JSON, or nested too deeply: {error.msg}, at byte {error.pos}") from error


def answer(content: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON, with further headers; arrays are lists."""
    return Answer(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), headers=headers or {})


def failure(refused: RefusedError) -> bytes:
    """The plain form of a failed request, which is also that of the Open Inference Protocol."""
    content: bytes = orjson.dumps({"error": refused.complaint})
    return content
