import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.errors import ArgumentsError, DataError, EnvironmentSetupError


def schema(*words: str | Path) -> None:
    """Runs `cd4ml schema`, whose errors are raised."""
    CliRunner().invoke(app, ["schema", *map(str, words)], catch_exceptions=False, standalone_mode=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", [["training"], ["run-file", "training"]])
def test_the_schema_of_a_run_file_is_printed_by_the_name_of_its_pipeline(words: list[str]) -> None:
    printed = CliRunner().invoke(app, ["schema", *words])

    assert json.loads(printed.stdout)["title"] == "A run of the pipeline training"


def test_a_schema_that_is_there_is_not_inferred_over(here: Path) -> None:
    (here / "schema.pbtxt").write_text("feature {}")

    with pytest.raises(DataError, match=r"schema.pbtxt: is there already; `cd4ml schema review`"):
        schema("infer", "some-run")
    assert (here / "schema.pbtxt").read_text() == "feature {}"


def test_what_is_no_run_and_no_statistics_is_told(here: Path) -> None:
    with pytest.raises(DataError, match="some-run: is neither a run in runs, nor statistics"):
        schema("infer", "some-run")


@pytest.mark.parametrize("command", ["review", "accept"])
def test_a_schema_that_is_not_named_or_not_there_is_told(here: Path, command: str) -> None:
    with pytest.raises(DataError, match="name the file that your team keeps with --schema"):
        schema(command, here)
    with pytest.raises(DataError, match="kept.pbtxt: no such file; `cd4ml schema infer` writes a first one"):
        schema(command, here, "--schema", here / "kept.pbtxt")


def test_a_run_whose_validation_did_not_pass_has_nothing_to_infer_from(here: Path) -> None:
    given = {"kind": "cd4ml/Given", "schema_version": 1, "pipeline": "training", "arguments": {"key": "player"}}
    (here / "runs" / "some-run").mkdir(parents=True)
    (here / "runs" / "some-run" / "arguments.json").write_text(json.dumps(given))

    with pytest.raises(ArgumentsError, match="run some-run: has nothing of validate-dataset"):
        schema("infer", "some-run")


def test_without_the_environment_of_validation_it_is_told_how_to_make_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(here / "environments" / "tools"))

    with pytest.raises(EnvironmentSetupError, match="no environment for validate; make it with `make setup`"):
        schema("infer", here)
