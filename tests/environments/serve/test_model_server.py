"""A real model server answers over HTTP."""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cd4ml.model import Contract, Input, digest, write_contract

CONTRACT = Contract(
    label="took",
    classes=("false", "true"),
    inputs=(Input("age", "number"), Input("region", "category"), Input("subscribed", "boolean")),
    model={"model": "linear"},
)
NAMES = ["age", "region", "subscribed"]
SECONDS_TO_START = 60


def expected(age: float | None, region: str | None, subscribed: bool | None) -> float:
    """What the model of these tests says: age in hundreds, one more from the south, one less where a value lacks."""
    logit = (age or 0) / 100 + (region == "south") + bool(subscribed)
    logit -= (age is None) + (not region) + (subscribed is None)
    return 1 / (1 + math.exp(-logit))


def write_model(folder: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.hundredth = tf.Variable(0.01)
    signature = {one.name: tf.TensorSpec([None], one.dtype, name=one.name) for one in CONTRACT.inputs}

    @tf.function(input_signature=[signature])
    def predict(raw):
        def known(name):
            return tf.where(tf.math.is_nan(raw[name]), 0.0, raw[name]), tf.cast(tf.math.is_nan(raw[name]), tf.float32)

        (age, no_age), (subscribed, no_answer) = known("age"), known("subscribed")
        south, nowhere = (tf.cast(raw["region"] == name, tf.float32) for name in ("south", ""))
        return {"probability": tf.sigmoid(age * module.hundredth + south + subscribed - no_age - no_answer - nowhere)}

    tf.saved_model.save(module, str(folder / "saved_model"), signatures=predict)
    write_contract(CONTRACT, folder)
    return folder


@dataclass(frozen=True)
class Answer:
    status: int
    content: dict[str, Any]

    @property
    def probabilities(self) -> list[float]:
        return [value for row in self.content["data"]["ndarray"] for value in row]

    @property
    def complaint(self) -> str:
        return self.content["status"]["info"]


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    port: int
    metrics_port: int
    folder: Path
    home: Path

    def ask(self, path: str, message: Any = None) -> Answer:
        body = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.load(error))

    def predict(self, *rows: Any, names: Any = NAMES) -> Answer:
        return self.ask("/api/v1.0/predictions", {"data": {"names": names, "ndarray": list(rows)}})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path, home: Path) -> Server:
    port, metrics_port = free_port(), free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "MODEL_FOLDER": str(folder),
        "MODEL_VERSION": "7",
        "MODEL_HOST": "127.0.0.1",
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port),
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(metrics_port),
        "GRPC_WORKERS": "0",
    }
    environment.pop("XDG_RUNTIME_DIR", None)
    process = subprocess.Popen(
        [Path(sys.prefix) / "bin" / "seldon-core-microservice", "cd4ml.serving.server.ModelServer"],
        env=environment,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Server(process, port, metrics_port, folder, home)


def end(server: Server) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.communicate()


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            if server.ask("/health/status").status == 200:
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"not ready: {server.process.poll()}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(folder, tmp_path_factory.mktemp("home"))
    try:
        wait_until_ready(running)
        yield running
    finally:
        end(running)


ROWS = [[40, "south", True], [25.5, "north", False], [None, None, None], [0, "", 1], [18, "mars", 0.0]]


def test_every_row_gets_its_probability(server):
    answer = server.predict(*ROWS)

    assert answer.status == 200
    assert answer.content["data"]["names"] == ["probability"]
    assert [len(row) for row in answer.content["data"]["ndarray"]] == [1] * len(ROWS)
    np.testing.assert_allclose(answer.probabilities, [expected(*row) for row in ROWS], atol=1e-6)


def test_a_row_predicts_the_same_alone_and_among_others(server):
    assert server.predict(ROWS[1]).probabilities == pytest.approx(server.predict(*ROWS).probabilities[1:2], abs=1e-7)


def test_columns_may_come_in_any_order_and_beside_others(server):
    answer = server.predict(["p1", True, "south", 40], names=["player_id", "subscribed", "region", "age"])

    assert answer.probabilities == pytest.approx([expected(40, "south", True)], abs=1e-6)


def test_an_empty_text_is_missing_in_every_column(server):
    assert server.predict(["", "", ""]).probabilities == server.predict([None, None, None]).probabilities


def test_a_number_keeps_its_digits_beside_a_text(server):
    assert server.predict([1e-30, "south", None]).status == 200
    assert server.predict([16777217, "south", True]).probabilities == [1.0]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (["forty", "south", True], "feature 'age' takes a number or null, not 'forty'"),
        (["40", "south", True], "feature 'age' takes a number or null, not '40'"),
        ([40, 3, True], "feature 'region' takes text or null, not 3"),
        ([40, "south", "yes"], "feature 'subscribed' takes a boolean or null, not 'yes'"),
        ([[40], "south", True], r"feature 'age' takes a number or null, not [40]"),
        ([{"a": 1}, "south", True], "feature 'age' takes a number or null, not {'a': 1}"),
        ([10**400, "south", True], "feature 'age': a number is too large"),
    ],
)
def test_a_value_of_another_type_is_the_client_s_mistake_and_is_named(server, row, complaint):
    answer = server.predict(ROWS[0], row)

    assert (answer.status, answer.complaint) == (400, complaint)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["age", "regoin", "subscribed"], "feature 'region' is not in data.names; did you mean 'regoin'?"),
        (["age", "x", "subscribed"], "feature 'region' is not in data.names; there are age, x, subscribed"),
        (["age", "age", "subscribed"], "data.names has 'age' more than once"),
        (["age", "region"], "every row of data.ndarray must be a list of 2 values, one a name"),
        ([], 'send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row'),
        ([1, 2, 3], 'send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row'),
    ],
)
def test_wrong_names_are_the_client_s_mistake(server, names, complaint):
    answer = server.predict(ROWS[0], names=names)

    assert (answer.status, answer.complaint) == (400, complaint)


