"""`cd4ml plan`, and the options that `cd4ml run` shares with it, as a user gives them."""

import sys
from pathlib import Path

import pytest

from cd4ml import cli


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


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--from", "a", "--only", "b"], "--from and --only: name one of them"),
        (["--run", "verification-1"], "--run: says where to take what comes before a task; name the task"),
        (["--only", "verify-deployment"], "there is no earlier run of verification; run the whole pipeline first"),
        (["--only", "verify", "--run", "gone"], "verify: no such task; there are verify-deployment"),
        (["--only", ""], "there is no earlier run of verification; run the whole pipeline first"),
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
