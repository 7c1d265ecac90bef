import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kfp_server import KfpServer, serving

from cd4ml import cli
from cd4ml.kubeflow import runs


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own KFP, cluster or store is asked; nothing is waited for long."""
    for name in list(os.environ):
        if name.startswith(("KF_PIPELINES_", "KUBE", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setattr(runs, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(cli.application.console, "_width", 200)


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with serving(KfpServer()) as server:
        yield server


@pytest.fixture
def cd4ml(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as a user does."""

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cd4ml", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def verification(tmp_path: Path) -> Path:
    file = tmp_path / "nightly.yaml"
    file.write_text("pipeline: verification\narguments: {name: uptake, store: s3://cd4ml}\n")
    return file
