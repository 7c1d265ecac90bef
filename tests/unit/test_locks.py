"""The locks hold what pyproject.toml asks for, with hashes, and name no registry."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
ELSEWHERE = {
    "dev": "tests/requirements.txt",
    "seldon": "tests/seldon/requirements.txt",
    "models": "benchmarks/models/requirements.txt",
    "watching": "benchmarks/watching/requirements.txt",
    "uv": "scripts/uv.txt",
    "audit": "scripts/audit.txt",
    "mutants": "scripts/mutants.txt",
    "cuda": "images/train/cuda.txt",
}
BESIDE = {"cuda": "train", "models": "train"}
"""By group: the one whose lock it adds to."""


def lock(group: str) -> str:
    return (ROOT / ELSEWHERE.get(group, f"images/{group}/requirements.txt")).read_text()


def pinned(group: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock(group), re.MULTILINE))


@pytest.mark.parametrize("group", GROUPS)
def test_a_lock_keeps_what_its_group_asks_for(group: str) -> None:
    pins = {**pinned(BESIDE.get(group, group)), **pinned(group)}

    for requirement in map(Requirement, GROUPS[group]):
        assert requirement.name.lower() in pins, f"{requirement}: run `make lock`"
        assert requirement.specifier.contains(pins[requirement.name.lower()]), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("group", GROUPS)
def test_a_lock_has_hashes_and_no_address(group: str) -> None:
    text = lock(group)

    assert len(re.findall(r"^\S+==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)) == len(pinned(group)) > 0
    assert "://" not in text
