"""The Deployment of a cluster's router: what it is told, and what the manifests know it by."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cd4ml.deployment.targets import router_pods

MANIFESTS = Path(__file__).parents[2] / "manifests"
OWNER = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "metadata": {"name": "uptake-8", "uid": "1234", "namespace": "team"},
}


@pytest.fixture
def manifest() -> dict[str, Any]:
    return router_pods.manifest(
        OWNER, model="uptake", traffic="s3://cd4ml/traffic/uptake/8.json", capture="s3://cd4ml/captures/uptake"
    )


def test_it_belongs_to_the_release_and_goes_with_it(manifest: dict[str, Any]) -> None:
    assert manifest["metadata"]["name"] == "uptake-8-router"
    assert manifest["metadata"]["ownerReferences"] == [
        {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "name": "uptake-8", "uid": "1234"}
    ]


def test_it_is_told_what_to_follow_and_has_a_key_of_its_own_and_none_of_the_api(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert {one["name"]: one["value"] for one in container["env"]} == {
        "TRAFFIC_FILE": "s3://cd4ml/traffic/uptake/8.json",
        "CAPTURE_FOLDER": "s3://cd4ml/captures/uptake",
        "PORT": "8000",
        "METRICS_PORT": "6000",
    }
    assert container["envFrom"] == [
        {"secretRef": {"name": "cd4ml-router"}},
        {"secretRef": {"name": "cd4ml-capture", "optional": True}},
    ]
    assert pod["automountServiceAccountToken"] is False


def test_a_pod_that_ends_answers_while_callers_may_still_be_led_to_it(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [program, seconds] = container["lifecycle"]["preStop"]["exec"]["command"]

    assert program == "sleep"
    assert 5 <= int(seconds) < pod["terminationGracePeriodSeconds"] - 12  # answers, mirrors, and what was kept


def test_it_says_by_itself_that_it_lives_and_not_by_its_releases(manifest: dict[str, Any]) -> None:
    [container] = manifest["spec"]["template"]["spec"]["containers"]

    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [{"path": "/health/ping", "port": "http"}] * 3


def test_policies_monitors_and_budgets_know_its_pods(manifest: dict[str, Any]) -> None:
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    [(key, value)] = router_pods.COMPONENT.items()
    known = [
        f"{one['kind']} {one['metadata']['name']}"
        for file in MANIFESTS.rglob("*.yaml")
        for one in yaml.safe_load_all(file.read_text())
        if one and f"'{key}': '{value}'" in str(one.get("spec"))
    ]

    assert labels[key] == value
    assert sorted(known) == [
        "AuthorizationPolicy routers",
        "NetworkPolicy external-store-routers",
        "NetworkPolicy routers",
        "NetworkPolicy sidecars-of-routers",
        "NetworkPolicy tasks",
        "PodDisruptionBudget routers",
        "PodMonitor routers",
    ]
