"""What a training computes on: GPUs that are asked for, several devices at once, and how exactly."""

import importlib.metadata
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested
from packaging.requirements import Requirement

from cd4ml.contracts import model
from cd4ml.errors import TrainingError
from cd4ml.training.devices import Devices
from cd4ml.training.train import Trained, train

ROOT = Path(__file__).parents[3]
DNN = {"model": "dnn", "epochs": 3, "patience": 3, "batch_size": 96, "hidden": [16], "reweight": ["region"]}
"""The last batch of an epoch has 64 of 4,000 rows; `city` has values enough to be embedded."""


def run(inputs: Inputs, folder: Path, spec: dict[str, Any] = DNN, **settings: Any) -> Trained:
    return train(requested(inputs, spec=spec, **settings), folder=folder)


def history(folder: Path) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads((folder / "history.json").read_text())
    return [{name: value for name, value in one.items() if not name.endswith("seconds")} for one in found]


def predicted(folder: Path) -> np.ndarray:
    return predictions_of(folder, players(500, seed=3))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a `nvidia-smi` on the path that says this."""

    def say(text: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return say


@pytest.fixture(scope="module")
def alone(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on one device."""
    folder = tmp_path_factory.mktemp("alone") / "model"
    run(inputs, folder)
    return folder


SHARED = """
import os, signal, sys
from dataclasses import replace
import tensorflow as tf

count = int(sys.argv[1])
cpus = [tf.config.LogicalDeviceConfiguration()] * count
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)

from cd4ml.training.checkpoints import Checkpoints
from cd4ml.training.request import Request
from cd4ml.training.train import train

given = Request.parse(sys.argv[2], "the test")
train(given, folder=sys.argv[3])
save = Checkpoints.save

def save_and_end(self, state):
    if state.progress["epochs"]:
        os.kill(os.getpid(), signal.SIGTERM)
    return save(self, state)

Checkpoints.save = save_and_end
store = os.path.dirname(sys.argv[3])
try:
    train(replace(given, store=store, checkpoint_seconds=0.0), folder="never")
except SystemExit:
    Checkpoints.save = save
    train(replace(given, store=store), folder=sys.argv[3] + "-again")

too_fast = {"model": "linear", "learning_rate": 20, "epochs": 4, "batch_size": 96}
train(replace(given, spec=too_fast), folder=sys.argv[3] + "-too-fast")
"""


@pytest.fixture(scope="module")
def shared(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that was trained on three, which share no batch evenly, and beside it one that was ended and went on.

    Its checkpoint is still there.
    """
    folder = tmp_path_factory.mktemp("shared") / "model"
    words = [sys.executable, "-c", SHARED, "3", requested(inputs, spec=DNN).text, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("goes on from epoch 2, step 0 of 42") == 1
    return folder


def test_several_devices_train_as_one_does_on_the_same_batches(alone: Path, shared: Path) -> None:
    one, several = history(alone), history(shared)

    assert len(one) == len(several) == 3
    for epoch, same in zip(one, several, strict=True):
        assert same == pytest.approx(epoch, abs=1e-5)
    for folder in (shared, shared.with_name("model-again")):
        np.testing.assert_allclose(predicted(folder), predicted(alone), atol=1e-5)


def test_several_devices_learn_slower_after_an_epoch_without_a_better_score(shared: Path) -> None:
    scores = [epoch["eval_auc"] for epoch in history(shared.with_name("model-too-fast"))]

    assert any(after <= before for before, after in itertools.pairwise(scores[:-1]))


def test_a_training_goes_on_where_another_number_of_devices_left_off(
    inputs: Inputs, tmp_path: Path, alone: Path, shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(inputs, tmp_path / "model", store=str(shared.parent))

    assert "goes on from epoch 2, step 0 of 42" in capfd.readouterr().out
    np.testing.assert_allclose(predicted(tmp_path / "model"), predicted(alone), atol=1e-5)


TWO = """
import json, sys
import keras
import numpy as np
import tensorflow as tf

cpus = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)

from cd4ml.training.examples import Block
from cd4ml.training.request import Request
from cd4ml.training.shared import added_up
from cd4ml.training.steps import DRAWING, Steps
from cd4ml.training.train import train


