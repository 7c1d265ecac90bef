"""What the pods of a submitted run ask for, as KFP's driver makes it of the pipeline and the run's parameters."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command
from kfp_server import KfpServer

EXAMPLE = Path(__file__).parents[3] / "examples/promotions/training-cluster.yaml"
PLACEHOLDER = re.compile(r"\$\.inputs\.parameters\['(.+?)'\]")
RESOURCES = ("resourceCpuLimit", "resourceCpuRequest", "resourceMemoryLimit", "resourceMemoryRequest")


def pods(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods of a run's tasks, by the tasks' names in the UI.

    As the driver of KFP 2.17 makes them (backend/src/v2/driver, `resolveInputs` and `initPodSpecPatch`): a task's
    inputs are the run's parameters, or the pipeline's defaults. The image, a resource, the type of an accelerator and
    their count are each a text as it stands, or a placeholder for one input, which the driver asks for its text: a
    number, a list, true or false has none. A resource without a text fails the task; an accelerator without one is
    left out.
    """
    spec = run["pipeline_spec"]["pipeline_spec"]
    definitions = spec["root"]["inputDefinitions"]["parameters"]
    values = {name: one.get("defaultValue") for name, one in definitions.items()} | run["runtime_config"]["parameters"]
    made = {}
    for task in spec["root"]["dag"]["tasks"].values():
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        given = task.get("inputs", {}).get("parameters", {})
        inputs = {name: values.get(one.get("componentInputParameter")) for name, one in given.items()}
        resources = container["resources"]
        pod = {name: text(resources[name], inputs) for name in RESOURCES}
        assert all(pod.values()), "the driver cannot read a quantity"
        pod["image"] = text(container["image"], inputs)
        accelerator = resources.get("accelerator")
        if accelerator:
            kind, count = (text(accelerator[name], inputs) for name in ("resourceType", "resourceCount"))
            pod |= {kind: count} if kind and count else {}
        made[task["taskInfo"]["name"]] = pod
    return made


def text(value: str, inputs: dict[str, Any]) -> str:
    placeholder = PLACEHOLDER.search(value)
    if not placeholder:
        return value
    found = inputs[placeholder[1]]
    return found if isinstance(found, str) else ""


@pytest.fixture
def submitted(kfp: KfpServer, cd4ml: Command, tmp_path: Path) -> Any:
    def submit(**arguments: Any) -> dict[str, Any]:
        content = yaml.safe_load(EXAMPLE.read_text())
        del content["arguments"]["gpus"]
        content["arguments"] |= arguments
        file = tmp_path / "training.yaml"
        file.write_text(yaml.safe_dump(content))
        outcome = cd4ml("submit", file, "--host", kfp.host, "--no-wait")
        assert outcome.code == 0, outcome.err
        return kfp.runs[-1]

    return submit


@pytest.mark.parametrize(
    ("arguments", "count"), [({"gpus": 1}, "1"), ({"gpus": 4}, "4"), ({"gpus": 0}, "0"), ({}, "1")]
)
def test_the_pods_of_trainings_ask_for_the_gpus_of_the_run_file(
    submitted: Any, arguments: dict[str, int], count: str
) -> None:
    asked = {name: pod.get("nvidia.com/gpu") for name, pod in pods(submitted(**arguments)).items()}

    assert {name for name, one in asked.items() if one is not None} == {"Train baseline", "Train candidate"}
    assert asked["Train baseline"] == asked["Train candidate"] == count


@pytest.mark.parametrize(("gpus", "said"), [("1", "'1'"), (1.5, "1.5"), (True, "true")])
def test_gpus_that_are_no_whole_number_are_told(
    kfp: KfpServer, cd4ml: Command, tmp_path: Path, gpus: Any, said: str
) -> None:
    content = yaml.safe_load(EXAMPLE.read_text())
    content["arguments"]["gpus"] = gpus
    file = tmp_path / "training.yaml"
    file.write_text(yaml.safe_dump(content))

    outcome = cd4ml("submit", file, "--host", kfp.host, "--no-wait")

    assert outcome.code == 1
    assert f"gpus: {said} is not a whole number" in outcome.err
    assert kfp.written == []
