"""Where a server listens."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from cd4ml.errors import EnvironmentSetupError
from cd4ml.serving import json_body
from cd4ml.serving import listening as listening_module
from cd4ml.serving.application import Answer, Application, Handler, Protocol, Request
from cd4ml.serving.listening import Connection, Port, bind, serve
from cd4ml.serving.seldon_protocol import PING, pong


def test_a_port_has_one_server_but_for_a_router_that_takes_its_place():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]

        with pytest.raises(EnvironmentSetupError, match=f"^port {port} cannot be listened on .Address already in use"):
            bind("127.0.0.1", port)
        with bind("127.0.0.1", port, beside=True) as router:
            assert router.getsockname() == first.getsockname()
    bind("127.0.0.1", port).close()


def test_who_takes_a_port_gets_all_further_connections_so_that_none_ends_with_the_one_before():
    with bind("127.0.0.1", 0) as first, contextlib.ExitStack() as opened:
        address = first.getsockname()
        opened.enter_context(socket.create_connection(address))
        second = opened.enter_context(bind(*address, beside=True))
        for _ in range(50):
            opened.enter_context(socket.create_connection(address))

        assert (_waiting(first), _waiting(second)) == (1, 50)


def test_a_server_that_is_told_to_end_answers_whoever_still_comes_to_it():
    async def ask_late() -> bytes:
        listening = bind("127.0.0.1", 0)
        ping = Protocol("seldon", {PING: {"GET": pong}}, json_body.failure)
        serving = asyncio.create_task(serve([Port(Application([ping], lambda *_: None), listening)]))
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(f"GET {PING} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await serving
        return answer

    assert asyncio.run(ask_late()).endswith(b"pong")


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[tuple[str, int]]:
    """The address of a port that answers one path."""
    listening = bind("127.0.0.1", 0)
    routes = {PING: {"GET": pong, "POST": handler}}
    port = Port(Application([Protocol("seldon", routes, json_body.failure)], lambda *_: None), listening)
    await port.open()
    try:
        yield listening.getsockname()
    finally:
        port.end()


async def ping(address: tuple[str, int], method: str = "GET") -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{method} {PING} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


@contextlib.asynccontextmanager
async def slow_bodies(address: tuple[str, int], count: int) -> AsyncIterator[None]:
    """Clients whose bodies do not come."""
    writers = [(await asyncio.open_connection(*address))[1] for _ in range(count)]
    for writer in writers:
        writer.write(f"POST {PING} HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n1".encode())
        await asyncio.sleep(0.01)
    yield
    for writer in writers:
        writer.close()


def test_one_more_takes_the_place_of_one_whose_body_does_not_come(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listening_module, "CONNECTIONS", 8)

    async def ask_beside_slow_ones() -> bytes:
        async with served(pong) as address, slow_bodies(address, 20):
            return await ping(address)

    assert asyncio.run(ask_beside_slow_ones()).endswith(b"pong")


def test_one_more_does_not_take_the_place_of_one_that_asked_lately(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listening_module, "CONNECTIONS", 8)

    async def ask_again_beside_slow_ones() -> bytes:
        async with served(pong) as address, slow_bodies(address, 7):
            reader, kept = await asyncio.open_connection(*address)
            kept.write(f"GET {PING} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            await reader.readuntil(b"pong")
            for _ in range(3):
                await ping(address)
            kept.write(f"GET {PING} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            kept.close()
            return answer

    assert asyncio.run(ask_again_beside_slow_ones()).endswith(b"pong")


def test_large_answers_that_nobody_reads_have_a_bound_together_and_small_ones_go_on():
    async def large(_: Request) -> Answer:
        return Answer(b"x" * 2**24)

    async def ask() -> tuple[bytes, bytes, bytes]:
        async with served(large) as address:
            clients = []
            for _ in range(4):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
                client.connect(address)
                client.sendall(f"POST {PING} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n".encode())
                clients.append(client)
            await asyncio.sleep(0.5)
            refused, small = await ping(address, "POST"), await ping(address)
            for client in clients:
                client.close()
            await asyncio.sleep(0.5)
            return refused, small, await ping(address, "POST")

    refused, small, later = asyncio.run(ask())

    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in refused
    assert small.endswith(b"pong")
    assert later.startswith(b"HTTP/1.1 200 ")


def test_nothing_stays_of_a_client_that_breaks_off():
    async def left() -> int:
        async with served(pong) as address:
            for _ in range(10):
                client = socket.create_connection(address)
                client.sendall(f"GET {PING} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
                await asyncio.sleep(0.02)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            await asyncio.sleep(0.1)
            gc.collect()
            return sum(isinstance(one, Connection) for one in gc.get_objects())

    assert asyncio.run(left()) == 0


def _waiting(listening: socket.socket) -> int:
    """How many connections wait to be taken."""
    listening.setblocking(False)
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            taken += 1
    return taken
