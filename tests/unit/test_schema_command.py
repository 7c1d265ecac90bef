import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from kfp import dsl
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.errors import ArgumentsError, DataError, EnvironmentSetupError
from cd4ml.running import asking, earlier
from cd4ml.running.cache import Cache


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
def test_a_schema_that_is_not_there_is_told(here: Path, command: str) -> None:
    with pytest.raises(DataError, match=r"schema.pbtxt: no such file; name yours with --schema"):
        schema(command, here)
    with pytest.raises(DataError, match="kept.pbtxt: no such file; .*`cd4ml schema infer` writes a first one"):
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


NEW = {"column": "[age]", "what": "new", "words": "a column of numbers", "compatible": True}
GONE = {"column": "spend", "what": "gone", "words": "it is [not] there", "compatible": False}
Finds = Callable[..., list[tuple[str, ...]]]


@pytest.fixture
def finds(here: Path, monkeypatch: pytest.MonkeyPatch) -> Finds:
    """Says what the environment of validation finds, and gives what it is asked."""
    asked: list[tuple[str, ...]] = []

    def found(*changes: dict[str, Any]) -> list[tuple[str, ...]]:
        def ask(*words: str) -> dict[str, Any]:
            asked.append(words)
            return {"schema": "feature {}\n", "changes": list(changes)}

        monkeypatch.setattr(asking, "ask", ask)
        return asked

    monkeypatch.setenv("COLUMNS", "200")
    (here / "statistics").mkdir()
    return found


def invoked(*words: str | Path) -> tuple[int, str]:
    """The exit code of `cd4ml schema`, and what it prints."""
    done: Result = CliRunner().invoke(app, ["schema", *map(str, words)], catch_exceptions=False)
    return done.exit_code, " ".join(done.output.split())


MODULE = ("validate", "cd4ml.validation.schema_changes")
WRITTEN = "schema.pbtxt; commit it, and name it as the argument curated_schema"


def test_a_first_schema_is_written_to_the_file_that_is_named(here: Path, finds: Finds) -> None:
    asked = finds()

    assert invoked("infer", "statistics") == (0, f"written {WRITTEN}")
    assert (here / "schema.pbtxt").read_text() == "feature {}\n"
    assert asked == [(*MODULE, "statistics", "", "")]
    assert invoked("infer", "statistics", "--output", "other.pbtxt")[0] == 0
    assert (here / "other.pbtxt").is_file()


def test_a_review_tells_each_change_and_fails_where_one_is_not_compatible(here: Path, finds: Finds) -> None:
    (here / "schema.pbtxt").touch()
    words = ("review", "statistics", "--schema", "schema.pbtxt")

    asked = finds(NEW, GONE)
    assert invoked(*words) == (
        1,
        "column what compatible [age] new a column of numbers yes spend gone it is [not] there no "
        "not compatible 1 of 2 changes",
    )
    assert asked == [(*MODULE, "statistics", "", "schema.pbtxt")]
    finds(NEW)
    assert invoked(*words) == (
        0,
        "column what compatible [age] new a column of numbers yes compatible 1 changes",
    )
    finds()
    assert invoked(*words) == (0, "compatible the data keeps the schema")
    assert (here / "schema.pbtxt").read_text() == ""


def test_where_none_is_named_what_was_inferred_is_reviewed(here: Path, finds: Finds) -> None:
    asked = finds()
    invoked("infer", "statistics")

    assert invoked("review", "statistics") == (0, "compatible the data keeps the schema")
    assert asked[-1] == (*MODULE, "statistics", "", "schema.pbtxt")


def test_what_changes_is_accepted_into_the_file_and_nothing_is_written_where_nothing_does(
    here: Path, finds: Finds
) -> None:
    (here / "schema.pbtxt").write_text("before")
    words = ("accept", "statistics", "--schema", "schema.pbtxt")

    finds()
    assert invoked(*words) == (0, "compatible the data keeps the schema")
    assert (here / "schema.pbtxt").read_text() == "before"
    finds(GONE)
    code, said = invoked(*words)
    assert (code, said.endswith(f"not compatible 1 of 1 changes written {WRITTEN}")) == (0, True)
    assert (here / "schema.pbtxt").read_text() == "feature {}\n"


@pytest.mark.parametrize(("ingested", "key"), [({"key": "cd4ml_row"}, "cd4ml_row"), ({}, "player")])
def test_of_a_run_the_statistics_the_key_and_the_schema_are_those_that_it_had(
    here: Path, finds: Finds, ingested: dict[str, str], key: str
) -> None:
    folder = here / "runs" / "some-run"
    folder.mkdir(parents=True)
    (folder / "statistics").touch()
    (here / "kept.pbtxt").touch()
    arguments = {"key": "player", "curated_schema": "kept.pbtxt"}
    given = {"kind": "cd4ml/Given", "schema_version": 1, "pipeline": "training", "arguments": arguments}
    (folder / "arguments.json").write_text(json.dumps(given))
    outputs = Cache(str(folder / earlier.OUTPUTS))
    outputs.put("validate-dataset", {"statistics": dsl.Artifact(uri=str(folder / "statistics"))})
    outputs.put("ingest-dataset", {"version": 3, **ingested})
    asked = finds(NEW)

    assert invoked("review", "some-run")[0] == 0

    assert asked == [(*MODULE, str(folder / "statistics"), key, "kept.pbtxt")]
