"""Model servers of these tests, which answer as they are told, and asking over HTTP."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cd4ml.contracts.traffic import Arm

V2 = "/v2/models/uptake/infer"


@dataclass(frozen=True)
class Answer:
    status: int
    content: Any
    headers: dict[str, str]

    @property
    def tags(self) -> dict[str, Any]:
        return self.content["meta"]["tags"]

    @property
    def arm(self) -> str:
        return self.tags["arm"]

    @property
    def probabilities(self) -> list[float]:
        return [value for row in self.content["data"]["ndarray"] for value in row]

    @property
    def id(self) -> str:
        return self.content["meta"]["puid"]

    @property
    def complaint(self) -> str:
        return self.content["status"]["info"]


def ask(url: str, message: Any = None, **headers: str) -> Answer:
    body = message if isinstance(message, bytes | None) else json.dumps(message).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, sent), timeout=30) as response:
            status, text, got = response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        status, text, got = error.code, error.read(), error.headers
    with contextlib.suppress(ValueError):
        text = json.loads(text)
    return Answer(status, text, {name.lower(): value for name, value in got.items()})


class Model(ThreadingHTTPServer):
    """An arm's model server: it gives every row the same probability, and remembers what it was sent."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, name: str, probability: float = 0.5) -> None:
        self.name, self.probability = name, probability
        self.behave: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def arm(self, weight: float = 0.0, **others: Any) -> Arm:
        return Arm(self.name, self.url, weight, **others)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Model

    def do_GET(self) -> None:
        self.answer({"name": self.server.name})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((self.path, headers, body))
        if self.server.behave:
            self.server.behave(self)
        elif self.path == V2:
            outputs = [{"name": "probability", "datatype": "FP32", "shape": [2], "data": [self.server.probability] * 2}]
            self.answer({"model_name": "uptake", "outputs": outputs})
        else:
            rows = len(json.loads(body)["data"]["ndarray"])
            data = {"names": ["probability"], "ndarray": [[self.server.probability]] * rows}
            self.answer({"data": data, "meta": {"tags": {"version": "7"}}})

    def answer(self, content: Any, status: int = 200) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
