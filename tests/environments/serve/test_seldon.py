"""What Seldon's own parts say: its client understands our answers, and its microservice gives the same.

Both run in an environment of their own (`make .venvs/seldon/ready`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import NAMES, ROWS, Server, end, expected, free_port, wait_until_ready

from cd4ml.contracts.model import digest

SELDON = Path(sys.prefix).parent / "seldon" / "bin"
HERE = Path(__file__).parents[2] / "seldon"


@pytest.fixture(scope="module")
def microservice(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Seldon's microservice, with the same model."""
    home, port, metrics_port = tmp_path_factory.mktemp("home"), free_port(), free_port()
    environment = {
        **os.environ,
        "MODEL_FOLDER": str(folder),
        "MODEL_DIGEST": digest(folder),
        "MODEL_VERSION": "7",
        "GRPC_WORKERS": "0",
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port),
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(metrics_port),
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [SELDON / "seldon-core-microservice", "wrapper.Wrapper", "--service-type", "MODEL"],
            cwd=HERE,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    running = Server(process, port, metrics_port, folder, home)
    try:
        wait_until_ready(running)
        yield running
    finally:
        end(running)


def test_seldon_s_client_asks_the_model_server(server: Server) -> None:
    run = subprocess.run([SELDON / "python", HERE / "ask.py", str(server.port)], capture_output=True, check=True)

    answers = json.loads(run.stdout)
    for way in ("microservice", "gateway"):
        assert answers[way]["data"]["names"] == ["probability"]
        probabilities = [value for row in answers[way]["data"]["ndarray"] for value in row]
        assert probabilities == pytest.approx([expected(*row) for row in ROWS[:2]], abs=1e-6)
        assert answers[way]["meta"]["tags"]["version"] == "7"


MESSAGES = {
    "rows": {"data": {"names": NAMES, "ndarray": ROWS[:2]}},
    "rows that lack values": {"data": {"names": NAMES, "ndarray": [[None, "south", True], [40, "", None]]}},
    "a request with an id": {"data": {"names": NAMES, "ndarray": ROWS[:1]}, "meta": {"puid": "r-1"}},
    "columns in another order": {"data": {"names": NAMES[::-1], "ndarray": [row[::-1] for row in ROWS[:2]]}},
}


def rounded(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what only we say of it, to six digits."""
    answer["data"]["ndarray"] = [[round(value, 6) for value in row] for row in answer["data"]["ndarray"]]
    answer["meta"]["tags"].pop("missing", None)
    return answer


@pytest.mark.parametrize("path", ["/predict", "/api/v1.0/predictions", "/api/v0.1/predictions"])
@pytest.mark.parametrize("message", MESSAGES)
def test_the_same_request_gets_the_same_answer(server: Server, microservice: Server, message: str, path: str) -> None:
    ours, theirs = (one.ask(path, MESSAGES[message]) for one in (server, microservice))

    assert ours.status == theirs.status == 200
    assert rounded(ours.content) == rounded(theirs.content)


def test_health_is_said_in_the_same_form(server: Server, microservice: Server) -> None:
    ours, theirs = (one.ask("/health/status").content["data"] for one in (server, microservice))

    assert ours["names"] == theirs["names"]
    assert ours["tensor"]["shape"] == theirs["tensor"]["shape"]
    assert ours["tensor"]["values"] == pytest.approx(theirs["tensor"]["values"], abs=1e-6)


def test_a_failure_is_said_in_the_same_form(server: Server, microservice: Server) -> None:
    ours, theirs = (one.ask("/predict", {"data": {"names": NAMES}}) for one in (server, microservice))

    assert (ours.status, theirs.status) == (400, 500)  # theirs is a fault of the wrapper
    assert ours.content["status"].keys() == theirs.content["status"].keys()
    assert ours.content["status"]["status"] == theirs.content["status"]["status"]
