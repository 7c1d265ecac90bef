"""Where a server listens: a client that is slow, idle or greedy costs a socket, and nobody else's time.

uvicorn reads all connections on one loop, and limits neither how long a request may take to arrive nor how many
connections are idle; `Connection` does. A port takes any ASGI application.
"""

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cd4ml.errors import EnvironmentSetupError

REQUEST_SECONDS = 10
"""How long a head may take, from the connection or the last answer on; then its body; then the client, to read."""
HEAD_BYTES = 64 * 2**10
"""What a client may send without bringing a body on: a head, and what stands between the chunks of a body and after."""
BEHIND = 64
"""How many requests may wait behind the one that is answered at a connection."""
CONNECTIONS = 4096
"""Of a port; one more takes the place of one that is idle, else of one whose body is on its way. Fewer where the limit
of open files is low."""
BACKLOG = 1024
"""Connections that the kernel holds until they are taken."""
HAND_OVER_SECONDS = 0.2
"""How long a server that ends takes connections still: those that came before another took its port."""
LINGER_SECONDS = 2
"""How long a server that ends keeps idle connections, for a request that is on its way."""
END_SECONDS = 6
"""How long it waits after that for its last answers."""
SWEEP_SECONDS = 0.5
"""How often connections are looked at for one whose time is up."""
NEVER = 2**31
_CHOOSE_BY, _RETURN = 51, 6
"""SO_ATTACH_REUSEPORT_CBPF, and the instruction BPF_RET | BPF_K, neither of which Python names."""

logger = logging.getLogger(__name__)


def bind_named(variable: str, default: int, *, beside: bool = False) -> socket.socket:
    """A socket that listens at the address MODEL_HOST.

    Args:
        variable: Of the environment, which names the port.
        default: The port where it does not.
        beside: As `bind` has it.

    Raises:
        EnvironmentSetupError: As `bind`.
    """
    host = os.environ.get("MODEL_HOST", "0.0.0.0")  # noqa: S104 (a container's port)
    return bind(host, int(os.environ.get(variable, default)), beside=beside)


def bind(host: str, port: int, *, beside: bool = False) -> socket.socket:
    """A socket that listens; who connects waits until it is served.

    Args:
        host: The address.
        port: Its port.
        beside: Whether one may listen there that this function made: it answers until it ends.

    Raises:
        EnvironmentSetupError: The port is in use, or cannot be had for another reason.
    """
    try:
        if not beside:
            with socket.socket() as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
        listening = socket.create_server((host, port), backlog=BACKLOG, reuse_port=True)
        if beside:
            _take_all(listening)
        return listening
    except OSError as error:
        raise EnvironmentSetupError(
            f"port {port} cannot be listened on ({error.strerror}): end the program that has it, or name another"
        ) from error


def _take_all(listening: socket.socket) -> None:
    """Has Linux give all further connections to a socket, the second at its port, where it would draw one for each.

    Without it, connections that the first has not accepted when it closes are reset.
    """
    the_second = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 1))
    program = struct.pack("HP", 1, ctypes.addressof(the_second))
    with suppress(OSError):  # not on Linux
        listening.setsockopt(socket.SOL_SOCKET, _CHOOSE_BY, program)


def prepare() -> None:
    """Has this process log, and open as many files as it may: each connection is one."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # below, it tells of each request that is none
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Port:
    """One port, and its connections.

    Args:
        application: An ASGI application.
        listening: Its socket.
    """

    def __init__(self, application: Any, listening: socket.socket) -> None:
        self.config = Config(
            application,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=NEVER,  # `Connection` ends idle ones
        )
        self.state = ServerState()
        self.idle: dict[Connection, None] = {}
        """Connections that wait for the head of a request, the longest first."""
        self.arriving: dict[Connection, None] = {}
        """Likewise those that wait for the rest of a body."""
        self.ending = False
        self._socket = listening
        self._most = min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.state.connections)

    async def open(self) -> None:
        """Takes connections from now on."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=self._socket, backlog=BACKLOG
        )

    def make_room(self) -> bool:
        """Whether a further connection fits, if need be in place of the one whose client is awaited the longest."""
        if self.connections > self._most:
            first = [next(iter(awaited)) for awaited in (self.idle, self.arriving) if awaited]
            if not first:
                return False
            longest = min(first, key=lambda one: one.since)
            self.idle.pop(longest, None)
            self.arriving.pop(longest, None)
            longest.transport.abort()
        return True

    def sweep(self, now: float) -> None:
        """Ends the connections whose time is up."""
        for connection in [one for one in self.state.connections if one.is_overdue(now)]:
            connection.transport.abort()

    def end(self) -> None:
        """Takes no further connection, and closes each after its next answer."""
        self._server.close()
        self.ending = True
        for connection in self.state.connections:
            connection.end()


