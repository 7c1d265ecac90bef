"""The bill of materials of a version: CycloneDX as its own schema has it, with what the registry knows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from evaluated import GRADES, a_summary, a_summary_of_classes, a_summary_of_numbers
from test_registry import Candidate

from cd4ml import images
from cd4ml.contracts import model
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.evaluation import Summary
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.registry import bom
from cd4ml.storage.folder import FolderStore

SHA = "0123456789abcdef" * 4
CHECK = gates.Check("auc on overall", "at least 0.7", 0.8, gates.Outcome.PASSED, "auc on overall is 0.8, at least 0.7")


CONTRACT = model.Contract(
    "took",
    ("false", "true"),
    (model.Input("age", "number"), model.Input("région", "category")),
    {"model": "dnn", "units": [64], "reweight": ["gender"]},
)


def a_bill(summary: Summary | None = None, contract: model.Contract = CONTRACT, **changed: Any) -> Any:
    """The bill of a version, which its schema allows."""
    version = Version(
        name="uptake",
        version=3,
        digest=f"sha256:{SHA}",
        published_at="2026-11-29T12:00:00+00:00",
        run="training-1",
        revision="4f2a9c41b0de",
        dataset=DatasetReference("players", 7, f"sha256:{SHA}"),
        locks=images.locks(),
        arguments={"seed": 3},
    )
    text = bom.text(
        replace(version, **changed),
        contract=contract,
        verdict=gates.Verdict("check_model", {}, (CHECK,), warnings=("it is very good at one thing",)),
        summary=summary or a_summary(),
        dataset=DatasetVersion("players", "/x", version=7, rows=2000, digest=f"sha256:{SHA}", owner="growth"),
    )
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return json.loads(text)


def test_the_model_is_listed_with_its_card() -> None:
    component = a_bill()["metadata"]["component"]

    assert (component["type"], component["name"], component["version"]) == ("machine-learning-model", "uptake", "3")
    assert component["hashes"] == [{"alg": "SHA-256", "content": SHA}]
    assert component["pedigree"] == {"commits": [{"uid": "4f2a9c41b0de"}]}
    parameters = component["modelCard"]["modelParameters"]
    assert parameters["architectureFamily"] == "dnn"
    assert parameters["datasets"] == [{"ref": "dataset"}, {"ref": "test-split"}]
    assert [one["format"] for one in parameters["inputs"]] == ["age: number", "région: category"]


def test_the_bill_of_a_number_says_what_it_gives_and_where_it_errs() -> None:
    contract = model.Contract("price", (), (model.Input("age", "number"),), {"model": "dnn"}, REGRESSION)

    card = a_bill(a_summary_of_numbers(), contract)["metadata"]["component"]["modelCard"]

    assert card["modelParameters"]["task"] == "regression"
    assert card["modelParameters"]["outputs"] == [{"format": "prediction: price, a number"}]
    (assessed,) = card["considerations"]["fairnessAssessments"]
    assert assessed["harms"] == "mean_error is lowest there: -4250, and -500 in region=north"
    assert not any(word in json.dumps(card) for word in ("probabilit", "threshold", "None", "positive"))


def test_the_bill_of_several_classes_has_the_metrics_of_each() -> None:
    contract = model.Contract("grade", GRADES, (model.Input("age", "number"),), {"model": "dnn"}, MULTICLASS)

    card = a_bill(a_summary_of_classes(), contract)["metadata"]["component"]["modelCard"]

    assert card["modelParameters"]["task"] == "multiclass classification"
    outputs = "probabilities: the probabilities that grade is bronze, silver or gold"
    assert card["modelParameters"]["outputs"] == [{"format": outputs}]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    found = {one["type"]: one["value"] for one in metrics if one["slice"] == "overall (200 rows)"}
    assert (found["log_loss"], found["class_recall@gold"], found["class_recall@silver"]) == ("0.75", "0.4", "0.5")
    (assessed,) = card["considerations"]["fairnessAssessments"]
    assert assessed["harms"] == "class_selection_rate@gold is lowest there: 0.1, and 0.6 in region=north"


def test_the_metrics_have_their_slices_and_intervals() -> None:
    metrics = a_bill()["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]

    assert {
        "type": "auc",
        "value": "0.8",
        "slice": "region=south (79 rows)",
        "confidenceInterval": {"lowerBound": "0.78", "upperBound": "0.82"},
    } in metrics
    assert {one["type"] for one in metrics if one["slice"] == "overall (200 rows)"} > {"auc", "calibration"}
    assert not [one for one in metrics if one["slice"].startswith("region=is|le <b>") and one["type"] == "auc"]


def test_limits_caveats_and_fairness_are_its_considerations() -> None:
    said = a_bill()["metadata"]["component"]["modelCard"]["considerations"]

    assert said["technicalLimitations"][0] == "it is very good at one thing."
    assert said["technicalLimitations"][-1] == "limit: auc on overall is 0.8, at least 0.7"
    [one] = said["fairnessAssessments"]
    assert one["groupAtRisk"] == "region=south"
    assert one["harms"].endswith("at 0.5 is lowest there: 0.2, and 0.6 in region=north")
    assert one["mitigationStrategy"] == "rows weighted by gender"


def test_what_it_was_made_of_is_listed_with_digests() -> None:
    bill = a_bill()
    parts = {one["bom-ref"]: one for one in bill["components"]}

    assert parts["dataset"]["version"] == "7"
    assert parts["dataset"]["hashes"] == [{"alg": "SHA-256", "content": SHA}]
    assert parts["dataset"]["data"][0]["governance"] == {"owners": [{"organization": {"name": "growth"}}]}
    assert parts["environment:serve"]["hashes"][0]["content"] == images.locks()["serve"].removeprefix("sha256:")
    [tensorflow] = [one for one in parts["environment:train"]["components"] if one["name"] == "tensorflow"]
    assert tensorflow["purl"] == f"pkg:pypi/tensorflow@{tensorflow['version']}"
    assert set(bill["dependencies"][0]["dependsOn"]) == set(parts)


def test_packages_are_those_of_the_locks_that_the_run_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = images.locks() | {"train": f"sha256:{SHA}"}
    monkeypatch.setenv(images.LOCKS, json.dumps(told))

    assert set(images.packages()) == set(told) - {"train"}
    bill = a_bill(locks=told)
    [train] = [one for one in bill["components"] if one["bom-ref"] == "environment:train"]
    assert (train["hashes"][0]["content"], train["components"]) == (SHA, [])


def test_what_is_not_known_is_left_out() -> None:
    bill = a_bill(replace(a_summary(), fairness=(), slices=a_summary().slices[:1]), revision="", locks={})

    assert "pedigree" not in bill["metadata"]["component"]
    assert [one["bom-ref"] for one in bill["components"]] == ["dataset", "test-split"]


def test_the_same_version_has_the_same_bill_and_every_published_one_has_one(tmp_path: Path) -> None:
    assert a_bill() == a_bill()
    assert a_bill()["serialNumber"] != a_bill(version=4)["serialNumber"]

    Candidate(tmp_path, "a").publish(tmp_path / "store")
    text = FolderStore(tmp_path / "store").read("models/uptake/1/bom.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
