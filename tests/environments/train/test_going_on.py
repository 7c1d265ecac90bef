"""A training that was ended before its time goes on where it was, and ends as one that was not."""

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested

from cd4ml.contracts import model
from cd4ml.errors import TrainingError
from cd4ml.registry import notes, records, trainings
from cd4ml.storage import open_store
from cd4ml.training.checkpoints import Checkpoints
from cd4ml.training.examples import Examples
from cd4ml.training.train import Trained, train

DNN = {"model": "dnn", "epochs": 4, "patience": 4, "batch_size": 16, "hidden": [16], "dropout": 0.2}
STEPS = 250
"""Of an epoch."""
TASK = {records.PIPELINE: "training", records.RUN: "run-1", notes.TASK: "train-model"}
PROGRAM = """
import json, sys
from cd4ml.training import tracking
from cd4ml.training.request import Request
from cd4ml.training.train import train
tracking.EVERY_SECONDS = 0
train(Request.parse(sys.argv[1], "the test"), **json.loads(sys.argv[2]))
"""
"""A task that says as often as it can how far it is."""


def run(inputs: Inputs, folder: Path, spec: dict[str, Any] = DNN, **settings: Any) -> Trained:
    return train(requested(inputs, spec=spec, **settings), folder=folder)


def stop(inputs: Inputs, store: Path, spec: dict[str, Any] = DNN, at: int = 3) -> None:
    """Trains until it has written some checkpoints, then ends it as a cluster does."""

    over = threading.Event()

    def end() -> None:
        seen = set[int]()
        while len(seen) < at and not over.wait(0.001):
            seen |= {file.stat().st_mtime_ns for file in files(store)}
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end)
    ending.start()
    try:
        with pytest.raises(SystemExit) as ended:
            run(inputs, store / "model", spec, store=str(store), checkpoint_seconds=0)
    finally:
        over.set()
        ending.join()
    assert ended.value.code == 128 + signal.SIGTERM
    assert not (store / "model").exists()


def files(store: Path) -> list[Path]:
    return [file for file in store.glob("checkpoints/*/*") if file.name in ("0", "1")]


def arrays(file: Path) -> list[np.ndarray]:
    with np.load(io.BytesIO(file.read_bytes().partition(b"\n")[2])) as found:
        return [found[str(place)] for place in range(len(found.files) - 1)]


def predicted(folder: Path) -> np.ndarray:
    return predictions_of(folder, players(500, seed=3))


@pytest.fixture(scope="module")
def never_ended(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("never") / "model"
    run(inputs, folder)
    return folder


def history(folder: Path) -> list[dict[str, Any]]:
    """The epochs, without what each took."""
    epochs = json.loads((folder / "history.json").read_text())
    return [{name: value for name, value in one.items() if not name.endswith("seconds")} for one in epochs]


def started(
    inputs: Inputs, folder: Path, shown: Mapping[str, str] | None = None, **settings: Any
) -> subprocess.Popen[str]:
    """A task of its own, as a pipeline runs it; it says how far it is where it has a store."""
    written = json.dumps({"folder": str(folder), **(shown or {})})
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, requested(inputs, **{"spec": DNN, **settings}).text, written],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(TASK if "store" in settings else {})},
    )


def test_a_training_that_was_killed_three_times_gives_the_same_bytes(inputs, tmp_path):
    never_ended = started(inputs, tmp_path / "never")
    seed = random.randrange(10**6)
    places = random.Random(seed)
    for attempt in range(4):
        shown = {"report": str(tmp_path / "report"), "logs": str(tmp_path / "logs")}
        process = started(inputs, tmp_path / "model", shown, store=str(tmp_path), checkpoint_seconds=0)
        log, kept, last = "", 0, places.randint(2, 12)
        for line in process.stdout:
            log, kept = log + line, kept + line.startswith("checkpoint")
            if attempt < 3 and kept == last:
                time.sleep(places.uniform(0, 0.02))
                process.kill()
        assert process.wait() == (-signal.SIGKILL if attempt < 3 else 0)
        assert ("\ngoes on from epoch " in log) == (attempt > 0)

    assert never_ended.wait(timeout=300) == 0
    assert model.digest(tmp_path / "model") == model.digest(tmp_path / "never"), f"places drawn with {seed}"
    assert history(tmp_path / "model") == history(tmp_path / "never")
    [told] = trainings.of(open_store(tmp_path), pipeline="training", run="run-1")[0]
    assert (told.state, [one["epoch"] for one in told.curve]) == ("ended", [1, 2, 3, 4])
    [logs] = (tmp_path / "logs").iterdir()
    events = [tf.compat.v1.Event.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(logs))]
    assert [one.step for one in events if one.summary.value] == [1, 2, 3, 4]


