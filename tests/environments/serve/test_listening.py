"""Where a server listens."""

import asyncio
import contextlib
import os
import signal
import socket

import pytest

from cd4ml.errors import EnvironmentSetupError
from cd4ml.serving import json_body
from cd4ml.serving.application import Application, Protocol
from cd4ml.serving.listening import Port, bind, serve
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


def _waiting(listening: socket.socket) -> int:
    """How many connections wait to be taken."""
    listening.setblocking(False)
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            taken += 1
    return taken
