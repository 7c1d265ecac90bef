"""A model is published only where its verdict is what the gate says of its evaluation and the limits of the run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cd4ml.contracts import model
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.evaluation import Summary
from cd4ml.contracts.findings import Findings
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.errors import Cd4mlError, GateError, RegistryError
from cd4ml.evaluation import gate, publishing
from cd4ml.evaluation.publishing import Judged
from cd4ml.registry import models
from cd4ml.storage.folder import FolderStore
from cd4ml.validation import gate as data_gate

LIMITS = {"auc": {"min": 0.7}}


@pytest.fixture
def judged(tmp_path: Path, found: Summary, written: Callable[[Summary], Path]) -> Judged:
    """A model that kept the limits."""
    folder = tmp_path / "model"
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "weights").write_text("a")
    contract = model.Contract("took", ("no", "yes"), (model.Input("age", "number"),), {"model": "dnn"})
    model.write_contract(contract, folder)
    candidate = replace(found.models["candidate"], digest=model.digest(folder))
    evaluation = written(replace(found, models={**found.models, "candidate": candidate}))
    (evaluation / "predictions.parquet").write_text("rows")
    DatasetVersion("players", "/x", version=3, rows=200, digest="sha256:d").write(tmp_path / "dataset")
    gate.check(evaluation, LIMITS).write(tmp_path / "verdict")
    (tmp_path / "statistics").mkdir()
    (tmp_path / "schema").write_text("feature {}")
    (tmp_path / "reference").write_text("rows of train")
    check = Check("rows of train", "at least 1", 200, Outcome.PASSED, "rows of train is 200")
    Verdict("check_dataset", {"dataset": "sha256:d"}, (check,)).write(tmp_path / "dataset_verdict")
    names = ("verdict", "dataset", "dataset_verdict", "statistics", "schema", "reference")
    return Judged(str(folder), str(evaluation), *(str(tmp_path / name) for name in names))


@pytest.fixture
def publish(tmp_path: Path, judged: Judged) -> Callable[..., Any]:
    def publish(limits: dict[str, Any] = LIMITS) -> models.Published:
        return publishing.publish(
            str(tmp_path / "store"), name="uptake", judged=judged, limits=limits, run="run-1", revision=""
        )

    return publish


def test_a_model_that_kept_the_limits_is_published_with_its_verdict(judged, publish, tmp_path):
    assert publish().version.version == 1
    assert FolderStore(tmp_path / "store").read("models/uptake/1/verdict.json") == Path(judged.verdict).read_text()


def test_the_verdict_of_the_gate_of_data_lets_no_model_through(judged, publish, tmp_path):
    clean = Findings("players", 3, "sha256:d", "took", "yes", 0.4, {"train": 100}, (), ())
    clean.write(tmp_path / "findings")
    data_gate.check(tmp_path / "findings", {}).write(judged.verdict)

    with pytest.raises(RegistryError, match="a verdict of check_dataset, which says nothing of a model"):
        publish()


def change(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new))


def test_a_verdict_under_other_limits_is_refused(publish):
    with pytest.raises(GateError, match="its limits differ"):
        publish({"auc": {"min": 0.79}})


def test_a_summary_that_was_changed_after_the_verdict_is_refused(judged, publish):
    change(f"{judged.evaluation}/summary.json", '"auc": 0.8,', '"auc": 0.99,')

    with pytest.raises(GateError, match="its evaluation differ"):
        publish()


@pytest.mark.parametrize("part", ["value", "outcome", "reason", "name", "limit"])
def test_a_check_that_was_changed_by_hand_is_refused(judged, publish, part):
    content = json.loads(Path(judged.verdict).read_text())
    content["checks"][0][part] = {"value": 0.9, "outcome": "failed"}.get(part, "other")
    Path(judged.verdict).write_text(json.dumps(content))

    with pytest.raises(GateError, match="its checks differ"):
        publish()


def test_a_failed_verdict_that_says_passed_is_refused(judged, publish, tmp_path):
    limits = {"auc": {"min": 0.9}}
    gate.check(judged.evaluation, limits).write(judged.verdict)
    change(judged.verdict, '"outcome": "failed"', '"outcome": "passed"')

    with pytest.raises(GateError, match="its checks differ"):
        publish(limits)
    assert not (tmp_path / "store").exists()


def test_a_model_that_was_changed_after_the_verdict_is_refused(judged, publish):
    (Path(judged.model) / "saved_model" / "weights").write_text("b")

    with pytest.raises(Cd4mlError, match="the verdict is about the model"):
        publish()
