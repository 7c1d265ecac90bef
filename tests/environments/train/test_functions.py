"""A team's own functions: called, checked, written, and predicted with as ours are."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Inputs, predictions_of, requested
from development_page import BLOCK

from cd4ml import errors
from cd4ml.contracts import model
from cd4ml.errors import TrainingError
from cd4ml.training import code
from cd4ml.training.train import Trained, train

PAGE = Path(__file__).parents[3] / "docs" / "your-model.md"
NETWORK, OWN = (content for language, _, content in BLOCK.findall(PAGE.read_text()) if language == "python")


@pytest.fixture
def trained(inputs: Inputs, tmp_path: Path) -> Callable[..., Trained]:
    """Trains by a function of a module that lies beside the run file."""

    def run(
        source: str, name: str, *, folder: str = "model", store: str | None = None, every: float = 300, **spec: Any
    ) -> Trained:
        (tmp_path / "team").mkdir(exist_ok=True)
        (tmp_path / "team" / "models.py").write_text(source)
        function = f"team.models:{name}"
        spec = {"function": function, "source": code.beside(function, tmp_path), **spec}
        return train(requested(inputs, spec=spec, store=store, checkpoint_seconds=every), folder=tmp_path / folder)

    return run


def predicted(folder: Path, split: Path) -> np.ndarray:
    return predictions_of(folder, pq.read_table(split))


def test_a_function_trains_a_network_by_our_loop(trained, tmp_path, inputs):
    found = trained(NETWORK, "wide", settings={"units": 16})

    assert found.metadata["model"] == "function"
    assert found.metrics["eval_auc"] > 0.75
    assert found.epochs > 1
    assert predicted(tmp_path / "model", inputs.eval_split).shape == (1000,)


TWO = """
from keras import layers

def two(job):
    for _ in range(2):
        fitted = job.network(lambda features: layers.Dense(1)(features.dense), epochs=1, batch_size=500)
    return fitted
"""


def test_each_network_of_a_function_goes_on_from_its_own_checkpoints_alone(trained, tmp_path, inputs, capsys):
    store = tmp_path / "store"
    trained(TWO, "two", store=str(store), every=0)

    assert "goes on" not in capsys.readouterr().out
    assert [len(list(one.iterdir())) for one in (store / "checkpoints").iterdir()] == [1, 1]

    trained(TWO, "two", folder="again", store=str(store), every=0)

    assert capsys.readouterr().out.count("goes on from epoch 2, step 0 of 8") == 2
    first, again = (predicted(tmp_path / folder, inputs.eval_split) for folder in ("model", "again"))
    np.testing.assert_array_equal(again, first)


def test_a_function_trains_as_it_likes(trained, tmp_path, inputs, capsys):
    found = trained(OWN, "own")

    labels = pq.read_table(inputs.eval_split)["took"].to_numpy().astype(int)
    probabilities = predicted(tmp_path / "model", inputs.eval_split)
    ranked = (probabilities[labels == 1][:, None] > probabilities[labels == 0]).mean()
    assert found.metrics["eval_auc"] == pytest.approx(ranked, abs=1e-4)
    assert found.metrics["eval_auc"] > 0.7
    assert "reported epoch 3, loss 0." in capsys.readouterr().out
    [epoch] = json.loads((tmp_path / "model" / "history.json").read_text())
    assert set(epoch) == {"epoch", "seconds", "loss", "auc", "eval_loss", "eval_auc"}


SAVED = """
import keras, tensorflow as tf

def saved(job):
    class Model(tf.Module):
        def __init__(self):
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["north", "east"], [0.25, 0.5]), 0.125
            )

        @tf.function
        def __call__(self, **raw):
            return {"probability": self.table.lookup(raw["region"])}

    model, folder = Model(), job.workspace / "mine"
    given = {one.tensor: tf.TensorSpec([None], one.dtype, name=one.tensor) for one in job.features}
    tf.saved_model.save(model, str(folder), signatures=model.__call__.get_concrete_function(**given))
    return folder
"""


def test_a_function_may_give_a_saved_model(trained, tmp_path, inputs):
    trained(SAVED, "saved")

    regions = pq.read_table(inputs.eval_split)["region"].to_pylist()
    expected = [{"north": 0.25, "east": 0.5}.get(one, 0.125) for one in regions]
    np.testing.assert_allclose(predicted(tmp_path / "model", inputs.eval_split), expected)


GIVES = """
import sys, time
import keras, tensorflow as tf
from keras import layers, ops
from cd4ml.training.fit import Epoch
from cd4ml.training.job import Fitted

