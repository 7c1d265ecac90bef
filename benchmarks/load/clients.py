"""Asks a model until it is told to end, and says as JSON what came of it: run in the serve environment.

python clients.py URL CONNECTIONS PAUSE_SECONDS

Every second connection is kept, and the others are made anew for each request. Besides, hundreds are made at once again
and again, for a request each.
"""

import asyncio
import json
import random
import signal
import sys
import time
from array import array
from collections import Counter
from contextlib import suppress
from typing import Any

import aiohttp

BODY = json.dumps({"data": {"names": ["age", "region"], "ndarray": [[30.0, "south"]]}}).encode()
HEADERS = {"Content-Type": "application/json"}
AT_ONCE, AT_ONCE_SECONDS = 300, 30
"""How many new connections come at once, and how often."""


class Asked:
    """What came of all requests."""

    def __init__(self) -> None:
        self.milliseconds = array("f")
        self.failed: Counter[str] = Counter()
        self.first_failures: list[str] = []

    def fail(self, what: str) -> None:
        """Counts one that failed."""
        self.failed[what.split(":")[0]] += 1
        if len(self.first_failures) < 20:
            self.first_failures.append(f"{time.strftime('%H:%M:%S')} {what}")

    @property
    def figures(self) -> dict[str, Any]:
        """Counts, and milliseconds."""
        quantiles = {}
        ordered = sorted(self.milliseconds)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)):
            quantiles[name] = round(ordered[int(share * (len(ordered) - 1))], 2) if ordered else None
        return {
            "requests": len(ordered) + self.failed.total(),
            "failed": dict(self.failed),
            "first_failures": self.first_failures,
            "slowest": round(max(ordered, default=0.0), 1),
            **quantiles,
        }


async def main(url: str, connections: int, pause: float) -> None:
    """Asks."""
    asked, at_once, end = Asked(), Asked(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(ask(url, pause, asked=asked, end=end, kept=number % 2 == 0))
        group.create_task(ask_at_once(url, asked=at_once, end=end))
    print(json.dumps({**asked.figures, "at_once": at_once.figures}), flush=True)  # noqa: T201


async def ask(url: str, pause: float, *, asked: Asked, end: asyncio.Event, kept: bool) -> None:
    """Asks at one connection."""
    async with session(limit=1, kept=kept) as own:
        while not end.is_set():
            await ask_once(own, url, asked)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 (a pause)


async def ask_at_once(url: str, *, asked: Asked, end: asyncio.Event) -> None:
    """Asks at hundreds of new connections, again and again."""
    async with session(limit=0, kept=False) as own:
        while not end.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), AT_ONCE_SECONDS)
            await asyncio.gather(*(ask_once(own, url, asked) for _ in range(AT_ONCE)))


def session(*, limit: int, kept: bool) -> aiohttp.ClientSession:
    """So many connections at most, 0 for any number, which are kept or made anew for each request."""
    connector = aiohttp.TCPConnector(limit=limit, force_close=not kept)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))


async def ask_once(own: aiohttp.ClientSession, url: str, asked: Asked) -> None:
    """Asks, and counts what came of it."""
    started = time.perf_counter()
    try:
        async with own.post(url, data=BODY, headers=HEADERS) as answer:
            said = await answer.text()
            if answer.status == 200 and "ndarray" in said:
                asked.milliseconds.append((time.perf_counter() - started) * 1000)
            else:
                asked.fail(f"{answer.status}: {said[:150]}")
    except (aiohttp.ClientError, TimeoutError) as error:
        asked.fail(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
