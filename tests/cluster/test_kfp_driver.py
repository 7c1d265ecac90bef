"""The stand-in for KFP's driver, held against what the real one made."""

import copy
import json
from pathlib import Path
from typing import Any

import kfp_driver
import pytest
import yaml
from kfp_driver import Given, NotPlayedError, Object
from typer.testing import CliRunner

from cd4ml.cli import app

MADE: Object = yaml.safe_load((Path(__file__).parent / "kfp-2.17.0.yaml").read_text())
TASKS: Object = MADE["tasks"]
PLACED: Object = yaml.safe_load((Path(__file__).parent / "kfp-2.17.0-placing.yaml").read_text())


def told(name: str, task: Object, component: Object) -> Object:
    """What the stand-in tells a task of the run."""
    ended = {name: Given(**one["gave"]) for name, one in TASKS.items() if "gave" in one}
    return kfp_driver.executor_input(
        task, component, values=MADE["parameters"], ended=ended, run=MADE["run"], folder=TASKS[name]["folder"]
    )


def parts(name: str) -> tuple[Object, Object, Object, Object]:
    """A task, its component, its container and its settings."""
    pipeline = MADE["pipeline"]
    task = pipeline["root"]["dag"]["tasks"][name]
    component = pipeline["components"][task["componentRef"]["name"]]
    label = component["executorLabel"]
    container = pipeline["deploymentSpec"]["executors"][label]["container"]
    return copy.deepcopy((task, component, container, MADE["settings"][label]))


def written(found: Object) -> str:
    """As JSON, in which 2 is not 2.0."""
    return json.dumps(found, sort_keys=True)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_told_what_the_real_driver_tells_it(name: str) -> None:
    task, component, *_ = parts(name)

    assert written(told(name, task, component)) == written(TASKS[name]["told"])


@pytest.mark.parametrize("name", TASKS)
def test_the_pod_of_a_task_is_what_the_real_driver_makes(name: str) -> None:
    task, component, container, settings = parts(name)

    inputs = told(name, task, component)["inputs"]["parameterValues"]
    pod = kfp_driver.pod(container, settings, inputs=inputs, values=MADE["parameters"])

    assert pod == TASKS[name]["pod"]


@pytest.mark.parametrize("run", PLACED["runs"], ids=("by default", "placed"))
def test_a_pod_is_placed_as_the_real_driver_places_it(run: Object) -> None:
    values = run["parameters"]
    inputs = {f"pipelinechannel--{name}": value for name, value in values.items() if isinstance(value, str)}

    pod = kfp_driver.pod(PLACED["container"], PLACED["settings"], inputs=inputs, values=values)

    assert written(pod) == written(run["pod"])


def test_the_real_driver_was_seen_with_every_setting_that_our_pipelines_use(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["compile", "--output", str(tmp_path)]).exit_code == 0
    used = set()
    for file in tmp_path.glob("*.yaml"):
        _, platforms = yaml.safe_load_all(file.read_text())
        for settings in platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            used |= places(settings)

    assert used
    assert used <= set().union(*(places(settings) for settings in (*MADE["settings"].values(), PLACED["settings"])))


def places(found: Any, within: str = "") -> set[str]:
    """The paths of all keys."""
    if isinstance(found, list):
        return set().union(*(places(one, within) for one in found))
    if isinstance(found, dict):
        return set().union(*({f"{within}.{key}"} | places(one, f"{within}.{key}") for key, one in found.items()))
    return set()


def test_what_is_not_played_is_refused_and_named() -> None:
    task, component, container, settings = parts("fit")
    inputs = told("fit", task, component)["inputs"]["parameterValues"]

    for changed, said in (
        ({"configMapAsEnv": []}, "configMapAsEnv"),
        ({"securityContext": {**settings["securityContext"], "seLinuxOptions": {}}}, "seLinuxOptions"),
        ({"tolerations": [{"tolerationJson": {"taskOutputParameter": {}}}]}, "taskOutputParameter"),
        ({"tolerations": [{"tolerationSeconds": 3}]}, "tolerationSeconds"),
        ({"nodeSelector": {"labels": {"pool": "a"}}}, "labels"),
        ({"secretAsVolume": [{"secretNameParameter": {"componentInputParameter": "gpus"}}]}, "componentInputParameter"),
    ):
        with pytest.raises(NotPlayedError, match=said):
            kfp_driver.pod(container, settings | changed, inputs=inputs, values=MADE["parameters"])
    with pytest.raises(NotPlayedError, match="lifecycle"):
        kfp_driver.pod(container | {"lifecycle": {}}, settings, inputs=inputs, values=MADE["parameters"])
    with pytest.raises(NotPlayedError, match="triggerPolicy"):
        told("fit", task | {"triggerPolicy": {}}, component)
    with pytest.raises(NotPlayedError, match="dag"):
        told("fit", task, component | {"dag": {}})
