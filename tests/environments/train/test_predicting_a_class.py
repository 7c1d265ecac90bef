"""A label of three and more classes: learnt by every model that learns, told as a probability for each class."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.special
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract
from cd4ml.contracts.multiclass import MULTICLASS, losses
from cd4ml.errors import TrainingError
from cd4ml.training import code, objective, statistics, trees
from cd4ml.training.train import Trained, train

SPECS = {
    "linear": {"model": "linear", "epochs": 12, "batch_size": 128},
    "dnn": {"model": "dnn", "epochs": 8, "batch_size": 128, "hidden": [16]},
    "wide_and_deep": {"model": "wide_and_deep", "epochs": 5, "batch_size": 128, "hidden": [8]},
    "trees": {"model": "trees", "trees": 30, "leaves": 8},
}
CLASSES = ("box", "disc", "pass")


def buyers(rows: int, seed: int) -> pa.Table:
    """What players buy next: mostly about their age, and whether they subscribed."""
    table = players(rows, seed).drop_columns(["took"])
    age = table.column("age").fill_null(44).to_numpy().astype(np.float64)
    subscribed = table.column("subscribed").fill_null(False).to_numpy(zero_copy_only=False)
    random = np.random.default_rng(seed + 100)
    wants = np.stack([0.15 * (age - 50), 0.15 * (38 - age), 4.0 * subscribed - 1.0], axis=1)
    bought = (wants + random.gumbel(size=wants.shape)).argmax(axis=1)
    return table.append_column("bought", pa.array(np.array(CLASSES)[bought]))


def run(inputs: Inputs, folder: Path, spec: dict[str, Any], **others: Any) -> Trained:
    return train(requested(inputs, spec=spec, **{"problem": "multiclass", **others}), folder=folder)


def places(table: pa.Table) -> np.ndarray:
    return np.array([CLASSES.index(one) for one in table.column("bought").to_pylist()])


@pytest.fixture(scope="module")
def inputs(prepare: Any) -> Inputs:
    return prepare(buyers(3000, seed=1), buyers(800, seed=2), label="bought")


@pytest.fixture(scope="module", params=SPECS)
def trained(request: pytest.FixtureRequest, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    return run(inputs, folder, SPECS[request.param]), folder


def test_a_model_gives_a_probability_for_each_class(trained):
    _, folder = trained
    unseen = buyers(1000, seed=3)

    found = predictions_of(folder, unseen)

    assert (found.dtype, found.shape) == (np.dtype("float32"), (1000, 3))
    assert not model.read_contract(folder).problem.wrong(found).any()
    assert (found.argmax(axis=1) == places(unseen)).mean() > 0.75
    assert losses(places(unseen), found).mean() < 0.6


def test_the_folder_says_which_classes_there_are_in_which_order(trained):
    result, folder = trained

    contract = model.read_contract(folder)
    assert (contract.problem.name, contract.classes, contract.output) == ("multiclass", CLASSES, "probabilities")
    history = json.loads((folder / "history.json").read_text())
    assert {"epoch", "loss", "log_loss", "eval_loss", "eval_log_loss"} <= set(history[0])
    assert min(one["eval_log_loss"] for one in history) == result.best.eval_score


def test_classes_are_numbered_as_they_are_ordered_and_learnt_as_well(trained, inputs, tmp_path):
    result, _ = trained
    order, spec = ("pass", "box", "disc"), SPECS[result.name]

    ordered = run(inputs, tmp_path / "model", spec, problem="auto", classes=order)

    contract = model.read_contract(tmp_path / "model")
    assert (contract.problem.name, contract.classes) == ("ordinal", order)
    assert ordered.best.eval_score == pytest.approx(result.best.eval_score, abs=0.03)
    unseen = buyers(1000, seed=3)
    found = np.array(order)[predictions_of(tmp_path / "model", unseen).argmax(axis=1)]
    assert (found == unseen.column("bought").to_numpy(zero_copy_only=False)).mean() > 0.75


def test_training_stops_by_the_log_loss_of_the_model_that_it_keeps(trained, inputs):
    result, folder = trained
    rows = pq.read_table(inputs.eval_split)

    found = tf.keras.losses.sparse_categorical_crossentropy(places(rows), predictions_of(folder, rows)).numpy().mean()

    assert result.best.eval_score == pytest.approx(float(found), rel=1e-5)
    assert result.best.eval_loss == pytest.approx(float(found), rel=1e-5)
    assert result.metadata["headline"] == f"log_loss {result.best.eval_score:.4g}"


def test_trees_give_what_lightgbm_gives(inputs, tmp_path, monkeypatch):
    lightgbm, boosters = trees.library(), []

    class Kept(lightgbm.Booster):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            boosters.append(self)

    monkeypatch.setattr(lightgbm, "Booster", Kept)
    result = run(inputs, tmp_path / "model", SPECS["trees"])
    contract = model.read_contract(tmp_path / "model")
    unseen = buyers(500, seed=4)

    encoded = trees.encoder(contract, statistics.read(inputs.statistics_folder))
    rows = encoded([tf.constant(one) for one in model.features(unseen, contract).values()]).numpy()
    own = boosters[0].predict(rows, num_iteration=result.best.epoch)

    assert result.epochs <= 30
    np.testing.assert_allclose(predictions_of(tmp_path / "model", unseen), own, atol=1e-6)


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

    unseen = buyers(200, seed=5)
    assert (gone_on.best.loss, gone_on.best.eval_score) == (whole.best.loss, whole.best.eval_score)
    assert (predictions_of(tmp_path / "gone on", unseen) == predictions_of(tmp_path / "whole", unseen)).all()


def test_a_model_begins_with_the_weights_of_one_that_tells_the_same_classes(inputs, tmp_path):
    first = run(inputs, tmp_path / "first", SPECS["linear"])

    again = run(inputs, tmp_path / "again", {**SPECS["linear"], "epochs": 1}, start=tmp_path / "first")

    assert again.best.eval_score < first.history[0].eval_score


def test_a_model_of_other_classes_lends_no_weights(inputs, prepare, tmp_path):
    def other(table: pa.Table) -> pa.Table:
        column = pa.array([{"box": "crate"}.get(one, one) for one in table["bought"].to_pylist()])
        return table.set_column(table.column_names.index("bought"), "bought", column)

    others = prepare(*(other(pq.read_table(one)) for one in (inputs.train_split, inputs.eval_split)), label="bought")
    run(inputs, tmp_path / "first", {**SPECS["linear"], "epochs": 1})

    with pytest.raises(TrainingError, match="classes: the champion has also 'box' and lacks 'crate'"):
        run(others, tmp_path / "other", SPECS["linear"], start=tmp_path / "first")


def test_groups_are_evened_out_in_how_often_they_have_each_class(inputs, tmp_path):
    result = run(inputs, tmp_path / "model", {**SPECS["linear"], "epochs": 1, "reweight": ["subscribed"]})

    table, weights = pq.read_table(inputs.train_split), result.weights.rows
    labels, groups = places(table), table["subscribed"].to_pylist()
    own = [weights * [one is group for one in groups] for group in (True, False, None)]
    shares = [np.bincount(labels, one) / one.sum() for one in own]
    np.testing.assert_allclose(shares, [np.bincount(labels) / len(labels)] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": [None]}, "label 'bought': 1 of .* rows have none; drop these rows from the source"),
        ({"eval": ["chess"]}, "label 'bought': 'chess' is none of 'box', 'disc', 'pass'; clean the source"),
        ({"train": [f"c{one}" for one in range(198)]}, "201 values .* where 200 classes can be told apart at most"),
        ({"eval": ["box"] * 50}, "eval: every row has the label 'box', which tells no model from another"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_told(changed, told, prepare, tmp_path):
    tables = {"train": buyers(400, seed=1), "eval": buyers(50, seed=2)}
    for split, values in changed.items():
        labels = [*values, *tables[split]["bought"].to_pylist()[len(values) :]]
        tables[split] = tables[split].set_column(tables[split].num_columns - 1, "bought", pa.array(labels))
    inputs = prepare(tables["train"], tables["eval"], label="bought")

    with pytest.raises(TrainingError, match=told):
        run(inputs, tmp_path / "model", SPECS["linear"])

    assert not (tmp_path / "model").exists()


def test_a_class_of_a_single_row_and_one_that_eval_lacks_are_learnt_as_well(prepare, tmp_path):
    table = buyers(400, seed=1)
    rare = table.set_column(table.num_columns - 1, "bought", pa.array(["rare", *table["bought"].to_pylist()[1:]]))
    inputs = prepare(rare, buyers(100, seed=2), label="bought")

    for name in ("linear", "trees"):
        run(inputs, tmp_path / name, {**SPECS[name], **({"epochs": 2} if name == "linear" else {"trees": 10})})
        assert predictions_of(tmp_path / name, table).shape == (400, 4)


def test_more_trees_than_a_model_can_have_are_told(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "MOST_TREES", 60)

    with pytest.raises(TrainingError, match="30 trees for each of 3 classes are more than 60 in all; write .trees: 20"):
        run(inputs, tmp_path / "model", SPECS["trees"])


@pytest.mark.parametrize("recorded", [{}, {"trees": 300}])
def test_of_many_classes_as_many_trees_grow_as_a_model_can_have_where_nothing_else_is_written(
    inputs, tmp_path, monkeypatch, capsys, recorded
):
    monkeypatch.setattr(trees, "MOST_TREES", 30)

    run(inputs, tmp_path / "model", {"model": "trees", "leaves": 4, **recorded})

    assert "trees: 10 for each of 3 classes, 30 in all at most" in capsys.readouterr().out
    assert predictions_of(tmp_path / "model", buyers(20, seed=3)).shape == (20, 3)


def test_what_an_epoch_is_measured_by_takes_little_memory_beside_the_outputs_of_many_classes():
    rows, classes = 60_000, 100
    names = tuple(f"c{one:03}" for one in range(classes))
    labels = np.arange(rows) % classes
    outputs = np.random.default_rng(0).normal(size=(rows, classes)).astype(np.float32)
    learnt = objective.of(Contract("y", names, (), {"model": "linear"}, MULTICLASS), labels)
    likely = np.exp(outputs.astype(float) - scipy.special.logsumexp(outputs.astype(float), axis=1, keepdims=True))
    expected = -np.log(likely[np.arange(rows), labels]).mean()

    tracemalloc.start()
    found = learnt.loss(labels, outputs), learnt.score(labels, outputs)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == pytest.approx((expected, expected), rel=1e-9)
    assert most < outputs.nbytes * 2  # one copy in float64


def test_rules_say_one_probability_and_no_more(inputs, tmp_path):
    spec = {"model": "rules", "rules": [{"when": {"age": {"min": 40}}, "probability": 0.5}], "default": 0.1}

    with pytest.raises(TrainingError, match="'rules': says a probability, and the label 'bought' asks for multiclass"):
        run(inputs, tmp_path / "model", spec)


FUNCTIONS = """
import keras
from keras import layers, ops

