"""Asks a model server for some seconds, and says as JSON how long that took: run in the serve environment.

python clients.py PORT CONNECTIONS SECONDS BODY
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

HEAD = "POST /api/v1.0/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "


async def main(port: int, *, connections: int, seconds: float, body: bytes) -> None:
    """Asks at so many connections that are kept."""
    request = f"{HEAD}{len(body)}\r\n\r\n".encode() + body
    end, taken = time.perf_counter() + seconds, []

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            taken.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    taken.sort()
    quantiles = {name: taken[int(share * (len(taken) - 1))] * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
    print(json.dumps({"requests": len(taken), **quantiles}))  # noqa: T201


if __name__ == "__main__":
    port, connections, seconds, body = sys.argv[1:]
    asking = main(int(port), connections=int(connections), seconds=float(seconds), body=Path(body).read_bytes())
    uvloop.run(asking)
