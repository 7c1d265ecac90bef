"""What the pods of a submitted run ask for, as KFP's driver makes it of the pipeline and the run's parameters."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command
from kfp_server import KfpServer

EXAMPLE = Path(__file__).parents[3] / "examples/promotions/training-cluster.yaml"
PLACEHOLDER = re.compile(r"\$\.inputs\.parameters\['(.+?)'\]")
RESOURCES = ("resourceCpuLimit", "resourceCpuRequest", "resourceMemoryLimit", "resourceMemoryRequest")
TRAININGS = {"Train baseline", "Train candidate", "Sweep candidate"}


def pods(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods of a run's tasks, by the tasks' names in the UI.

    As the driver of KFP 2.17 makes them (backend/src/v2/driver, `resolveInputs`, `initPodSpecPatch` and
    `extendPodSpecPatch`): a task's inputs are the run's parameters, or the pipeline's defaults. The image, a resource,
    the type of an accelerator and their count are each a text as it stands, or a placeholder for one input, which the
    driver asks for its text: a number, a list, true or false has none. A resource without a text fails the task; an
    accelerator without one is left out. Tolerations and the node selector are objects, or parameters of the run.
    """
    spec = run["pipeline_spec"]["pipeline_spec"]
    executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    definitions = spec["root"]["inputDefinitions"]["parameters"]
    values = {name: one.get("defaultValue") for name, one in definitions.items()} | run["runtime_config"]["parameters"]
    made = {}
    for task, component, inputs, of_group in tasks(spec, spec["root"], values):
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        resources = container["resources"]
        pod: dict[str, Any] = {name: text(resources[name], inputs) for name in RESOURCES}
        assert all(pod.values()), "the driver cannot read a quantity"
        pod["image"] = text(container["image"], inputs)
        accelerator = resources.get("accelerator")
        if accelerator:
            kind, count = (text(accelerator[name], inputs) for name in ("resourceType", "resourceCount"))
            pod |= {kind: count} if kind and count else {}
        settings = executors[component["executorLabel"]]
        pod["tolerations"] = []
        for one in settings.get("tolerations", []):
            chosen = one.get("tolerationJson")
            pod["tolerations"] += of_group[chosen["componentInputParameter"]] if chosen else [one]
        selector = settings.get("nodeSelector")
        pod["nodeSelector"] = of_group[selector["nodeSelectorJson"]["componentInputParameter"]] if selector else {}
        pod["environment"] = {one["name"]: one["fieldPath"] for one in settings.get("fieldPathAsEnv", [])}
        pod["workers"] = inputs.get("workers")
        made[task["taskInfo"]["name"]] = pod
    return made


def tasks(
    spec: dict[str, Any], group: dict[str, Any], values: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """The tasks that have a pod, each with its component, its inputs, and those of the group that it is in."""
    for task in group["dag"]["tasks"].values():
        component = spec["components"][task["componentRef"]["name"]]
        given = task.get("inputs", {}).get("parameters", {})
        inputs = {name: values.get(one.get("componentInputParameter")) for name, one in given.items()}
        if "dag" in component:
            yield from tasks(spec, component, inputs)
        else:
            yield task, component, inputs, values


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

    assert {name for name, one in asked.items() if one is not None} == TRAININGS
    assert {asked[name] for name in TRAININGS} == {count}


def test_the_pods_of_trainings_ask_for_the_cores_and_the_memory_of_the_run_file(submitted: Any) -> None:
    for arguments, asked in (
        ({}, ("2", "1", "8G", "8G")),
        ({"cpu_request": 2, "cpu_limit": 3.5, "memory": "24Gi"}, ("3.5", "2", "24Gi", "24Gi")),
        ({"cpu_request": "500m", "cpu_limit": "1500m"}, ("1500m", "500m", "8G", "8G")),
    ):
        made = pods(submitted(**arguments))

        for name in TRAININGS:
            assert tuple(made[name][one] for one in RESOURCES) == asked
        assert made["Evaluate model"]["resourceMemoryLimit"] == "8G"


def test_the_candidate_alone_is_trained_by_the_workers_of_the_run_file_and_knows_its_pod(submitted: Any) -> None:
    made = pods(submitted(workers=3))

    assert {name: pod["workers"] for name, pod in made.items() if pod["workers"]} == {
        "Check arguments": "3",
        "Train candidate": "3",
    }
    assert [name for name, pod in made.items() if "CD4ML_POD" in pod["environment"]] == ["Train candidate"]
    assert made["Train candidate"]["environment"]["CD4ML_POD"] == "metadata.name"


def test_the_pods_of_trainings_run_on_the_nodes_of_the_run_file(submitted: Any) -> None:
    of_gpus = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    spot = {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 300}
    selector = {"example.com/accelerator": "h200"}

    somewhere = pods(submitted())
    chosen = pods(submitted(tolerations=[spot], node_selector=selector))

    for name, one in somewhere.items():
        assert one["tolerations"] == [of_gpus] * (name in TRAININGS)
        assert one["nodeSelector"] == {}
    for name, one in chosen.items():
        assert one["tolerations"] == [of_gpus, spot] * (name in TRAININGS)
        assert one["nodeSelector"] == (selector if name in TRAININGS else {})


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


def test_gpus_that_would_be_held_and_not_used_are_refused(kfp: KfpServer, cd4ml: Command, tmp_path: Path) -> None:
    content = yaml.safe_load(EXAMPLE.read_text())
    file = tmp_path / "training.yaml"
    for gpus, accelerator, told in (
        (2, "cpu", "gpus: 2 would be held and not used beside `accelerator: cpu`; write `gpus: 0`"),
        (0, "gpu", "accelerator: `gpu` means at least one; write how many as `gpus`, or leave it out"),
    ):
        content["arguments"] |= {"gpus": gpus, "accelerator": accelerator}
        file.write_text(yaml.safe_dump(content))

        outcome = cd4ml("submit", file, "--host", kfp.host, "--no-wait")

        assert outcome.code == 1
        assert told in outcome.err
    assert kfp.written == []
