"""Trees: what TensorFlow says is what LightGBM says, whatever the trees and the rows are."""

import json
import os
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import players, predictions_of, requested

from cd4ml.contracts import model, ranking
from cd4ml.errors import TrainingError
from cd4ml.training import devices, statistics, trees
from cd4ml.training.forest import Forest
from cd4ml.training.train import train

lightgbm = trees.library()

SPEC = {"model": "trees", "trees": 40, "leaves": 8}


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """LightGBM's own models, as they are made."""
    boosters = []

    class Kept(lightgbm.Booster):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            boosters.append(self)

    monkeypatch.setattr(lightgbm, "Booster", Kept)
    return boosters


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four numbers, one of them with missing ones and one of few values, and a category of 100 values."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 5)).astype(np.float32)
    features[random.random(rows) < 0.2, 0] = np.nan
    features[:, 2] = random.integers(-2, 3, rows)
    features[:, 3] = random.integers(0, 100, rows)
    category = features[:, 3].astype(int)
    score = np.nan_to_num(features[:, 0], nan=1.0) * features[:, 1] + np.sin(category * category) + features[:, 2]
    return features, (random.random(rows) < 1 / (1 + np.exp(-score))).astype(np.float32)


@pytest.mark.parametrize(("leaves", "rounds"), [(2, 30), (31, 30), (32, 10), (33, 10), (64, 300)])
def test_tensors_give_the_sum_that_lightgbm_gives(leaves, rounds):
    features, labels = data(5000, seed=1)
    settings = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(features, labels, categorical_feature=[3]), rounds)
    others = np.concatenate([features, data(5000, seed=2)[0], np.full((1, 5), np.nan), np.zeros((1, 5))])
    others[:, 3] = np.nan_to_num(others[:, 3])

    forest = Forest(booster.dump_model()["tree_info"], categories={3: 100})

    found = forest(tf.constant(others, tf.float32)).numpy()
    np.testing.assert_allclose(found, booster.predict(others, raw_score=True), rtol=0, atol=1e-12)


def test_a_number_at_a_threshold_goes_where_lightgbm_sends_it():
    features, labels = data(2000, seed=3)
    settings = {"objective": "binary", "min_data_in_leaf": 5, "verbosity": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(features[:, :2], labels), 20)
    nodes = json.dumps(booster.dump_model())
    thresholds = [float(one.split(",")[0]) for one in nodes.split('"threshold": ')[1:]]
    near = np.float32(thresholds)
    values = np.concatenate([near, np.nextafter(near, np.float32(-9)), np.nextafter(near, np.float32(9))])
    rows = np.stack([values, np.roll(values, 1)], axis=1)

    found = Forest(booster.dump_model()["tree_info"], categories={})(tf.constant(rows)).numpy()

    np.testing.assert_allclose(found, booster.predict(rows, raw_score=True), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_split_by_what_is_missing_alone_is_that_of_lightgbm():
    features = np.array([[number, np.nan] for number in range(500)], np.float32).reshape(-1, 1)
    labels = np.isnan(features[:, 0]).astype(np.float32)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(features, labels), 5)
    rows = np.float32([[np.nan], [1.0], [-3e38], [3e38], [0.0]])

    found = Forest(booster.dump_model()["tree_info"], categories={})(tf.constant(rows)).numpy()

    np.testing.assert_allclose(found, booster.predict(rows, raw_score=True), rtol=0, atol=1e-12)


def test_a_model_says_what_the_trees_of_its_training_say(inputs, tmp_path, grown):
    found = train(requested(inputs, spec=SPEC), folder=tmp_path / "model")
    contract = model.read_contract(tmp_path / "model")
    encoder = trees.encoder(contract, statistics.read(inputs.statistics_folder))
    table = players(3000, seed=3)
    raw = model.features(table, contract).values()
    encoded = encoder([tf.constant(values) for values in raw]).numpy()

    expected = grown[0].predict(encoded, num_iteration=found.best.epoch)

    np.testing.assert_allclose(predictions_of(tmp_path / "model", table), expected, rtol=0, atol=1e-6)


