"""A published model whose last layer learns on, each row being predicted before it teaches."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested

from cd4ml.contracts import document, model
from cd4ml.contracts.learning import ABOUT, LEARNT, MODEL, MOMENT, MOMENTS, PREDICTED, ROWS, Learning, Lesson, TaughtBy
from cd4ml.contracts.lineage import FILE, Lineage
from cd4ml.errors import TrainingError
from cd4ml.monitoring.online import Pace, learn
from cd4ml.training.last_layer import LastLayer
from cd4ml.training.train import train

SPECS = {
    "linear": {"model": "linear", "epochs": 12, "batch_size": 64},
    "dnn": {"model": "dnn", "epochs": 4, "batch_size": 64, "hidden": [8]},
}
SECOND = 1_000_000


@dataclass(frozen=True)
class Learnt:
    """What a learning wrote."""

    folder: Path
    about: Learning

    @property
    def predicted(self) -> np.ndarray:
        """What was predicted of each row before it taught."""
        return np.array(pq.read_table(self.folder / PREDICTED)["candidate"].to_pylist(), np.float32)

    @property
    def gain(self) -> float:
        """How much lower its loss is than that of the published model."""
        own, served = self.about.losses
        assert own is not None
        assert served is not None
        return served - own


@pytest.fixture(scope="module")
def published(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, spec in SPECS.items():
        found[name] = tmp_path_factory.mktemp("published") / name
        train(requested(inputs, spec=spec), folder=found[name])
    return found


@pytest.fixture(scope="module")
def teach(published: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a lesson: a row a second, whose label is known half a second later unless it is said when."""

    def write(table: pa.Table, name: str = "linear", known: np.ndarray | None = None) -> Path:
        lesson: Path = tmp_path_factory.mktemp("lesson")
        shutil.copytree(published.get(name, name), lesson / MODEL)
        asked = np.arange(len(table)) * SECOND
        moments = {"asked": asked, "known": asked + SECOND // 2 if known is None else known}
        pq.write_table(table, lesson / ROWS)
        pq.write_table(pa.table({one: pa.array(at, MOMENT) for one, at in moments.items()}), lesson / MOMENTS)
        Lesson(
            model="uptake",
            version=3,
            digest=model.digest(lesson / MODEL),
            windows=(TaughtBy("20260101T000000Z-20260101T010000Z", 2, "sha256:1", len(table)),),
            passed_over={"no label": 7},
            ripe_after=60.0,
            table_version=7,
        ).write(lesson / ABOUT)
        return lesson

    return write


@pytest.fixture
def learning(tmp_path: Path) -> Callable[..., Learnt]:
    """Learns, each time in a store of its own unless one is named."""
    numbers: Iterator[int] = iter(range(100))

    def run(lesson: Path, store: Path | None = None, rows: int = 0, **pace: Any) -> Learnt:
        folder = tmp_path / str(next(numbers))
        about = learn(
            lesson, store=str(store or folder / "store"), output=folder / "learnt", pace=Pace(**pace), rows=rows
        )
        return Learnt(folder / "learnt", about)

    return run


def taking(table: pa.Table, took: np.ndarray) -> pa.Table:
    return table.set_column(table.column_names.index("took"), "took", pa.array(took))


def took(table: pa.Table) -> np.ndarray:
    return table["took"].to_numpy(zero_copy_only=False)


@pytest.fixture(scope="module")
def steady() -> pa.Table:
    """Rows as those that were trained on."""
    return players(6000, seed=11)


@pytest.fixture(scope="module")
def drifted(steady: pa.Table) -> pa.Table:
    """Rows of which those of the south take up what they did not before."""
    south = steady["region"].fill_null("").to_numpy(zero_copy_only=False) == "south"
    return taking(steady, np.where(south, np.random.default_rng(5).random(len(steady)) < 0.8, took(steady)))


@pytest.mark.parametrize("name", SPECS)
def test_under_a_drift_it_is_better_than_the_published_model(teach, learning, drifted, name):
    assert learning(teach(drifted, name)).gain > 0.05


@pytest.mark.parametrize("name", SPECS)
def test_without_a_drift_it_is_worse_by_less_than_a_hundredth_of_the_loss(teach, learning, steady, name):
    found = learning(teach(steady, name))

    assert found.gain > -0.01 * found.about.losses[1]


def test_no_prediction_has_seen_the_label_of_its_row_or_one_that_became_known_later(teach, learning, steady):
    random = np.random.default_rng(3)
    asked = np.arange(1000) * SECOND
    known = asked + random.exponential(100 * SECOND, 1000).astype(np.int64)
    few, moment = steady.slice(0, 1000), 600 * SECOND
    known[500:510] = moment  # and no earlier
    later, earlier = known >= moment, (known < moment) & (known > moment - 100 * SECOND)

    as_it_was, other_later, other_earlier = (
        learning(teach(taking(few, np.where(changed, ~took(few), took(few))), known=known), batch=1)
        for changed in (np.zeros(1000, bool), later, earlier)
    )

    first = 1000 - as_it_was.about.judged
    until = 600 - first + 1  # that one was asked at this very moment
    assert (as_it_was.predicted[:until] == other_later.predicted[:until]).all()
    assert (as_it_was.predicted[until:] != other_later.predicted[until:]).any()
    assert (as_it_was.predicted[:until] != other_earlier.predicted[:until]).any()


def test_it_is_what_a_loop_over_the_moments_gives(teach, learning, steady, published):
    random = np.random.default_rng(4)
    asked = np.arange(300) * SECOND
    known = asked + random.integers(1, 50 * SECOND, 300)
    few, layer = steady.slice(0, 300), LastLayer(published["linear"])

    found = learning(teach(few, known=known), batch=4, learning_rate=0.1)

    given, labels = layer.given(few), took(few).astype(float)
    x, added = given.inputs.astype(float), given.added.astype(float)[:, 0]
    weights, bias = layer.kernel.astype(float)[:, 0], float(layer.bias[0])
    predictions, waiting = np.full(300, np.nan), []
    events = sorted([(at, 0, row) for row, at in enumerate(asked)] + [(at, 1, row) for row, at in enumerate(known)])
    batches = 0
    for _, taught, row in events:
        if not taught:
            if batches:
                predictions[row] = 1 / (1 + np.exp(-(x[row] @ weights + bias + added[row])))
            continue
        waiting.append(row)
        if len(waiting) == 4:
            errors = [1 / (1 + np.exp(-(x[one] @ weights + bias + added[one]))) - labels[one] for one in waiting]
            size = sum(1 + x[one] @ x[one] for one in waiting)
            weights = weights - 0.1 * sum(e * x[one] for e, one in zip(errors, waiting, strict=True)) / size
            bias, waiting, batches = bias - 0.1 * sum(errors) / size, [], batches + 1
    expected = predictions[~np.isnan(predictions)]
    assert found.predicted == pytest.approx(expected, abs=2e-6)
    assert LastLayer(found.folder / MODEL).kernel[:, 0] == pytest.approx(weights, abs=1e-6)


def as_keras_learns(folder: Path, table: pa.Table, targets: np.ndarray, loss: Callable[..., Any]) -> np.ndarray:
    """The kernel of a model's last layer after Keras's SGD has seen rows in batches of 10, at a rate of 0.2.

    Args:
        folder: Of the model.
        table: The rows.
        targets: [rows, outputs].
        loss: From targets and outputs, to the mean loss of a batch.
    """
    layer = LastLayer(folder)
    given, dense = layer.given(table), keras.layers.Dense(targets.shape[1], dtype="float64")
    inputs, added = given.inputs.astype(float), given.added.astype(float)
    dense.build(inputs.shape)
    dense.set_weights([layer.kernel, layer.bias])
    for begin in range(0, len(inputs), 10):
        some = inputs[begin : begin + 10]
        sgd = keras.optimizers.SGD(0.2 / (1 + (some**2).sum() / len(some)))
        with tf.GradientTape() as tape:
            value = loss(tf.constant(targets[begin : begin + 10]), dense(some) + added[begin : begin + 10])
        sgd.apply_gradients(
            zip(tape.gradient(value, dense.trainable_variables), dense.trainable_variables, strict=True)
        )
    return dense.get_weights()[0]


@pytest.mark.parametrize("name", SPECS)
def test_a_step_is_one_of_the_gradient_descent_of_keras(teach, learning, published, drifted, name):
    few = drifted.slice(0, 200)

    found = learning(teach(few, name), batch=10)

    loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
    expected = as_keras_learns(published[name], few, took(few).astype(float)[:, None], loss)
    assert LastLayer(found.folder / MODEL).kernel == pytest.approx(expected, abs=2e-6)
    assert not np.allclose(LastLayer(published[name]).kernel, expected, atol=1e-3)


def test_labels_that_are_all_known_after_the_last_row_judge_nothing(teach, learning, steady):
    few = steady.slice(0, 200)

    found = learning(teach(few, known=np.full(200, 300 * SECOND)))

    assert (found.about.judged, found.about.losses, found.about.rows) == (0, (None, None), 200)
    assert "none of them predicted after others had taught" in found.about.headline


@pytest.mark.parametrize("name", SPECS)
def test_only_the_weights_of_the_last_layer_are_others(teach, learning, published, drifted, name):
    found, before = learning(teach(drifted.slice(0, 500), name)), published[name]

    weights = [
        tf.train.load_checkpoint(str(one / "saved_model/variables/variables")) for one in (before, found.folder / MODEL)
    ]
    names = weights[0].get_variable_to_shape_map()
    assert weights[1].get_variable_to_shape_map() == names
    changed = [one for one in names if not np.array_equal(*(of.get_tensor(one) for of in weights))]
    assert sorted(names[one] for one in changed) == sorted([list(LastLayer(before).kernel.shape), [1]])
    for file in ("contract.json", "saved_model/saved_model.pb", "history.json"):
        assert (found.folder / MODEL / file).read_bytes() == (before / file).read_bytes()


def test_the_model_says_from_which_windows_and_which_model_it_has_learnt(teach, learning, steady):
    lesson = teach(steady.slice(0, 200))

    found = learning(lesson)

    lineage, kept = Lineage.read(found.folder / MODEL / FILE), Learning.read(found.folder / MODEL / LEARNT)
    assert kept == found.about
    assert (kept.windows, kept.table_version) == (Lesson.read(lesson / ABOUT).windows, 7)
    assert lineage.started_from == model.digest(lesson / MODEL)
    assert lineage.inputs == {"window 20260101T000000Z-20260101T010000Z": "sha256:1"}


def test_the_model_predicts_what_its_weights_say_also_of_values_that_training_did_not_know(teach, learning, drifted):
    found = learning(teach(drifted.slice(0, 500)))
    strange = drifted.slice(500, 50)
    for name in ("region", "city"):
        strange = strange.set_column(strange.column_names.index(name), name, pa.array(["nowhere"] * 50))
    layer = LastLayer(found.folder / MODEL)

    given = layer.given(strange)

    expected = layer.answers(given.inputs @ layer.kernel + layer.bias + given.added)
    assert predictions_of(found.folder / MODEL, strange) == pytest.approx(expected, abs=1e-6)


def test_a_learning_that_was_killed_goes_on_to_the_same_bytes(teach, learning, drifted, tmp_path):
    lesson, store = teach(drifted.slice(0, 2000)), tmp_path / "store"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, lesson, store, tmp_path / "killed"], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list(store.rglob("learning/uptake/*/*"))) == 2

    after, at_once = learning(lesson, store, every=320), learning(lesson, every=320)

    assert document.digest(after.folder) == document.digest(at_once.folder)
    assert [one.rows for one in after.about.checkpoints] == [320, 640, 960, 1280, 1600, 1920, 2000]