class Centred(layers.Layer):
    def call(self, x):
        return ops.sigmoid(x - ops.mean(x))

class Eager(layers.Layer):
    def call(self, x):
        return x if tf.executing_eagerly() else x / 2

class Prints(layers.Layer):
    def call(self, x):
        if tf.executing_eagerly():
            print("y" * 10**6)
        return x

class Ends(layers.Layer):
    def call(self, x):
        if tf.executing_eagerly():
            exit(0)
        return x

class Hangs(layers.Layer):
    def call(self, x):
        while tf.executing_eagerly():
            pass
        return x

class Unsayable(Exception):
    def __str__(self):
        raise ValueError

def hanging(inputs, chance):
    return keras.Model(inputs, Hangs()(chance))

def given(job):
    encoder = job.encoder()
    first = encoder.outputs[0][:, 0]
    chance = ops.sigmoid(first)
    return {model}
"""
MINUTES = {"time.sleep": 0.02, "hanging": 0.1}
"""By what hangs: how long it may."""


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        ("None", "gave null, which is no model; return a keras.Model"),
        ("(encoder, 3)", r"gave \(<.*, which is no model"),
        ("keras.Model(encoder.inputs, chance[:, None])", r"gives float32 of the shape \(None, 1\); have it give"),
        ("keras.Model(encoder.inputs, [chance, chance])", "its model gives"),
        ("keras.Model(encoder.inputs, ops.cast(chance, 'float64'))", "gives float64 of the shape"),
        ("keras.Model(encoder.inputs, 5 * chance)", "as a probability, which is not from 0 to 1; end it with a sigm"),
        ("keras.Model(encoder.inputs, 0 * chance / 0)", "gives nan as a probability"),
        ("keras.Model(encoder.inputs, ops.sigmoid(encoder.inputs[0] + 0 * first))", "gives nan"),
        ("keras.Model(encoder.inputs, Centred()(first))", "predicts otherwise for a row alone: by 0.[0-9]+; have a"),
        ("keras.Model(encoder.inputs, Eager()(chance))", "predicts otherwise once it is saved and loaded: by 0."),
        ("keras.Sequential([layers.Dense(1)])", "cannot be asked .* take 5 features in the order of job.features"),
        ("job.workspace / 'nothing'", "gave '.*nothing', which holds no SavedModel with the signature serving_default"),
        ("1 / 0", "team.models:given: models.py, line 45, in given: ZeroDivisionError: division by zero; mend it"),
        ("job.settings['units']", "KeyError: 'units'"),
        ("exit(0)", "SystemExit: 0; mend it"),
        ("time.sleep(60)", r"has not ended within 1 second; it was at models.py, line 45, in given; have"),
        ("hanging(encoder.inputs, chance)", "has not ended within 6 seconds; it was at models.py, line 3[01]"),
        ("keras.Model(encoder.inputs, Ends()(chance))", "models.py, line 25, in call: SystemExit: 0; mend it"),
        ("(_ for _ in ()).throw(Unsayable())", "in <genexpr>: Unsayable: it cannot say what is wrong; mend it"),
        ("(_ for _ in ()).throw(GeneratorExit('no'))", "in <genexpr>: GeneratorExit: no; mend it"),
        ("Fitted(keras.Model(encoder.inputs, chance), None)", "Fitted: its epochs are null; give a list of cd4ml.trai"),
        ("Fitted(keras.Model(encoder.inputs, chance), [{'epoch': 1}])", "Fitted: its epochs are .*; give a list of cd"),
        ("Fitted(keras.Model(encoder.inputs, chance), [], 3)", "Fitted: its end is 3; give a text, or leave it out"),
        ("Epoch(1, 0.5, None, 'auc', 0.5, 0.5, 0.5)", "Epoch: null is no number; give numbers, NaN where one is not"),
        ("job.network(lambda features: None, epoch=3)", "job.network: epoch: unknown; did you mean 'epochs'"),
        ("job.network(lambda features: None, epochs=0)", "job.network: not as it should be\n  - epochs: "),
    ],
)
def test_what_a_function_gives_must_be_a_model_that_can_be_served(trained, tmp_path, gives, message):
    with pytest.raises(TrainingError, match=message):
        trained(GIVES.replace("{model}", gives), "given", minutes=MINUTES.get(gives.partition("(")[0], 5))
    assert not (tmp_path / "model").exists()


DEAF = """
import time

def deaf(job):
    try:
        time.sleep(5)
    except:
        pass
    time.sleep(5)