def test_as_many_trees_are_kept_as_had_the_best_score(inputs, tmp_path, capsys):
    spec = SPEC | {"trees": 1000, "learning_rate": 0.5, "patience": 20}
    found = train(requested(inputs, spec=spec), folder=tmp_path / "model")

    assert found.epochs < 1000
    assert found.epochs == found.best.epoch + 20
    assert found.metadata["ended"] == "as auc on eval got no better for 20 trees"
    evaluated = players(1000, seed=2)
    auc = ranking.auc(evaluated["took"].to_numpy(), predictions_of(tmp_path / "model", evaluated))
    assert auc == pytest.approx(found.best.eval_score, abs=1e-6)
    assert str(found.best) in capsys.readouterr().out


def test_a_cap_that_ended_trees_that_still_got_better_is_told(inputs, tmp_path, capsys):
    found = train(requested(inputs, spec=SPEC | {"learning_rate": 0.01}), folder=tmp_path / "model")

    assert found.metadata["ended"] == "by its cap of 40 trees, with auc on eval still rising; raise trees"
    assert f"ended {found.metadata['ended']}\n" in capsys.readouterr().out


@pytest.mark.parametrize("trees", [7, 10, 14])
def test_where_no_split_is_left_no_epoch_comes_twice(prepare, tmp_path, monkeypatch, trees):
    update = lightgbm.Booster.update
    monkeypatch.setattr(lightgbm.Booster, "update", lambda self: self.num_trees() == trees or update(self))
    data = players(1000, seed=1)
    train(requested(prepare(data, data), spec=SPEC), folder=tmp_path / "model")

    epochs = [one["epoch"] for one in json.loads((tmp_path / "model" / "history.json").read_text())]
    assert epochs == sorted({min(10, trees), trees})


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (MemoryError(), "^model 'trees': out of memory, for trees have all rows in it; give the task more"),
        (lightgbm.basic.LightGBMError("bad_alloc"), r"^model 'trees': LightGBM fails \(bad_alloc\); change"),
    ],
)
def test_what_lightgbm_fails_of_is_told(inputs, tmp_path, monkeypatch, failure, told):
    def fail(_: Any) -> bool:
        raise failure

    monkeypatch.setattr(lightgbm.Booster, "update", fail)

    with pytest.raises(TrainingError, match=told):
        train(requested(inputs, spec=SPEC), folder=tmp_path / "model")


@pytest.mark.parametrize(("limit", "most"), [("150000 100000", 2), ("1000 100000", 1), ("max 100000", 10**6)])
def test_trees_grow_on_as_many_cores_as_the_container_may_use(tmp_path, limit, most):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")

    assert devices.cores(tmp_path / "cpu.max") == min(most, len(os.sched_getaffinity(0)))
    assert devices.cores(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_the_scores_of_reweighted_trees_are_those_of_rows_that_count_the_same(inputs, tmp_path):
    spec = SPEC | {"reweight": ["region"]}
    found = train(requested(inputs, spec=spec), folder=tmp_path / "model")

    table = players(4000, seed=1)
    auc = ranking.auc(table["took"].to_numpy(), predictions_of(tmp_path / "model", table))
    assert auc == pytest.approx(found.best.score, abs=1e-6)


def test_rows_too_few_for_a_split_get_the_rate_of_the_label(prepare, tmp_path):
    few = players(25, seed=1)
    found = train(requested(prepare(few, few), spec=SPEC), folder=tmp_path / "model")

    assert found.metadata["ended"] == "as no split is left that gains anything; min_rows is 20"
    np.testing.assert_allclose(predictions_of(tmp_path / "model", few), few["took"].to_numpy().mean(), atol=1e-6)


def test_a_machine_without_openmp_is_told_what_to_install(inputs, tmp_path, monkeypatch):
    class Missing:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "lightgbm":
                raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "lightgbm")
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])

    with pytest.raises(TrainingError, match=r"LightGBM cannot be loaded \(libgomp.*apt-get install libgomp1"):
        train(requested(inputs, spec=SPEC), folder=tmp_path / "model")
    assert not (tmp_path / "model").exists()