class Squares:
    shape = (1,)

    def targets(self, labels):
        return labels

    def losses(self, targets, outputs):
        return (outputs[:, 0] - targets) ** 2


on_one = tf.distribute.ReductionToOneDevice()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=on_one)
with strategy.scope():
    normalization = keras.layers.BatchNormalization(momentum=0.9)
    network = keras.Sequential([keras.Input((1,)), normalization, keras.layers.Dense(1)])
    steps = Steps(network, exact=network, objective=Squares(), optimizer=keras.optimizers.Adam(), batch=8)
steps.take(Block([np.full((9, 1), 5.0, np.float32)], np.zeros(9, np.float32), None))



@tf.function
def sums():
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    far = tf.reshape(2**24 + 1 + tf.cast(place, tf.int64), [1])
    found = tf.boolean_mask(tf.ones([3, 2]), tf.range(3) <= place)
    rows, whole = added_up(
        [
            tf.IndexedSlices(tf.ones([1, 1]), far, tf.constant([2**40, 1], tf.int64)),
            tf.IndexedSlices(found, tf.range(tf.shape(found)[0]), tf.constant([4, 2])),
        ]
    )
    return rows.indices, tf.convert_to_tensor(whole)


summed = [strategy.experimental_local_results(one)[1].numpy().tolist() for one in strategy.run(sums)]

take, seen = Steps.take, []


def noted(self, block):
    states = [one.value for one in self.network.variables if one.name == DRAWING]
    seen.append([[one.numpy().tolist() for one in self.strategy.experimental_local_results(state)] for state in states])
    return take(self, block)


