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
from conftest import Inputs, players, predictions_of, requested
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cd4ml.contracts import model
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.errors import TrainingError
from cd4ml.training.calibration import MOST_TEMPERATURE, Steps, Temperature, TemperatureOfClasses
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
    known, asked = (
        predictions_of(folders["none"], table).astype(float) for table in (evaluation, players(2000, seed=3))
    )
    python = Path(sys.prefix).parent / "validate" / "bin" / "python"
    rows = json.dumps([one.tolist() for one in (labels, known, asked)])
    answer = json.loads(subprocess.check_output([python, "-c", ORACLE], input=rows, text=True))
    return {method: np.array(found) for method, found in answer.items()}


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_the_saved_model_says_what_scikit_learn_makes_of_the_same_probabilities(folders, oracle, method):
    tolerance = {"temperature": 1e-4, "isotonic": 1e-6}[method]  # each looks for a temperature in its own way

    np.testing.assert_allclose(
        predictions_of(folders[method], players(2000, seed=3)), oracle[method], atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_probabilities_of_unseen_rows_are_closer_to_the_truth_in_the_same_order(folders, method):
    unseen = players(2000, seed=3)
    before, after = predictions_of(folders["none"], unseen), predictions_of(folders[method], unseen)

    assert loss(labels_of(unseen), after) < loss(labels_of(unseen), before) - 0.005
    assert np.all(np.diff(after[np.argsort(before, kind="stable")]) >= 0)
    assert 0 < after.min() < after.max() < 1


def test_a_model_says_whether_it_is_calibrated_and_what_that_changed_on_eval(folders, inputs, tmp_path, capsys):
    found = run(inputs, tmp_path / "model", **SURE, calibration="isotonic")
    evaluation = pq.read_table(inputs.eval_split)

    contract = model.read_contract(tmp_path / "model")
    said = contract.calibration
    losses = [loss(labels_of(evaluation), predictions_of(folders[name], evaluation)) for name in ("none", "isotonic")]
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
    assert len(np.unique(predictions_of(tmp_path / "rules", evaluation))) == 1  # they have it the wrong way round
    assert predictions_of(tmp_path / "rules", evaluation)[0] == pytest.approx(labels_of(evaluation).mean(), abs=1e-6)
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

    with pytest.raises(
        TrainingError, match="calibration: is of the probabilities of classes, .* 'spend_90d' asks for regression"
    ):
        run(inputs, tmp_path / "model", model="linear", calibration="temperature")


SEVERAL = """
import json, sys, numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

class Known(ClassifierMixin, BaseEstimator):
    def fit(self, rows, labels):
        self.classes_ = np.unique(labels)
        return self
    def decision_function(self, rows):
        return np.log(rows)
    def predict(self, rows):
        return self.classes_[rows.argmax(axis=1)]

labels, known, asked = (np.array(one) for one in json.load(sys.stdin))
ours = CalibratedClassifierCV(FrozenEstimator(Known().fit(known, labels)), method="temperature", ensemble=False)
print(json.dumps(ours.fit(known, labels).predict_proba(asked).tolist()))
"""
REGIONS = ("east", "north", "south", "west")


def movers(rows: int, seed: int) -> pa.Table:
    """Players of a region, to be told by what else is known of them, which is little."""
    table = players(rows, seed).drop_columns(["took"])
    region = np.array(table.column("region").fill_null("west").to_pylist())
    age = table.column("age").fill_null(40).to_numpy().astype(float) + 6 * np.array(
        [REGIONS.index(one) for one in region]
    )
    table = table.set_column(table.column_names.index("age"), "age", pa.array(age))
    return table.drop_columns(["region"]).append_column("region", pa.array(region))


def places_of(table: pa.Table) -> np.ndarray:
    return np.array([REGIONS.index(one) for one in table.column("region").to_pylist()])


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(labels)), labels].astype(float)).mean())


@pytest.fixture(scope="module")
def regions(prepare: Any) -> Inputs:
    return prepare(movers(3000, seed=1), movers(1000, seed=2), label="region")


