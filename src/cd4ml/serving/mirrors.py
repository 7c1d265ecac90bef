"""Requests shown to arms that answer nobody.

A copy waits for a mirror that is slow, and there is room for few: the others are dropped. No caller waits.
"""

import asyncio
from collections.abc import Awaitable, Callable

from cd4ml.contracts.traffic import Arm

AT_ONCE = 64
"""The copies that a mirror answers at once."""
WAITING = 256
"""The copies that wait for a mirror, with those that it answers."""
WAITING_BYTES = 32 * 2**20
END_SECONDS = 2
"""How long a router that ends waits for mirrors."""


class _Waiting:
    """The copies of one mirror."""

    def __init__(self) -> None:
        self.copies = 0
        self.bytes = 0
        self.turns = asyncio.Semaphore(AT_ONCE)


class Mirrors:
    """All mirrors."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def show(self, arm: Arm, size: int, ask: Callable[[], Awaitable[object]]) -> bool:
        """Has a mirror answer, as soon as it can.

        Args:
            arm: The mirror.
            size: The bytes of the copy.
            ask: Asks it, and keeps what it answers.

        Returns:
            Whether there was room; else the copy is dropped.
        """
        waiting = self._waiting.setdefault(arm.name, _Waiting())
        if waiting.copies >= WAITING or waiting.bytes + size > WAITING_BYTES:
            return False
        waiting.copies += 1
        waiting.bytes += size
        task = asyncio.create_task(self._show(waiting, size, ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Waits for the answers that come soon."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _show(self, waiting: _Waiting, size: int, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            async with waiting.turns:
                await ask()
        finally:
            waiting.copies -= 1
            waiting.bytes -= size
