"""`cd4ml.training.train`: what a team gets from its splits, and what it hears when it gets nothing."""

import functools
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested, statistics_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from cd4ml.contracts import dataset, model
from cd4ml.contracts.dataset import Masked
from cd4ml.errors import TrainingError
from cd4ml.training import code, fit
from cd4ml.training.train import Trained, train

LINEAR = {"model": "linear", "epochs": 20, "batch_size": 128}
DNN = {"model": "dnn", "epochs": 4, "batch_size": 128, "hidden": [16]}
TREES = {"model": "trees", "trees": 60, "leaves": 8}
RULES = {
    "model": "rules",
    "rules": [
        {"when": {"age": {"max": 40}, "region": "south"}, "probability": 0.08},
        {"when": {"age": {"min": 50}, "spend_90d": {"min": 2}}, "probability": 0.85},
        {"when": {"spend_90d": {"min": 5}}, "probability": 0.7},
        {"when": {"subscribed": True}, "probability": 0.4},
    ],
    "default": 0.25,
}
SPECS = {
    "rules": RULES,
    "linear": LINEAR,
    "dnn": DNN,
    "wide_and_deep": {**DNN, "model": "wide_and_deep"},
    "trees": TREES,
}


def run(inputs: Inputs, folder: Path, spec: dict[str, Any] = LINEAR, seed: int = 0) -> Trained:
    return train(requested(inputs, spec=spec, seed=seed), folder=folder)


@functools.cache
def loaded(folder: Path) -> Any:
    return tf.saved_model.load(str(folder / "saved_model"))


def area_under_curve(labels: np.ndarray, probabilities: np.ndarray) -> float:
    positive, negative = probabilities[labels == 1], probabilities[labels == 0]
    return float(((positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)).mean())


@pytest.fixture(scope="module")
def trained_models(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One of each kind, with its folder."""
    root = tmp_path_factory.mktemp("trained")
    return {name: (run(inputs, root / name / "model", spec), root / name / "model") for name, spec in SPECS.items()}


@pytest.fixture(scope="module", params=SPECS)
def trained(request: pytest.FixtureRequest, trained_models: dict[str, Any]) -> Any:
    return trained_models[request.param]


def test_a_model_predicts_rows_that_it_has_not_seen(trained):
    _, folder = trained
    unseen = players(2000, seed=3)

    probabilities = predictions_of(folder, unseen)

    assert probabilities.shape == (2000,)
    assert area_under_curve(unseen.column("took").to_numpy(), probabilities) > 0.75
    assert probabilities.mean() == pytest.approx(unseen.column("took").to_numpy().mean(), abs=0.05)


def test_the_folder_has_its_layout_and_nothing_else(trained):
    result, folder = trained

    assert sorted(file.name for file in folder.iterdir()) == [
        "contract.json",
        "history.json",
        "lineage.json",
        "saved_model",
    ]
    assert sorted(file.name for file in folder.parent.iterdir()) == ["model"]
    contract = model.read_contract(folder)
    assert contract.classes == ("false", "true")
    assert [(one.name, one.kind) for one in contract.inputs] == [
        ("age", "number"),
        ("spend_90d", "number"),
        ("region", "category"),
        ("city", "category"),
        ("subscribed", "boolean"),
    ]
    history = json.loads((folder / "history.json").read_text())
    steps = 10 if result.name == "trees" else 1  # trees are measured ten at a time
    assert [one["epoch"] for one in history] == [steps * (place + 1) for place in range(len(history))]
    assert {name for name in history[0] if not name.endswith("_seconds")} == {
        "epoch",
        "seconds",
        "loss",
        "auc",
        "eval_loss",
        "eval_auc",
    }
    assert max(one["eval_auc"] for one in history) == result.best.eval_score


def test_the_contract_has_the_texts_and_the_range_of_the_numbers_that_training_knew(trained):
    _, folder = trained

    known = {one.name: one for one in model.read_contract(folder).inputs}
    assert set(known["region"].vocabulary) == {"north", "east", "south"}
    assert known["age"].vocabulary is known["subscribed"].vocabulary is None
    low, high = known["age"].range
    assert low < 25 < 60 < high
    assert known["region"].range is known["subscribed"].range is None


def test_the_saved_model_has_one_signature_on_raw_features(trained):
    _, folder = trained

    signatures = loaded(folder).signatures

    assert list(signatures) == ["serving_default"]
    taken = signatures["serving_default"].structured_input_signature[1]
    assert {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in taken.items()} == {
        "age": ("float32", [None]),
        "spend_90d": ("float32", [None]),
        "region": ("string", [None]),
        "city": ("string", [None]),
        "subscribed": ("float32", [None]),
    }
    given = signatures["serving_default"].structured_outputs["probability"]
    assert (given.dtype.name, given.shape.as_list()) == ("float32", [None])


def test_the_artifact_says_what_tells_runs_apart(trained):
    result, folder = trained

    assert result.metadata["headline"] == f"auc {result.best.eval_score:.3f}"
    assert result.metadata["digest"] == model.digest(folder)
    assert result.metadata["rows"] == 4000
    assert result.metadata["features"] == 5
    assert 0.75 < result.metrics["eval_auc"] < 1
    assert result.metrics["best_epoch"] <= result.metrics["epochs"]


def test_the_kept_weights_are_those_of_the_best_epoch(inputs, tmp_path):
    result = run(inputs, tmp_path / "model", {**DNN, "learning_rate": 0.05, "epochs": 6, "patience": 6})

    evaluation = pq.read_table(inputs.eval_split)
    auc = area_under_curve(evaluation.column("took").to_numpy(), predictions_of(tmp_path / "model", evaluation))
    assert result.best.epoch < result.epochs
    assert auc == pytest.approx(result.best.eval_score, abs=1e-5)


def test_training_ends_when_the_eval_split_gets_no_better(inputs, tmp_path):
    result = run(inputs, tmp_path / "model", {**DNN, "learning_rate": 0.05, "epochs": 40, "patience": 1})

    assert result.epochs == result.best.epoch + 1 < 40


def test_the_auc_of_a_rare_event_that_training_watches_is_exact(prepare, tmp_path):
    random = np.random.default_rng(0)
    score = random.normal(size=20_000)
    took = random.random(20_000) < 0.003 * np.exp(score - 0.5)
    table = pa.table({"score": score, "took": took})

    result = run(prepare(table, table, exclude=()), tmp_path / "model", {**LINEAR, "epochs": 3})

    exact = area_under_curve(took, predictions_of(tmp_path / "model", table).astype(np.float64))
    assert result.best.eval_score == result.best.score == pytest.approx(exact, abs=1e-4)  # float32 has ties


@pytest.mark.parametrize(
    ("limit", "spec"),
    [
        ("MEASURED_ROWS", {**LINEAR, "epochs": 3}),
        ("BUFFER_BYTES", {**LINEAR, "epochs": 3}),
        ("MEASURED_ROWS", {"model": "trees", "trees": 10}),
    ],
)
def test_the_score_of_a_part_of_the_train_split_is_defined_however_rare_the_event_is(
    prepare, tmp_path, monkeypatch, limit, spec
):
    monkeypatch.setattr(fit, limit, 400)  # of 4 bytes each: 400 rows, or 100
    random = np.random.default_rng(0)
    splits = []
    for rows, events in ((20_000, 3), (20_000, 100)):
        took = np.arange(rows) >= rows - events
        splits.append(pa.table({"score": random.normal(size=rows) + 2 * took, "took": took}))

    result = run(prepare(*splits, exclude=()), tmp_path / "model", spec)

    exact = area_under_curve(
        splits[0]["took"].to_numpy(), predictions_of(tmp_path / "model", splits[0]).astype(np.float64)
    )
    assert result.metrics["train_auc"] == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("spec", [{**LINEAR, "epochs": 2}, {**DNN, "epochs": 2, "dropout": 0.2}], ids=["linear", "dnn"])
def test_the_same_seed_gives_the_same_weights(inputs, tmp_path, spec):
    first, second, other = (
        (run(inputs, tmp_path / str(number), spec, seed), predictions_of(tmp_path / str(number), players(50, seed=3)))
        for number, seed in enumerate([5, 5, 6])
    )

    np.testing.assert_array_equal(first[1], second[1])
    assert first[0].best.eval_loss == second[0].best.eval_loss
    assert not np.array_equal(first[1], other[1])


KINDS = (*SPECS, "function")
WIDE = """
def wide(job):
    from keras import layers
    return job.network(lambda features: layers.Dense(1)(layers.Dense(4)(features.vector())), epochs=2)
"""
EVALUATES = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from cd4ml.contracts.model import features, read_contract
from cd4ml.evaluation.predict import Model

for folder in map(Path, sys.argv[2:]):
    contract = read_contract(folder)
    print(json.dumps(Model(folder, contract).predict(features(pq.read_table(sys.argv[1]), contract)).tolist()))
"""
SERVES = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from cd4ml.serving.seldon_protocol import given
from cd4ml.serving.served_model import ServedModel

table = pq.read_table(sys.argv[1])
rows = [list(row.values()) for row in table.to_pylist()]
message = json.loads(json.dumps({"data": {"names": table.column_names, "ndarray": rows}}, default=str))
for folder in map(Path, sys.argv[2:]):
    model, asked = ServedModel(folder, ""), given(message)
    print(json.dumps(model.predict(model.encoder.inputs(asked.columns, asked.rows, asked.place)).tolist()))
"""


@pytest.fixture(scope="module")
def answers(
    inputs: Inputs, trained_models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, list[float]]]:
    """By kind of model what evaluation, and what the server's code, gets for the same rows."""
    root = tmp_path_factory.mktemp("answers")
    (root / "models.py").write_text(WIDE)
    own = {"function": "models:wide", "source": code.beside("models:wide", root)}
    run(inputs, root / "function", own)
    pq.write_table(players(300, seed=4), root / "rows.parquet")
    folders = [*(folder for _, folder in trained_models.values()), root / "function"]

    def told(environment: str, program: str) -> dict[str, list[float]]:
        python = Path(sys.prefix).parent / environment / "bin" / "python"
        said = subprocess.check_output([python, "-c", program, root / "rows.parquet", *folders], text=True)
        return dict(zip(KINDS, map(json.loads, said.splitlines()), strict=True))

    return {"evaluate": told("evaluate", EVALUATES), "serve": told("serve", SERVES)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_answers_in_the_server_with_evaluation_s_numbers(answers, trained_models, kind):
    np.testing.assert_allclose(answers["serve"][kind], answers["evaluate"][kind], atol=1e-5, rtol=0)
    assert len(set(answers["serve"][kind])) > 3
    if kind in trained_models:
        expected = predictions_of(trained_models[kind][1], players(300, seed=4))
        np.testing.assert_allclose(answers["serve"][kind], expected, atol=1e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_row_gets_a_probability(trained, data):
    _, folder = trained
    numbers = st.one_of(st.none(), st.floats(), st.floats(allow_nan=True, width=32))
    texts = st.one_of(st.none(), st.text(), st.sampled_from(["north", "c1"]))
    row = {
        "age": pa.array([data.draw(numbers)], pa.float64()),
        "spend_90d": pa.array([data.draw(numbers)], pa.float64()),
        "region": pa.array([data.draw(texts)], pa.string()),
        "city": pa.array([data.draw(texts)], pa.string()),
        "subscribed": pa.array([data.draw(st.one_of(st.none(), st.booleans()))], pa.bool_()),
    }

    probability = predictions_of(folder, pa.table(row), loaded(folder))

    assert np.isfinite(probability).all()
    assert 0 <= probability[0] <= 1


@pytest.mark.parametrize("spec", [DNN, TREES], ids=["dnn", "trees"])
def test_what_training_never_saw_moves_no_prediction(prepare, tmp_path, spec):
    complete = players(3000, seed=1).select(["region", "age", "took"]).drop_null()
    inputs = prepare(complete, complete, exclude=())
    run(inputs, tmp_path / "model", spec)
    mean_age = float(np.mean(complete.column("age").to_numpy()))

    def probability(region: str | None, age: float | None) -> float:
        table = pa.table({"region": pa.array([region], pa.string()), "age": pa.array([age], pa.float64())})
        return float(predictions_of(tmp_path / "model", table)[0])

    assert probability("mars", 40.0) == probability("venus", 40.0) == probability(None, 40.0)
    assert probability("north", None) == pytest.approx(probability("north", mean_age), abs=1e-6)
    assert probability("north", math.inf) == probability("north", None)
    assert probability("north", 40.0) != probability("south", 40.0)


def test_a_text_of_many_values_is_embedded_and_learned(prepare, tmp_path):
    random = np.random.default_rng(0)
    city = random.integers(0, 60, 6000)
    took = random.random(6000) < np.where(city % 2, 0.8, 0.2)
    table = pa.table({"city": [f"c{number}" for number in city], "took": took})

    for spec in (LINEAR, DNN):
        folder = tmp_path / spec["model"]
        result = run(prepare(table, table, exclude=()), folder, spec)
        unseen = predictions_of(folder, pa.table({"city": ["c0", "c1", "mars", "venus"]}))
        assert result.best.eval_score > 0.75
        assert unseen[0] < unseen[2] == unseen[3] < unseen[1]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (lambda took: took.cast(pa.int64()), ("0", "1")),
        (lambda took: took.cast(pa.int8()).cast(pa.float64()), ("0", "1")),
        (lambda took: pa.array(["yes" if one else "no" for one in took.to_pylist()]), ("no", "yes")),
        (lambda took: pa.array(["y" if one else "n" for one in took.to_pylist()]).dictionary_encode(), ("n", "y")),
    ],
    ids=["integers", "floats", "words", "categories"],
)
def test_a_label_may_be_of_any_type_with_two_values(prepare, tmp_path, labels, classes):
    table = players(1000, seed=1).select(["age", "spend_90d", "took"])
    table = table.set_column(2, "took", labels(table.column("took")))
    inputs = prepare(players(1000, seed=1).select(["age", "spend_90d", "took"]), table, exclude=())
    pq.write_table(table, inputs.train_split)

    result = run(inputs, tmp_path / "model", LINEAR)

    assert model.read_contract(tmp_path / "model").classes == classes
    assert result.best.eval_score > 0.65


def relabelled(labels: pa.Array) -> pa.Table:
    return pa.table({"age": np.arange(len(labels)), "took": labels})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([True] * 8), "label 'took': every row is 'true', so there is nothing to tell apart"),
        (pa.nulls(8, pa.bool_()), "label 'took': no row has one"),
        (pa.array([True, False, None, True] * 2), "label 'took': 2 of 8 rows have none; drop these rows"),
        (pa.array([1.0, 0.0, math.nan, 1.0] * 2), "label 'took': 2 of 8 rows have none"),
        (pa.array([0, 1, 2, 3] * 2), r"label 'took': 4 whole numbers \(0, 1, 2, 3\) are numbers or the names of"),
        (pa.array([1, 2] * 4), "label 'took': '1', '2' do not say which one is to be predicted"),
        (pa.array([0.25, 0.75] * 4), "label 'took': the numbers are 0.25, 0.75; write `problem: regression`"),
        (pa.array(range(8), pa.timestamp("s")), r"label 'took': timestamp.* cannot be a label"),
    ],
)
def test_a_label_that_cannot_be_learned_is_refused(prepare, tmp_path, labels, message):
    table = relabelled(labels)
    inputs = prepare(relabelled(pa.array([True, False] * 4)), table, exclude=())
    pq.write_table(table, inputs.train_split)

    with pytest.raises(TrainingError, match=message):
        run(inputs, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_column_whose_values_the_statistics_do_not_tell_is_no_feature_and_in_no_file(prepare, tmp_path):
    table = players(2000, seed=1)
    cities = pa.array([f"secret-{city}" for city in table["city"].to_pylist()])
    table = table.set_column(table.column_names.index("city"), "city", cities)
    inputs = prepare(table, table)
    file = inputs.statistics_folder / "train.pb"
    proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    for feature in proto.datasets[0].features:
        if feature.path.step[0] == "city":
            feature.string_stats.ClearField("rank_histogram")
            feature.string_stats.ClearField("top_values")
        if feature.path.step[0] == "spend_90d":
            feature.bytes_stats.common_stats.CopyFrom(feature.num_stats.common_stats)
    file.write_bytes(proto.SerializeToString())

    run(inputs, tmp_path / "model")

    assert {one.name for one in model.read_contract(tmp_path / "model").inputs} == {"age", "region", "subscribed"}
    assert not any(b"secret-" in one.read_bytes() for one in (tmp_path / "model").rglob("*") if one.is_file())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "tok"}, "column 'tok' is not in the train split; did you mean 'took'?"),
        ({"exclude": ("key", "regoin")}, "column 'regoin' is not in the train split; did you mean 'region'?"),
        (
            {"exclude": ("key", "age", "spend_90d", "region", "city", "subscribed")},
            "no feature is left of the columns key, offered at, age",
        ),
        ({"statistics_folder": Path("nowhere")}, "nowhere/train.pb: cannot be read as statistics"),
        ({"schema": Path("nowhere")}, "nowhere: not a TFDV schema"),
        ({"train_split": Path("nowhere")}, "nowhere: cannot be read as Parquet"),
        ({"eval_split": Path("nowhere")}, "nowhere: cannot be read as Parquet"),
    ],
)
def test_an_argument_that_fits_nothing_is_named(inputs, tmp_path, changes, message):
    with pytest.raises(TrainingError, match=message):
        run(inputs.but(**changes), tmp_path / "model")


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (players(0, seed=2), "eval: no rows; give the split a larger share"),
        (players(50, seed=2).slice(0, 1), "eval: every row has the label '.*', which tells no model from another"),
        (players(50, seed=2).drop_columns(["age"]), "eval: column 'age' is not in the table"),
    ],
    ids=["empty", "one row", "a column less"],
)
def test_an_eval_split_that_says_nothing_is_refused(inputs, prepare, tmp_path, evaluation, message):
    (tmp_path / "eval").touch()
    pq.write_table(evaluation, tmp_path / "eval")

    with pytest.raises(TrainingError, match=message):
        run(inputs.but(eval_split=tmp_path / "eval"), tmp_path / "model")


def test_statistics_of_other_data_are_refused(prepare, tmp_path):
    table = players(100, seed=1)
    inputs = prepare(table, table)
    other = table.set_column(table.column_names.index("age"), "age", pa.array(["old", "young"] * 50))
    (inputs.statistics_folder / "train.pb").write_bytes(statistics_of(other).SerializeToString())

    with pytest.raises(TrainingError, match="column 'age' is a number in the train split, but not in the statistics"):
        run(inputs, tmp_path / "model")


@pytest.mark.parametrize("value", [math.inf, 1e30])
def test_a_column_beyond_what_the_model_can_hold_is_named(prepare, tmp_path, value):
    table = pa.table({"age": [1.0, value] * 50, "took": [True, False] * 50})

    with pytest.raises(TrainingError, match="column 'age' holds infinite numbers, or some beyond 1e"):
        run(prepare(table, table, exclude=()), tmp_path / "model")


def test_a_training_that_runs_away_says_what_to_lower(inputs, tmp_path):
    with pytest.raises(TrainingError, match="epoch 1: the loss is .*; lower learning_rate"):
        run(inputs, tmp_path / "model", {**DNN, "hidden": [64] * 8, "learning_rate": 100.0})
    assert list(tmp_path.iterdir()) == []


def test_columns_that_say_nothing_are_left_out(prepare, tmp_path):
    table = players(400, seed=1).select(["age", "took"])
    table = table.append_column("unique", pa.array([f"u{number}" for number in range(400)]))
    table = table.append_column("empty", pa.nulls(400, pa.float64()))
    table = table.append_column("constant", pa.array([3.0] * 400))
    table = table.append_column("single", pa.array(["only"] * 400))

    run(prepare(table, table, exclude=()), tmp_path / "model")

    assert [one.name for one in model.read_contract(tmp_path / "model").inputs] == ["age", "constant", "single"]
    others = table.set_column(table.column_names.index("single"), "single", pa.array([None, "other"] * 200))
    assert np.isfinite(predictions_of(tmp_path / "model", others)).all()


def test_the_contract_marks_as_personal_what_ingestion_hashed(prepare, tmp_path):
    table = players(400, seed=1).select(["age", "city", "region", "took"])
    masked = (Masked("city", "hashed", "PEPPER", "0a"), Masked("age", "bucketed", edges=("30",)))
    stamped = table.cast(dataset.stamp(table.schema, dataset.Origin("players", 1, "sha256:d", masked)))

    run(prepare(stamped, stamped, exclude=()), tmp_path / "model", {**LINEAR, "epochs": 1})

    marks = {one.name: one.personal for one in model.read_contract(tmp_path / "model").inputs}
    assert marks == {"age": False, "city": True, "region": False}


def test_a_feature_may_have_any_name(prepare, tmp_path):
    """The signature takes what the contract says, and the same rows get the same answers as under plain names."""
    names = ["self", "a.b", "a_b", "", "price/unit", "x%", "größe", "Age", "age", "class", "inputs", "<b>", "z" * 300]
    plain = [f"column{place}" for place in range(len(names))]
    random = np.random.default_rng(1)
    columns = [random.normal(size=200) if place % 2 else random.choice(["a", "b"], 200) for place in range(len(names))]
    took = [*[True, False] * 100]

    for folder, called in (("nasty", names), ("plain", plain)):
        table = pa.table([*columns, took], [*called, "took"])
        run(prepare(table, table, exclude=()), tmp_path / folder, {**LINEAR, "epochs": 1})

    contract = model.read_contract(tmp_path / "nasty")
    assert [one.name for one in contract.inputs] == names
    answers = [
        predictions_of(tmp_path / folder, pa.table(columns, called))
        for folder, called in (("nasty", names), ("plain", plain))
    ]
    assert answers[0].tolist() == answers[1].tolist()


def test_every_epoch_is_told_on_one_line(inputs, tmp_path, capsys):
    run(inputs, tmp_path / "model", {**LINEAR, "epochs": 2})

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == ["epoch 1", "epoch 2"]


def biased(rows: int, seed: int) -> pa.Table:
    """Players of whom those in the south lost half of their uptakes, and differ in nothing else."""
    random = np.random.default_rng(seed)
    region = random.choice(["north", "south"], rows)
    sessions = random.normal(size=rows)
    took = random.random(rows) < 1 / (1 + np.exp(-2 * sessions))
    lost = (region == "south") & (random.random(rows) < 0.5)
    return pa.table({"region": region, "sessions": sessions, "took": took & ~lost})


def selected(folder: Path, table: pa.Table, region: str) -> float:
    """The share of a region that is likelier to take up than the average player."""
    rate = table.column("took").to_numpy().mean()
    mine = table.column("region").to_numpy() == region
    return float((predictions_of(folder, table)[mine] > rate).mean())


@pytest.mark.parametrize("spec", [{**LINEAR, "epochs": 5}, DNN, TREES], ids=["linear", "dnn", "trees"])
def test_reweighting_makes_a_planted_bias_smaller(prepare, tmp_path, spec):
    inputs = prepare(biased(8000, seed=1), biased(2000, seed=2), exclude=())
    unseen = biased(4000, seed=3)

    run(inputs, tmp_path / "plain", spec)
    run(inputs, tmp_path / "reweighted", {**spec, "reweight": ["region"]})

    gaps = [
        selected(tmp_path / name, unseen, "north") - selected(tmp_path / name, unseen, "south")
        for name in ("plain", "reweighted")
    ]
    assert gaps[0] > 0.3
    assert abs(gaps[1]) < gaps[0] / 2


def test_a_reweighted_model_says_so(inputs, tmp_path, capsys):
    result = run(inputs, tmp_path / "model", {**LINEAR, "epochs": 2, "reweight": ["region", "subscribed"]})

    assert model.read_contract(tmp_path / "model").model["reweight"] == ["region", "subscribed"]
    assert result.metadata["reweighted"].startswith("by region, subscribed: 12 groups, weights from 0.")
    assert f"\nreweighted {result.metadata['reweighted']}\nepoch 1" in capsys.readouterr().out
    assert run(inputs, tmp_path / "plain", {**LINEAR, "epochs": 2}).metadata["reweighted"] == "no"


@pytest.mark.parametrize("spec", [LINEAR | {"epochs": 3}, TREES], ids=["linear", "trees"])
def test_a_class_that_weighs_more_is_found_likelier(inputs, tmp_path, capsys, spec):
    result = run(inputs, tmp_path / "weighted", {**spec, "class_weights": {"true": 5}})
    said = capsys.readouterr().out
    run(inputs, tmp_path / "calibrated", {**spec, "class_weights": {"true": 5}, "calibration": "isotonic"})

    unseen = players(2000, seed=3)
    weighted, calibrated = (predictions_of(tmp_path / name, unseen).mean() for name in ("weighted", "calibrated"))
    share = unseen.column("took").to_numpy().mean()
    assert weighted > share + 0.1
    assert calibrated == pytest.approx(share, abs=0.04)
    assert result.metadata["class_weights"].startswith("'false' 0.3")
    assert f"\nclass weights {result.metadata['class_weights']}\nepoch 1" in said
    assert "; so its probabilities are of classes as frequent as weighted" in said
    assert model.read_contract(tmp_path / "weighted").model["class_weights"] == {"true": 5.0}


def test_a_model_may_be_reweighted_by_what_it_must_not_see(inputs, tmp_path):
    unseen = players(2000, seed=3)
    folders = {"plain": [], "reweighted": ["region"]}
    for name, columns in folders.items():
        run(inputs.but(exclude=("key", "region")), tmp_path / name, {**LINEAR, "reweight": columns})

    assert "region" not in [one.name for one in model.read_contract(tmp_path / "reweighted").inputs]
    assert not np.array_equal(*(predictions_of(tmp_path / name, unseen) for name in folders))


def test_the_weights_have_no_part_in_what_is_measured(inputs, tmp_path):
    result = run(inputs, tmp_path / "model", {**DNN, "reweight": ["region"]})

    evaluation = pq.read_table(inputs.eval_split)
    labels, probabilities = evaluation.column("took").to_numpy(), predictions_of(tmp_path / "model", evaluation)
    loss = -np.log(np.where(labels, probabilities, 1 - probabilities)).mean()
    assert result.best.eval_loss == pytest.approx(loss, abs=1e-3)
    assert result.best.eval_score == pytest.approx(area_under_curve(labels, probabilities), abs=1e-5)


def test_a_column_that_cannot_be_reweighted_by_is_told_before_training(inputs, tmp_path, capsys):
    with pytest.raises(TrainingError, match="reweight: column 'regoin' is not in the train split; did you mean 'regi"):
        run(inputs, tmp_path / "model", {**LINEAR, "reweight": ["regoin"]})
    with pytest.raises(TrainingError, match="reweight: key makes 4,000 groups, more than 100"):
        run(inputs, tmp_path / "model", {**LINEAR, "reweight": ["key"]})

    assert "epoch" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def command(inputs: Inputs, specs: Mapping[Path, dict[str, Any]]) -> list[str]:
    """A task of its own, as a pipeline runs it, that trains a model for each folder."""
    program = (
        "import sys; from cd4ml.training.request import Request; from cd4ml.training.train import train\n"
        "for asked, folder in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    train(Request.parse(asked, 'the test'), folder=folder)"
    )
    asked = [word for folder, spec in specs.items() for word in (requested(inputs, spec=spec).text, str(folder))]
    return [sys.executable, "-c", program, *asked]


def test_a_training_that_is_run_again_gives_the_same_digest(inputs, tmp_path):
    specs = {"rules": RULES, "dnn": DNN, "trees": TREES | {"calibration": "isotonic"}}
    names = ("first", "second")
    for name in names:
        (tmp_path / name).mkdir()
    both = [
        subprocess.Popen(command(inputs, {tmp_path / name / kind: spec for kind, spec in specs.items()}))
        for name in names
    ]

    assert [one.wait(timeout=300) for one in both] == [0, 0]
    for kind in specs:
        first, second = (model.digest(tmp_path / name / kind) for name in names)
        assert first == second, kind


def test_a_stopped_training_ends_cleanly_and_leaves_nothing(inputs, tmp_path):
    process = subprocess.Popen(
        command(inputs, {tmp_path / "model": {**DNN, "epochs": 100_000, "patience": 100_000}}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()

    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
