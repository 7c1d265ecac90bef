"""An image's name says what is in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cd4ml import images
from cd4ml.version import VERSION

ROOT = Path(__file__).parents[2]


def named(**environment: str) -> str:
    """The tools image, as a process names it that has these variables alone."""
    command = [sys.executable, "-c", "from cd4ml import images; print(images.TOOLS)"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (
        "src/cd4ml/gates.py",
        "components/data/component.py",
        "images/tools/requirements.txt",
        "pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    return tmp_path


@pytest.mark.parametrize("name", ["src/cd4ml/gates.py", "images/tools/requirements.txt", "src/cd4ml/new.j2"])
def test_what_is_in_an_image_changes_its_name(checkout: Path, name: str) -> None:
    before = images.content_digest(checkout)
    (checkout / name).write_text("second")

    assert images.content_digest(checkout) != before


def test_a_file_that_moves_changes_the_name(checkout: Path) -> None:
    before = images.content_digest(checkout)
    (checkout / "src/cd4ml/gates.py").rename(checkout / "src/cd4ml/gate.py")

    assert images.content_digest(checkout) != before


@pytest.mark.parametrize(
    "name", ["docs/images.md", "components/data/README.md", "pipelines/compiled/a.yaml", "src/cd4ml/__pycache__/a.pyc"]
)
def test_what_is_in_no_image_does_not(checkout: Path, name: str) -> None:
    before = images.content_digest(checkout)
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("new")

    assert images.content_digest(checkout) == before


def test_the_name_is_that_of_the_content() -> None:
    assert named() == f"cd4ml/tools:{VERSION}-{images.content_digest(ROOT)[:12]}"


def test_a_registry_a_tag_or_a_digest_can_be_named() -> None:
    digest = f"registry.example:5000/team/tools@sha256:{1:064x}"

    assert named(CD4ML_IMAGE_PREFIX="registry.example/team", CD4ML_IMAGE_TAG="7") == "registry.example/team/tools:7"
    assert named(CD4ML_IMAGE_PREFIX="registry.example/team", CD4ML_IMAGE_TOOLS=digest) == digest
    assert images.environment(digest) == images.environment(images.TOOLS) == "tools"


def test_inside_an_image_its_own_tag_is_known(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/cd4ml", tmp_path / "lib/cd4ml", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-S", "-c", "from cd4ml import images; print(images.SERVE)"]
    environment = {"PYTHONPATH": str(tmp_path / "lib"), "CD4ML_IMAGE_TAG": "0.1.0-abc"}

    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert printed == "cd4ml/serve:0.1.0-abc\n"
    assert "ENV CD4ML_IMAGE_TAG=${VERSION}\n" in (ROOT / "images/Dockerfile").read_text()


def test_the_manifests_are_applied_with_the_image_that_was_built(tmp_path: Path) -> None:
    rendered = "kind: Job\n  image: cd4ml/tools:0.1.0\n  image: registry.example/team/tools:0.1.0\n"
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f"""#!/bin/bash
case $1 in
    version) echo '"minor": "33"' ;;
    kustomize) printf '{rendered}' ;;
    apply) cat >{tmp_path}/applied ;;
esac
"""
    )
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    subprocess.run([ROOT / "scripts/apply", "--yes", "overlay"], env=environment, check=True, capture_output=True)

    assert (tmp_path / "applied").read_text() == rendered.replace("cd4ml/tools:0.1.0", images.TOOLS)


def test_how_the_manifests_are_applied_is_told_without_a_cluster() -> None:
    helped, unknown = (
        subprocess.run([ROOT / "scripts/apply", option], capture_output=True, text=True)
        for option in ("--help", "--force")
    )

    assert (helped.returncode, helped.stderr) == (0, "")
    assert "scripts/apply [--yes] [FOLDER]" in helped.stdout
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "there is no option --force" in unknown.stderr
