"""`cd4ml plan`, and the options that `cd4ml run` shares with it, as a user gives them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cd4ml import cli
from cd4ml.cli import asked
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.registry import deployments
from cd4ml.running import compiled, local
from cd4ml.storage import open_store


@pytest.fixture
def verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "nightly.yaml"
    file.write_text("pipeline: verification\narguments: {name: uptake, store: store}\n")
    return file


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> str:
    monkeypatch.setattr(sys, "argv", ["cd4ml", *map(str, words)])
    with pytest.raises(SystemExit):
        cli.main()
    output = capsys.readouterr()
    return " ".join((output.out + output.err).split())


def test_a_plan_says_what_runs_and_leaves_nothing(
    verification: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = said(capsys, monkeypatch, "plan", verification)

    assert planned == "task time Verify deployment runs time not known: none of the 1 that may run ran here before"
    assert list(verification.parent.iterdir()) == [verification]


def test_on_a_terminal_words_have_colours_and_numbers_have_none(verification: Path) -> None:
    cd4ml = [sys.executable, "-c", "from cd4ml.cli import main; main()", "plan"]
    source = Path(cli.__file__).parents[2]
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "PYTHONPATH": str(source)}

    planned = subprocess.run([*cd4ml, verification], env=environment, capture_output=True, text=True)
    refused = subprocess.run([*cd4ml, "gone 17.yaml"], env=environment, capture_output=True, text=True)

    assert planned.stdout.splitlines()[-1] == (
        "\x1b[2mtime    \x1b[0m not known: none of the 1 that may run ran here before"
    )
    assert refused.stderr.startswith("\x1b[1;31merror:\x1b[0m ")
    assert "17.yaml: " in refused.stderr


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--from", "a", "--only", "b"], "--from and --only: name one of them"),
        (["--run", "verification-1"], "--run: says where to take what comes before a task; name the task"),
        (["--only", "verify", "--run", "gone"], "verify: no such task; there are verify-deployment"),
        (["--only", ""], ": no such task; there are verify-deployment"),
        (["--from", "", "--run", "gone"], ": no such task; there are verify-deployment"),
        (["--from", "", "--only", "verify-deployment"], "--from and --only: name one of them"),
        (["--run", ""], "--run: says where to take what comes before a task; name the task"),
        (["--only", "verify-deployment", "--run", ""], "--run: is empty; write the name of a run, or leave it out"),
        (["--only", "verify-deployment", "--run", "x" * 300], "a name has more than 255 bytes; name another path"),
    ],
)
def test_options_that_do_not_fit_are_told(
    verification: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    command: str,
    options: list[str],
    told: str,
) -> None:
    assert told in said(capsys, monkeypatch, command, verification, *options)
    assert list(verification.parent.iterdir()) == [verification]


TRAINING = {"name": "uptake", "source": "players.csv", "dataset": "players", "key": "id", "label": "took"}
"""Of the arguments of training, those that have to be written, but for the store and the limits."""


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(local, "check_environments", lambda _: None)
    (tmp_path / "players.csv").write_text("id,took\n")
    arguments = TRAINING | {"store": "store", "model_limits": {"auc": {"min": 0.5}}}
    (tmp_path / "training.yaml").write_text(json.dumps({"pipeline": "training", "arguments": arguments}))
    return tmp_path


def ended(folder: Path, run: str, **seconds: float) -> None:
    """A run of training whose tasks took so long."""
    tasks = [{"name": name, "state": "passed", "cached": False, "seconds": took} for name, took in seconds.items()]
    (folder / "runs" / run).mkdir(parents=True)
    content = {"pipeline": "training", "started_at": "2026-01-01T00:00:00+00:00", "tasks": tasks}
    (folder / "runs" / run / "summary.json").write_text(json.dumps(content))


def test_a_plan_says_how_long_it_will_take_as_far_as_tasks_ran_before(
    training: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(training, "training-20260101-000000", **{"ingest-dataset": 2.25, "split-dataset": 1.5})

    planned = said(capsys, monkeypatch, "plan", "training.yaml")

    tasks = len(list(compiled.tree(asked.pipeline("training"), Path()).tasks))
    assert "Ingest dataset " in planned
    assert f"time 4 s, one task after another, for the {tasks} that may run; {tasks - 2} of them never ran" in planned
    names = [task.name for task in compiled.tree(asked.pipeline("training"), Path()).tasks]
    ended(training, "training-20260101-000001", **dict.fromkeys(names, 2.0))
    assert f"one task after another, for the {tasks} that may run deploys" in said(
        capsys, monkeypatch, "plan", "training.yaml"
    )


def test_a_plan_says_what_would_be_deployed_in_the_place_of_what(
    training: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = said(capsys, monkeypatch, "plan", "training.yaml")
    assert first.endswith("deploys uptake, for the first time")

    store = open_store("store")
    dataset = DatasetReference("players", 0, "sha256:d")
    version = Version("uptake", 7, "sha256:m", "2026-01-01", "run-1", "", dataset)
    begun = deployments.begin(store, version, run="run-1", target="machine", strategy="replace")
    deployments.add(store, begun, Held("http://x", "2026-01-01"))

    after = said(capsys, monkeypatch, "plan", "training.yaml")
    assert after.endswith("deploys uptake, in place of version 7 (run run-1, 2026-01-01)")


def test_a_plan_needs_the_environments_that_the_run_will(
    training: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(training)
    monkeypatch.setattr(sys, "prefix", str(training / "environments" / "tools"))

    assert "`make setup`" in said(capsys, monkeypatch, "plan", "training.yaml")