class Connection(HttpToolsProtocol):  # type: ignore[misc]
    """A connection whose requests have seconds to arrive, and to be read."""

    def __init__(self, port: Port) -> None:
        super().__init__(port.config, port.state, {})
        self.parser: Any  # uvicorn's, of HTTP
        self._port = port
        self.since = self.loop.time()
        """When the client's turn began."""
        self._bare_bytes = 0
        """What came since a head, a part of a body or a request was whole."""
        self._goes_on = True
        """Whether it outlives the answer to the request that comes in."""

    def is_overdue(self, now: float) -> bool:
        """Whether the client has taken too long to send or to read."""
        cycle = self.cycle
        its_turn = cycle is None or cycle.more_body or cycle.response_complete or self.flow.write_paused
        return bool(its_turn) and now - self.since > REQUEST_SECONDS

    def end(self) -> None:
        """Closes it after its next answer."""
        self._goes_on = False
        if self.cycle and not self.cycle.more_body:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Takes a new connection, or none where there is no room."""
        super().connection_made(transport)
        if self._port.make_room():
            self._port.idle[self] = None
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        self._port.idle.pop(self, None)
        self._port.arriving.pop(self, None)
        self._unset_keepalive_if_required()  # uvicorn does so where the client did not break off
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on."""
        self._bare_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as asked:
            self._read_without_upgrade(data[asked.args[0] :])
        except HttpParserError:
            self.send_400_response(f"This is no HTTP, or more than {BEHIND} requests behind one that is not answered.")
        else:
            if self._bare_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"A head has {HEAD_BYTES // 2**10} KiB at most.")

    def on_headers_complete(self) -> None:
        """The head is whole: from here on its body has its own time."""
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) >= BEHIND:
            raise HttpParserError
        self._bare_bytes = 0
        self.since = self.loop.time()
        self._port.idle.pop(self, None)
        self._port.arriving[self] = None
        super().on_headers_complete()
        self._goes_on = self.cycle.keep_alive and not self._port.ending
        self.cycle.keep_alive = True  # closed with a body on its way, the client would not see why it is refused

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._bare_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole, or what came of it was dropped as the request is answered already."""
        if self.parser.should_upgrade():
            return
        self._bare_bytes = 0
        self._port.arriving.pop(self, None)
        super().on_message_complete()
        self.cycle.keep_alive = self._goes_on
        if self.cycle.response_complete and not self._goes_on:
            self.transport.close()

    def on_response_complete(self) -> None:
        """It is answered."""
        super().on_response_complete()
        self.since = self.loop.time()
        if self.cycle.response_complete:  # none is left that came behind it
            self._port.idle[self] = None

    def pause_writing(self) -> None:
        """The client has yet to read what was answered."""
        self.since = self.loop.time()
        super().pause_writing()

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Takes a request for the plain one that it may be taken for; the parser keeps its body to itself else.

        Clients that speak HTTP/2 where they can, Java's for one, ask for it in their first request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
            return
        lines = [b"%s %s HTTP/1.1" % (method, self.url)]
        for name, value in self.headers:
            if name == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"
            if name != b"upgrade":
                lines.append(b"%s: %s" % (name, value))
        self.parser = HttpRequestParser(self)
        self._bare_bytes = 0
        self.data_received(b"\r\n".join([*lines, b"", rest]))


async def serve(ports: Sequence[Port], further: Callable[[], Port] | None = None) -> float:
    """Serves until the process is told to end; then answers what has come.

    Args:
        ports: From the beginning.
        further: Makes one more when the process is told to have it, by SIGHUP.

    Returns:
        When it was told to end, by the clock of the loop.
    """
    loop, ended, further_asked = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    ports = list(ports)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tasks = [loop.create_task(_sweep(ports))]
    if further:
        loop.add_signal_handler(signal.SIGHUP, further_asked.set)
        tasks.append(loop.create_task(_open_when(further_asked, further, ports)))
    for port in ports:
        await port.open()
    await ended.wait()
    told = loop.time()

    await asyncio.sleep(HAND_OVER_SECONDS)
    for port in ports:
        port.end()
    await _until(lambda: not any(port.connections for port in ports), LINGER_SECONDS)
    await _until(lambda: all(port.connections == len(port.idle) for port in ports), END_SECONDS)
    for task in tasks:
        task.cancel()
    return told


async def _open_when(asked: asyncio.Event, further: Callable[[], Port], ports: list[Port]) -> None:
    await asked.wait()
    try:
        port = further()
    except EnvironmentSetupError as error:
        logger.error("%s", error)
        return
    await port.open()
    ports.append(port)


async def _sweep(ports: Sequence[Port]) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for port in ports:
            port.sweep(asyncio.get_running_loop().time())


async def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not true() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)