@pytest.fixture(scope="module")
def of_regions(regions: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same trees of four classes, calibrated and not."""
    root = tmp_path_factory.mktemp("regions")
    for method in ("none", "temperature"):
        run(regions, root / method, **SURE, calibration=method)
    return {method: root / method for method in ("none", "temperature")}


def test_a_temperature_of_several_classes_is_that_of_scikit_learn(of_regions, regions):
    evaluation, unseen = pq.read_table(regions.eval_split), movers(2000, seed=3)
    known, asked = (predictions_of(of_regions["none"], one).astype(float) for one in (evaluation, unseen))
    python = Path(sys.prefix).parent / "validate" / "bin" / "python"
    rows = json.dumps([one.tolist() for one in (places_of(evaluation), known, asked)])
    theirs = np.array(json.loads(subprocess.check_output([python, "-c", SEVERAL], input=rows, text=True)))

    found = predictions_of(of_regions["temperature"], unseen)

    np.testing.assert_allclose(found, theirs, atol=1e-4, rtol=0)
    assert not model.read_contract(of_regions["temperature"]).problem.wrong(found).any()


def test_unseen_rows_of_several_classes_are_closer_to_the_truth_and_of_the_same_class(of_regions):
    unseen = movers(2000, seed=3)
    before, after = (predictions_of(of_regions[method], unseen) for method in ("none", "temperature"))

    assert log_loss(places_of(unseen), after) < log_loss(places_of(unseen), before) - 0.05
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_a_model_of_several_classes_says_what_its_temperature_changed_on_eval(of_regions, regions):
    evaluation = pq.read_table(regions.eval_split)
    labels = places_of(evaluation)
    pairs = [predictions_of(of_regions[method], evaluation) for method in ("none", "temperature")]

    said = model.read_contract(of_regions["temperature"]).calibration

    assert said.loss == pytest.approx([log_loss(labels, one) for one in pairs], rel=1e-5)
    assert said.error[1] < said.error[0] / 2
    assert 1 < said.temperature < MOST_TEMPERATURE
    assert (said.rows, said.positives) == (1000, None)
    assert str(said).startswith(f"by a temperature of {said.temperature:.4g}, fitted to the 1,000 rows of eval: loss ")
    order = [one.max(axis=1).argsort(kind="stable") for one in pairs]
    parts = [np.array_split(one[place].max(axis=1), 10) for one, place in zip(pairs, order, strict=True)]
    right = [np.array_split((one.argmax(axis=1) == labels)[place], 10) for one, place in zip(pairs, order, strict=True)]
    errors = [
        np.mean([abs(sure.mean() - true.mean()) for sure, true in zip(*both, strict=True)])
        for both in zip(parts, right, strict=True)
    ]
    assert said.error == pytest.approx(errors, abs=1e-5)


def test_a_network_of_several_classes_is_calibrated_and_lends_its_weights(regions, tmp_path):
    run(regions, tmp_path / "first", model="linear", epochs=2, calibration="temperature")
    again = {"model": "linear", "epochs": 1, "calibration": "temperature"}
    train(requested(regions, spec=again, start=tmp_path / "first"), folder=tmp_path / "again")

    for name in ("first", "again"):
        assert 0.5 < model.read_contract(tmp_path / name).calibration.temperature < 2


@pytest.mark.parametrize(
    ("spec", "rows", "told"),
    [
        ({"calibration": "isotonic"}, 1000, "isotonic is of two classes, and the label 'region' has 4; write `temper"),
        (
            {"calibration": "temperature"},
            24,
            "eval split has 19 rows of classes other than 'south', and 20 are the few",
        ),
    ],
)
def test_a_calibration_that_does_not_fit_several_classes_is_refused_before_training(
    prepare, tmp_path, spec, rows, told
):
    table = movers(3000, seed=2)
    few = pa.concat_tables(
        [
            table.filter(pc.equal(table["region"], one))[:many]
            for one, many in [("south", rows), ("north", 10), ("east", 9)]
        ]
    )

    with pytest.raises(TrainingError, match=told):
        run(prepare(movers(3000, seed=1), few, label="region"), tmp_path / "model", **SURE, **spec)


unit = st.floats(0, 1, width=32, allow_subnormal=False)  # which TensorFlow takes for 0
probabilities = hnp.arrays(np.float32, st.integers(2, 60), elements=unit)


@settings(max_examples=60, deadline=None)
@given(probabilities, st.floats(1 / MOST_TEMPERATURE, MOST_TEMPERATURE))
def test_no_temperature_turns_the_order_of_two_rows_round(asked, temperature):
    found = Temperature(temperature)(np.sort(asked)).numpy()

    assert np.all(np.diff(found) >= 0)
    assert np.all((found >= 0) & (found <= 1))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(3, 9)), elements=unit).filter(
        lambda one: (one.sum(axis=1) > 0).all()
    ),
    st.floats(1 / MOST_TEMPERATURE, MOST_TEMPERATURE),
)
def test_no_temperature_turns_the_order_of_two_classes_round(likely, temperature):
    asked = likely / likely.sum(axis=1, keepdims=True)

    found = TemperatureOfClasses(temperature)(asked).numpy()

    assert np.all(np.diff(np.take_along_axis(found, asked.argsort(axis=1, kind="stable"), axis=1), axis=1) >= 0)
    assert not MULTICLASS.wrong(found).any()
    predicted = asked.argmax(axis=1)[:, None]
    assert (np.take_along_axis(found, predicted, axis=1)[:, 0] == found.max(axis=1)).all()


@pytest.mark.parametrize("temperature", [0.5, 2.0, 20.0])
def test_two_classes_that_differ_in_the_last_digit_may_become_equal_and_never_change_places(temperature):
    asked = np.array([[0.4, np.nextafter(np.float32(0.4), np.float32(1)), 0.2]], np.float32)

    [[first, second, _]] = TemperatureOfClasses(temperature)(asked).numpy()

    assert second >= first
    assert second == pytest.approx(first, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(probabilities, st.lists(st.tuples(unit, unit), min_size=1, max_size=20))
def test_steps_lie_where_numpy_has_them_between_their_points_and_never_fall(asked, points):
    places, levels = np.unique([place for place, _ in points]), np.sort([level for _, level in points])
    levels = levels[: len(places)]

    found = Steps(places, levels)(np.sort(asked)).numpy()

    assert np.all(np.diff(found) >= 0)
    np.testing.assert_allclose(found, np.interp(np.sort(asked).astype(float), places, levels), atol=1e-6, rtol=0)
