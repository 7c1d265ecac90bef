"""The note that an object of a cluster holds while it is rolled out: what cannot be read of it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cd4ml.deployment import rollout
from cd4ml.deployment.targets.cluster import OURS, UNVERIFIED, Cluster
from cd4ml.deployment.targets.seldon import DEPLOYMENT
from cd4ml.errors import DeploymentError
from cd4ml.storage.folder import FolderStore

Serve = Callable[[dict[str, str], dict[str, str]], Cluster]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A cluster that answers every question with one SeldonDeployment, of these annotations on it and its predictor."""
    content: dict[str, Any] = {}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    def serve(annotations: dict[str, str], of_predictor: dict[str, str]) -> Cluster:
        content["metadata"] = {"name": "uptake", "labels": dict([OURS]), "annotations": annotations}
        content["spec"] = {"predictors": [{"annotations": of_predictor}]}
        return Cluster(FolderStore(tmp_path / "store"), "uptake", namespace="team")

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        named = {"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
        users = {"users": [{"name": "u", "user": {}}]}
        clusters = {"clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}]}
        (tmp_path / "kubeconfig").write_text(json.dumps({**named, **users, **clusters}))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield serve
        server.shutdown()


@pytest.mark.parametrize(
    "note",
    ["{", "[]", "null", "{}", "[" * 100_000]
    + [json.dumps({"until": "2026-01-01T00:00:00+00:00", "before": before}) for before in (5, [], {"spec": {}})]
    + [json.dumps({"until": until, "before": None}) for until in ("soon", 5)],
)
def test_a_note_that_cannot_be_read_is_told_with_its_object(served: Serve, note: str) -> None:
    target = served({UNVERIFIED: note}, {})

    with pytest.raises(DeploymentError, match=f"^the SeldonDeployment uptake: its annotation {UNVERIFIED} is no note"):
        rollout.put_right(target)


@pytest.mark.parametrize("number", ["first", "", "-1", "01"])
def test_an_object_whose_number_is_none_is_of_no_deployment_of_the_history(served: Serve, number: str) -> None:
    current = served({}, {DEPLOYMENT: number}).current()

    assert current is not None
    assert current.number is None