def test_sigterm_keeps_where_it_was_and_the_next_attempt_goes_on_from_there(inputs, tmp_path, never_ended, capsys):
    stop(inputs, tmp_path)
    told = capsys.readouterr().out
    [place] = [line.removeprefix("told to end, at ") for line in told.splitlines() if line.startswith("told to end")]

    run(inputs, tmp_path / "model", store=str(tmp_path))

    assert place.endswith(f" of {STEPS}")
    assert f"goes on from {place}\n" in capsys.readouterr().out
    np.testing.assert_array_equal(predicted(tmp_path / "model"), predicted(never_ended))
    assert history(tmp_path / "model") == history(never_ended)
    assert len(files(tmp_path)) == 1


def test_sigterm_while_an_epoch_is_measured_ends_it_there(inputs, tmp_path, never_ended, capsys, monkeypatch):
    measured = Examples.in_order

    def ended(*given: Any) -> Iterator[list[np.ndarray]]:
        os.kill(os.getpid(), signal.SIGTERM)
        yield from measured(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Examples, "in_order", ended)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path / "model", store=str(tmp_path))
    place = f"epoch 1, step {STEPS} of {STEPS}\n"
    assert f"told to end, at {place}" in capsys.readouterr().out

    run(inputs, tmp_path / "model", store=str(tmp_path))

    assert f"goes on from {place}" in capsys.readouterr().out
    np.testing.assert_array_equal(predicted(tmp_path / "model"), predicted(never_ended))


def test_a_broken_checkpoint_is_told_and_the_one_before_is_gone_on_from(inputs, tmp_path, never_ended, capsys):
    stop(inputs, tmp_path)
    last = max(files(tmp_path), key=lambda file: file.stat().st_mtime_ns)
    last.write_bytes(last.read_bytes()[:-10])

    run(inputs, tmp_path / "model", store=str(tmp_path))

    told = capsys.readouterr().out
    assert f"the checkpoint {last} is broken (" in told
    assert "goes on from epoch 1, step " in told
    np.testing.assert_array_equal(predicted(tmp_path / "model"), predicted(never_ended))


@pytest.mark.parametrize("other", ["seed", "settings", "data"])
def test_another_training_begins_at_its_beginning(inputs, prepare, tmp_path, capsys, other):
    stop(inputs, tmp_path)
    spec = {**DNN, **({"learning_rate": 0.002} if other == "settings" else {})}
    data = prepare(players(4000, seed=9), players(1000, seed=2)) if other == "data" else inputs

    run(data, tmp_path / "model", spec, store=str(tmp_path), seed=1 if other == "seed" else 0)

    assert "goes on" not in capsys.readouterr().out
    assert len(files(tmp_path)) == 2


BASE = """
import keras
from cd4ml import Network

class Plain(Network):
    def logit(self, features):
        return keras.layers.Dense(1)(features.vector())
"""
OWN = """
from typing import Literal
from acme_base import Plain

class Own(Plain):
    model: Literal["own"] = "own"
"""


def test_a_model_whose_base_was_changed_begins_at_its_beginning(inputs, tmp_path, capsys, installed):
    base = installed("acme_models", OWN, "[cd4ml.trainers]\nown = acme_models:Own\n") / "acme_base.py"
    base.write_text(BASE)
    spec = {"model": "own", "batch_size": 16, "epochs": 4, "patience": 4}
    stop(inputs, tmp_path, spec)
    base.write_text(BASE.replace("Dense(1)", "Dense(1, use_bias=True)"))

    run(inputs, tmp_path / "model", spec, store=str(tmp_path))

    assert "goes on" not in capsys.readouterr().out


def test_where_nothing_can_be_kept_training_goes_on_and_says_so(inputs, tmp_path, never_ended, capsys):
    (tmp_path / "checkpoints").write_text("no folder")

    run(inputs, tmp_path / "model", store=str(tmp_path), checkpoint_seconds=0)

    assert f"no checkpoint could be written to {tmp_path}/checkpoints/" in capsys.readouterr().out
    np.testing.assert_array_equal(predicted(tmp_path / "model"), predicted(never_ended))


