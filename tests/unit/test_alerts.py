"""The alert about tasks that stand still knows those that compute, by what pipelines ask for and the names of KFP."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cd4ml.kubeflow import runs

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "manifests/components/monitoring/rules.yaml").read_text())["spec"]["groups"]
STALLED = next(rule["expr"] for group in RULES for rule in group["rules"] if rule["alert"] == "TaskStalled")
COMPUTING = {"validate-dataset", "train-model", "train-model-2", "sweep-model", "evaluate-model", "predict-dataset"}


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
