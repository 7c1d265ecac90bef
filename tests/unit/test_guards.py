"""The guards of the house see newcomers: each is broken on purpose in a copy of the tree."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEV = ROOT / ".venvs" / "dev" / "bin"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name in ("src", "components", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(house: Path) -> str:
    command = [DEV / "lint-imports", "--no-cache"]
    return subprocess.run(command, cwd=house, env={"PYTHONPATH": "src"}, capture_output=True, text=True).stdout


def ruff(house: Path) -> str:
    return subprocess.run([DEV / "ruff", "check", "--no-cache", "."], cwd=house, capture_output=True, text=True).stdout


def mypy(house: Path, module: str) -> str:
    settings = ["--python-executable", ROOT / ".venvs/tools/bin/python", "--cache-dir", ROOT / ".mypy_cache"]
    command = [DEV / "mypy", *settings, "--follow-imports", "silent", "--module", module]
    return subprocess.run(command, cwd=house, capture_output=True, text=True).stdout


def test_the_house_as_it_is_keeps_its_rules(house: Path) -> None:
    assert "Contracts: 3 kept, 0 broken." in lint_imports(house)


def test_a_room_that_no_layer_names_is_refused(house: Path) -> None:
    (house / "src/cd4ml/attic").mkdir()
    (house / "src/cd4ml/attic/__init__.py").touch()

    assert "cd4ml.attic" in lint_imports(house)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("contracts/verdict.py", "from cd4ml.storage import open_store"),
        ("evaluation/gate.py", "from cd4ml.training import trainers"),
        ("columnar/leaf.py", "from cd4ml.contracts import slices"),
        ("storage/folder.py", "import kfp"),
        ("registry/models.py", "import kfp_server_api"),
    ],
)
def test_an_import_from_above_is_refused(house: Path, room: str, line: str) -> None:
    file = house / "src/cd4ml" / room
    file.write_text(f"{file.read_text()}\n{line}\n")

    assert "1 broken" in lint_imports(house)


def test_swapped_arguments_in_a_face_are_refused(house: Path) -> None:
    face = house / "components/validation/check_dataset/component.py"
    right = face.read_text()
    face.write_text(right.replace("findings.path, limits", "limits, findings.path"))

    assert face.read_text() != right
    assert "has incompatible type" in mypy(house, "cd4ml.components.validation.check_dataset.component")


def test_a_function_of_more_than_three_inputs_takes_them_by_name(house: Path) -> None:
    room = house / "src/cd4ml/names.py"
    assert "too-many-positional" not in ruff(house)

    room.write_text(
        f"{room.read_text()}\n\ndef added(a: int, b: int, c: int, d: int) -> int:\n    return a + b + c + d\n"
    )

    assert "too-many-positional" in ruff(house)