def test_a_budget_of_time_ends_training_within_an_epoch_and_its_measured_weights_are_kept(inputs, tmp_path, capsys):
    found = run(inputs, tmp_path / "model", {**DNN, "epochs": 1000, "patience": 1000, "minutes": 0.02})

    assert 1 <= found.epochs < 1000
    assert found.metadata["ended"] == f"by its budget of 0.02 minutes, in epoch {found.epochs}"
    assert f"ended {found.metadata['ended']}\n" in capsys.readouterr().out
    assert found.best.eval_score == max(one["eval_auc"] for one in history(tmp_path / "model"))


def test_a_budget_counts_what_an_attempt_before_has_spent(inputs, tmp_path):
    spec = {**DNN, "epochs": 1000, "patience": 1000, "minutes": 60}
    stop(inputs, tmp_path, spec)
    [last, _] = files(tmp_path)
    checkpoints = Checkpoints(str(tmp_path), last.parent.name)
    state = checkpoints.latest(arrays(last))
    assert state.progress["seconds"] > 0
    checkpoints.save(replace(state, progress={**state.progress, "seconds": 3599.9}))

    found = run(inputs, tmp_path / "model", spec, store=str(tmp_path))

    assert found.metadata["ended"] == "by its budget of 60 minutes, in epoch 1"
    assert history(tmp_path / "model")[0]["epoch"] == found.epochs == 1


def test_a_cap_that_ended_a_training_that_still_got_better_is_told(inputs, tmp_path):
    rising = run(inputs, tmp_path / "rising", {**DNN, "learning_rate": 1e-4, "epochs": 3})
    patient = run(inputs, tmp_path / "patient", {**DNN, "learning_rate": 0.05, "epochs": 40, "patience": 1})

    assert rising.metadata["ended"] == "by its cap of 3 epochs, with auc on eval still rising; raise epochs"
    assert patient.metadata["ended"] == "as auc on eval got no better for 1 epoch"


def test_a_loss_that_does_not_move_ends_training_and_says_what_to_change(inputs, tmp_path):
    found = run(inputs, tmp_path / "model", {**DNN, "learning_rate": 1e-9, "epochs": 50, "patience": 50, "dropout": 0})

    assert found.epochs == 3
    assert found.metadata["ended"].startswith("by a flat loss: ")
    assert "change learning_rate (it is 1e-09)" in found.metadata["ended"]


def test_a_loss_that_has_settled_is_not_told_as_a_mistake(inputs, tmp_path):
    spec = {"model": "linear", "learning_rate": 0.1, "batch_size": 4000, "epochs": 5000, "patience": 5000}

    found = run(inputs, tmp_path / "model", spec)

    assert found.epochs < 5000
    assert re.fullmatch(r"as the loss has settled: 0\.\d{4} for 3 epochs", found.metadata["ended"])


def test_a_training_that_runs_away_names_the_step_and_does_so_again_when_it_is_tried_again(inputs, tmp_path):
    spec = {**DNN, "hidden": [64] * 8, "learning_rate": 100.0}

    told = rf"epoch 1: the loss is .* after step \d+ of {STEPS}; lower learning_rate"
    with pytest.raises(TrainingError, match=told) as first:
        run(inputs, tmp_path / "model", spec, store=str(tmp_path), checkpoint_seconds=0)
    with pytest.raises(TrainingError) as second:
        run(inputs, tmp_path / "model", spec, store=str(tmp_path), checkpoint_seconds=0)
    assert str(second.value) == str(first.value)


HUNGRY = '''
from typing import Literal
import keras, tensorflow as tf
from cd4ml import Network

class Asks(keras.layers.Layer):
    """Takes a tebibyte a row."""
    def call(self, rows):
        return rows + tf.reduce_mean(tf.random.normal(tf.stack([tf.shape(rows, out_type=tf.int64)[0], 2**38])))

class Hungry(Network):
    model: Literal["hungry"] = "hungry"

    def logit(self, features):
        return keras.layers.Dense(1)(Asks()(features.vector()))
'''


def test_what_does_not_fit_in_memory_names_the_batch_size_to_try(inputs, tmp_path, installed, monkeypatch):
    installed("acme_models", HUNGRY, "[cd4ml.trainers]\nhungry = acme_models:Hungry\n")

    with pytest.raises(TrainingError, match="^out of memory at a batch_size of 4000: try a batch_size of 2000$"):
        run(inputs, tmp_path / "model", {"model": "hungry", "batch_size": 4000})

    def asks(*_: Any) -> None:  # without the 10 s that TensorFlow hopes for memory
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr("cd4ml.training.steps.Steps.take", asks)
    with pytest.raises(TrainingError, match="^out of memory at a batch_size of 1: take a smaller network$"):
        run(inputs, tmp_path / "model", {"model": "linear", "batch_size": 1})
