"""A label that is a number: learnt in any unit, told in its own, by every model that learns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested

from cd4ml.contracts import model
from cd4ml.errors import TrainingError
from cd4ml.training import code, trees
from cd4ml.training.train import Trained, train

SPECS = {
    "linear": {"model": "linear", "epochs": 20, "batch_size": 128},
    "dnn": {"model": "dnn", "epochs": 10, "batch_size": 128, "hidden": [16]},
    "wide_and_deep": {"model": "wide_and_deep", "epochs": 6, "batch_size": 128, "hidden": [8]},
    "trees": {"model": "trees", "trees": 60, "leaves": 8},
}
UNIT = 1000.0


def spenders(rows: int, seed: int) -> pa.Table:
    """What players spend next, in cents: mostly about their age."""
    table = players(rows, seed).drop_columns(["took"])
    age = table.column("age").fill_null(44).to_numpy().astype(np.float64)
    noise = np.random.default_rng(seed + 100).normal(size=rows)
    subscribed = table.column("subscribed").fill_null(False).to_numpy(zero_copy_only=False)
    return table.append_column("next", pa.array(50_000 + UNIT * (age - 44 + 10 * subscribed + noise)))


def run(inputs: Inputs, folder: Path, spec: dict[str, Any], **others: Any) -> Trained:
    return train(requested(inputs, spec=spec, **others), folder=folder)


@pytest.fixture(scope="module")
def inputs(prepare: Any) -> Inputs:
    return prepare(spenders(3000, seed=1), spenders(800, seed=2), label="next")


@pytest.fixture(scope="module", params=SPECS)
def trained(request: pytest.FixtureRequest, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    return run(inputs, folder, SPECS[request.param]), folder


def test_a_model_predicts_in_the_unit_of_the_label(trained):
    _, folder = trained
    unseen = spenders(1000, seed=3)
    labels = unseen.column("next").to_numpy()

    found = predictions_of(folder, unseen)

    assert (found.dtype, found.shape) == (np.dtype("float32"), (1000,))
    assert np.sqrt(np.mean((found - labels) ** 2)) < 0.4 * labels.std()


def test_the_folder_says_that_a_number_is_predicted(trained):
    result, folder = trained

    contract = model.read_contract(folder)
    assert (contract.problem.name, contract.classes, contract.output) == ("regression", (), "prediction")
    history = json.loads((folder / "history.json").read_text())
    metric = "root_mean_squared_error"
    assert {"epoch", "loss", metric, "eval_loss", f"eval_{metric}"} <= set(history[0])
    assert min(one[f"eval_{metric}"] for one in history) == result.best.eval_score


def test_the_scores_of_the_history_are_those_of_the_model(trained, inputs):
    result, folder = trained
    rows = pq.read_table(inputs.eval_split)
    labels = rows.column("next").to_numpy()

    error = np.sqrt(np.mean((predictions_of(folder, rows).astype(np.float64) - labels) ** 2))

    assert error == pytest.approx(result.best.eval_score, rel=1e-5)
    assert result.best.eval_loss == pytest.approx(
        (error / pq.read_table(inputs.train_split)["next"].to_numpy().std()) ** 2
    )
    assert result.metrics["eval_root_mean_squared_error"] == result.best.eval_score


def test_trees_give_what_lightgbm_gives(inputs, tmp_path, monkeypatch):
    lightgbm, boosters = trees.library(), []

    class Kept(lightgbm.Booster):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            boosters.append(self)

    monkeypatch.setattr(lightgbm, "Booster", Kept)
    result = run(inputs, tmp_path / "model", SPECS["trees"])
    contract = model.read_contract(tmp_path / "model")
    unseen = spenders(500, seed=4)
    labels = pq.read_table(inputs.train_split)["next"].to_numpy()

    from cd4ml.training import statistics

    encoded = trees.encoder(contract, statistics.read(inputs.statistics_folder))
    rows = encoded([tf.constant(one) for one in model.features(unseen, contract).values()]).numpy()
    own = boosters[0].predict(rows, num_iteration=result.best.epoch) * labels.std() + labels.mean()

    np.testing.assert_allclose(predictions_of(tmp_path / "model", unseen), own, rtol=1e-6)


def test_another_unit_gives_the_same_model_in_that_unit(prepare, inputs, tmp_path):
    def in_another_unit(file: Path) -> pa.Table:
        table = pq.read_table(file)
        return table.set_column(table.column_names.index("next"), "next", pa.array(table["next"].to_numpy() * 2**20))

    others = prepare(in_another_unit(inputs.train_split), in_another_unit(inputs.eval_split), label="next")
    first = run(inputs, tmp_path / "first", SPECS["linear"])
    second = run(others, tmp_path / "second", SPECS["linear"])

    assert second.best.eval_loss == pytest.approx(first.best.eval_loss, rel=1e-4)
    assert second.best.eval_score == pytest.approx(first.best.eval_score * 2**20, rel=1e-4)


def test_a_training_goes_on_from_its_checkpoint_to_the_same_model(inputs, tmp_path, monkeypatch):
    from cd4ml.training import fit

    spec = {"model": "dnn", "epochs": 3, "batch_size": 32, "hidden": [8]}
    whole = run(inputs, tmp_path / "whole", spec)
    keep = fit._Training._keep
    calls = []

    def stopped(training: Any, asked: Any) -> None:
        calls.append(None)
        keep(training, asked if len(calls) < 8 else lambda: True)

    with monkeypatch.context() as patched:
        patched.setattr(fit._Training, "_keep", stopped)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path / "ended", spec, store=str(tmp_path / "store"))
    gone_on = run(inputs, tmp_path / "gone on", spec, store=str(tmp_path / "store"))

    unseen = spenders(200, seed=5)
    assert (gone_on.best.loss, gone_on.best.eval_score) == (whole.best.loss, whole.best.eval_score)
    assert (predictions_of(tmp_path / "gone on", unseen) == predictions_of(tmp_path / "whole", unseen)).all()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": [None]}, "1 of .* rows have none; drop these rows from the source"),
        ({"train": [float("inf")]}, "1 of .* rows have none that is finite, the first inf"),
        ({"train": [float("nan")]}, "1 of .* rows have none that is finite, the first nan"),
        ({"train": [2e40]}, "train: label 'next': some of its numbers are beyond 1e\\+18; give it in a larger unit"),
        ({"eval": [-2e40]}, "eval: label 'next': some of its numbers are beyond 1e\\+18; give it in a larger unit"),
        ({"train": [2e-200, 1e-200] * 50}, "label 'next': its numbers, 1.5e-200 on average, lie too close together"),
        ({"train": [1e9, 1e9 + 1] * 50}, "label 'next': its numbers, 1e\\+09 on average, lie too close together"),
        ({"train": [7.5] * 100}, "every row is 7.5, so there is nothing to predict"),
        ({"eval": [7.5] * 50}, "eval: every row has the label 7.5, which tells no model from another"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_told(changed, told, prepare, tmp_path):
    tables = {"train": spenders(100, seed=1), "eval": spenders(50, seed=2)}
    for split, values in changed.items():
        labels = [*values, *tables[split]["next"].to_pylist()[len(values) :]]
        tables[split] = tables[split].set_column(tables[split].num_columns - 1, "next", pa.array(labels, pa.float64()))
    inputs = prepare(tables["train"], tables["eval"], label="next")

    with pytest.raises(TrainingError, match=told):
        run(inputs, tmp_path / "model", SPECS["linear"], problem="regression")

    assert not (tmp_path / "model").exists()


def test_an_eval_split_of_one_row_is_told(prepare, tmp_path):
    inputs = prepare(spenders(100, seed=1), spenders(1, seed=2), label="next")

    with pytest.raises(TrainingError, match="eval: every row has the label .*; give the split a larger share"):
        run(inputs, tmp_path / "model", SPECS["trees"])


def test_reweighting_is_of_classes_alone(inputs, tmp_path):
    with pytest.raises(TrainingError, match="reweight: evens out how often groups have a class, and the label 'next'"):
        run(inputs, tmp_path / "model", {**SPECS["linear"], "reweight": ["region"]})


OTHERWISE = """
import keras, tensorflow as tf
from keras import ops

