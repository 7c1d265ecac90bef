"""The records of runs in the store: written task by task, listed, shown and set side by side."""

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from s3_server import S3Server
from typer.testing import CliRunner

from cd4ml import cli
from cd4ml.contracts.record import RunRecord
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.errors import ArgumentsError, DataError, DocumentError, GateError, RegistryError, StorageError
from cd4ml.registry import clock, notes, records
from cd4ml.registry.notes import noting
from cd4ml.reports import comparison
from cd4ml.running import begin
from cd4ml.storage import open_store

GIVEN = {
    "name": "uptake",
    "source": "players.parquet",
    "dataset": "players",
    "key": "id",
    "label": "took",
    "target": "machine",
    "gpus": "2",
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(records.PIPELINE, "training")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return str(tmp_path / "store")


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.RUN, "run-1")


def verdict(value: float) -> Verdict:
    outcome = Outcome.PASSED if value >= 0.7 else Outcome.FAILED
    return Verdict(
        "check_model", {"model": "sha256:m"}, (Check("auc", "at least 0.7", value, outcome, f"auc is {value}"),)
    )


def parts(store: str, run: str = "run-1") -> list[str]:
    return open_store(store).children(f"runs/training/{run}")


def test_what_is_known_of_a_run_grows_with_its_tasks(store: str) -> None:
    records.begin(store, name="first", arguments={"seed": 7})
    begun = records.read(open_store(store), "run-1")
    assert (begun.status, begun.name, begun.arguments) == ("running", "first", {"seed": 7})

    records.publish(store, published=3, models={"candidate": {"auc": 0.8}})
    records.end(store, status="passed", endpoint="http://here")
    ended = records.read(open_store(store), "first")

    assert (ended.status, ended.arguments, ended.published, ended.endpoint) == ("passed", {"seed": 7}, 3, "http://here")
    assert ended.models == {"candidate": {"auc": 0.8}}
    assert begun.started_at == ended.started_at <= ended.ended_at
    assert parts(store) == ["begun.json", "published.json", "summary.json"]


def test_a_task_that_is_tried_again_changes_nothing(store: str) -> None:
    records.begin(store, name="first", arguments={})
    records.begin(store, name="second", arguments={})
    records.end(store, status="failed", failure="no room")
    records.end(store, status="passed")

    assert records.read(open_store(store), "run-1").failure == "no room"
    assert records.read(open_store(store), "run-1").name == "first"


def task(store: str, error: Exception | None = None) -> None:
    """Runs the task of a component."""
    with noting(store, {}):
        if error:
            raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("players.parquet: no such file"), "players.parquet: no such file"),
        (KeyError("age"), "KeyError: 'age'"),
    ],
)
def test_a_task_that_fails_ends_the_record_whatever_its_error(store: str, error: Exception, said: str) -> None:
    records.begin(store, name="first", arguments={"seed": 7})

    with pytest.raises(type(error)):
        task(store, error)

    record = records.read(open_store(store), "run-1")
    assert (record.status, record.failure, record.arguments) == ("failed", said, {"seed": 7})
    assert record.ended_at


def test_a_task_that_passes_when_it_is_tried_again_has_not_failed_the_run(store: str) -> None:
    records.begin(store, name="first", arguments={"seed": 7})
    with pytest.raises(StorageError):
        task(store, StorageError("the store does not answer"))
    task(store)

    records.publish(store, published=3)
    published = records.read(open_store(store), "run-1")
    assert (published.status, published.failure, published.ended_at, published.published) == ("running", "", "", 3)
    records.end(store, status="passed")
    passed = records.read(open_store(store), "run-1")
    assert (passed.status, passed.failure, passed.arguments) == ("passed", "", {"seed": 7})


def test_a_task_that_fails_before_the_record_has_begun_waits_for_it(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records.time, "sleep", lambda _: records.begin(store, name="first", arguments={"seed": 7}))

    with pytest.raises(DataError):
        task(store, DataError("players.parquet: no such file"))

    record = records.read(open_store(store), "run-1")
    assert (record.status, record.arguments) == ("failed", {"seed": 7})