KILLED = """
import os, signal, sys
from pathlib import Path
from cd4ml.monitoring.online import Pace, learn
from cd4ml.storage import arrow

written, write = [], arrow.write

def and_no_further(*given):
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(write(*given))

arrow.write = and_no_further
lesson, store, output = map(Path, sys.argv[1:])
learn(lesson, store=str(store), output=output, pace=Pace(every=320))
"""


def test_a_checkpoint_that_is_broken_is_made_again(teach, learning, drifted, tmp_path, capsys):
    lesson, store = teach(drifted.slice(0, 1000)), tmp_path / "store"
    first = learning(lesson, store, every=320)
    (broken,) = store.rglob("learning/uptake/*/640")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-9])

    again = learning(lesson, store, every=320)

    assert document.digest(again.folder) == document.digest(first.folder)
    assert broken.read_bytes() == whole
    assert "640 is broken; it is made again" in capsys.readouterr().out


def test_there_is_a_way_back_to_each_checkpoint(teach, learning, drifted, tmp_path):
    lesson, store = teach(drifted.slice(0, 1000)), tmp_path / "store"
    learning(lesson, store, every=320)

    back = learning(lesson, store, every=320, rows=640)

    assert back.about.rows == 640
    assert back.about.checkpoints[-1].rows == 640
    assert len(back.predicted) == back.about.judged == 640 - 32
    of_so_many = learning(teach(drifted.slice(0, 640)), every=320)
    assert (LastLayer(back.folder / MODEL).kernel == LastLayer(of_so_many.folder / MODEL).kernel).all()
    between = learning(lesson, store, every=320, rows=959)
    assert document.digest(between.folder) == document.digest(back.folder)
    assert learning(lesson, store, every=320, rows=2000).about.rows == 1000
    with pytest.raises(TrainingError, match="--back-to: there is no checkpoint after 319 rows or fewer, the first is"):
        learning(lesson, store, every=320, rows=319)


