"""A workplace for the tests of a module, which end no server but their own."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import Workplace, make_players

sys.path.append(str(Path(__file__).parents[1] / "unit"))  # has the stand-in for S3


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """One for all tests of a module, for results that are reused save minutes; its servers are ended with it."""
    place = Workplace(tmp_path_factory.mktemp("workplace"))
    make_players(place.folder / "players.parquet")
    yield place
    for process in place.servers():
        process.send_signal(signal.SIGKILL)
