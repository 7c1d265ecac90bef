"""The component and the pipeline of docs/development.md: they pass the checks of the house, and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from development_page import shown

ROOT = Path(__file__).parents[2]
COPIED = ("src", "components", "pipelines", "scripts", "pyproject.toml")
CD4ML = ("-c", "from cd4ml.cli import main; main()")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with what the page adds to it."""
    folder = tmp_path_factory.mktemp("house")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name, **({"symlinks": True} if copy is shutil.copytree else {}))
    (folder / "tests/unit").mkdir(parents=True)
    shutil.copy(ROOT / "tests/unit/test_components.py", folder / "tests/unit")
    for path, content in (shown("A new component") | shown("A new pipeline")).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        if (folder / path).name in ("component.py", "pipeline.py"):
            (folder / path).with_name("__init__.py").touch()
    (folder / "players.csv").write_text("player,age\na,31\nb,44\nc,27\n")
    return folder


def python(house: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(house / "src"), "COLUMNS": "200"}
    return subprocess.run([sys.executable, *words], cwd=house, env=environment, capture_output=True, text=True)


def test_they_keep_the_rules_of_the_house(house: Path) -> None:
    tested = python(house, "-m", "pytest", "-q", "tests/unit/test_components.py")
    linted = subprocess.run(
        [ROOT / ".venvs/dev/bin/lint-imports", "--no-cache"], cwd=house, env={"PYTHONPATH": "src"}, capture_output=True
    )
    written = python(house, "scripts/write_readmes.py")

    assert tested.returncode == 0, tested.stdout
    assert linted.returncode == 0, linted.stdout
    assert written.returncode == 0, written.stderr
    assert "| `least` | whole number, 1 to 1000000000 | `1` |" in (house / "pipelines/ingestion/README.md").read_text()
    assert (house / "components/data/check_size/README.md").exists()
    assert (house / "pipelines/ingestion/schema.json").exists()


def test_they_run(house: Path) -> None:
    passed = python(house, *CD4ML, "run", "ingestion.yaml")
    (house / "ingestion.yaml").write_text((house / "ingestion.yaml").read_text().replace("least: 3", "least: 4"))
    refused = python(house, *CD4ML, "run", "ingestion.yaml")

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert refused.returncode == 1
    assert "players: 3 rows, and 4 are wanted" in refused.stdout + refused.stderr