@pytest.mark.parametrize(
    ("every", "batch", "rows"), [(10_000, 32, 9_984), (320, 32, 320), (33, 32, 32), (10, 32, 32), (7, 1, 7)]
)
def test_checkpoints_are_at_the_ends_of_batches_and_no_later_than_is_said(every: int, batch: int, rows: int):
    assert Pace(every=every, batch=batch).batches * batch == rows


def test_a_learning_rate_that_is_too_high_ends_with_what_to_write_instead(teach, learning, steady):
    with pytest.raises(TrainingError, match=r"run away by row 2,000: .* write a learning rate of 200 or less"):
        learning(teach(steady.slice(0, 2000)), learning_rate=2000.0)


def test_rows_of_one_class_teach_nothing(teach, learning, steady):
    with pytest.raises(TrainingError, match="every one of 200 rows has the label 'true'"):
        learning(teach(taking(steady.slice(0, 200), np.full(200, True))))


def test_few_rows_teach_nothing(teach, learning, steady):
    with pytest.raises(TrainingError, match="99 labelled rows to learn from, and 100 are the fewest"):
        learning(teach(steady.slice(0, 99)))


def test_a_pace_is_above_zero():
    with pytest.raises(TrainingError, match="learning_rate: 0.0; write a number above 0"):
        Pace(learning_rate=0.0)


