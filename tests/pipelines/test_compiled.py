"""The compiled pipelines and the READMEs are those that the code makes."""

import difflib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cd4ml.cli import app

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "pipelines" / "compiled"
PIPELINES = sorted(file.parent.name for file in ROOT.glob("pipelines/*/pipeline.py"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    outcome = CliRunner().invoke(app, ["compile", "--output", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    return folder


@pytest.mark.parametrize("name", PIPELINES)
def test_the_golden_is_what_the_pipeline_compiles_to(compiled: Path, name: str) -> None:
    golden, now = COMPILED / f"{name}.yaml", compiled / f"{name}.yaml"

    difference = difflib.unified_diff(
        golden.read_text().splitlines(), now.read_text().splitlines(), str(golden), "compiled now", lineterm=""
    )

    assert "\n".join(difference) == "", "review the difference, then run `make pipelines`"


def tasks(name: str) -> dict[str, dict[str, Any]]:
    spec = next(yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text()))
    return {
        task["taskInfo"]["name"]: {
            **task,
            "container": spec["deploymentSpec"]["executors"][
                spec["components"][task["componentRef"]["name"]]["executorLabel"]
            ]["container"],
        }
        for task in spec["root"]["dag"]["tasks"].values()
    }


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_names_one_of_our_images_and_its_resources(name: str) -> None:
    for display_name, task in tasks(name).items():
        image = task["container"]["image"]
        assert image.startswith("cd4ml/"), f"{display_name} runs {image}"
        assert {"resourceCpuLimit", "resourceMemoryLimit"} <= task["container"]["resources"].keys(), display_name
        assert "pip install" not in " ".join(task["container"]["command"]), display_name


def test_what_reads_the_world_outside_is_never_cached() -> None:
    uncached = {name for name, task in tasks("training").items() if not task["cachingOptions"].get("enableCache")}

    assert uncached == {"Ingest dataset", "Find champion", "Publish model", "Deploy model"}


def test_the_readmes_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts" / "write_readmes.py", "--check"], capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
