"""Alerts of Prometheus: each fires at a fault and clears, and that about tasks knows those that compute."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cd4ml.kubeflow import runs

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "manifests/components/monitoring/rules.yaml").read_text())["spec"]["groups"]
FAULTS = ROOT / "tests/unit/alert_rules.yaml"
STALLED = next(rule["expr"] for group in RULES for rule in group["rules"] if rule["alert"] == "TaskStalled")
COMPUTING = {"validate-dataset", "train-model", "train-model-2", "sweep-model", "evaluate-model", "predict-dataset"} | {
    "collect-window",
    "compare-window",
    "measure-window",
}


def cores(text: str) -> float:
    return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def asked(file: Path) -> Iterator[tuple[str, float]]:
    """The tasks of a pipeline, with the cores that each asks for where nobody says otherwise."""
    pipeline = next(yaml.safe_load_all(file.read_text()))
    defaults = pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        request = executor["container"]["resources"]["resourceCpuRequest"]
        given = re.search(r"pipelinechannel--(\w+)", request)
        yield name.removeprefix("exec-"), cores(defaults[given[1]]["defaultValue"] if given else request)


@pytest.mark.parametrize("file", sorted((ROOT / "pipelines/compiled").glob("*.yaml")), ids=lambda file: file.stem)
def test_tasks_that_compute_are_told_from_those_that_may_wait(file: Path) -> None:
    least = float(re.search(r'resource="cpu"} > ([\d.]+)', STALLED)[1])

    for name, request in asked(file):
        assert (request > least) == (name in COMPUTING), name


@pytest.mark.parametrize("template", runs._TEMPLATES)
def test_the_pods_of_tasks_are_known_by_the_names_that_kfp_gives_them(template: str) -> None:
    pods = re.search(r'pod=~"([^"]*)"', STALLED)[1]

    assert re.fullmatch(pods, f"training-abcde-{template}-1234567890")
    assert not re.fullmatch(pods, "training-abcde-system-container-driver-1234567890")
    assert not re.fullmatch(pods, "promotion-uptake-default-0-model-6d7")


def test_every_alert_is_fired_and_cleared_by_a_fault() -> None:
    wanted = {rule["alert"] for group in RULES for rule in group["rules"]}
    faults = yaml.safe_load(FAULTS.read_text())["tests"]
    tried = [one for fault in faults for one in fault["alert_rule_test"]]

    assert {one["alertname"] for one in tried if one["exp_alerts"]} == wanted
    last = {one["alertname"]: one for one in tried}
    assert [name for name, one in last.items() if one["exp_alerts"]] == []
    assert all("summary" in rule["annotations"] for group in RULES for rule in group["rules"])


def test_prometheus_fires_and_clears_them(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed here: it is in the package prometheus")
    rules = [{**group, "rules": [{**rule, "annotations": {}} for rule in group["rules"]]} for group in RULES]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": rules}))
    shutil.copy(FAULTS, tmp_path)

    done = subprocess.run([promtool, "test", "rules", tmp_path / FAULTS.name], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
