"""`cd4ml pipelines upload`: one version a revision of the code."""

import subprocess
from pathlib import Path

import pytest
from conftest import Command
from kfp_server import KfpServer


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder under git, with one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "file").write_text("committed")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


def test_a_revision_is_uploaded_once(kfp: KfpServer, cd4ml: Command, checkout: Path) -> None:
    revision = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], text=True).strip()

    first = cd4ml("pipelines", "upload", "--host", kfp.host)
    second = cd4ml("pipelines", "upload", "--host", kfp.host)

    assert (first.code, second.code) == (0, 0)
    assert f"verification: version {revision} is uploaded" in first.out
    assert f"verification: version {revision} is there already" in second.out
    assert [one["display_name"] for one in kfp.pipelines] == [
        "batch_prediction",
        "deployment",
        "monitoring",
        "training",
        "verification",
    ]
    assert [one["display_name"] for one in kfp.versions] == [revision] * 5


def test_what_is_not_committed_is_named_by_what_was_compiled(kfp: KfpServer, cd4ml: Command, checkout: Path) -> None:
    (checkout / "file").write_text("changed")

    for _ in range(2):
        assert cd4ml("pipelines", "upload", "verification", "--host", kfp.host).code == 0

    (version,) = kfp.versions
    assert "-dirty-" in version["display_name"]


def test_a_pipeline_that_is_not_there_is_told(kfp: KfpServer, cd4ml: Command) -> None:
    outcome = cd4ml("pipelines", "upload", "verfication", "--host", kfp.host)

    assert outcome.code == 1
    assert "verfication: there is no such pipeline; did you mean 'verification'?" in outcome.err
    assert kfp.written == []