"""


def test_a_function_that_catches_the_end_of_its_time_is_told_again(trained):
    with pytest.raises(TrainingError, match="has not ended within 1 second; it was at models.py, line 9, in deaf"):
        trained(DEAF, "deaf", minutes=0.02)


NEVER = """
def never(job):
    while True:
        try:
            list(range(10**6))
        except:
            pass
"""
TRIES = """
import sys
from pathlib import Path
from cd4ml.training import function, trial
function.LAST_SECONDS = 2
trial.main(Path(sys.argv[1]))
"""


def test_a_function_that_no_error_gets_out_of_ends_with_its_process(tmp_path):
    (tmp_path / "models.py").write_text(NEVER)
    source = code.beside("models:never", tmp_path)
    spec = {"function": "models:never", "source": source, "minutes": 0.02}
    (tmp_path / "asked.json").write_text(json.dumps({"spec": spec}))

    done = subprocess.run(
        [sys.executable, "-c", TRIES, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 1
    told = errors.words(done.stderr)
    assert re.match("models:never: has not ended within 1 second; it was at models.py, line [3-7], in never; ", told)


def test_a_version_says_which_code_was_used_and_its_checkpoints_are_of_that_code_alone(trained, tmp_path):
    kept = "job.checkpoints.save(State({}, [])) and keras.Model(encoder.inputs, chance)"
    for number in (1, 2):
        source = f"from cd4ml.training.checkpoints import State\nNUMBER = {number}\n" + GIVES.replace("{model}", kept)
        trained(source, "given", folder=f"model{number}", store=str(tmp_path / "store"))

        digest = hashlib.sha256(source.encode()).hexdigest()
        written = model.read_contract(tmp_path / f"model{number}").model
        assert written["code"] == f"sha256:{digest}"
        assert "source" not in written
        assert len(list((tmp_path / "store" / "checkpoints").iterdir())) == number


def test_an_installed_function_is_named_as_it_is_imported(inputs, tmp_path, installed):
    folder = installed("acme_models", GIVES.replace("{model}", "keras.Model(encoder.inputs, chance)"), "")

    train(requested(inputs, spec={"function": "acme_models:given"}), folder=tmp_path / "model")

    digest = hashlib.sha256((folder / "acme_models.py").read_bytes()).hexdigest()
    assert model.read_contract(tmp_path / "model").model["code"] == f"sha256:{digest}"


def test_no_more_than_a_megabyte_of_what_a_function_prints_is_in_the_log(trained, capsys):
    printed = "print('x' * 2 * 10**6) or sys.stdout.close() or keras.Model(encoder.inputs, Prints()(chance))"
    trained(GIVES.replace("{model}", printed), "given")

    said = capsys.readouterr().out
    assert len(said) < 1.1 * 2**20
    assert "team.models:given has printed 1,048,576 characters; the rest is left out" in said
    assert "epoch 1: loss" in said


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (OWN, "wide", "the module team.models has no function 'wide'; there are own"),
        ("def f(job, units): pass", "f", r"takes \(job, units\), and is called with one object; write `def f\(job\)"),
        ("def f(): pass", "f", r"takes \(\), and is called with one object"),
        ("def f(job):\n  return (", "f", r"cannot be imported: models.py, line 2: SyntaxError"),
        ("import torch\ndef f(job): pass", "f", "needs the module 'torch', which the train environment lacks; install"),
        ("from team import other\ndef f(job): pass", "f", "needs the module 'team', which"),
        ("1 / 0\ndef f(job): pass", "f", r"cannot be imported: models.py, line 1, in <module>: ZeroDivisionError"),
        ("exit(0)\ndef f(job): pass", "f", "models.py, line 1, in <module>: SystemExit: 0; mend it"),
        ("while True: pass", "f", "has not ended within 1 second; it was at models.py, line 1, in <module>"),
        ("def f(job):\n  import torch", "f", "models.py, line 2, in f: ModuleNotFoundError: No module named 'torch'"),
    ],
)
def test_code_that_cannot_be_used_is_told(trained, tmp_path, source, name, message):
    with pytest.raises(TrainingError, match=message):
        trained(source, name, minutes=0.02 if "while" in source else 5)
    assert not (tmp_path / "model").exists()


def test_a_module_that_is_not_there_is_told(inputs, tmp_path):
    with pytest.raises(TrainingError, match="there is no module acme.models: neither acme/models.py beside the run"):
        train(requested(inputs, spec={"function": "acme.models:wide"}), folder=tmp_path / "model")
