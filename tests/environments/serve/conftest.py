"""One server for the tests of its environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server, end, start, wait_until_ready, write_model

from cd4ml.contracts.model import digest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(folder, tmp_path_factory.mktemp("home"), MODEL_DIGEST=digest(folder))
    try:
        wait_until_ready(running)
        yield running
    finally:
        end(running)
