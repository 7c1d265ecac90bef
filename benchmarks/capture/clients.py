"""Asks model servers in turns, and says as JSON how long that took, turn by turn: run in the serve environment.

python clients.py BODY CONNECTIONS TURNS SECONDS PAUSE PORT...

A turn asks each server once, for so many seconds, in the order that chance gives. After the first of them, which keeps
what it is asked, there is a pause, in which it may write the rest of that.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import uvloop

HEAD = "POST /api/v1.0/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
FIRST_SECONDS = 2.0
"""Of asking each server before what counts."""


@dataclass(frozen=True)
class Client:
    """What asks one server."""

    port: int
    connections: int
    request: bytes

    async def ask(self, seconds: float) -> dict[str, float]:
        """The quantiles of what its requests took, in milliseconds, and how many there were."""
        end = time.perf_counter() + seconds
        taken = sorted(chain.from_iterable(await asyncio.gather(*(self._ask(end) for _ in range(self.connections)))))
        p50, p99 = (taken[int(share * (len(taken) - 1))] * 1000 for share in (0.5, 0.99))
        return {"p50": p50, "p99": p99, "requests": len(taken)}

    async def _ask(self, end: float) -> list[float]:
        """How long each request took at a connection that is kept, in seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        taken = []
        while (began := time.perf_counter()) < end:
            writer.write(self.request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            taken.append(time.perf_counter() - began)
        writer.close()
        return taken


async def main(clients: Sequence[Client], turns: int, *, seconds: float, pause: float) -> None:
    """Asks, and prints a list of turns: of each what the servers gave, in the order of their ports."""
    for client in clients:
        await client.ask(FIRST_SECONDS)
    await asyncio.sleep(pause)
    print(json.dumps([await _turn(clients, seconds, pause) for _ in range(turns)]))  # noqa: T201


async def _turn(clients: Sequence[Client], seconds: float, pause: float) -> list[dict[str, float]]:
    found = [dict[str, float]()] * len(clients)
    for place in random.sample(range(len(clients)), len(clients)):
        found[place] = await clients[place].ask(seconds)
        if place == 0:
            await asyncio.sleep(pause)
    return found


if __name__ == "__main__":
    file, connections, turns, seconds, pause, *ports = sys.argv[1:]
    body = Path(file).read_bytes()
    request = f"{HEAD}{len(body)}\r\n\r\n".encode() + body
    clients = [Client(int(port), int(connections), request) for port in ports]
    uvloop.run(main(clients, int(turns), seconds=float(seconds), pause=float(pause)))
