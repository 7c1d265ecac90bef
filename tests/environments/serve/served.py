"""A small model, and a real server that answers for it."""

import contextlib
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cd4ml.contracts.model import Contract, Input, write_contract

CONTRACT = Contract(
    label="took",
    classes=("false", "true"),
    inputs=(
        Input("age", "number", range=(0, 99.9)),
        Input("region", "category", vocabulary=("north", "south")),
        Input("subscribed", "boolean"),
    ),
    model={"model": "linear"},
)
NAMES = ["age", "region", "subscribed"]
SECONDS_TO_START = 60
ROWS = [[40, "south", True], [25.5, "north", False], [None, None, None], [0, "", 1], [18, "mars", 0.0]]


def expected(age: float | None, region: str | None, subscribed: bool | None) -> float:
    """What the model of these tests says: age in hundreds, one more from the south, one less where a value lacks."""
    logit = (age or 0) / 100 + (region == "south") + bool(subscribed)
    logit -= (age is None) + (not region) + (subscribed is None)
    return 1 / (1 + math.exp(-logit))


def write_model(folder: Path, spoil: Callable[[Any, Any], Any] = lambda _, probability: probability) -> Path:
    """The model; what it says may be spoilt by the ages as they are given."""
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
        probability = tf.sigmoid(age * module.hundredth + south + subscribed - no_age - no_answer - nowhere)
        return {"probability": spoil(raw["age"], probability)}

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
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.load(error))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, head: str, body: bytes = b"") -> tuple[int, str]:
        """The status and the whole answer to a request as it is written; CONNECTION CLOSE is added."""
        with self.connect() as connection:
            connection.sendall(f"{head}\r\nHost: x\r\nConnection: close\r\n\r\n".encode() + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        return int(answer.split()[1]), answer

    def post(self, body: bytes, *headers: str, path: str = "/predict") -> tuple[int, str]:
        return self.send("\r\n".join([f"POST {path} HTTP/1.1", *headers, f"Content-Length: {len(body)}"]), body)

    def seconds(self) -> float:
        """How long a sign of life and a prediction take."""
        started = time.monotonic()
        assert self.ask("/health/status").status == self.predict(ROWS[0]).status == 200
        return time.monotonic() - started

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def predict(self, *rows: Any, names: Any = NAMES) -> Answer:
        return self.ask("/api/v1.0/predictions", {"data": {"names": names, "ndarray": list(rows)}})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PROGRAM = ("-m", "cd4ml.serving.server")


@contextlib.contextmanager
def answering(folder: Path, home: Path, **how: Any) -> Iterator[Server]:
    """A server that is ready, as long as the context lasts; how it is started `start` says."""
    running = start(folder, home, **how)
    try:
        wait_until_ready(running)
        yield running
    finally:
        end(running)


def start(
    folder: Path, home: Path, files: int | None = None, program: Sequence[str] = PROGRAM, **variables: str
) -> Server:
    port, metrics_port = free_port(), free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "MODEL_FOLDER": str(folder),
        "MODEL_NAME": "uptake",
        "MODEL_VERSION": "7",
        "MODEL_HOST": "127.0.0.1",
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        **variables,
    }
    environment.pop("XDG_RUNTIME_DIR", None)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))),
        )
    return Server(process, port, metrics_port, folder, home)


def end(server: Server) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            if server.ask("/health/status").status == 200:
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"not ready: {server.process.poll()}")


def figures(server: Server, path: str = "/metrics") -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{path}", timeout=20) as response:
        lines = response.read().decode().splitlines()
    return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("cd4ml")}