class Eager(keras.layers.Layer):
    def call(self, x):
        return x if tf.executing_eagerly() else x / 2

def small(job):
    encoder = job.encoder()
    return keras.Model(encoder.inputs, Eager()(1e-6 * ops.sigmoid(encoder.outputs[0][:, 0])))
"""


def test_a_function_that_predicts_small_numbers_otherwise_is_told(inputs, tmp_path):
    (tmp_path / "small.py").write_text(OTHERWISE)
    spec = {"function": "small:small", "source": code.beside("small:small", tmp_path)}

    with pytest.raises(TrainingError, match="predicts otherwise once it is saved and loaded: by "):
        run(inputs, tmp_path / "model", spec)


def test_classes_that_can_be_read_in_two_ways_are_asked_for(prepare, tmp_path):
    table = spenders(200, seed=1)
    words = pa.array(np.where(table["next"].to_numpy() > 50_000, "much", "little"))
    table = table.set_column(table.num_columns - 1, "next", words)
    inputs = prepare(table, table, label="next")

    with pytest.raises(TrainingError, match="'little', 'much' do not say which one is to be predicted"):
        run(inputs, tmp_path / "model", SPECS["linear"])
    run(inputs, tmp_path / "model", SPECS["linear"], positive="little")

    assert model.read_contract(tmp_path / "model").classes == ("much", "little")
