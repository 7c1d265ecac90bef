"""Requests that are divided on a real cluster, between releases that stand-ins serve, by the real router.

Callers ask all the while, on connections that they keep and on new ones.
"""

import base64
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import overlays
import pytest
import seldon_kind
from conftest import Cluster
from kubernetes import client
from operators import wait_until
from seldon_operator import Operator

from cd4ml.cluster import connection
from cd4ml.contracts import captured
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import rollout, strategies
from cd4ml.deployment.steps import judging
from cd4ml.deployment.targets import cluster as target
from cd4ml.errors import DeploymentError
from cd4ml.images import TOOLS
from cd4ml.registry import deployments
from cd4ml.storage import arrow, open_store

SERVER = """
import http.server, json, os, random
version = os.environ["MODEL_VERSION"]
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.say(200, {})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if version == "3" and random.random() < 0.5:
            self.say(500, {"status": {"reason": "out of luck"}})
        else:
            self.say(200, {"data": {"names": ["p"], "ndarray": [[0.3]]}, "meta": {"tags": {"version": version}}})
    def say(self, status, content):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answers).serve_forever()
"""
"""Answers as a model server does; version 3 fails every second request."""
MODEL = {
    "image": TOOLS,
    "imagePullPolicy": "IfNotPresent",
    "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
    "command": ["python3", "-c", SERVER],
    "readinessProbe": {"httpGet": {"path": "/health/status", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 10},
    "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}},
}
BODY = json.dumps({"data": {"names": ["age"], "ndarray": [[40]]}})
KEPT = {"error_rate": {"max_increase": 0.2}, "within": "5 minutes"}
CANARY = [{"traffic": 50}, {"analyse": KEPT}]
SHADOW = [{"mirror": 100}, {"analyse": {**KEPT, "prediction_difference": {"max_mean": 0.1}}}]


@pytest.fixture(scope="module")
def namespace(shared_cluster: Cluster, kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With all that an admin sets up, in which this process may do what a task that deploys may, and no more."""
    name = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--server-side", "-f", "-", input=overlays.render("standalone", name))
    shared_cluster.kubectl("-n", name, "wait", "--for=condition=Complete", "job/minio-setup", "--timeout=180s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", kubeconfig)
        api = connection.connect()
        core = client.CoreV1Api(api)
        for key, value in core.read_namespaced_secret("cd4ml-deployer", name).data.items():
            patch.setenv(key, base64.b64decode(value).decode())
        patch.setenv("AWS_ENDPOINT_URL", f"http://{core.read_namespaced_service('minio', name).spec.cluster_ip}:9000")
        patch.setattr(socket, "getaddrinfo", finding_services(core))
        patch.setattr(target, "POLL_SECONDS", 0.5)
        patch.setattr(judging, "LATE_SECONDS", 6)
        patch.setattr(judging, "LATE_COPY_SECONDS", 8)
        folder = tmp_path_factory.mktemp("account")
        patch.setenv("KUBECONFIG", str(shared_cluster.as_account(name, "deployer", folder)))
        with seldon_kind.known(api), Operator(api, name, MODEL).acting():
            yield name


def finding_services(core: client.CoreV1Api):
    """Finds the names of Services, which are known within the cluster alone."""
    find = socket.getaddrinfo

    def found(host, *given, **named):
        name = host.decode() if isinstance(host, bytes) else host
        if name and name.endswith(".svc"):
            service, namespace, _ = name.split(".")
            host = core.read_namespaced_service(service, namespace).spec.cluster_ip
        return find(host, *given, **named)

    return found


def deploy(namespace: str, version: int, written: list, model: str) -> None:
    """Rolls a version out by the steps of a strategy."""
    dataset = DatasetReference("players", 0, "sha256:d")
    published = Version(model, version, "abc", "2026-01-01", run="run", revision="", dataset=dataset)
    where = target.Cluster(open_store("s3://cd4ml"), model, namespace=namespace)
    _, *taken = strategies.parse(written).steps if written else strategies.REPLACE.steps
    with rollout.rolling_out(
        where, "steps", version=published, run=f"run-{version}", port=0, log_file=Path("/no/such/log")
    ) as now:
        now.steps = tuple(taken)
        for step in taken:
            step.take(now)


@dataclass
class Asked:
    """What callers were answered: a status, and which arm or version answered."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def of(self, arm: str) -> set[int]:
        return {status for status, who in self.answers if who == arm}


@contextmanager
def asking(namespace: str, model: str) -> Iterator[Asked]:
    """Asks the model's Service while the context lasts."""
    asked, ended = Asked(), threading.Event()
    name = f"{model}.{namespace}.svc"
    wait_until(lambda: is_open(name), "the nodes to know the Service")
    host = socket.getaddrinfo(name, 8000)[0][4][0]  # not while threads ask: a test forks beside them

    def ask(kept: bool) -> None:
        open_: http.client.HTTPConnection | None = None
        while not ended.wait(0.02):
            try:
                open_ = open_ if kept and open_ else http.client.HTTPConnection(host, 8000, timeout=20)
                open_.request("POST", "/api/v1.0/predictions", BODY, {"Content-Type": "application/json"})
                answer = open_.getresponse()
                text, who = answer.read().decode(), answer.headers.get("cd4ml-arm")
                who = who or f"version {json.loads(text)['meta']['tags']['version']}"
                asked.answers.append((answer.status, who))
                open_ = None if answer.will_close else open_
            except (OSError, http.client.HTTPException, ValueError) as error:
                asked.failures.append(f"{time.strftime('%X')}: {error!r}")
                open_ = None

    askers = [threading.Thread(target=ask, args=(kept,)) for kept in (True, True, False, False)]
    for asker in askers:
        asker.start()
    yield asked
    time.sleep(15)  # until the pods that were removed have ended
    ended.set()
    for asker in askers:
        asker.join()


def is_open(host: str) -> bool:
    try:
        http.client.HTTPConnection(host, 8000, timeout=5).request("GET", "/health/status")
    except OSError:
        return False
    return True


def left(cluster: Cluster, namespace: str, model: str) -> tuple[list[str], str, bool]:
    """The releases and routers that there are of a model, which one callers reach, and whether a note is left."""
    label = ("-l", f"cd4ml/model={model}", "-n", namespace, "-o")
    service = json.loads(cluster.kubectl("get", "service", model, "-n", namespace, "-o", "json"))
    found = cluster.kubectl("get", "sdep,deployments", *label, "jsonpath={.items[*].metadata.name}").split()
    mine = [one for one in found if not one.endswith("-p-0-model")]
    [name] = service["spec"]["selector"].values()
    return sorted(mine), name, "cd4ml/unverified" in service["metadata"].get("annotations", {})


def states(model: str) -> list[str]:
    return [series.state for series in deployments.every(open_store("s3://cd4ml"), model)]


def test_a_canary_is_promoted_and_no_request_fails(namespace: str, shared_cluster: Cluster) -> None:
    deploy(namespace, 1, [], "promoted")

    with asking(namespace, "promoted") as asked:
        deploy(namespace, 2, CANARY, "promoted")

    assert asked.failures == []
    assert {status for status, _ in asked.answers} == {200}
    assert {who for _, who in asked.answers} == {"version 1", "deployment-1", "deployment-2", "version 2"}
    assert left(shared_cluster, namespace, "promoted") == (["promoted-2"], "promoted-2", False)


def test_a_canary_that_fails_is_rolled_back_and_no_request_fails_but_its_own(
    namespace: str, shared_cluster: Cluster
) -> None:
    deploy(namespace, 1, [], "failing")

    with asking(namespace, "failing") as asked:
        with pytest.raises(DeploymentError, match="error_rate.*\nfailing-1, which was served before, was put back"):
            deploy(namespace, 3, CANARY, "failing")
        undone = len(asked.answers)

    assert asked.failures == []
    assert asked.of("version 1") == asked.of("deployment-1") == {200}
    assert asked.of("deployment-2") == {200, 500}
    assert {who for _, who in asked.answers[undone:]} <= {"version 1", "deployment-1"}
    assert left(shared_cluster, namespace, "failing") == (["failing-1"], "failing-1", False)


def test_a_shadow_answers_nobody(namespace: str, shared_cluster: Cluster) -> None:
    deploy(namespace, 1, [], "shadowed")

    with asking(namespace, "shadowed") as asked:
        deploy(namespace, 2, SHADOW, "shadowed")

    kept = captured.requests(arrow.folder("s3://cd4ml/captures/shadowed")).to_table()
    assert asked.failures == []
    assert {status for status, _ in asked.answers} == {200}
    assert {who for _, who in asked.answers} <= {"version 1", "deployment-1", "deployment-2", "version 2"}
    assert any(one["mirrored"] and one["arm"] == "deployment-2" for one in kept.to_pylist())
    assert left(shared_cluster, namespace, "shadowed") == (["shadowed-2"], "shadowed-2", False)


def test_a_process_that_is_killed_in_a_hold_is_undone_by_the_next_and_no_request_fails(
    namespace: str, shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "DEAD_SECONDS", 5)
    monkeypatch.setattr(target, "RENEW_SECONDS", 1)
    deploy(namespace, 1, [], "killed")

    with asking(namespace, "killed") as asked:
        process = os.fork()
        if process == 0:
            deploy(namespace, 2, [{"traffic": 50}, {"hold": "5 minutes"}], "killed")
            os._exit(0)
        wait_until(lambda: "deployment-2" in {who for _, who in asked.answers}, "the canary", seconds=90)
        time.sleep(8)  # longer than a note holds that is not renewed
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        began = time.monotonic()
        deploy(namespace, 2, [], "killed")

    assert time.monotonic() - began < 90
    assert asked.failures == []
    assert {status for status, _ in asked.answers} == {200}
    assert states("killed") == ["held", "undone", "held"]
    assert left(shared_cluster, namespace, "killed") == (["killed-3"], "killed-3", False)
