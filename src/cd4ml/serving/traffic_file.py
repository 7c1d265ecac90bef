"""The file that says who is answered by which arm, looked at again and again."""

import asyncio
import logging
from pathlib import Path

from cd4ml.contracts.traffic import Traffic
from cd4ml.errors import DocumentError

LOOK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class TrafficFile:
    """What it said last; a file that cannot be read changes nothing.

    Raises:
        DocumentError: It cannot be read when the router starts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._state()
        self.traffic = Traffic.read(path)
        self.mistake = ""
        """What is wrong with the file as it is now; empty where it is followed."""
        logger.info("%s", self.traffic.headline)

    async def follow(self) -> None:
        """Looks at it for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Reads it again where it has changed."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self.traffic, self.mistake = Traffic.read(self._path), ""
            logger.info("%s", self.traffic.headline)
        except DocumentError as error:
            self.mistake = str(error)
            logger.error("%s; what it said before is followed", error)

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size
