"""The compiled training pipeline in containers, from a table in MinIO to a model that answers."""

import json
import re
from pathlib import Path
from typing import Any

import installation
import yaml
from backend import Task
from conftest import Cluster
from installation import Installed

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests/components/monitoring"
MODELS = ("--selector", "seldon-deployment-id", "--field-selector", "status.phase=Running")


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
            assert set(by.split(", ")) <= {*labels, "namespace", "pod", "le", "feature"}


def test_what_is_served_is_verified_again_by_the_other_pipeline(trained: dict[str, Task], installed: Installed) -> None:
    arguments = {"name": "promotion-uptake", "store": "s3://cd4ml"}
    (verified,) = installed.run("verification", arguments, "verification-1").values()

    assert verified.passed, verified.log
    assert verified.artifacts["metrics"]["metadata"]["max_difference"] < 1e-5


def test_a_source_logs_in_with_what_a_secret_of_the_namespace_holds(
    installed: Installed, shared_cluster: Cluster
) -> None:
    source = {"sql": {"url": "WAREHOUSE", "table": "players"}}
    without = installation.trained(installed, "source-1", source=source)["Ingest dataset"]
    secret = ("secret", "generic", "cd4ml-sources", "--from-literal=WAREHOUSE=mysql://shop:hidden@shop/players")
    shared_cluster.kubectl("-n", installed.namespace, "create", *secret)
    within = installation.trained(installed, "source-2", source=source)["Ingest dataset"]

    assert not without.passed
    assert "WAREHOUSE is not set" in without.log
    assert "the key WAREHOUSE of the Secret cd4ml-sources" in without.log
    assert not within.passed
    assert "WAREHOUSE holds no address of a known database" in within.log
    assert "hidden" not in within.log


def _document(installed: Installed, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(installed.store.get_object("cd4ml", name).read())
    return document
