"""Where the server listens: a client that is slow, idle or greedy costs a socket, and nobody else's time.

Tornado reads on one loop, so a request takes a thread only when it is there as a whole. It has seconds to arrive, and
what arrives or waits has a bound, beyond which a client is asked to come again.
"""

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from socket import socket
from typing import Any

from tornado.gen import TimeoutError, with_timeout
from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError
from tornado.wsgi import WSGIContainer
from werkzeug import Response

from cd4ml.serving.protocol import failure

REQUEST_SECONDS = 10
"""How long a head may take, from the connection or the last answer on; then its body; then the client, to read."""
HEAD_BYTES = 64 * 2**10
BODY_BYTES = 8 * 2**20
BODIES_BYTES = 64 * 2**20
"""What the requests of a port that arrive or wait may hold together."""
WAITING = 128
"""The requests of a queue, with those that have a thread."""
CONNECTIONS = 4096
"""Of a port; one more takes the place of one that is idle. Fewer where the limit of open files is low."""
LINGER_SECONDS = 2
"""How long a server that ends keeps idle connections, for a request that is on its way."""
END_SECONDS = 6
"""How long it waits after that for its last answers."""


class Queue:
    """Requests that wait for one of a few threads."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads)
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return self._waiting >= WAITING

    def answer(self, application: Any, environment: dict[str, Any]) -> "asyncio.Future[Response]":
        """Has a thread call a WSGI application."""
        call = partial(Response.from_app, application, environment, buffered=True)
        answer = asyncio.get_running_loop().run_in_executor(self._threads, call)
        self._waiting += 1
        answer.add_done_callback(self._answered)
        return answer

    def end(self) -> None:
        """Forgets who still waits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answered(self, _: "asyncio.Future[Response]") -> None:
        self._waiting -= 1


class Listener(HTTPServer):  # type: ignore[misc]
    """One port.

    Args:
        application: A WSGI application.
        queue: Says by the path of a request where it waits.
    """

    def initialize(self, application: Any, queue: Callable[[str], Queue]) -> None:
        """What Tornado has in place of `__init__`."""
        super().initialize(
            None,
            max_header_size=HEAD_BYTES,
            max_body_size=sys.maxsize,  # the limit is `_Request`'s, which says 413
            idle_connection_timeout=REQUEST_SECONDS,
            body_timeout=REQUEST_SECONDS,
        )
        self.application = application
        self.queue = queue
        self.bodies_bytes = 0
        self.idle: dict[IOStream, None] = {}
        """Connections that wait for the head of a request, the longest first."""
        self._most = min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Takes a new connection."""
        if self.connections >= self._most:
            if not self.idle:
                stream.close()
                return
            longest = next(iter(self.idle))
            del self.idle[longest]
            longest.close()
        self.idle[stream] = None
        super().handle_stream(stream, address)

    def start_request(self, server_conn: HTTP1ServerConnection, request_conn: HTTP1Connection) -> "_Request":
        """Waits for the next request of a connection."""
        self.idle[server_conn.stream] = None
        return _Request(self, request_conn)

    def on_close(self, server_conn: HTTP1ServerConnection) -> None:
        """Forgets a connection."""
        self.idle.pop(server_conn.stream, None)
        super().on_close(server_conn)

    def end(self) -> None:
        """Takes no further connection, and closes each after its next answer."""
        self.stop()
        self.conn_params.no_keep_alive = True


class _Request:
    """One request as it comes in (Tornado's `HTTPMessageDelegate`)."""

    def __init__(self, listener: Listener, connection: HTTP1Connection) -> None:
        self._listener = listener
        self._connection = connection
        self._body = bytearray()
        self._refused = False

    def headers_received(self, start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        self._listener.idle.pop(self._connection.stream, None)
        self._request = HTTPServerRequest(connection=self._connection, start_line=start_line, headers=headers)
        if _announced_bytes(headers) > BODY_BYTES:
            self._refuse_size()

    def data_received(self, chunk: bytes) -> None:
        if self._refused:
            return
        if len(self._body) + len(chunk) > BODY_BYTES:
            self._refuse_size()
        elif self._listener.bodies_bytes + len(chunk) > BODIES_BYTES:
            self._refuse_for_now()
        else:
            self._body += chunk
            self._listener.bodies_bytes += len(chunk)

    def finish(self) -> None:
        if not self._refused:
            environment = self._environment()
            queue = self._listener.queue(environment["PATH_INFO"])
            if not queue.full:
                answer = queue.answer(self._listener.application, environment)
                IOLoop.current().spawn_callback(self._write_answer, answer)
                return
            self._refuse_for_now()
        self._connection.finish()

    def on_connection_close(self) -> None:
        self._release()

    async def _write_answer(self, answer: "asyncio.Future[Response]") -> None:
        try:
            response = await answer
        except BaseException:
            self._connection.close()
            raise
        finally:
            self._release()
        written = self._write(response)
        self._connection.finish()
        try:
            await with_timeout(timedelta(seconds=REQUEST_SECONDS), written)
        except TimeoutError:
            self._connection.close()
        except StreamClosedError:
            pass  # the client did not wait

    def _environment(self) -> dict[str, Any]:
        self._request.body = bytes(self._body)
        self._request.host = "localhost"  # what the client says may be no host and port
        environment = WSGIContainer(self._listener.application).environ(self._request)
        return {**environment, "wsgi.input_terminated": True}  # also where it came in chunks, without a length

    def _refuse_size(self) -> None:
        complaint = f"a request has {BODY_BYTES // 2**20} MiB at most; send the rows in several"
        self._refuse(413, failure(complaint, "REQUEST_TOO_LARGE"))

    def _refuse_for_now(self) -> None:
        self._refuse(429, failure("too many requests wait; come again in a second", "BUSY"), {"Retry-After": "1"})

    def _refuse(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Answers at once; what is still to come of the body is read and dropped, or the client sees no answer."""
        self._refused = True
        self._release()
        self._request.headers.pop("Expect", None)
        self._write(Response(json.dumps(content), status, headers, content_type="application/json"))

    def _write(self, response: Response) -> "asyncio.Future[None]":
        body = b"" if self._request.method == "HEAD" else response.get_data()
        start_line = ResponseStartLine("HTTP/1.1", response.status_code, response.status.partition(" ")[2])
        written: asyncio.Future[None] = self._connection.write_headers(start_line, HTTPHeaders(response.headers), body)
        return written

    def _release(self) -> None:
        self._listener.bodies_bytes -= len(self._body)
        self._body.clear()


def _announced_bytes(headers: HTTPHeaders) -> int:
    try:
        return int(headers.get("Content-Length", "0"))
    except ValueError:
        return 0  # Tornado refuses it


async def serve(ports: list[tuple[Listener, list[socket]]], queues: list[Queue]) -> None:
    """Serves until the process is told to end; then answers what has come."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    for listener, sockets in ports:
        listener.add_sockets(sockets)
    await ended.wait()

    listeners = [listener for listener, _ in ports]
    for listener in listeners:
        listener.end()
    await _until(lambda: not any(listener.connections for listener in listeners), LINGER_SECONDS)
    await _until(lambda: all(listener.connections == len(listener.idle) for listener in listeners), END_SECONDS)
    for queue in queues:
        queue.end()


async def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not true() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)