Steps.take = noted
train(Request.parse(sys.argv[1], "the test"), folder=sys.argv[2])
print(json.dumps({"mean": float(normalization.moving_mean.numpy()[0]), "draws": seen, "summed": summed}))
"""


@pytest.fixture(scope="module")
def two(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of two devices: what layers saw of nine fives in batches of eight, by what dropout drew, and sums."""
    spec = {"model": "dnn", "epochs": 1, "hidden": [4, 4], "dropout": 0.5}
    folder = tmp_path_factory.mktemp("two") / "model"
    words = [sys.executable, "-c", TWO, requested(inputs, spec=spec).text, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_layer_that_looks_at_all_rows_sees_true_ones_also_in_the_last_small_batch(two: dict[str, Any]) -> None:
    assert two["mean"] == pytest.approx(5 * (1 - 0.9**2), rel=1e-5)


def test_no_two_devices_leave_out_the_same(two: dict[str, Any]) -> None:
    assert two["draws"][0]
    for states in two["draws"]:
        for (one, count), (other, same) in states:
            assert one != other
            assert count == same


def test_rows_far_down_an_embedding_and_rows_whose_number_differs_are_added_up_over_workers(
    two: dict[str, Any],
) -> None:
    indices, whole = two["summed"]

    assert indices == [2**24 + 1, 2**24 + 2]  # of each device one; float32 tells them not apart
    assert whole == [[2, 2], [1, 1], [0, 0], [0, 0]]


def test_gpus_that_are_not_there_are_told_with_what_is_seen_of_them(
    inputs: Inputs, tmp_path: Path, driver: Any
) -> None:
    driver("0, NVIDIA H200, 565.57.01, 80000 MiB, 143771 MiB")

    with pytest.raises(TrainingError) as refused:
        run(inputs.but(train_split=tmp_path / "none"), tmp_path / "model", accelerator="gpu", gpus=2)

    assert "2 GPUs asked for, and TensorFlow sees 0 GPUs" in str(refused.value)
    assert "nvidia-smi: 0, NVIDIA H200, 565.57.01, 80000 MiB, 143771 MiB; " in str(refused.value)
    assert "images/train/cuda.txt" in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_a_machine_without_a_driver_says_so(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    with pytest.raises(TrainingError, match=r"\(CUDA_VISIBLE_DEVICES=3\); nvidia-smi: is not there; "):
        run(inputs, tmp_path / "model", accelerator="gpu", gpus=0)


def test_another_accelerator_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="accelerator: 'tpu' is none; write auto, gpu or cpu"):
        run(inputs, tmp_path / "model", accelerator="tpu")


def test_a_gpu_that_the_driver_sees_and_tensorflow_does_not_is_told_where_a_cpu_will_do(
    inputs: Inputs, tmp_path: Path, driver: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    driver("0, NVIDIA H200, 565.57.01, 1 MiB, 143771 MiB")
    spec = DNN | {"epochs": 1}

    found = run(inputs, tmp_path / "auto", spec)
    log = capfd.readouterr().out
    run(inputs, tmp_path / "cpu", spec, accelerator="cpu")

    assert "1 GPU asked for, and TensorFlow sees 0 GPUs; nvidia-smi: 0, NVIDIA H200, 565.57.01" in log
    assert "CPU core" in found.metadata["device"]
    assert "nvidia-smi" not in capfd.readouterr().out
    assert predicted(tmp_path / "auto").tolist() == predicted(tmp_path / "cpu").tolist()


def test_a_gpu_that_cannot_be_used_is_told_with_who_holds_its_memory(driver: Any) -> None:
    driver("0, NVIDIA H200, 565.57.01, 143000 MiB, 143771 MiB")

    with pytest.raises(TrainingError) as refused:
        Devices(names=("GPU:0",), models=("NVIDIA H200",)).check()

    assert str(refused.value).startswith("GPU:0 cannot be used, as where another process has taken it: ")
    assert "143000 MiB, 143771 MiB; wait until it is free, or train with `accelerator: cpu`" in str(refused.value)


def test_steps_in_less_precision_make_a_model_that_computes_in_float32(
    inputs: Inputs, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cd4ml.training.train.find", lambda *_: Devices(bfloat16=True))

    run(inputs, tmp_path / "mixed", DNN | {"precision": "mixed"})
    run(inputs, tmp_path / "exact", DNN)

    signature = tf.saved_model.load(str(tmp_path / "mixed" / "saved_model")).signatures["serving_default"]
    assert "DT_BFLOAT16" not in str(signature.graph.as_graph_def())
    assert {one.dtype for one in signature.structured_outputs.values()} == {tf.float32}
    mixed, exact = predicted(tmp_path / "mixed"), predicted(alone)
    assert mixed.dtype == np.float32
    assert 1e-5 < np.abs(mixed - exact).max() < 0.05
    assert predicted(tmp_path / "exact").tolist() == exact.tolist()  # it is asked for, not taken


def test_a_device_that_has_no_bfloat16_trains_in_float32(inputs: Inputs, tmp_path: Path, alone: Path) -> None:
    run(inputs, tmp_path / "model", DNN | {"precision": "mixed"})

    assert predicted(tmp_path / "model").tolist() == predicted(alone).tolist()


def test_the_switch_to_a_fixed_order_is_thrown_and_recorded(inputs: Inputs, tmp_path: Path, alone: Path) -> None:
    from tensorflow.python.framework import config

    assert not config.is_op_determinism_enabled()
    try:
        run(inputs, tmp_path / "model", DNN | {"deterministic": True})
        assert config.is_op_determinism_enabled()
    finally:
        config.disable_op_determinism()

    assert model.read_contract(tmp_path / "model").model["deterministic"] is True
    assert model.read_contract(alone).model["deterministic"] is False
    np.testing.assert_allclose(predicted(tmp_path / "model"), predicted(alone), atol=1e-5)


def test_the_train_image_has_the_libraries_of_cuda_that_its_tensorflow_asks_for_and_no_other_image_has_any() -> None:
    asked = map(Requirement, importlib.metadata.requires("tensorflow") or [])
    wanted = {one.name: one.specifier for one in asked if one.marker and one.marker.evaluate({"extra": "and-cuda"})}
    wanted = {name: versions for name, versions in wanted.items() if name.startswith("nvidia-")}
    pins = {file: pinned(file) for file in sorted((ROOT / "images").glob("*/*.txt"))}
    cuda = pins.pop(ROOT / "images/train/cuda.txt")

    assert {"nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12", "nvidia-nccl-cu12"} < wanted.keys()
    assert cuda.keys() == wanted.keys()
    assert all(wanted[name].contains(version) for name, version in cuda.items())
    assert len(pins) > 5
    assert not [file for file, others in pins.items() if any(name.startswith("nvidia") for name in others)]


def pinned(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", lock.read_text(), re.MULTILINE))
