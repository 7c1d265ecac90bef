"""A router of this machine follows how requests are divided, or it is told that it does not."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from cd4ml.contracts.traffic import Arm, Traffic
from cd4ml.deployment.targets import router
from cd4ml.deployment.targets.router import Place, Router
from cd4ml.errors import DeploymentError

SHADOWED = Traffic((Arm("one", "http://127.0.0.1:9001", 1.0), Arm("two", "http://127.0.0.1:9002", 0.0, mirror=True)))


class Earlier(BaseHTTPRequestHandler):
    """Says what it follows of the file, and knows nothing of shares that are copied."""

    file: Path

    def do_GET(self) -> None:
        followed: dict[str, Any] = json.loads(self.file.read_text())
        for arm in followed["arms"]:
            del arm["copied"]
        body = json.dumps({"followed": followed, "mistake": ""}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Router]:
    """A router that an earlier version of cd4ml has started."""
    handler = type("Handler", (Earlier,), {"file": tmp_path / "traffic.json"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield Router(os.getpid(), psutil.Process().create_time(), 9000, server.server_port, "router.log")
        server.shutdown()


def test_a_router_that_an_earlier_version_started_divides_requests_as_ever(tmp_path: Path, earlier: Router) -> None:
    Place(tmp_path).follow(earlier, SHADOWED)


def test_a_router_that_copies_all_requests_where_a_part_was_asked_for_is_told(
    tmp_path: Path, earlier: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "FOLLOW_SECONDS", 0.3)
    one, two = SHADOWED.arms

    with pytest.raises(DeploymentError, match="the router at port 9000 does not divide requests"):
        Place(tmp_path).follow(earlier, Traffic((one, replace(two, copied=0.5))))
