"""Rules: the first that holds says the probability, in what is served too, and what does not fit the data is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import Inputs, players, predictions_of, requested

from cd4ml.contracts import model, ranking
from cd4ml.contracts.regression import REGRESSION
from cd4ml.errors import TrainingError
from cd4ml.training.job import TrainingJob
from cd4ml.training.train import Trained, train
from cd4ml.training.trainers import parse

RULES = [
    {"when": {"region": ["south"], "age": {"max": 40}}, "probability": 0.1},
    {"when": {"subscribed": True}, "probability": 0.8},
    {"when": {"age": {"min": 40, "max": 50}}, "probability": 0.5},
    {"when": {"age": {"missing": True}}, "probability": 0.4},
    {"when": {"region": {"missing": False}, "age": [60, 61]}, "probability": 0.6},
]


def run(inputs: Inputs, folder: Path, rules: list[Any], default: float = 0.3) -> Trained:
    return train(requested(inputs, spec={"model": "rules", "rules": rules, "default": default}), folder=folder)


def test_the_first_rule_that_holds_says_the_probability(inputs, tmp_path):
    run(inputs, tmp_path / "model", RULES)
    age, region, subscribed, expected = zip(
        (30, "south", True, 0.1),  # the second would hold too
        (40, "south", None, 0.1),  # at a bound
        (41, "south", None, 0.5),
        (30, "north", True, 0.8),
        (30, None, False, 0.3),  # a missing text is in no list
        (None, "south", False, 0.4),  # a missing number is within no bounds
        (60, "mars", False, 0.6),
        (60, None, False, 0.3),
        (60.5, "north", False, 0.3),
        strict=True,
    )
    table = pa.table(
        {
            "age": pa.array(age, pa.float64()),
            "region": region,
            "subscribed": subscribed,
            "spend_90d": [1.0] * len(age),
            "city": ["c1"] * len(age),
        }
    )

    np.testing.assert_allclose(predictions_of(tmp_path / "model", table), expected, rtol=0, atol=1e-6)


def test_rules_are_measured_as_every_model_is(inputs, tmp_path, capsys):
    found = run(inputs, tmp_path / "model", RULES[1:2])

    evaluated = players(1000, seed=2)
    labels, said = evaluated["took"].to_numpy(), predictions_of(tmp_path / "model", evaluated).astype(np.float64)
    assert found.best.eval_score == ranking.auc(labels, said)
    assert found.best.eval_loss == pytest.approx(-np.log(np.where(labels, said, 1 - said)).mean())
    train_rows = players(4000, seed=1)
    subscribed = train_rows.filter(train_rows["subscribed"])
    share = subscribed["took"].to_numpy().mean()
    told = f"rule 1: {len(subscribed):,} rows of train, {share:.1%} of them 'true'; said: 80.0%\n"
    assert told in capsys.readouterr().out
    assert found.metadata["ended"] == ""


def test_a_rule_that_is_sure_and_wrong_has_no_loss_that_is_a_number(inputs, tmp_path):
    spec = {"model": "rules", "rules": [{"when": {"subscribed": True}, "probability": 1}], "default": 0}
    page = tmp_path / "report.html"

    found = train(requested(inputs, spec=spec), folder=tmp_path / "model", report=page)

    assert "eval_loss" not in found.metrics
    assert "<b>–</b><span>loss on eval</span>" in page.read_text()
    assert predictions_of(tmp_path / "model", players(100, seed=3)).min() == 0.0


def test_a_rule_that_no_row_comes_to_is_told(inputs, tmp_path):
    rules = [
        RULES[0],
        {"when": {"region": "noth"}, "probability": 0.2},
        {"when": {"age": {"min": 200}}, "probability": 1},
    ]

    found = run(inputs, tmp_path / "model", rules)

    assert found.metadata["ended"] == (
        "with no row of train for rule 2 ('noth' is not among the values of 'region' there); rule 3"
    )


def test_what_the_features_cannot_be_is_told_all_at_once(inputs, tmp_path):
    when = {"regoin": "south", "region": [1, "south"], "age": "old", "city": {"min": 3}, "subscribed": 1}

    with pytest.raises(TrainingError) as caught:
        run(inputs, tmp_path / "model", [RULES[0], {"when": when, "probability": 0.2}])

    assert str(caught.value).splitlines() == [
        "model 'rules': not as the features are",
        "  - rules.1.when.regoin: is no feature; did you mean 'region'?",
        "  - rules.1.when.region: the column is a category; write texts, quoted where need be, not 1.0",
        "  - rules.1.when.age: the column is a number; write numbers, not 'old'",
        "  - rules.1.when.city: the column is a category, which has no min and max; write texts, quoted where need be",
        "  - rules.1.when.subscribed: the column is a boolean; write true or false, not 1.0",
    ]
    assert not (tmp_path / "model").exists()


def test_rules_answer_no_other_question(tmp_path):
    contract = model.Contract("spend", (), (), {}, problem=REGRESSION)
    job = TrainingJob(
        train=tmp_path, eval=tmp_path, contract=contract, statistics={}, weights=None, seed=0, workspace=tmp_path
    )

    with pytest.raises(TrainingError, match="'rules': says a probability, and the label 'spend' asks for regression; "):
        parse({"model": "rules", "rules": RULES, "default": 0.3}).fit(job)


def test_the_contract_says_the_rules_as_they_can_be_written_again(inputs, tmp_path):
    run(inputs, tmp_path / "first", RULES)
    written = (tmp_path / "first" / "contract.json").read_text()

    train(requested(inputs, spec=json.loads(written)["model"]), folder=tmp_path / "second")

    assert (tmp_path / "second" / "contract.json").read_text() == written
    table = players(1000, seed=3)
    assert predictions_of(tmp_path / "second", table).tolist() == predictions_of(tmp_path / "first", table).tolist()
