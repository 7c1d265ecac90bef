"""HTTP as a server of models needs it: fixed paths, bodies with a bound, and failures in a protocol's own form.

A client's mistake is a 4xx that says what is wrong; 500 is a fault of ours. No answer permits a web page of another
origin to read it, and no value of a request gets into the log.
"""

import logging
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

BODY_BYTES = 8 * 2**20
ROOM_BYTES = 64 * 2**20
"""What the requests of a port that arrive or wait may hold together, and what its answers that are not read yet."""
FREE_BYTES = 16 * 2**10
"""Of each, for which there is always room: who sends or reads much slowly keeps nobody from asking for a row."""
LONGEST_COMPLAINT = 1000
ONCE = frozenset({b"content-encoding", b"content-length", b"content-type", b"host"})
"""The headers that a request has once."""
JSON = "application/json"

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is not answered as it was meant.

    Args:
        status: Of HTTP.
        complaint: What is wrong, and what to do.
        reason: The same in one word.
        headers: Of the answer.
    """

    def __init__(self, status: int, complaint: str, reason: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(complaint)
        self.status = status
        self.complaint = complaint[:LONGEST_COMPLAINT]
        self.reason = reason
        self.headers = headers or {}


def bad(complaint: str) -> RefusedError:
    """A mistake in what was sent."""
    return RefusedError(400, complaint, "BAD_REQUEST")


def too_large(complaint: str) -> RefusedError:
    """More than is taken at once."""
    return RefusedError(413, complaint, "REQUEST_TOO_LARGE")


def busy(complaint: str = "too many requests wait") -> RefusedError:
    """More than can wait."""
    return RefusedError(429, f"{complaint}; come again in a second", "BUSY", headers={"Retry-After": "1"})


@dataclass(frozen=True)
class Request:
    """A request that has come as a whole."""

    query: bytes
    headers: Mapping[bytes, bytes]
    """By name in lower case."""
    body: bytes

    @cached_property
    def content_type(self) -> str:
        """In lower case, without parameters."""
        return self.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    content: bytes
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer]]


class Room:
    """What several may hold together of memory."""

    def __init__(self) -> None:
        self.taken = 0


class Part:
    """What one of them holds.

    Args:
        room: Of all.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0

    def grow(self, count: int) -> bool:
        """Takes so many bytes more; says whether there was room."""
        more = max(0, self.bytes + count - FREE_BYTES) - max(0, self.bytes - FREE_BYTES)
        if self._room.taken + more > ROOM_BYTES:
            return False
        self._room.taken += more
        self.bytes += count
        return True

    def end(self) -> None:
        """Makes room."""
        self._room.taken -= max(0, self.bytes - FREE_BYTES)
        self.bytes = 0


@dataclass(frozen=True)
class Protocol:
    """A way to talk to a server."""

    name: str
    routes: Mapping[str, Mapping[str, Handler]]
    """By path, by method."""
    failure: Callable[[RefusedError], bytes]
    """The form of a failed request, as JSON."""
    prefix: str = ""
    """Of all its paths, known or not."""


class Application:
    """What a port answers (ASGI).

    Args:
        protocols: The first whose prefix a path has answers it.
        observe: Is told the protocol and the status of each answer.
    """

    def __init__(self, protocols: Sequence[Protocol], observe: Callable[[str, int], None]) -> None:
        self._protocols = protocols
        self._observe = observe
        self._bodies, self._answers = Room(), Room()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request."""
        path = scope["path"]
        protocol = next(one for one in self._protocols if path.startswith(one.prefix))
        incoming, outgoing = Part(self._bodies), Part(self._answers)
        try:
            headers = _headers(scope["headers"])
            handler = _handler(protocol, scope)
            body = await _body(receive, headers, incoming) if scope["method"] == "POST" else b""
            answer = await handler(Request(scope["query_string"], headers, body))
            if not outgoing.grow(len(answer.content)):
                raise busy()
        except RefusedError as refused:
            answer = _refusal(protocol, refused)
        except _GoneError:
            return
        except Exception as error:
            # Without its message, which may hold values of the request.
            logger.error("%s answering %s\n%s", type(error).__name__, _known(protocol, path), _places(error))
            complaint = "the model server failed; its log says where"
            answer = _refusal(protocol, RefusedError(500, complaint, "MICROSERVICE_INTERNAL_ERROR"))
        finally:
            incoming.end()
        self._observe(protocol.name, answer.status)
        answered = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.content)),
            *((name.encode(), value.encode()) for name, value in answer.headers.items()),
        ]
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": answered})
            large = outgoing.bytes > FREE_BYTES
            await send({"type": "http.response.body", "body": answer.content, "more_body": large})
            if large:  # nothing more, for which the client has to have read, or to be gone
                await send({"type": "http.response.body"})
        finally:
            outgoing.end()


def _headers(given: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    headers = dict(given)
    if len(headers) < len(given):
        twice = ONCE & {name for name, count in Counter(name for name, _ in given).items() if count > 1}
        if twice:
            raise bad(f"the header {min(twice).decode()} is there more than once")
    return headers


def _handler(protocol: Protocol, scope: Any) -> Handler:
    methods = protocol.routes.get(scope["path"])
    if methods is None:
        raise RefusedError(404, "there is nothing at this path", "NOT_FOUND")
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    if method in methods:
        return methods[method]
    allowed = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))
    if method == "OPTIONS":
        return _options(allowed)
    raise RefusedError(405, f"the methods here are {allowed}", "METHOD_NOT_ALLOWED", headers={"Allow": allowed})


class _GoneError(Exception):
    """The client did not wait."""


async def _body(receive: Any, headers: Mapping[bytes, bytes], held: Part) -> bytes:
    """The whole body of a request.

    Raises:
        RefusedError: It is too large, there is no room now, or it is compressed.
    """
    if headers.get(b"content-encoding", b"identity") not in (b"", b"identity"):
        raise RefusedError(415, "send the body as it is, without a Content-Encoding", "UNSUPPORTED_MEDIA_TYPE")
    if int(headers.get(b"content-length", b"0")) > BODY_BYTES:
        raise _too_large()
    parts = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        parts.append(message["body"])
        more = message["more_body"]
        if held.bytes + len(parts[-1]) > BODY_BYTES:
            raise _too_large()
        if not held.grow(len(parts[-1])):
            raise busy()
    return b"".join(parts)


def _too_large() -> RefusedError:
    return too_large(f"a request has {BODY_BYTES // 2**20} MiB at most; send the rows in several")


def _refusal(protocol: Protocol, refused: RefusedError) -> Answer:
    return Answer(protocol.failure(refused), status=refused.status, headers=refused.headers)


def _options(allowed: str) -> Handler:
    async def options(_: Request) -> Answer:
        return Answer(b"", "text/plain", headers={"Allow": allowed})

    return options


def _known(protocol: Protocol, path: str) -> str:
    return path if path in protocol.routes else "a path that is not there"


def _places(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))