@pytest.mark.parametrize(
    "message",
    [
        [],
        {},
        {"data": []},
        {"data": {"ndarray": [[40, "south", True]]}},
        {"data": {"names": NAMES}},
        {"data": {"names": NAMES, "ndarray": []}},
        {"data": {"names": NAMES, "ndarray": [40, "south", True]}},
        {"data": {"names": NAMES, "ndarray": ["abc"]}},
        {"data": {"names": NAMES, "tensor": {"shape": [1, 3], "values": [1, 2, 3]}}},
        {"strData": "hello"},
        {"data": {"names": NAMES, "ndarray": [[40, "south", True], [40, "south"]]}},
    ],
    ids=str,
)
def test_a_request_of_another_shape_is_the_client_s_mistake(server, message):
    answer = server.ask("/api/v1.0/predictions", message)

    assert answer.status == 400
    assert "ndarray" in answer.complaint


def test_the_server_says_which_model_it_is(server):
    metadata = server.ask("/metadata").content

    assert metadata["custom"] == {"digest": digest(server.folder), "version": "7"}
    assert metadata["versions"] == ["7"]
    assert [(one["name"], one["datatype"]) for one in metadata["inputs"]] == [
        ("age", "FP32"),
        ("region", "BYTES"),
        ("subscribed", "FP32"),
    ]
    assert server.predict(ROWS[0]).content["meta"]["tags"] == metadata["custom"]


def test_health_is_a_real_prediction(server):
    answer = server.ask("/health/status")

    assert answer.status == 200
    assert answer.content["data"]["tensor"]["values"] == pytest.approx([expected(None, None, None)], abs=1e-6)


def test_prometheus_reads_how_many_rows_were_predicted_and_how_long_it_took(server):
    server.predict(ROWS[0])

    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=20) as response:
        lines = response.read().decode().splitlines()
    figures = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("cd4ml")}
    assert figures["cd4ml_predictions_total"] >= 1
    assert figures["cd4ml_predict_seconds_count"] >= 1
    assert 0 < figures["cd4ml_predict_seconds_sum"] < 60 * figures["cd4ml_predict_seconds_count"]


def test_a_server_of_this_machine_is_reached_from_no_other(server):
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"}

    for port in (server.port, server.metrics_port):
        assert {address for address in listening if address.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


def test_servers_share_no_control_socket_in_the_home_folder(server):
    assert not (server.home / ".gunicorn").exists()


def test_a_server_told_to_end_ends_with_its_children(folder, tmp_path):
    server = start(folder, tmp_path)
    try:
        wait_until_ready(server)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=20)
        with pytest.raises(ProcessLookupError):
            os.killpg(server.process.pid, 0)
    finally:
        end(server)


def test_a_folder_without_a_model_is_refused_at_the_start(tmp_path):
    server = start(tmp_path / "nowhere", tmp_path)
    try:
        output, _ = server.process.communicate(timeout=SECONDS_TO_START)
    finally:
        end(server)

    assert server.process.returncode != 0
    assert b"not a model's contract" in output
