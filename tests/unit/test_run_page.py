"""The page of a run says of publishing and deploying what is in the registry, whatever its tasks came to say."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.progress import Progress
from cd4ml.contracts.task_tree import Group, State, Task
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.reports import run as reports

VERSION = {"name": "uptake", "version": 3, "digest": "sha256:abc", "uri": "/store/models/uptake/3", "run": "run-1"}
DEPLOYMENT = {"name": "uptake", "number": 1, "version": 3}
KILLED = reports.Run(
    run_id="run-1",
    pipeline="training",
    status="failed",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    seconds=1,
    arguments={"name": "uptake"},
    tree=Group("", "training"),
    failure="Publish model: ended by signal 9: out of memory?",
    serving=False,
    registered=None,
)


@pytest.mark.parametrize(
    ("registered", "said"),
    [
        (reports.Registered(None, None), "The run failed: nothing was published or deployed<"),
        (reports.Registered(VERSION, None), "The run failed: version 3 was published, and nothing was deployed<"),
        (reports.Registered(VERSION, DEPLOYMENT), "The run failed after version 3 was deployed<"),
        (None, "The run failed<"),
    ],
)
def test_the_page_of_a_killed_run_says_what_is_in_the_registry(
    tmp_path: Path, registered: reports.Registered | None, said: str
) -> None:
    task = Task(
        "publish-model", "Publish model", "publish_model", "cd4ml/tools:1", tmp_path / "log", tmp_path, "failed"
    )
    reports.write(dataclasses.replace(KILLED, tree=Group("", "training", [task]), registered=registered), tmp_path)

    assert said in (tmp_path / "index.html").read_text()
    published = json.loads((tmp_path / "summary.json").read_text())["published"]
    assert (published or {}).get("version") == (registered and registered.published and 3)


def test_the_page_of_a_run_says_how_far_a_training_was_that_did_not_come_to_its_end(tmp_path: Path) -> None:
    at = "2026-01-01T00:00:00+00:00"
    killed = Progress("train-model-2", "<b>own</b>", at, at, epoch=3, epochs=10, step=128, steps=391)
    ended = dataclasses.replace(killed, task="train-model", state="ended")

    reports.write(dataclasses.replace(KILLED, trainings=[ended]), tmp_path)
    without = (tmp_path / "index.html").read_text()
    reports.write(dataclasses.replace(KILLED, trainings=[ended, killed]), tmp_path)
    page = (tmp_path / "index.html").read_text()

    assert "How far training was" not in without
    assert "<th>train-model-2</th>" in page
    assert "<th>train-model</th>" not in page
    assert "<td>epoch 3 of at most 10, step 128 of 391</td>" in page
    assert "<td>killed, for it did not say that it ended</td>" in page
    assert "<b>own</b>" not in page


def test_a_loop_without_an_item_is_no_row_of_the_page(tmp_path: Path) -> None:
    def loop(state: State) -> Group:
        return Group("for-loop-1", "sweep", iteration=lambda index: Group(f"for-loop-1.{index}", ""), state=state)

    def page_with(one: Group) -> str:
        reports.write(dataclasses.replace(KILLED, tree=Group("", "training", [one])), tmp_path)
        return (tmp_path / "index.html").read_text()

    with_items = loop("passed")
    with_items.iterations(2)
    assert "sweep" not in page_with(loop("passed"))
    assert all("sweep" in page_with(one) for one in (loop("failed"), loop("skipped"), with_items))


def test_the_page_and_the_summary_say_which_limits_were_skipped_and_what_is_to_be_known(tmp_path: Path) -> None:
    checks = (
        Check("auc on overall", "at least 0.7", 0.8, Outcome.PASSED, "auc on overall is 0.8"),
        Check("change of auc", "at least 0", None, Outcome.SKIPPED, "first model: no champion"),
    )
    Verdict("check_model", {}, checks, ("the waiver for leak is used",)).write(tmp_path / "verdict")
    task = Task("check-model", "Check model", "check_model", "cd4ml/tools:1", tmp_path / "log", tmp_path, "passed")

    reports.write(dataclasses.replace(KILLED, tree=Group("", "training", [task])), tmp_path)

    (gate,) = json.loads((tmp_path / "summary.json").read_text())["gates"]
    assert gate == {"name": "check_model", "passed": True, "reason": "1 of 1 limits kept, 1 skipped, 1 warning"}
    page = (tmp_path / "index.html").read_text()
    assert '<span class="badge neutral">skipped</span></td><td>first model: no champion</td>' in page
    assert '<span class="badge passed">passed</span></td><td>auc on overall is 0.8</td>' in page
    assert '<p class="note">The waiver for leak is used.</p>' in page


def test_the_page_and_the_summary_show_groups_and_from_which_run_a_part_took_what_it_read(tmp_path: Path) -> None:
    task = Task("for-loop-1.0.tell", "Tell", "tell", "cd4ml/tools:1", tmp_path / "log", tmp_path, "passed", started=1.0)
    loop = Group("for-loop-1", "for-loop-1", [Group("for-loop-1.0", "for-loop-1.0", [task], state="passed")])
    chosen = Group("condition-2", "condition-2", state="skipped", headline="not taken: kind == 'a'")
    tree = Group("", "training", [loop, chosen])

    reports.write(dataclasses.replace(KILLED, tree=tree, taken_from="run-0"), tmp_path)

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [one["name"] for one in summary["tasks"]] == ["for-loop-1.0.tell"]
    assert summary["taken_from"] == "run-0"
    page = (tmp_path / "index.html").read_text()
    assert '<td style="padding-left: 36px">Tell</td>' in page
    assert "with what run <code>run-0</code> gave before it" in page
    assert "<td>not taken: kind == &#39;a&#39;</td>" in page


def test_the_page_says_how_the_data_was_read(tmp_path: Path) -> None:
    said = ("read ';' as the delimiter, 12 columns", "'<b>' is missing in 'age'")
    DatasetVersion("players", "/x", version=3, rows=200, digest="rows:d", said=said).write(tmp_path / "dataset")
    task = Task("ingest", "Ingest dataset", "ingest_dataset", "cd4ml/tools:1", tmp_path / "log", tmp_path, "passed")

    reports.write(dataclasses.replace(KILLED, tree=Group("", "training", [task])), tmp_path)

    page = (tmp_path / "index.html").read_text()
    assert "<li>read &#39;;&#39; as the delimiter, 12 columns</li>" in page
    assert "&#39;&lt;b&gt;&#39; is missing" in page
