"""`cd4ml runs`: listed, shown, set side by side."""

import io
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from kfp_server import NEVER, KfpServer, Made, Ran
from rich.console import Console
from test_kubeflow_submit import node

from cd4ml.cli import application
from cd4ml.registry import records

FIRST, SECOND = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def run(run_id: str, name: str, state: str = "SUCCEEDED", **parameters: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "experiment_id": "e1",
        "display_name": name,
        "created_at": "2026-11-21T09:00:00Z",
        "finished_at": NEVER if state == "RUNNING" else "2026-11-21T09:01:22Z",
        "state": state,
        "runtime_config": {"parameters": parameters},
    }


@pytest.fixture(autouse=True)
def two_runs(kfp: KfpServer) -> None:
    kfp.runs = [
        run(FIRST, "small", seed=1, candidate={"model": "dnn", "epochs": 2}, label="took_up"),
        run(SECOND, "large", seed=1, candidate={"model": "dnn", "epochs": 9}, label="took_up"),
    ]
    for run_id, auc in ((FIRST, 0.8421), (SECOND, 0.8555)):
        kfp.lineage[run_id] = [
            Ran("ingest-dataset", "Ingest dataset", 5, artifacts=[Made("dataset", "s3://m/d", {"rows": 200000.0})]),
            Ran("train-model-2", "Train candidate", 4, artifacts=[Made("metrics", "s3://m/lost", {"auc": 0.1})]),
            Ran(
                "train-model-2",
                "Train candidate",
                artifacts=[
                    Made("executor-logs", f"s3://m/{run_id}/logs", {}),
                    Made("model", f"s3://m/{run_id}/model", {"headline": f"auc {auc:.3f}", "store_session_info": "{}"}),
                    Made("metrics", f"s3://m/{run_id}/metrics", {"auc": auc}),
                ],
            ),
        ]


def row(text: str, name: str) -> list[str]:
    return next(line.split(name)[1].split() for line in text.splitlines() if name in line)


