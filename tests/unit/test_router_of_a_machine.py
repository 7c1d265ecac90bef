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

from cd4ml.contracts.model import Contract, Input, write_contract
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.traffic import Arm, Sticky, Traffic
from cd4ml.deployment.targets import router
from cd4ml.deployment.targets.router import Place, Router
from cd4ml.errors import DeploymentError
from cd4ml.storage.folder import FolderStore

SHADOWED = Traffic((Arm("one", "http://127.0.0.1:9001", 1.0), Arm("two", "http://127.0.0.1:9002", 0.0, mirror=True)))


class Earlier(BaseHTTPRequestHandler):
    """Says what it follows of the file, and knows nothing of shares that are copied."""

    file: Path

    def do_GET(self) -> None:
        followed: dict[str, Any] = json.loads(self.file.read_text())
        for arm in followed["arms"]:
            del arm["copied"]
        del followed["model_features"]
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


def test_all_features_of_the_versions_of_the_arms_are_captured_and_personal_ones_are_said(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for number, personal in ((1, False), (2, True)):
        inputs = (
            Input("age", "number"),
            Input("town", "text", personal=personal),
            Input("name", "text", personal=True),
        )
        write_contract(Contract("took", ("0", "1"), inputs, {}), tmp_path / str(number))
        data = DatasetReference("players", 0, "sha256:d")
        version = Version("uptake", number, f"sha256:{number}", "2026-01-01T00:00:00+00:00", "run", "", data)
        store.add_folder(version.folder, {"model": tmp_path / str(number), "version.json": version.text})
    old, new, foreign = (Arm(f"a{one}", "http://127.0.0.1:9001", 0.5, version=one) for one in ("1", "2", "7"))
    alone = replace(foreign, weight=1.0)

    both, one, none = (router.traffic_of(store, "uptake", arms) for arms in ((old, new), (old, foreign), (alone,)))
    named = router.traffic_of(store, "uptake", (old, new), features=["shop", "age"], sticky=Sticky(header="X-Player"))

    assert (both.model_features, both.personal_features) == (("age", "town", "name"), ("town", "name"))
    assert (one.model_features, one.personal_features) == (("age", "town", "name"), ("name",))
    assert (none.model_features, none.personal_features) == ((), ())
    assert (named.captured_features, named.sticky) == (("shop", "age"), Sticky(header="X-Player"))
    assert (named.model_features, named.personal_features) == (both.model_features, both.personal_features)


def test_a_router_that_an_earlier_version_started_divides_requests_as_ever(tmp_path: Path, earlier: Router) -> None:
    Place(tmp_path).follow(earlier, replace(SHADOWED, model_features=("age",)))


def test_a_router_that_copies_all_requests_where_a_part_was_asked_for_is_told(
    tmp_path: Path, earlier: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "FOLLOW_SECONDS", 0.3)
    one, two = SHADOWED.arms

    with pytest.raises(DeploymentError, match="the router at port 9000 does not divide requests"):
        Place(tmp_path).follow(earlier, Traffic((one, replace(two, copied=0.5))))