def test_elsewhere_than_in_a_run_nothing_is_recorded(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(records.RUN)

    records.begin(store, name="first", arguments={})
    records.end(store, status="passed")

    assert open_store(store).children("runs") == []


def test_a_gate_that_refuses_ends_the_record_in_its_own_words(store: str) -> None:
    records.begin(store, name="first", arguments={})
    assert records.judge(store, verdict(0.8)).passed
    assert parts(store) == ["begun.json"]

    with pytest.raises(GateError) as refused:
        records.judge(store, verdict(0.6), {"digest": "sha256:m"})

    record = records.read(open_store(store), "run-1")
    assert (record.status, record.failure, record.digest) == ("failed", str(refused.value), "sha256:m")
    assert [(one.gate, one.passed, one.said) for one in record.gates] == [("check_model", False, "auc is 0.6")]


def test_who_watches_a_run_ends_its_record_where_no_task_has(store: str) -> None:
    records.begin(store, name="first", arguments={})
    records.close(store, pipeline="training", run="run-1", status="stopped", failure="Ctrl-C")
    records.close(store, pipeline="training", run="run-1", status="failed", failure="later")
    records.close(store, pipeline="training", run="unknown", status="failed", failure="later")

    assert records.read(open_store(store), "run-1").failure == "Ctrl-C"
    assert parts(store, "unknown") == []


def test_a_run_of_a_part_of_a_pipeline_has_a_record_with_its_arguments(store: str) -> None:
    records.begin_part(store, pipeline="training", run="run-2", arguments={"seed": 7})
    records.close(store, pipeline="training", run="run-2", status="failed", failure="refused")

    record = records.read(open_store(store), "run-2")
    assert (record.status, record.failure, record.arguments) == ("failed", "refused", {"seed": 7})
    assert record.started_at


def test_runs_are_found_by_id_and_by_a_name_that_one_has(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("a", "b", "b"), 1):
        monkeypatch.setenv(records.RUN, f"run-{number}")
        records.begin(store, name=name, arguments={"number": number})
    opened = open_store(store)

    assert records.read(opened, "a").run_id == "run-1"
    assert records.read(opened, "run-3").arguments == {"number": 3}
    with pytest.raises(RegistryError, match="several runs are called 'b'; name one by its id: run-"):
        records.read(opened, "b")
    with pytest.raises(RegistryError, match="no record of a run 'c'; see them with `cd4ml runs list`"):
        records.read(opened, "c")


@pytest.mark.parametrize("by", ["name", "run"])
def test_runs_are_compared_by_one_listing_and_reading_each_record_once(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv(records.PIPELINE, "training")
    for number in range(20):
        monkeypatch.setenv(records.RUN, f"run-{number}")
        records.begin("s3://cd4ml", name=f"name-{number}", arguments={})
        records.end("s3://cd4ml", status="passed")
    s3.listed = s3.read = 0

    found = records.read_all(open_store("s3://cd4ml"), [f"{by}-{number}" for number in range(20)])

    assert [one.run_id for one in found] == [f"run-{number}" for number in range(20)]
    assert (s3.listed, s3.read) == (40, 20)


def test_the_newest_run_is_listed_first(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, time in enumerate(
        ("2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", "2026-01-01T00:00:00+00:00")
    ):
        monkeypatch.setenv(records.RUN, f"run-{number}")
        monkeypatch.setattr(clock, "now", lambda time=time: time)
        records.begin(store, name="any", arguments={})

    assert [one.run_id for one in records.newest(open_store(store), 3)[0]] == ["run-1", "run-0", "run-2"]
    assert [one.run_id for one in records.newest(open_store(store), 1)[0]] == ["run-1"]


def test_records_that_were_written_before_the_wanted_runs_began_are_not_read(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(records.READERS + 1):
        at = began + timedelta(hours=number)
        monkeypatch.setenv(records.RUN, f"run-{number}")
        monkeypatch.setattr(clock, "now", lambda at=at: clock.written(at))
        records.begin(store, name="any", arguments={})
        file = Path(store) / "runs" / "training" / f"run-{number}" / "begun.json"
        os.utime(file, (at.timestamp() + 1, at.timestamp() + 1))
    oldest = Path(store) / "runs" / "training" / "run-0" / "begun.json"
    oldest.write_text("not read")
    os.utime(oldest, (began.timestamp() + 1, began.timestamp() + 1))

    newest, unreadable = records.newest(open_store(store), records.READERS)

    assert [one.run_id for one in newest] == [f"run-{number}" for number in range(records.READERS, 0, -1)]
    assert not unreadable
    assert len(records.newest(open_store(store), records.READERS + 1)[1]) == 1


def test_the_first_task_records_every_argument_with_its_default(store: str) -> None:
    begin.run("first", {**GIVEN, "store": store})

    record = records.read(open_store(store), "run-1")
    assert record.arguments["gpus"] == 2  # a text to KFP
    assert record.arguments["candidate"]["learning_rate"] == 0.003
    assert record.arguments["source"] == {"file": "players.parquet"}


def test_the_first_task_gives_and_notes_the_places_of_a_sweep_and_the_dates_that_models_see(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(notes.TASK, "check-arguments")
    ranges = {"learning_rate": {"min": 0.001, "max": 0.1}, "dates": [["seen"], {"columns": ["left"], "since": "asked"}]}
    sweep = {"ranges": ranges, "trials": 9.0, "parallel": 3.0}
    models = {"baseline": {"model": "trees", "dates": ["born", "seen"]}, "candidate": {"model": "dnn"}}

    found = begin.run("first", {**GIVEN, **models, "store": store, "sweep": sweep})

    assert found == {"places": ["1", "2"], "dates": ["asked", "born", "left", "seen"]}

    opened = open_store(store)
    record = records.read(opened, "run-1")
    assert record.arguments["sweep"]["trials"] == 9
    assert notes.of(opened, record).wrote["check-arguments"].parameters == found


def test_the_first_task_tells_every_mistake_at_once_and_records_nothing(store: str) -> None:
    with pytest.raises(ArgumentsError) as refused:
        begin.run("first", {**GIVEN, "store": store, "port": 80000, "candidate": {"model": "dnm"}})

    assert "port: 80000 is out of range" in str(refused.value)
    assert "candidate" in str(refused.value)
    assert open_store(store).children("runs") == []


def test_in_a_pod_the_first_task_refuses_what_lies_on_a_machine(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    with pytest.raises(ArgumentsError) as refused:
        begin.run("first", {**GIVEN, "store": store})

    assert "source: 'players.parquet' lies on this machine" in str(refused.value)
    assert "target: 'machine' serves the model where its task runs" in str(refused.value)


def test_a_record_that_is_none_is_told_by_its_place_and_the_others_are_listed(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records.begin(store, name="first", arguments={})
    monkeypatch.setenv(records.RUN, "run-2")
    records.begin(store, name="second", arguments={})
    file = Path(store) / "runs" / "training" / "run-1" / "begun.json"
    file.write_text(json.dumps({"run_id": 1}))

    monkeypatch.setattr(sys, "argv", ["cd4ml", "runs", "list", "--store", store])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    said = capsys.readouterr()
    assert not ended.value.code
    assert "second" in said.out
    assert f"left out: {file}: not a cd4ml/Run" in said.err
    assert records.read(open_store(store), "second").run_id == "run-2"
    with pytest.raises(DocumentError, match="begun.json: not a cd4ml/Run"):
        records.read(open_store(store), "run-1")


@pytest.mark.parametrize("time", ["", "yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00"])
def test_a_run_is_shown_of_which_nobody_knows_when_it_was(time: str) -> None:
    shown = comparison.of(
        RunRecord("training", "run-1", "run-1", started_at=time, ended_at="2026-01-01T00:00:01+00:00")
    )

    assert shown.name == "run-1"


def test_what_failed_is_told_also_where_the_store_takes_no_more(store: str, caplog: pytest.LogCaptureFixture) -> None:
    records.begin(store, name="first", arguments={})
    Path(store, ".unfinished").rmdir()
    Path(store, ".unfinished").write_text("in the way of all that is written")
    wanted = SimpleNamespace(store=store, name="training")

    with pytest.raises(GateError, match="auc is 0.1"):
        records.judge(store, verdict(0.1))
    said = cli.run._close_record(wanted, "run-1", status="failed", failure="why")

    assert "that the run failed could not be recorded: store" in caplog.text
    assert said.startswith(f"This could not be recorded: store {store}: cannot write runs/training/run-1/summary.json")
    assert records.read(open_store(store), "run-1").status == "running"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["compare", "run-1", "run-1", "--html", "/"],
            "/: cannot be written (Is a directory); name another with --html",
        ),
        (["list", "--store", ""], "the path is empty; name a file or folder"),
    ],
)
def test_an_option_that_cannot_be_used_is_told(
    store: str, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    records.begin(store, name="first", arguments={})
    monkeypatch.setenv("CD4ML_STORE", store)

    ended = CliRunner().invoke(cli.app, ["runs", *words])

    assert str(ended.exception) == said
    assert isinstance(ended.exception, StorageError)