def test_where_no_store_is_found_it_is_told_that_kfp_is_asked(
    cd4ml: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    outcome = cd4ml("runs", "list")

    assert outcome.code == 1
    assert outcome.err.startswith("KFP is asked: no --store is named, and there is no folder `store` here\n")


def test_runs_are_listed(kfp: KfpServer, cd4ml: Command) -> None:
    kfp.runs.append(run("33333333-3333-3333-3333-333333333333", "now", state="RUNNING"))

    outcome = cd4ml("runs", "list", "--host", kfp.host)

    assert outcome.code == 0
    assert row(outcome.out, "small") == ["2026-11-21", "09:00", "82", "s"]
    assert row(outcome.out, "▶  now") == ["2026-11-21", "09:00"]


def test_a_list_fits_a_terminal_and_has_the_ids_of_runs_of_one_name(
    kfp: KfpServer, cd4ml: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application.console, "_width", 80)
    name = "training-20261121-090000"
    kfp.runs = [run(FIRST, name), run(SECOND, name), run("33333333-3333-3333-3333-333333333333", f"{name}-2")]

    lines = [line.rstrip() for line in cd4ml("runs", "list", "--host", kfp.host).out.splitlines()]

    assert [line.split() for line in lines[1:]] == [
        ["✓", name, "2026-11-21", "09:00", "82", "s"],
        [FIRST],
        ["✓", name, "2026-11-21", "09:00", "82", "s"],
        [SECOND],
        ["✓", f"{name}-2", "2026-11-21", "09:00", "82", "s"],
    ]


@pytest.mark.parametrize(
    ("asked", "shown"), [([], 20), (["--number", "3"], 3), (["-N", "450"], 450), (["-N", "999"], 502)]
)
def test_as_many_runs_are_listed_as_are_asked_for(kfp: KfpServer, cd4ml: Command, asked: list[str], shown: int) -> None:
    kfp.runs += [run(f"{number:032}", f"run-{number}") for number in range(500)]

    outcome = cd4ml("runs", "list", *asked, "--host", kfp.host)

    assert sum("2026-11-21" in line for line in outcome.out.splitlines()) == shown


def test_a_run_is_shown_by_its_name(kfp: KfpServer, cd4ml: Command) -> None:
    outcome = cd4ml("runs", "show", "small", "--host", kfp.host)

    assert outcome.code == 0
    assert f"run      small, id {FIRST}\n" in outcome.out
    assert f"look     {kfp.host}/#/runs/details/{FIRST}\n" in outcome.out
    assert row(outcome.out, "candidate.epochs") == ["2"]
    assert row(outcome.out, "Train candidate · metrics · auc") == ["0.8421"]
    assert row(outcome.out, "Train candidate · model  ") == [f"s3://m/{FIRST}/model"]
    assert "store_session_info" not in outcome.out
    assert "executor-logs" not in outcome.out
    assert "s3://m/lost" not in outcome.out


def test_a_name_that_two_runs_have_asks_for_an_id(kfp: KfpServer, cd4ml: Command) -> None:
    kfp.runs[1]["display_name"] = "small"

    outcome = cd4ml("runs", "show", "small", "--host", kfp.host)

    assert outcome.code == 1
    assert f"several runs are called 'small'; name one by its id: {FIRST}, {SECOND}" in outcome.err


@pytest.mark.parametrize("run", ["medium", "44444444-4444-4444-4444-444444444444"])
def test_a_run_that_is_not_there_is_told(kfp: KfpServer, cd4ml: Command, run: str) -> None:
    outcome = cd4ml("runs", "show", run, "--host", kfp.host)

    assert outcome.code == 1
    assert f"there is no run '{run}'; see them with `cd4ml runs list`" in outcome.err


def test_compared_runs_are_marked_where_they_differ(kfp: KfpServer, cd4ml: Command) -> None:
    outcome = cd4ml("runs", "compare", FIRST, "large", "--host", kfp.host)

    assert outcome.code == 0
    assert row(outcome.out, "≠  candidate.epochs") == ["2", "9"]
    assert row(outcome.out, "≠  Train candidate · metrics · auc") == ["0.8421", "0.8555"]
    assert row(outcome.out, "   seed") == ["1", "1"]
    assert row(outcome.out, "   Ingest dataset · dataset · rows") == ["200,000", "200,000"]


def test_a_page_of_compared_runs_needs_nothing_else(kfp: KfpServer, cd4ml: Command, tmp_path: Path) -> None:
    kfp.runs[0]["runtime_config"]["parameters"]["label"] = "<script>"

    outcome = cd4ml("runs", "compare", "small", "large", "--html", tmp_path / "runs.html", "--host", kfp.host)

    page = (tmp_path / "runs.html").read_text()
    assert (outcome.code, outcome.out) == (0, f"written  {tmp_path / 'runs.html'}\n")
    assert '<tr class="differs"><td>≠ candidate.epochs</td><td>2</td><td>9</td></tr>' in page
    assert "<tr><td>seed</td><td>1</td><td>1</td></tr>" in page
    assert "&lt;script&gt;" in page
    assert "src=" not in page
    assert "href=" not in page


def test_one_run_is_compared_with_nothing(kfp: KfpServer, cd4ml: Command) -> None:
    outcome = cd4ml("runs", "compare", "small", "--host", kfp.host)

    assert outcome.code == 1
    assert "nothing to compare it with" in outcome.err


def test_a_host_without_ml_metadata_says_so_and_shows_the_rest(
    kfp: KfpServer, cd4ml: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "http://127.0.0.1:9")

    outcome = cd4ml("runs", "compare", "small", "large", "--host", kfp.host)

    assert outcome.code == 0
    assert row(outcome.out, "≠  candidate.epochs") == ["2", "9"]
    assert "metrics and artifacts are left out: http://127.0.0.1:9: cannot be reached" in outcome.err


def test_ml_metadata_that_fails_is_told(kfp: KfpServer, cd4ml: Command) -> None:
    kfp.metadata_fails = True

    outcome = cd4ml("runs", "compare", "small", "large", "--host", kfp.host)

    assert outcome.code == 0
    assert "ML Metadata fails: grpc-status:13; see the log of the pod metadata-grpc" in outcome.err


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with the records of both runs, and of one that no KFP knows."""
    store = str(tmp_path / "store")
    monkeypatch.setenv(records.PIPELINE, "training")
    for run_id, name, auc in ((FIRST, "small", 0.9), (SECOND, "large", 0.95), ("here", "here", 0.7)):
        monkeypatch.setenv(records.RUN, run_id)
        records.begin(store, name=name, arguments={"candidate": {"epochs": 5}})
        records.publish(store, published=4, models={"candidate": {"auc": auc}})
        records.end(store, status="passed" if auc > 0.8 else "failed", failure="" if auc > 0.8 else "too weak")
    return store


def test_the_records_of_a_store_need_no_kfp(cd4ml: Command, store: str) -> None:
    assert row(cd4ml("runs", "list", "--store", store).out, "small")[-2:] == ["version", "4"]
    shown = cd4ml("runs", "show", "here", "--store", store)
    assert row(shown.out, "candidate · auc") == ["0.7"]
    assert "failed too weak" in shown.out
    compared = cd4ml("runs", "compare", "small", "here", "--store", store)
    assert row(compared.out, "≠  candidate · auc") == ["0.9", "0.7"]
    assert "no record of a run 'medium'" in cd4ml("runs", "show", "medium", "--store", store).err


def test_why_a_run_of_kfp_failed_is_what_its_record_says_or_else_kfp(
    kfp: KfpServer, cd4ml: Command, store: str
) -> None:
    kfp.runs += [run("here", "here", state="FAILED", store=store), run("there", "there", state="FAILED")]

    recorded = cd4ml("runs", "show", "here", "--host", kfp.host)
    other = cd4ml("runs", "show", "there", "--host", kfp.host)

    assert "failed too weak\n" in recorded.out
    assert "failed The run ended before all tasks had run; KFP does not say why" in other.out
    assert "failed" not in cd4ml("runs", "show", "small", "--host", kfp.host).out


def test_what_differs_has_a_colour_of_its_own(cd4ml: Command, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    coloured = Console(file=out, force_terminal=True, color_system="standard", width=200)
    monkeypatch.setattr("cd4ml.cli.application.console", coloured)

    cd4ml("runs", "compare", "small", "here", "--store", store)

    lines = out.getvalue().splitlines()
    assert any("≠" in line for line in lines)
    assert all(("≠" in line) == ("\x1b[33m" in line) for line in lines)


def test_a_run_of_kfp_is_shown_by_its_record_and_ml_metadata_is_not_asked(
    kfp: KfpServer, cd4ml: Command, store: str
) -> None:
    for one in kfp.runs:
        one["runtime_config"]["parameters"]["store"] = store
    kfp.lineage.clear()

    outcome = cd4ml("runs", "compare", "small", "large", "--host", kfp.host)

    assert outcome.code == 0
    assert row(outcome.out, "≠  candidate · auc") == ["0.9", "0.95"]
    assert "left out" not in outcome.err
    assert not [path for path in kfp.asked if "ml_metadata" in path]


def test_a_run_that_ended_without_a_word_is_shown_as_kfp_says(
    kfp: KfpServer, cd4ml: Command, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {state: f"{number}3333333-3333-3333-3333-333333333333" for number, state in enumerate(STATES)}
    for state, run_id in ids.items():
        monkeypatch.setenv(records.RUN, run_id)
        records.begin(store, name=state.lower(), arguments={})
        if state != "GONE":
            ended = run(run_id, state.lower(), state=state)
            ended["run_details"] = {"task_details": [node("train-model-2", "FAILED")]} if state == "FAILED" else {}
            kfp.runs.append(ended)

    alone = cd4ml("runs", "list", "--store", store).out
    asked = cd4ml("runs", "list", "--store", store, "--host", kfp.host).out
    shown = cd4ml("runs", "show", "failed", "--store", store, "--host", kfp.host).out
    away = cd4ml("runs", "list", "--store", store, "--host", "http://127.0.0.1:1")

    assert "on KFP" not in alone
    assert "failed on KFP: train-model-2" in asked
    assert "stopped on KFP" in asked
    marks = {line.split()[1]: line.split()[0] for line in asked.splitlines()[1:] if line.split()}
    assert marks["running"] == marks["gone"] != marks["succeeded"] == marks["small"]
    assert "failed failed on KFP: train-model-2" in shown
    assert away.code == 0
    assert "what goes on by its record may have ended: " in away.err


STATES = ("FAILED", "CANCELED", "SUCCEEDED", "RUNNING", "GONE")
