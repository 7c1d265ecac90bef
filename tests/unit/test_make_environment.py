"""`scripts/make-environment`: two makes at once make an environment once."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/make-environment"
UV = """#!/bin/bash
echo "$1" >>asked
if [ "$1" = venv ]; then sleep 0.3; mkdir .venvs/audit; fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder whose uv notes what it was asked, and takes a while."""
    uv = tmp_path / ".venvs/uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    return tmp_path


def make(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([SCRIPT, "3.11", "audit", "lock.txt"], cwd=folder, stdout=subprocess.DEVNULL)


def test_two_makes_at_once_make_an_environment_once(checkout: Path) -> None:
    (checkout / "lock.txt").write_text("pip-audit==2.9.0\n")

    makes = [make(checkout), make(checkout)]

    assert [each.wait() for each in makes] == [0, 0]
    assert (checkout / "asked").read_text().split() == ["venv", "pip"]
    assert (checkout / ".venvs/audit/ready").read_text() == "pip-audit==2.9.0\n"


def test_an_environment_is_made_again_when_its_lock_has_changed(checkout: Path) -> None:
    for version in ("2.9.0", "2.9.1"):
        (checkout / "lock.txt").write_text(f"pip-audit=={version}\n")
        assert make(checkout).wait() == 0

    assert (checkout / "asked").read_text().split() == ["venv", "pip", "venv", "pip"]
