"""The arms that answer: which one a caller gets, and asking it."""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import aiohttp

from cd4ml.contracts.traffic import Arm, Traffic
from cd4ml.serving.application import JSON, Answer, Part, RefusedError, Request, Room, busy
from cd4ml.serving.chance import drawn

ANSWER_SECONDS = 10
"""How long an arm may take, from the first attempt to connect on."""
CONNECT_SECONDS = 2
RETRY_SECONDS = 0.1
"""After which an arm that took no connection is asked once more."""
READY_SECONDS = 2
KEEP_ALIVE_SECONDS = 5
"""How long a connection that no request uses is kept: less than a model server keeps it."""
ANSWER_BYTES = 8 * 2**20
AT_ONCE = 512
"""The requests that one arm may be busy with, so that one that hangs holds up no other."""
PASSED_ON = {"Allow", "Content-Type", "Retry-After"}
"""The headers of an answer that the caller gets."""
FIRST_STATUS, LAST_STATUS = 200, 599
TRACES = frozenset(
    b"b3 traceparent tracestate x-b3-flags x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid x-request-id".split()
)
"""The headers of a request by which it is followed from server to server: W3C's, Zipkin's and Envoy's."""
READY = "/api/v1.0/health/status"
"""What a model server answers, and Seldon's executor before one."""


def passed_on(request: Request, names: Collection[bytes]) -> dict[str, str]:
    """Some headers of a request, as an arm gets them."""
    return {name.decode(): value.decode("latin-1") for name, value in request.headers.items() if name in names}


def choose(traffic: Traffic, key: str) -> Arm:
    """The arm of a caller: each is as likely as its weight says.

    As few callers as can be get another arm when weights change: an arm whose weight grows takes from others, and no
    other takes from another (weighted rendezvous hashing). With other arms all is drawn anew, so that who was in one
    experiment is spread evenly over the next.

    Args:
        traffic: The arms.
        key: What the caller is known by.
    """
    experiment = ",".join(sorted(arm.name for arm in traffic.arms if not arm.mirror))
    return min(
        traffic.answering,
        key=lambda arm: -math.log(drawn(f"{experiment}\0{arm.name}\0{key}")) / arm.weight,
    )


def is_shown(mirror: Arm, key: str) -> bool:
    """Whether a mirror gets a copy of the requests of a caller, as likely as it says.

    Args:
        mirror: The arm.
        key: What the caller is known by.
    """
    return drawn(f"copies\0{mirror.name}\0{key}") <= mirror.copied


@dataclass(frozen=True)
class Asked:
    """A request as an arm gets it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Arms:
    """The connections to all arms.

    Args:
        seconds: How long an arm may take.
    """

    def __init__(self, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._busy: Counter[str] = Counter()
        self._rooms: defaultdict[str, Room] = defaultdict(Room)
        """By arm: of the answers that arrive, so that a mirror, or an arm that stops in between, holds up no other."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        """Closes them."""
        await self._session.close()

    async def ask(self, arm: Arm, asked: Asked) -> Answer:
        """Asks an arm; once more where it takes no connection or closes it, for a prediction changes nothing.

        Raises:
            RefusedError: It gives no answer, or there is no room for it now.
        """
        if self._busy[arm.name] >= AT_ONCE:
            raise busy(f"too many requests wait for {arm.name}")
        self._busy[arm.name] += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask_again(arm, asked)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise RefusedError(503, f"{arm.name} takes no connection", "AWAY") from error
        except TimeoutError as error:
            raise RefusedError(504, f"{arm.name} gave no answer in {self._seconds:g} seconds", "LATE") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RefusedError(502, f"{arm.name} broke its answer off", "BROKEN_OFF") from error
        finally:
            self._busy[arm.name] -= 1

    async def not_ready(self, arms: Iterable[Arm]) -> list[str]:
        """The names of those that cannot answer now."""
        asked = list(arms)
        ready = await asyncio.gather(*(self._is_ready(arm) for arm in asked))
        return [arm.name for arm, is_ready in zip(asked, ready, strict=True) if not is_ready]

    async def _is_ready(self, arm: Arm) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS):
                return (await self._ask(arm, Asked("GET", READY, {}, b""))).status == 200
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    async def _ask_again(self, arm: Arm, asked: Asked) -> Answer:
        try:
            return await self._ask(arm, asked)
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(RETRY_SECONDS)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            pass  # a kept connection, which it closed as the request was on its way
        return await self._ask(arm, asked)

    async def _ask(self, arm: Arm, asked: Asked) -> Answer:
        async with self._session.request(
            asked.method,
            arm.url.rstrip("/") + asked.path,
            headers=asked.headers,
            data=asked.body or None,
            allow_redirects=False,
        ) as response:
            said = {name: value for name, value in response.headers.items() if name in PASSED_ON and _is_plain(value)}
            content_type = said.pop("Content-Type", JSON)
            return Answer(await self._read(arm, response), content_type, response.status, said)

    async def _read(self, arm: Arm, response: aiohttp.ClientResponse) -> bytes:
        """The content of an answer.

        Raises:
            RefusedError: There is no room for it.
            aiohttp.ClientPayloadError: It is too large, or its status is none that callers could be told.
        """
        if not FIRST_STATUS <= response.status <= LAST_STATUS:
            raise aiohttp.ClientPayloadError(f"the status {response.status}")
        held, body = Part(self._rooms[arm.name]), bytearray()
        try:
            async for some in response.content.iter_any():
                body += some
                if len(body) > ANSWER_BYTES:
                    raise aiohttp.ClientPayloadError(f"more than {ANSWER_BYTES} bytes")
                if not held.grow(len(some)):
                    raise busy(f"too many answers of {arm.name} are on their way")
        finally:
            held.end()
        return bytes(body)


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()
