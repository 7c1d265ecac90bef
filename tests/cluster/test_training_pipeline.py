"""The compiled training pipeline in containers, from a table in MinIO to a model that answers."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import overlays
import pytest
import seldon_kind
import yaml
from backend import Backend, Task
from conftest import Cluster
from kubernetes import client
from minio import Minio
from seldon_operator import Operator
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.cluster import connection
from cd4ml.pipelines.training.arguments import Training

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests/components/monitoring"
MODELS = ("--selector", "seldon-deployment-id", "--field-selector", "status.phase=Running")
SMALL = {
    "data_limits": {"anomalies": 0},
    "baseline": {"model": "linear", "epochs": 2},
    "candidate": {"model": "dnn", "hidden": [16], "epochs": 6},
    "model_limits": {"auc": {"min": 0.7}},
}
"""For the few rows of this test."""


@dataclass(frozen=True)
class Installed:
    """A namespace that an admin has set up with the standalone overlay."""

    namespace: str
    backend: Backend
    store: Minio
    pipelines: Path
    """The compiled pipelines, which name the images that the cluster has."""

    def run(self, pipeline: str, arguments: Mapping[str, Any], run: str) -> dict[str, Task]:
        """The tasks of a run, by their names."""
        return dict(self.backend.run((self.pipelines / f"{pipeline}.yaml").read_text(), arguments, run))


@pytest.fixture(scope="module")
def installed(
    shared_cluster: Cluster, kubeconfig: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    pipelines = tmp_path_factory.mktemp("compiled")
    assert CliRunner().invoke(app, ["compile", "--output", str(pipelines)]).exit_code == 0
    namespace = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--server-side", "-f", "-", input=overlays.render("standalone", namespace))
    shared_cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/minio-setup", "--timeout=180s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", kubeconfig)
        api = connection.connect()
        core = client.CoreV1Api(api)
        root = {
            key: _decoded(value) for key, value in core.read_namespaced_secret("minio-root", namespace).data.items()
        }
        address = core.read_namespaced_service("minio", namespace).spec.cluster_ip
        store = Minio(f"{address}:9000", root["MINIO_ROOT_USER"], root["MINIO_ROOT_PASSWORD"], secure=False)
        backend = Backend(core, namespace, "deployer", f"minio.{namespace}.svc:9000")
        with seldon_kind.known(api), Operator(api, namespace, container=None).acting():
            yield Installed(namespace, backend, store, pipelines)


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "players.parquet"
    generator = ROOT / "examples/promotions/generate.py"
    subprocess.run([sys.executable, generator, "--rows=12000", f"--output={file}"], check=True)
    return file


@pytest.fixture(scope="module")
def trained(installed: Installed, players: Path) -> dict[str, Task]:
    """The tasks of a run of the example, by their names."""
    installed.store.fput_object("cd4ml", "sources/players.parquet", str(players))
    arguments = _arguments("training-cluster.yaml") | SMALL
    return installed.run("training", arguments, "training-1")


def test_every_task_passes_in_its_own_image(trained: dict[str, Task]) -> None:
    assert {name: task.passed for name, task in trained.items()} == dict.fromkeys(
        (
            "Check arguments",
            "Ingest dataset",
            "Split dataset",
            "Validate dataset",
            "Check dataset",
            "Train baseline",
            "Train candidate",
            "Register candidate",
            "Evaluate model",
            "Check model",
            "Publish model",
            "Deploy model",
        ),
        True,
    ), "\n".join(task.log for task in trained.values() if not task.passed)


def test_the_registry_in_the_bucket_has_the_model_and_its_deployment(
    trained: dict[str, Task], installed: Installed
) -> None:
    version = _document(installed, "models/promotion-uptake/1/version.json")
    events = [_document(installed, f"deployments/promotion-uptake/1/{place}.json") for place in (1, 2, 3, 4)]
    begun, held = events[0], events[-1]

    assert [event["kind"].removeprefix("cd4ml/Deployment") for event in events] == ["Begun", "Step", "Step", "Held"]
    assert version["digest"] == trained["Publish model"].parameters["digest"] == begun["digest"]
    assert version["run"] == "training-1"
    assert begun["target"] == "cluster"
    assert "HTTP Request" not in trained["Deploy model"].log
    assert held["endpoint"].startswith(f"http://promotion-uptake.{installed.namespace}.svc:8000/")


def test_prometheus_finds_what_the_alerts_and_the_dashboard_read(
    trained: dict[str, Task], installed: Installed, shared_cluster: Cluster
) -> None:
    monitors = yaml.safe_load_all((MONITORING / "monitors.yaml").read_text())
    [asked] = next(one for one in monitors if one["kind"] == "PodMonitor")["spec"]["podMetricsEndpoints"]
    [pod] = json.loads(shared_cluster.kubectl("get", "pods", "-n", installed.namespace, *MODELS, "-o", "json"))["items"]
    numbers = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}

    place = f"/api/v1/namespaces/{installed.namespace}/pods/{pod['metadata']['name']}:{numbers[asked['port']]}/proxy"
    metrics = shared_cluster.kubectl("get", "--raw", place + asked["path"])

    labels = dict(re.findall(r'(\w+)="([^"]*)"', next(line for line in metrics.splitlines() if "_total{" in line)))
    assert (labels["model"], labels["version"]) == ("promotion-uptake", "1")
    for file in ("rules.yaml", "cd4ml.json"):
        read = re.findall(r"sum by \(([^)]*)\) ?\s*\(rate\((cd4ml_(?!router_)\w+)", (MONITORING / file).read_text())
        assert read
        for by, metric in read:
            assert metric in metrics
            assert set(by.split(", ")) <= {*labels, "namespace", "le", "feature"}


def test_what_is_served_is_verified_again_by_the_other_pipeline(trained: dict[str, Task], installed: Installed) -> None:
    arguments = {"name": "promotion-uptake", "store": "s3://cd4ml"}
    (verified,) = installed.run("verification", arguments, "verification-1").values()

    assert verified.passed, verified.log
    assert verified.artifacts["metrics"]["metadata"]["max_difference"] < 1e-5


def test_a_gate_that_refuses_ends_the_run_in_plain_words(trained: dict[str, Task], installed: Installed) -> None:
    arguments = _arguments("training-cluster.yaml") | SMALL | {"data_limits": {"min_rows": {"train": 10_000_000}}}
    tasks = installed.run("training", arguments, "training-2")

    assert list(tasks) == ["Check arguments", "Ingest dataset", "Split dataset", "Validate dataset", "Check dataset"]
    assert not tasks["Check dataset"].passed
    assert "10,000,000" in tasks["Check dataset"].log


def test_a_source_logs_in_with_what_a_secret_of_the_namespace_holds(
    installed: Installed, shared_cluster: Cluster
) -> None:
    source = json.dumps({"sql": {"url": "WAREHOUSE", "table": "players"}})
    arguments = _arguments("training-cluster.yaml") | SMALL | {"source": source}
    without = installed.run("training", arguments, "source-1")["Ingest dataset"]
    secret = ("secret", "generic", "cd4ml-sources", "--from-literal=WAREHOUSE=mysql://shop:hidden@shop/players")
    shared_cluster.kubectl("-n", installed.namespace, "create", *secret)
    within = installed.run("training", arguments, "source-2")["Ingest dataset"]

    assert not without.passed
    assert "WAREHOUSE is not set" in without.log
    assert "the key WAREHOUSE of the Secret cd4ml-sources" in without.log
    assert not within.passed
    assert "WAREHOUSE holds no address of a known database" in within.log
    assert "hidden" not in within.log


def _arguments(file: str) -> dict[str, Any]:
    arguments: dict[str, Any] = yaml.safe_load((ROOT / "examples/promotions" / file).read_text())["arguments"]
    return Training.in_kfp(arguments)


def _document(installed: Installed, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(installed.store.get_object("cd4ml", name).read())
    return document


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()
