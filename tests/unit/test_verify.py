"""Verifying an endpoint: only a server that gives what was evaluated holds."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import predictions as known
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.deployment import Begun
from cd4ml.contracts.model import Contract, Input, write_contract
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import verify
from cd4ml.deployment.steps import Rollout
from cd4ml.deployment.steps.written import Verify
from cd4ml.deployment.targets import Release
from cd4ml.deployment.targets.machine import Machine
from cd4ml.errors import DeploymentError
from cd4ml.storage import open_store

ROWS = [{"age": 20, "region": "north"}, {"age": None, "region": "süd"}, {"age": 40, "region": None}]


class Endpoint(ThreadingHTTPServer):
    """A server of the Seldon protocol; a row's probability is its age in percent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.digest = "sha256:evaluated"
        self.unit = 1.0
        self.classes = 1
        """How many there are a probability of; the first of several has what the others share."""
        self.error = 0.0
        self.errors: dict[int, float] = {}
        """By age."""
        self.ready_after = 0
        """So many times it says first that it is not ready."""
        self.status = 200
        self.answered: int | None = None
        self.body: bytes | None = None
        self.headers: dict[str, str] = {}
        self.slow: list[float] = []
        """How many seconds each of the next answers to one row takes."""
        self.kept = 0
        """The requests that did not say that nothing is to be kept of them."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
        ages = [row[data["names"].index("age")] or 0 for row in data["ndarray"]]
        self.server.kept += self.headers["Seldon-Skip-Logging"] != "true"
        if self.server.slow and len(ages) == 1:
            time.sleep(self.server.slow.pop())
        errors = [self.server.error + self.server.errors.get(age, 0) for age in ages]
        answers = [(age / 100 + error) * self.server.unit for age, error in zip(ages, errors, strict=True)]
        others = self.server.classes - 1
        rows = [[one, *[(1 - one) / others] * others] for one in answers] if others else answers
        self._answer(
            {"data": {"ndarray": rows[: self.server.answered]}, "meta": {"tags": {"digest": self.server.digest}}}
        )

    def do_GET(self) -> None:
        known = self.path == "/api/v1.0/health/status"  # what an executor hands on: not `/health/status`
        self.server.ready_after -= 1
        self.send_response(404 if not known else 200 if self.server.ready_after < 0 else 503)
        self.end_headers()

    def _answer(self, content: dict[str, Any]) -> None:
        self.send_response(self.server.status)
        for header in self.server.headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode() if self.server.body is None else self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    table = pa.Table.from_pylist([{**row, "probability": (row["age"] or 0) / 100} for row in ROWS])
    pq.write_table(table, tmp_path / "predictions.parquet")
    return tmp_path / "predictions.parquet"


def test_an_endpoint_that_answers_as_evaluated_holds(endpoint: Endpoint, predictions: Path) -> None:
    verified = verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)

    assert verified.predictions_checked == 3
    assert verified.max_difference <= 1e-9
    assert 0 < verified.p50_ms <= verified.p99_ms
    assert verified.endpoint == f"{endpoint.url}/api/v1.0/predictions"


def test_nothing_is_kept_of_what_is_asked_to_verify(endpoint: Endpoint, predictions: Path) -> None:
    verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)

    assert endpoint.kept == 0


def test_the_latency_is_that_of_requests_of_one_row_in_milliseconds(endpoint: Endpoint, predictions: Path) -> None:
    endpoint.slow = [0.2] * 3  # of 200: more than one in a hundred, far fewer than every second

    verified = verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)

    assert endpoint.slow == []
    assert 0.1 < verified.p50_ms < 200 <= verified.p99_ms < 5000


def test_an_endpoint_is_asked_without_the_proxy_of_the_environment(
    endpoint: Endpoint, predictions: Path, proxied: list[str]
) -> None:
    verify.wait_until_ready(endpoint.url, 5, alive=lambda: True)
    verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)

    assert proxied == []


def test_requests_are_not_told_one_by_one(
    endpoint: Endpoint, predictions: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        verify.wait_until_ready(endpoint.url, 5, alive=lambda: True)
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)

    assert caplog.messages == []


def test_a_prediction_may_differ_by_what_rounding_makes(endpoint: Endpoint, predictions: Path) -> None:
    endpoint.error = 9e-6

    assert verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY).max_difference == pytest.approx(
        9e-6
    )


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_a_number_may_differ_by_a_part_of_its_size_whatever_its_unit(
    endpoint: Endpoint, tmp_path: Path, unit: float
) -> None:
    table = pa.Table.from_pylist([{**row, "probability": (row["age"] or 0) / 100 * unit} for row in ROWS])
    pq.write_table(table, tmp_path / "numbers.parquet")
    endpoint.unit = unit
    endpoint.error = 1.5e-6

    found = verify.verify(endpoint.url, "sha256:evaluated", tmp_path / "numbers.parquet", problem=REGRESSION)

    assert found.max_difference == pytest.approx(1.5e-6 * unit)
    endpoint.error = 5e-6
    with pytest.raises(DeploymentError, match=f"row 0 gives .* evaluated {0.2 * unit:.7g} \\(allowed difference "):
        verify.verify(endpoint.url, "sha256:evaluated", tmp_path / "numbers.parquet", problem=REGRESSION)


@pytest.fixture
def of_classes(endpoint: Endpoint, tmp_path: Path) -> Path:
    """What was evaluated of three classes."""
    endpoint.classes = 3
    first = np.array([(row["age"] or 0) / 100 for row in ROWS])
    values = np.stack([first, (1 - first) / 2, (1 - first) / 2], axis=1)
    known.write(pa.Table.from_pylist(ROWS), "probabilities", values, file=tmp_path / "classes.parquet")
    return tmp_path / "classes.parquet"


def test_each_probability_of_several_classes_is_held_against_what_was_evaluated(
    endpoint: Endpoint, of_classes: Path
) -> None:
    endpoint.errors = {40: 9e-6}

    verified = verify.verify(endpoint.url, "sha256:evaluated", of_classes, problem=MULTICLASS)

    assert (verified.predictions_checked, verified.max_difference) == (3, pytest.approx(9e-6))
    endpoint.errors = {40: 0.1}
    with pytest.raises(DeploymentError, match=r"row 2, probability 1 of 3, gives 0\.5, evaluated 0\.4 \(allowed"):
        verify.verify(endpoint.url, "sha256:evaluated", of_classes, problem=MULTICLASS)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_probabilities_of_fewer_or_more_classes_are_refused(endpoint: Endpoint, of_classes: Path, classes: int) -> None:
    endpoint.classes = classes

    with pytest.raises(DeploymentError, match=f"gives {classes} numbers for a row, evaluated 3; deploy the model that"):
        verify.verify(endpoint.url, "sha256:evaluated", of_classes, problem=MULTICLASS)


@pytest.mark.parametrize("errors", [{20: 0.1, 40: -0.2}, {20: 0.1, 40: float("nan")}])
def test_the_row_that_differs_most_is_told(endpoint: Endpoint, predictions: Path, errors: dict[int, float]) -> None:
    endpoint.errors = errors

    with pytest.raises(DeploymentError) as refused:
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)

    assert str(refused.value) == (
        f"{endpoint.url} does not predict what evaluation did: row 2 gives {0.4 + errors[40]:.7g}, evaluated 0.4 "
        "(allowed difference 1e-05)"
    )


def test_a_server_is_waited_for_until_it_is_ready_and_not_longer(endpoint: Endpoint) -> None:
    endpoint.ready_after = 3
    asked: list[int] = []

    verify.wait_until_ready(endpoint.url, seconds=30, alive=lambda: asked.append(1) is None)

    assert len(asked) == 4
    assert endpoint.ready_after == -1


def test_the_step_that_verifies_waits_for_the_release_first(
    endpoint: Endpoint, predictions: Path, tmp_path: Path
) -> None:
    version = Version("uptake", 1, endpoint.digest, "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))
    store = open_store(tmp_path / "store")
    model = tmp_path / "model"
    model.mkdir()
    write_contract(Contract("took", ("no", "yes"), (Input("age", "number"),), {}), model)
    store.add_folder(version.folder, {"predictions.parquet": predictions, "model": model})
    begun = Begun("uptake", 1, 1, endpoint.digest, "run", "machine", "replace", "now")
    now = Rollout(Machine(store, "uptake"), Release(version, begun, port=1, log_file=tmp_path / "log"), endpoint.url)
    endpoint.ready_after = 2

    assert Verify().take(now).startswith("3 rows as evaluated, p50 ")

    assert endpoint.ready_after == -1
    assert now.verification.predictions_checked == 3


@pytest.mark.parametrize("error", [2e-5, -0.1, float("nan")])
def test_a_prediction_that_differs_is_refused(endpoint: Endpoint, predictions: Path, error: float) -> None:
    endpoint.error = error

    with pytest.raises(DeploymentError, match="does not predict what evaluation did: row"):
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)


def test_another_model_is_refused(endpoint: Endpoint, predictions: Path) -> None:
    endpoint.digest = "sha256:another"

    with pytest.raises(DeploymentError, match="serves the model sha256:another, not sha256:evaluated"):
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)


def test_an_answer_of_another_shape_is_refused(endpoint: Endpoint, predictions: Path) -> None:
    endpoint.answered = 1

    with pytest.raises(DeploymentError, match="answered 1 predictions for 3 rows"):
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"", b"\xff", b"[]", b"null", b'{"meta": null}', b'{"meta": {"tags": []}}', b"[" * 100_000]
    + [
        b'{"meta": {"tags": {"digest": "sha256:evaluated"}}, "data": %b}' % data
        for data in (b"[]", b'{"ndarray": ["a"]}')
    ],
)
def test_an_answer_that_is_no_prediction_is_told(endpoint: Endpoint, predictions: Path, body: bytes) -> None:
    endpoint.body = body

    with pytest.raises(DeploymentError, match="/api/v1.0/predictions answered no predictions"):
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)


def test_an_answer_that_cannot_be_unpacked_is_told(endpoint: Endpoint, predictions: Path) -> None:
    endpoint.headers = {"Content-Encoding": "gzip"}

    with pytest.raises(DeploymentError, match="does not answer"):
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_error_of_the_server_is_told(endpoint: Endpoint, predictions: Path, status: int) -> None:
    endpoint.status = status

    with pytest.raises(DeploymentError, match=f"answered {status}"):
        verify.verify(endpoint.url, "sha256:evaluated", predictions, problem=BINARY)


def test_a_server_that_is_not_there_is_told(predictions: Path) -> None:
    with pytest.raises(DeploymentError, match="does not answer"):
        verify.verify("http://127.0.0.1:1", "sha256:evaluated", predictions, problem=BINARY)


def test_a_server_is_asked_for_its_health_where_an_executor_answers_too(endpoint: Endpoint) -> None:
    verify.wait_until_ready(endpoint.url, seconds=5, alive=lambda: True)


def test_a_server_that_ends_is_not_waited_for() -> None:
    with pytest.raises(DeploymentError, match="ended before it was ready"):
        verify.wait_until_ready("http://127.0.0.1:1", seconds=60, alive=lambda: False)


def test_a_server_that_never_gets_ready_is_given_up() -> None:
    with pytest.raises(DeploymentError, match="was not ready after 1 s"):
        verify.wait_until_ready("http://127.0.0.1:1", seconds=1, alive=lambda: True)


def test_an_example_request_names_its_features(predictions: Path) -> None:
    assert json.loads(verify.example_request(predictions)) == {
        "data": {"names": ["age", "region"], "ndarray": [[20, "north"]]}
    }
