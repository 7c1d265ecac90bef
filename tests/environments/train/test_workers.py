"""Several workers: they train what one process trains, and what befalls one of them costs no more than minutes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested

from cd4ml.errors import TrainingError
from cd4ml.training import task, worker, workers
from cd4ml.training.request import Request
from cd4ml.training.train import train
from cd4ml.training.workers import Worker

DNN = {"model": "wide_and_deep", "epochs": 20, "patience": 20, "batch_size": 64, "hidden": [16], "reweight": ["region"]}
ROWS = 1025
"""The last batch of an epoch has one row, so that one of two workers has none."""
PROGRAM = """
import sys
from cd4ml.training import task
from cd4ml.training.request import Request
folder = sys.argv[2]
came = task.run(
    Request.parse(sys.argv[1], "the test"), sweep={}, folder=folder, report=folder + ".html", logs=folder + "-logs"
)
print("came", came.metrics["epochs"], came.metadata["device"])
"""


@pytest.fixture(scope="module")
def few(prepare: Any) -> Inputs:
    return prepare(players(ROWS, seed=1), players(500, seed=2))


def started(request: Request, folder: Path) -> "subprocess.Popen[str]":
    """A task of its own, as a pipeline runs it."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, request.text, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def history(folder: Path) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads((folder / "history.json").read_text())
    return [{name: value for name, value in one.items() if not name.endswith("seconds")} for one in found]


def predicted(folder: Path, inputs: Inputs) -> np.ndarray:
    return predictions_of(folder, pq.read_table(inputs.eval_split))


@pytest.fixture(scope="module")
def alone(few: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the same batches."""
    folder = tmp_path_factory.mktemp("alone") / "model"
    train(requested(few, spec=DNN), folder=folder)
    return folder


def check_same(folder: Path, alone: Path, inputs: Inputs) -> None:
    for found, expected in zip(history(folder), history(alone), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(predicted(folder, inputs) - predicted(alone, inputs)).max() < 1e-5


def test_two_workers_train_what_one_process_does(few, alone, tmp_path):
    said = started(requested(few, spec=DNN, workers=2), tmp_path / "model").communicate(timeout=300)[0]

    assert "came 20 2 workers, each on" in said
    check_same(tmp_path / "model", alone, few)


def members(process: "subprocess.Popen[str]") -> dict[int, int]:
    """The processes of its workers, by their number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(one.partition("=")[::2] for one in (folder / "environ").read_text().split("\0"))
        except (OSError, UnicodeDecodeError):
            continue
        if parent == process.pid and workers.TF_CONFIG in variables:
            found[json.loads(variables[workers.TF_CONFIG])["task"]["index"]] = int(folder.name)
    return found


def until(process: "subprocess.Popen[str]", begin: str) -> Iterator[str]:
    """What it prints, up to the first line that begins so."""
    for line in process.stdout:
        yield line
        if line.startswith(begin):
            return


def test_workers_that_are_told_to_end_or_lose_one_go_on_from_the_checkpoint(few, alone, tmp_path):
    request = requested(few, spec=DNN, workers=2, store=tmp_path / "store", checkpoint_seconds=0.0)

    ended = started(request, tmp_path / "model")
    said = "".join(until(ended, "checkpoint at epoch 2"))
    of_ended = members(ended)
    os.kill(of_ended[1], signal.SIGTERM)  # whichever hears of it, all of them end at one step, and begin again
    said += "".join(until(ended, "goes on from epoch"))
    ended.send_signal(signal.SIGTERM)
    said += ended.communicate(timeout=120)[0]

    assert ended.returncode == 128 + signal.SIGTERM
    assert "told to end, at epoch" in said
    assert "worker 1 ended" in said or "worker 0 ended" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in of_ended.values())
    assert not (tmp_path / "model").exists()

    lost = started(request, tmp_path / "model")
    said = "".join(until(lost, "checkpoint at epoch"))
    os.kill(members(lost)[1], signal.SIGKILL)
    said += lost.communicate(timeout=300)[0]

    assert said.count("goes on from epoch") == 2
    assert "worker 1 ended by signal 9; all begin again, from the last checkpoint" in said
    assert lost.returncode == 0
    check_same(tmp_path / "model", alone, few)


def test_a_worker_that_goes_while_the_first_one_writes_the_model_costs_nothing(few, tmp_path):
    running = started(requested(few, spec={**DNN, "epochs": 1}, workers=2), tmp_path / "model")
    said = "".join(until(running, "epoch 1:"))
    other = members(running).get(1)
    said += "".join(until(running, "ended by its cap"))
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        os.kill(other, signal.SIGKILL)
    said += running.communicate(timeout=300)[0]

    assert running.returncode == 0
    assert "begin again" not in said
    assert (tmp_path / "model.html").exists()


def test_what_a_worker_says_of_a_loss_is_what_tensorflow_says(few, tmp_path, monkeypatch, capsys):
    def fails(*_: Any) -> None:
        raise tf.errors.InternalError(None, None, "the library of the GPU is of another version")

    monkeypatch.setattr("cd4ml.training.train.take_part", fails)
    for name, value in Worker(["localhost:1", "localhost:2"], 1).variables.items():
        monkeypatch.setenv(name, value)
    requested(few, spec=DNN, workers=2).write(tmp_path / workers.REQUEST)

    assert worker.main(tmp_path) == workers.LOST
    said = "InternalError: the library of the GPU is of another version"
    assert said in capsys.readouterr().out
    assert (tmp_path / workers.FAULT).read_text() == said


def test_what_is_wrong_with_the_data_is_told_as_of_one_process(few, tmp_path):
    said = started(requested(few, spec=DNN, workers=2, label="tok"), tmp_path / "model").communicate(timeout=300)[0]

    assert "cd4ml.errors.TrainingError: " in said.splitlines()[-1]
    assert "'tok'" in said.splitlines()[-1]


@pytest.mark.parametrize(("spec", "sweep"), [({"model": "trees"}, {}), (DNN, {"trials": 2})])
def test_what_several_workers_cannot_train_is_refused(few, tmp_path, spec, sweep):
    request = requested(few, spec=spec, workers=2, store=tmp_path / "store")

    with pytest.raises(TrainingError, match=r"^workers: "):
        task.run(request, sweep=sweep, folder=tmp_path / "model", report=tmp_path / "report", logs=tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []
