"""The compiled pipelines and the READMEs are those that the code makes."""

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.dsl.types.type_utils import InconsistentTypeException

from cd4ml import images
from cd4ml.cluster import accounts
from cd4ml.components import artifacts
from cd4ml.components.deployment.deploy_model.component import deploy_model
from cd4ml.components.validation.check_dataset.component import check_dataset
from cd4ml.contracts import signature

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "pipelines" / "compiled"
CD4ML = Path(sys.executable).with_name("cd4ml")
PLAIN = ROOT / "scripts" / "with-plain-images"
PIPELINES = sorted(file.parent.name for file in ROOT.glob("pipelines/*/pipeline.py"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    subprocess.run([PLAIN, CD4ML, "compile", "--output", folder], check=True)
    return folder


@pytest.mark.parametrize("name", PIPELINES)
def test_the_golden_is_what_the_pipeline_compiles_to(compiled: Path, name: str) -> None:
    golden, now = COMPILED / f"{name}.yaml", compiled / f"{name}.yaml"

    difference = difflib.unified_diff(
        golden.read_text().splitlines(), now.read_text().splitlines(), str(golden), "compiled now", lineterm=""
    )

    assert "\n".join(difference) == "", "review the difference, then run `make pipelines`"


def tasks(name: str, folder: Path = COMPILED) -> dict[str, dict[str, Any]]:
    spec = next(yaml.safe_load_all((folder / f"{name}.yaml").read_text()))
    return dict(within(spec, spec["root"]["dag"]))


def within(spec: dict[str, Any], graph: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks of a graph and of the loops in it, by their names."""
    for task in graph["tasks"].values():
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            yield from within(spec, component["dag"])
        else:
            container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
            yield task["taskInfo"]["name"], {**task, "container": container}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_names_one_of_our_images_and_its_resources(name: str) -> None:
    for display_name, task in tasks(name).items():
        image = task["container"]["image"]
        assert image.startswith("cd4ml/"), f"{display_name} runs {image}"
        assert {"resourceCpuLimit", "resourceMemoryLimit"} <= task["container"]["resources"].keys(), display_name
        assert "pip install" not in " ".join(task["container"]["command"]), display_name


RENDER = """
import json
from cd4ml.deployment.targets import seldon
manifest = seldon.deployment(
    "uptake",
    namespace="team",
    model_uri="s3://cd4ml/models/uptake/3/model",
    version=3,
    digest="sha256:abc",
    release="run-1",
    number=1,
).manifest()
print(json.dumps(manifest["spec"]["predictors"][0]["componentSpecs"][0]["spec"]))
"""
REGISTRY = {"CD4ML_IMAGE_PREFIX": "registry.example/team"}
DIGESTS = {
    images.variable(name): f"registry.example/team/{name}@sha256:{number:064x}"
    for number, name in enumerate(("tools", "validate", "train", "evaluate", "serve"))
}


@pytest.mark.parametrize("given", [{}, REGISTRY, DIGESTS], ids=["as built", "in a registry", "by digest"])
def test_what_is_compiled_names_the_images_of_its_tasks_and_of_the_models_that_it_deploys(
    tmp_path: Path, given: dict[str, str]
) -> None:
    subprocess.run([CD4ML, "compile", "--output", tmp_path], check=True, env=os.environ | given)
    named = {"tools": images.TOOLS, "serve": images.SERVE, "train": images.TRAIN}
    if given == REGISTRY:
        named = {name: image.replace("cd4ml/", "registry.example/team/") for name, image in named.items()}
    elif given == DIGESTS:
        named = {name: DIGESTS[images.variable(name)] for name in named}

    compiled = tasks("training", tmp_path)
    assert compiled["Ingest dataset"]["container"]["image"] == named["tools"]
    assert compiled["Train candidate"]["container"]["image"] == named["train"]

    # In the task's pod nothing is set but what the compiled pipeline says.
    variables = {one["name"]: one["value"] for one in compiled["Deploy model"]["container"]["env"]}
    rendered = subprocess.run([sys.executable, "-c", RENDER], env=variables, check=True, capture_output=True, text=True)
    pod = json.loads(rendered.stdout)
    assert [one["image"] for one in pod["initContainers"]] == [named["tools"]]
    assert [one["image"] for one in pod["containers"]] == [named["serve"]]


def test_what_reads_the_world_outside_or_the_clock_is_never_cached() -> None:
    uncached = {name for name, task in tasks("training").items() if not task["cachingOptions"].get("enableCache")}

    looking = {"Check arguments", "Ingest dataset", "Register candidate", "Publish model", "Deploy model"}
    assert uncached == looking | {"Check dataset"}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_and_every_run_has_an_end(name: str) -> None:
    spec, platforms = yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text())
    kubernetes = platforms["platforms"]["kubernetes"]
    settings = kubernetes["deploymentSpec"]["executors"]
    tasks = {label: int(settings[label]["activeDeadlineSeconds"]) for label in spec["deploymentSpec"]["executors"]}

    assert 3600 <= min(tasks.values()) <= max(tasks.values()) < kubernetes["pipelineConfig"]["activeDeadlineSeconds"]


@pytest.mark.parametrize("name", PIPELINES)
def test_a_task_is_tried_again_however_long_it_has_run_before(name: str) -> None:
    spec, platforms = yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text())
    longest = platforms["platforms"]["kubernetes"]["pipelineConfig"]["activeDeadlineSeconds"]
    parts = [spec["root"], *spec["components"].values()]
    retried = [
        int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
        for part in parts
        for task in part.get("dag", {}).get("tasks", {}).values()
        if "retryPolicy" in task
    ]

    assert all(window > longest for window in retried)


def test_a_task_finds_the_files_of_those_secrets_that_it_needs_and_of_no_other() -> None:
    _, platforms = yaml.safe_load_all((COMPILED / "training.yaml").read_text())
    settings = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    mounted = {
        label: [(one["secretName"], one["mountPath"]) for one in its.get("secretAsVolume", [])]
        for label, its in settings.items()
    }

    assert {label: found for label, found in mounted.items() if found} == {
        "exec-ingest-dataset": [(accounts.SOURCES_SECRET, accounts.SOURCES_MOUNTED)],
        "exec-publish-model": [(accounts.SIGNING_SECRET, str(Path(signature.KEY_MOUNTED).parent))],
        "exec-deploy-model": [(accounts.TRUSTED_SECRET, signature.TRUSTED_MOUNTED)],
    }


def test_monitoring_asks_the_store_as_its_own_user_and_the_gate_alone_has_the_key_of_webhooks() -> None:
    _, platforms = yaml.safe_load_all((COMPILED / "monitoring.yaml").read_text())
    settings = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    secrets = {label: {one["secretName"] for one in its["secretAsEnv"]} for label, its in settings.items()}

    store = {accounts.MONITORING_SECRET}
    assert secrets == {
        "exec-collect-window": store,
        "exec-compare-window": store,
        "exec-measure-window": store,
        "exec-check-window": store | {accounts.ALERTS_SECRET},
    }


def test_the_readmes_are_up_to_date() -> None:
    checked = subprocess.run(
        [PLAIN, sys.executable, ROOT / "scripts" / "write_readmes.py", "--check"], capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_verdict_about_data_cannot_be_wired_where_one_about_a_model_belongs() -> None:
    def wired(
        dataset: dsl.Input[artifacts.DatasetVersion],
        published: dsl.Input[artifacts.PublishedVersion],
        findings: dsl.Input[artifacts.Findings],
        statistics: dsl.Input[artifacts.Statistics],
        schema: dsl.Input[artifacts.Schema],
        reference: dsl.Input[artifacts.Reference],
    ) -> None:
        checked = check_dataset(
            dataset=dataset,
            findings=findings,
            statistics=statistics,
            schema=schema,
            reference=reference,
            problem="binary",
            positive="yes",
            limits={},
            store="store",
        )
        verdict = checked.outputs["verdict"]
        given = {"store": "store", "target": "machine", "strategy": "replace", "port": 9500, "run": "run"}
        deploy_model(published=published, verdict=verdict, **given)

    with pytest.raises(InconsistentTypeException, match=r"Cd4mlDatasetVerdict.* incompatible .*Cd4mlModelVerdict"):
        dsl.pipeline(wired)
