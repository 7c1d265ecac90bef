"""`cd4ml models history`: the time line of a model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from evaluated import a_summary
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.deployment import Held, StepTaken, Stopped, Undone
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.errors import RegistryError
from cd4ml.registry import approvals, clock, deployments
from cd4ml.storage.folder import FolderStore

KEPT = Verdict("check_model", {}, (Check("auc", "at least 0.7", 0.8, Outcome.PASSED, "auc is 0.8"),))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Version 1 was in production, and was stopped; version 2 did not hold."""
    made = FolderStore(tmp_path / "store")
    hours = iter(range(24))
    monkeypatch.setattr(clock, "now", lambda: f"2026-11-29T{next(hours):02}:00:00+00:00")
    first, second = (publish(made, number) for number in (1, 2))
    approvals.approve(made, first, by="A", reason="it is [bold]good")
    begun = deployments.begin(made, first, run="run-1", target="machine", strategy="replace")
    deployments.add(made, begun, StepTaken("verify", "as evaluated", clock.now()))
    deployments.add(made, begun, Held("http://127.0.0.1:1", clock.now()))
    deployments.add(made, begun, Stopped(clock.now()))
    begun = deployments.begin(made, second, run="run-2", target="machine", strategy="canary")
    approvals.decide(made, "uptake", 2, what="aborted", by="B", reason="odd answers")
    deployments.add(made, begun, Undone("aborted", clock.now()))
    return made


def publish(store: FolderStore, number: int) -> Version:
    version = Version(
        name="uptake",
        version=number,
        digest=f"sha256:{number}",
        published_at=clock.now(),
        run=f"run-{number}",
        revision="",
        dataset=DatasetReference("players", number + 2, "rows:1"),
    )
    files = {"version.json": version.text, "summary.json": a_summary().text, "verdict.json": KEPT.text}
    store.add_folder(version.folder, files if number == 1 else {"version.json": version.text})
    return version


def history(store: FolderStore, name: str = "uptake") -> list[dict[str, Any]]:
    ended = CliRunner().invoke(app, ["models", "history", name, "--json", "--store", store.location])
    if ended.exception:
        raise ended.exception
    found: list[dict[str, Any]] = json.loads(ended.output)
    return found


def test_the_time_line_has_all_versions_and_what_became_of_each_the_newest_first(store: FolderStore) -> None:
    assert [(one["version"], one["what"], one["deployment"]) for one in history(store)] == [
        (2, "undone", 2),
        (2, "aborted", 2),
        (2, "begun", 2),
        (1, "stopped", 1),
        (1, "held", 1),
        (1, "begun", 1),
        (1, "approved", None),
        (2, "published", None),
        (1, "published", None),
    ]


def test_it_says_what_each_was_trained_on_and_evaluated_to_and_by_whom_it_was_approved(store: FolderStore) -> None:
    said = {(one["version"], one["what"]): one["said"] for one in history(store)}

    primary = a_summary().models["candidate"].metrics["auc"]
    assert said[1, "published"].startswith(f"by run-1, trained on players@3: auc {primary:.3f}")
    assert said[1, "published"].endswith("1 of 1 limits kept")
    assert said[2, "published"] == "by run-2, trained on players@4: no evaluation is kept"
    assert said[1, "approved"].startswith("A: it is [bold]good, until ")
    assert said[2, "aborted"] == "B: odd answers"
    assert said[2, "begun"] == "version 2 to machine by canary, for run run-2"


def test_people_read_it_as_a_table(store: FolderStore) -> None:
    shown = CliRunner().invoke(app, ["models", "history", "uptake", "--store", store.location]).output.splitlines()

    assert shown[0].split() == ["time", "(UTC)", "version", "event", "deployment"]
    assert len(shown) == 10
    assert "A: it is [bold]good" in shown[7]


def test_what_is_gone_or_cannot_be_read_is_told_and_ends_nothing(store: FolderStore) -> None:
    shutil.rmtree(store.path("models/uptake/2"))
    (store.path("models/uptake/1") / "summary.json").write_text("{}")

    said = {(one["version"], one["what"]): one["said"] for one in history(store)}

    assert (2, "published") not in said
    assert said[2, "begun"].endswith("; the version is gone from the store")
    assert "summary.json: not a cd4ml/Summary" in said[1, "published"]


def test_a_model_that_there_is_not_is_told(store: FolderStore) -> None:
    with pytest.raises(RegistryError, match="there is no model others; `cd4ml models list` has all"):
        history(store, "others")