@pytest.mark.parametrize("problem", ["several classes", "a number"])
def test_other_problems_are_learnt_too(prepare, teach, learning, tmp_path, problem):
    def table(rows: int, seed: int, drift: float = 0.0) -> pa.Table:
        found, random = players(rows, seed), np.random.default_rng(seed)
        value = found["age"].fill_null(44).to_numpy() + 10 * random.normal(size=rows) + drift
        label = np.array(["low", "middle", "high"])[np.digitize(value, [35, 52])] if "classes" in problem else value
        return found.drop_columns(["took"]).append_column("next", pa.array(label))

    inputs = prepare(table(1500, 1), table(500, 2), label="next")
    train(requested(inputs, spec={"model": "linear", "epochs": 5}), folder=tmp_path / "model")

    found = learning(teach(table(3000, 3, drift=15.0), tmp_path / "model"))

    assert found.gain > 0.1 * found.about.losses[1]
    kind = (3000 - 32, 3) if "classes" in problem else (3000 - 32,)
    assert found.predicted.shape == kind
    assert found.predicted.mean() > 50 or "classes" in problem  # in the unit of the label

    few, own, order = table(200, 4, drift=15.0), tmp_path / "model", ("high", "low", "middle")
    if "classes" in problem:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, dtype="float64")
        targets = np.eye(3)[[order.index(one) for one in few["next"].to_pylist()]]
    else:
        loss, told = (lambda truth, outputs: tf.reduce_mean((truth - outputs) ** 2) / 2), LastLayer(own)
        mean, above = told.answers(np.array([[0.0], [1.0]])).astype(float)
        targets = (few["next"].to_numpy()[:, None] - mean) / (above - mean)
    kernel = LastLayer(learning(teach(few, own), batch=10).folder / MODEL).kernel
    assert kernel == pytest.approx(as_keras_learns(own, few, targets, loss), abs=2e-6)


def test_a_model_of_trees_is_not_learnt_on(teach, learning, published, steady, tmp_path):
    lesson = teach(steady.slice(0, 200))
    contract = model.read_contract(lesson / MODEL)
    model.write_contract(replace(contract, model={"model": "trees"}), lesson / MODEL)

    with pytest.raises(TrainingError, match="kind 'trees' is trained as a whole; learn online with linear or dnn"):
        learning(lesson)
