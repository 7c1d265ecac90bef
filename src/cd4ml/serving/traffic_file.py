"""The file that says who is answered by which arm, looked at again and again."""

import asyncio
import logging
import os

from cd4ml.contracts.traffic import Traffic
from cd4ml.errors import DocumentError
from cd4ml.storage import arrow

LOOK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class TrafficFile:
    """What it said last; a file that cannot be read changes nothing.

    Args:
        place: A path, or `s3://bucket/name`.

    Raises:
        DocumentError: It cannot be read when the router starts.
    """

    def __init__(self, place: str) -> None:
        self._place, self._name = place, place.rpartition("/")[2]
        self._folder = arrow.folder(place.removesuffix(self._name) or ".")
        self._seen = self._read()
        self.traffic = Traffic.parse(self._seen, place)
        self.mistake = ""
        """What is wrong with the file as it is now; empty where it is followed."""
        logger.info("%s", self.traffic.headline)

    async def follow(self) -> None:
        """Looks at it for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Reads it again."""
        try:
            text = self._read()
            if text != self._seen:
                self.traffic, self._seen = Traffic.parse(text, self._place), text
                logger.info("%s", self.traffic.headline)
            self.mistake = ""
        except DocumentError as error:
            if str(error) != self.mistake:
                logger.error("%s; what it said before is followed", error)
            self.mistake = str(error)

    def _read(self) -> bytes:
        try:
            with self._folder.open_input_stream(self._name) as stream:
                text: bytes = stream.read()
        except OSError as error:
            said = os.strerror(error.errno) if error.errno else error
            raise DocumentError(f"{self._place}: cannot be read ({said}); {Traffic.remedy}") from error
        return text