def plain(job):
    encoder = job.encoder()
    hidden = layers.Dense(3, kernel_initializer="zeros")(encoder.outputs[0])
    return keras.Model(encoder.inputs, ops.softmax(hidden))

def ours(job):
    return job.network(lambda features: layers.Dense(features.outputs)(features.vector()), epochs=2)

def flat(job):
    return job.network(lambda features: layers.Dense(1)(features.vector()), epochs=2)

def one(job):
    encoder = job.encoder()
    return keras.Model(encoder.inputs, ops.sigmoid(encoder.outputs[0][:, 0]))

def sigmoids(job):
    encoder = job.encoder()
    return keras.Model(encoder.inputs, ops.sigmoid(layers.Dense(3, kernel_initializer="zeros")(encoder.outputs[0])))
"""


@pytest.fixture
def function(inputs: Inputs, tmp_path: Path) -> Any:
    (tmp_path / "team.py").write_text(FUNCTIONS)

    def called(name: str) -> Trained:
        spec = {"function": f"team:{name}", "source": code.beside(f"team:{name}", tmp_path)}
        return run(inputs, tmp_path / "model", spec)

    return called


def test_a_function_of_a_team_tells_classes_apart(function):
    assert function("plain").best.eval_score == pytest.approx(np.log(3), rel=1e-5)


def test_a_function_of_a_team_has_its_network_trained_by_ours(function):
    assert function("ours").best.eval_score < 0.7


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "flat",
            r"gives the shape \(None, 1\); have it give \(None, 3\), as its last layer `Dense",
        ),
        ("one", r"of the shape \(None, 3\), the probabilities of the 3 classes by row, in the order of job.contract"),
        ("sigmoids", "gives probabilities that sum to 1.5; end it with a softmax over the classes"),
    ],
)
def test_a_function_whose_model_gives_something_else_is_told(function, name, told):
    with pytest.raises(TrainingError, match=told):
        function(name)
