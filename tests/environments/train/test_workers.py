"""Several workers: they train what one process trains, and what befalls one of them costs no more than minutes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, players, predictions_of, requested

from cd4ml.errors import TrainingError
from cd4ml.training import task, worker, workers
from cd4ml.training.ending import at_sigterm
from cd4ml.training.request import Request
from cd4ml.training.together import LOSSES, Together
from cd4ml.training.train import train
from cd4ml.training.workers import Worker

DNN = {
    "model": "wide_and_deep",
    "epochs": 12,
    "patience": 12,
    "batch_size": 64,
    "hidden": [16],
    "reweight": ["region"],
    "texts": ["said"],
}
ROWS = 1025
"""The last batch of an epoch has one row, so that all workers but one have none."""
STEPS = -(-ROWS // 64)
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
    return prepare(with_words(players(ROWS, seed=1)), with_words(players(500, seed=2)))


def with_words(table: pa.Table) -> pa.Table:
    """With a text of one word to seven."""
    said = [" ".join([city] * (1 + place % 7)) for place, city in enumerate(table["city"].to_pylist())]
    return table.append_column("said", pa.array(said))


def started(request: Request, folder: Path) -> "subprocess.Popen[str]":
    """A task of its own, as a pipeline runs it."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, request.text, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def here(request: Request, folder: Path) -> Any:
    """A task whose process is this one; its workers are not."""
    return task.run(request, sweep={}, folder=folder, report=f"{folder}.html", logs=f"{folder}-logs")


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


class Told:
    """What a task prints."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self.text = process, ""

    def until(self, begin: str) -> str:
        """Reads up to the first line that begins so; what follows in it."""
        assert self._process.stdout
        for line in self._process.stdout:
            self.text += line
            if line.startswith(begin):
                return line.removeprefix(begin).rstrip()
        raise AssertionError(self.text)

    def to_end(self) -> None:
        self.text += self._process.communicate(timeout=300)[0]


@pytest.fixture(scope="module")
def ended(few: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where three workers keep how far they are, of which one was told to end, and then their task; and that place."""
    store = tmp_path_factory.mktemp("store")
    running = started(asked(few, store, 3), store / "model")
    told = Told(running)
    told.until("checkpoint at epoch 2")
    of_ended = members(running)
    os.kill(of_ended[1], signal.SIGTERM)
    place = told.until("told to end, at ")
    running.send_signal(signal.SIGTERM)  # where all would begin again
    told.to_end()
    assert running.returncode == 128 + signal.SIGTERM
    assert not any(Path(f"/proc/{pid}").exists() for pid in of_ended.values())
    assert not (store / "model").exists()
    return store, place


def asked(inputs: Inputs, store: Path, count: int) -> Request:
    return requested(inputs, spec=DNN, workers=count, store=store, checkpoint_seconds=0.0)


def test_workers_make_what_one_process_does_whatever_befalls_them(few, alone, ended, tmp_path):
    store, place = ended
    running = started(asked(few, store, 2), tmp_path / "model")
    told = Told(running)

    assert told.until("goes on from ") == place  # where all ended, told through one that is not the first
    while not told.until("checkpoint at epoch").endswith(f"step {STEPS} of {STEPS}"):
        pass
    os.kill(members(running)[1], signal.SIGKILL)  # while the epoch is measured
    told.until("goes on from epoch")
    (store / "checkpoints").rename(store / "away")
    (store / "checkpoints").touch()
    told.until("no checkpoint could be written")
    (store / "checkpoints").unlink()
    (store / "away").rename(store / "checkpoints")
    told.until("ended by its cap")
    with contextlib.suppress(KeyError, ProcessLookupError):  # it may have ended by itself
        os.kill(members(running)[1], signal.SIGKILL)  # while the first one writes the model
    told.to_end()

    assert running.returncode == 0
    assert told.text.count("goes on from epoch") == 2
    assert told.text.count("worker 1 ended by signal 9; all begin again, from the last checkpoint") == 1
    assert told.text.count("begin again") == 1
    assert "came 12 2 workers, each on" in told.text
    assert (tmp_path / "model.html").exists()
    check_same(tmp_path / "model", alone, few)


def test_workers_begin_with_a_model_and_end_by_their_budget_as_one_process_does(few, alone, tmp_path):
    spec = {**DNN, "minutes": 1e-9}
    one = train(requested(few, spec=spec, start=alone), folder=tmp_path / "one")
    came = here(requested(few, spec=spec, start=alone, workers=2), tmp_path / "two")

    assert one.ended == came.metadata["ended"] == "by its budget of 1e-09 minutes, in epoch 1"
    check_same(tmp_path / "two", tmp_path / "one", few)


@pytest.fixture
def second(few: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has this process be the second worker, that does this in place of training; gives its exit code."""

    def be(does: Any) -> int:
        monkeypatch.setattr("cd4ml.training.train.take_part", does)
        for name, value in Worker(["localhost:1", "localhost:2"], 1).variables.items():
            monkeypatch.setenv(name, value)
        requested(few, spec=DNN, workers=2).write(tmp_path / workers.REQUEST)
        return worker.main(tmp_path)

    return be


def test_what_a_worker_says_of_a_loss_is_what_tensorflow_says(second, tmp_path, capsys):
    def fails(*_: Any) -> None:
        raise tf.errors.InternalError(None, None, "the library of the GPU is of another version")

    assert second(fails) == workers.LOST
    said = "InternalError: the library of the GPU is of another version"
    assert said in capsys.readouterr().out
    assert (tmp_path / workers.FAULT).read_text() == said


def test_what_is_wrong_with_the_data_is_told_as_of_one_process(second, tmp_path, capsys):
    def fails(*_: Any) -> None:
        raise TrainingError("label: 'tok' is no column")

    assert second(fails) == 1
    assert (tmp_path / workers.FAULT).read_text() == "label: 'tok' is no column"
    assert capsys.readouterr().out == "error: label: 'tok' is no column\n"


def test_a_worker_that_is_told_to_end_before_it_trains_ends_also_as_the_first_process_of_a_container(second):
    with at_sigterm(signal.SIG_IGN):  # as the kernel has it there
        assert second(lambda *_: os.kill(os.getpid(), signal.SIGTERM)) == workers.ENDED


def test_a_worker_does_not_wait_for_ever_for_a_first_one_that_is_gone():
    nobody = Worker(["127.0.0.1:1", "127.0.0.1:2"], 1)

    with pytest.raises(tf.errors.DeadlineExceededError, match=r"worker 0 does not answer at 127\.0\.0\.1:1 after 0 s"):
        Together(nobody, seconds=0.0)
    assert tf.errors.DeadlineExceededError in LOSSES


@pytest.mark.parametrize(("spec", "sweep"), [({"model": "trees"}, {}), (DNN, {"trials": 2})])
def test_what_several_workers_cannot_train_is_refused(few, tmp_path, spec, sweep):
    request = requested(few, spec=spec, workers=2, store=tmp_path / "store")

    with pytest.raises(TrainingError, match=r"^workers: "):
        task.run(request, sweep=sweep, folder=tmp_path / "model", report=tmp_path / "report", logs=tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []
