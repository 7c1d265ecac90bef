"""Calibration: what a model's probabilities become, held against scikit-learn, and what a person hears of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, players, requested
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cd4ml.contracts import model
from cd4ml.errors import TrainingError
from cd4ml.training.calibration import MOST_TEMPERATURE, Steps, Temperature
from cd4ml.training.train import Trained, train

SURE = {"model": "trees", "trees": 10, "leaves": 64, "learning_rate": 0.5, "min_rows": 5}
"""So few rows a leaf that it is surer than it should be."""
METHODS = ("none", "temperature", "isotonic")
ORACLE = """
import json, sys, numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
labels, known, asked = (np.array(one) for one in json.load(sys.stdin))
least = 1 / (len(labels) + 2)
isotonic = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(known, labels)
odds = np.log(known / (1 - known))[:, None]
inverse = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(odds, labels).coef_[0, 0]
tempered = 1 / (1 + np.exp(-np.log(asked / (1 - asked)) * inverse))
print(json.dumps({"temperature": tempered.tolist(), "isotonic": isotonic.predict(asked).tolist()}))
"""


def run(inputs: Inputs, folder: Path, **spec: Any) -> Trained:
    return train(requested(inputs, spec=spec), folder=folder)


def predict(folder: Path, table: pa.Table) -> np.ndarray:
    raw = model.features(table, model.read_contract(folder))
    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    return signature(**{name: tf.constant(values) for name, values in raw.items()})["probability"].numpy()


def labels_of(table: pa.Table) -> np.ndarray:
    return table.column("took").to_numpy().astype(float)


def loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    likely = np.clip(probabilities.astype(float), 1e-12, 1 - 1e-12)
    return float(-np.log(np.where(labels == 1, likely, 1 - likely)).mean())


@pytest.fixture(scope="module")
def folders(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same trees, calibrated and not."""
    root = tmp_path_factory.mktemp("calibrated")
    for method in METHODS:
        run(inputs, root / method, **SURE, calibration=method)
    return {method: root / method for method in METHODS}


@pytest.fixture(scope="module")
def oracle(folders: dict[str, Path], inputs: Inputs) -> dict[str, np.ndarray]:
    """What scikit-learn makes of the probabilities of unseen rows."""
    labels = labels_of(evaluation := pq.read_table(inputs.eval_split))
    known, asked = (predict(folders["none"], table).astype(float) for table in (evaluation, players(2000, seed=3)))
    python = Path(sys.prefix).parent / "validate" / "bin" / "python"
    rows = json.dumps([one.tolist() for one in (labels, known, asked)])
    answer = json.loads(subprocess.check_output([python, "-c", ORACLE], input=rows, text=True))
    return {method: np.array(found) for method, found in answer.items()}


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_the_saved_model_says_what_scikit_learn_makes_of_the_same_probabilities(folders, oracle, method):
    tolerance = {"temperature": 1e-4, "isotonic": 1e-6}[method]  # each looks for a temperature in its own way

    np.testing.assert_allclose(predict(folders[method], players(2000, seed=3)), oracle[method], atol=tolerance, rtol=0)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_probabilities_of_unseen_rows_are_closer_to_the_truth_in_the_same_order(folders, method):
    unseen = players(2000, seed=3)
    before, after = predict(folders["none"], unseen), predict(folders[method], unseen)

    assert loss(labels_of(unseen), after) < loss(labels_of(unseen), before) - 0.005
    assert np.all(np.diff(after[np.argsort(before, kind="stable")]) >= 0)
    assert 0 < after.min() < after.max() < 1


def test_a_model_says_whether_it_is_calibrated_and_what_that_changed_on_eval(folders, inputs, tmp_path, capsys):
    found = run(inputs, tmp_path / "model", **SURE, calibration="isotonic")
    evaluation = pq.read_table(inputs.eval_split)

    contract = model.read_contract(tmp_path / "model")
    said = contract.calibration
    losses = [loss(labels_of(evaluation), predict(folders[name], evaluation)) for name in ("none", "isotonic")]
    assert said.loss == pytest.approx(losses, abs=1e-5)
    assert said.error[1] < said.error[0] / 2
    assert (said.method, said.rows, said.positives) == ("isotonic", 1000, int(labels_of(evaluation).sum()))
    assert contract.model["calibration"] == "isotonic"
    assert found.metadata["calibrated"] == str(said)
    assert str(said).startswith(f"by an isotonic regression of {said.levels} levels, fitted to the 1,000 rows of eval")
    assert f"\ncalibrated {said}\n" in capsys.readouterr().out
    assert model.read_contract(folders["none"]).calibration is None


def test_a_network_and_rules_are_calibrated_as_trees_are(inputs, tmp_path):
    rules = {"model": "rules", "rules": [{"when": {"region": "south"}, "probability": 0.9}], "default": 0.2}
    run(inputs, tmp_path / "rules", **rules, calibration="isotonic")
    run(inputs, tmp_path / "linear", model="linear", epochs=1, calibration="temperature")
    warm = {"model": "linear", "epochs": 1, "calibration": "isotonic"}
    train(requested(inputs, spec=warm, start=tmp_path / "linear"), folder=tmp_path / "warm")

    evaluation = pq.read_table(inputs.eval_split)
    south = pc.equal(evaluation.column("region"), "south").fill_null(False).to_numpy()
    assert len(np.unique(predict(tmp_path / "rules", evaluation))) == 1  # they have it the wrong way round
    assert predict(tmp_path / "rules", evaluation)[0] == pytest.approx(labels_of(evaluation).mean(), abs=1e-6)
    assert labels_of(evaluation)[south].mean() < labels_of(evaluation)[~south].mean()
    assert model.read_contract(tmp_path / "rules").calibration.warning.startswith("every row has the same probability")
    assert 0.5 < model.read_contract(tmp_path / "linear").calibration.temperature < 2
    assert model.read_contract(tmp_path / "warm").calibration.method == "isotonic"


def test_a_temperature_at_its_bound_is_told(prepare, tmp_path):
    random = np.random.default_rng(0)
    noise = pa.table(
        {"key": [f"k{one}" for one in range(600)], "x": random.normal(size=600), "took": np.arange(600) % 2}
    )
    other = noise.set_column(2, "took", pa.array(1 - np.arange(600) % 2))

    run(prepare(noise, other), tmp_path / "model", **SURE, calibration="temperature")

    said = model.read_contract(tmp_path / "model").calibration
    assert said.temperature == pytest.approx(MOST_TEMPERATURE, rel=1e-3)
    assert said.warning.endswith("the bound of those that are tried: see whether it has learnt anything")


def test_an_eval_split_with_few_rows_of_a_class_is_refused_before_training_and_not_many_are_told(
    prepare, tmp_path, capsys
):
    table = players(4000, seed=1)
    took = table.filter(table.column("took"))
    none = players(1000, seed=2).filter(pc.invert(players(1000, seed=2).column("took")))

    with pytest.raises(TrainingError, match="calibration: the eval split has 19 rows of 'true', and 20 are the fewest"):
        run(prepare(table, pa.concat_tables([none, took[:19]])), tmp_path / "model", **SURE, calibration="isotonic")
    assert "epoch" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

    run(prepare(table, pa.concat_tables([none, took[:20]])), tmp_path / "model", **SURE, calibration="isotonic")
    warning = model.read_contract(tmp_path / "model").calibration.warning
    assert warning == "20 rows of the rarer class are few for it, so it follows chance; a temperature needs fewer"


def test_a_number_is_not_calibrated(prepare, tmp_path):
    inputs = prepare(players(400, seed=1), players(200, seed=2), label="spend_90d", exclude=("key", "took"))

    with pytest.raises(TrainingError, match="calibration: is of the probability .* 'spend_90d' asks for regression"):
        run(inputs, tmp_path / "model", model="linear", calibration="temperature")


unit = st.floats(0, 1, width=32, allow_subnormal=False)  # which TensorFlow takes for 0
probabilities = hnp.arrays(np.float32, st.integers(2, 60), elements=unit)


@settings(max_examples=60, deadline=None)
@given(probabilities, st.floats(1 / MOST_TEMPERATURE, MOST_TEMPERATURE))
def test_no_temperature_turns_the_order_of_two_rows_round(asked, temperature):
    found = Temperature(temperature)(np.sort(asked)).numpy()

    assert np.all(np.diff(found) >= 0)
    assert np.all((found >= 0) & (found <= 1))


@settings(max_examples=60, deadline=None)
@given(probabilities, st.lists(st.tuples(unit, unit), min_size=1, max_size=20))
def test_steps_lie_where_numpy_has_them_between_their_points_and_never_fall(asked, points):
    places, levels = np.unique([place for place, _ in points]), np.sort([level for _, level in points])
    levels = levels[: len(places)]

    found = Steps(places, levels)(np.sort(asked)).numpy()

    assert np.all(np.diff(found) >= 0)
    np.testing.assert_allclose(found, np.interp(np.sort(asked).astype(float), places, levels), atol=1e-6, rtol=0)
