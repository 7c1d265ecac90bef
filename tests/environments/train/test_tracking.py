"""How far a training is: told in the store while it goes on, and never at its cost."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import requested

from cd4ml.contracts.model import Contract
from cd4ml.contracts.progress import MOST_EPOCHS, Progress
from cd4ml.errors import TrainingError
from cd4ml.registry import notes, records, trainings
from cd4ml.storage import open_store
from cd4ml.training import tracking
from cd4ml.training.fit import Epoch
from cd4ml.training.job import TrainingJob
from cd4ml.training.tracking import Tracker
from cd4ml.training.train import Trained, train

DNN = {"model": "dnn", "epochs": 3, "patience": 3, "batch_size": 64, "hidden": [8]}


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a run's task."""
    for name, value in ((records.PIPELINE, "training"), (records.RUN, "run-1"), (notes.TASK, "train-model")):
        monkeypatch.setenv(name, value)


def run(inputs: Any, folder: Path, spec: dict[str, Any] = DNN, **settings: Any) -> Trained:
    return train(requested(inputs, spec=spec, **settings), folder=folder / "model")


def told(store: Path) -> Progress:
    found, unreadable = trainings.of(open_store(store), pipeline="training", run="run-1")
    assert not unreadable
    [progress] = found
    return progress


def job_of(folder: Path, tracker: Tracker) -> TrainingJob:
    """A job of which nothing but its tracker is asked."""
    return TrainingJob(
        train=folder,
        eval=folder,
        contract=Contract("took", ("no", "yes"), (), {}),
        statistics={},
        weights=None,
        seed=0,
        workspace=folder,
        tracker=tracker,
    )


@pytest.mark.usefixtures("said")
def test_the_epochs_stay_and_are_shown_once_where_a_function_reports_between_them(tmp_path):
    shown: list[int] = []
    tracker = Tracker("function", store=str(tmp_path), key="k", show=lambda curve: shown.append(len(curve)))
    first = Epoch(epoch=1, seconds=1.0, loss=0.5, metric="auc", score=0.7, eval_loss=0.6, eval_score=0.8)

    with tracker:
        tracker.tell([first], best=first)
        job_of(tmp_path, tracker).report(epoch=2, loss=0.4)

    assert (told(tmp_path).curve, told(tmp_path).best) == ((first.entry,), first.entry)
    assert (told(tmp_path).epoch, told(tmp_path).loss) == (2, 0.4)
    assert shown == [1]


@pytest.mark.usefixtures("said")
def test_what_a_function_reports_is_told_whatever_its_numbers_are(tmp_path, capsys):
    tracker = Tracker("function", store=str(tmp_path), key="k")
    job = job_of(tmp_path, tracker)

    with tracker:
        job.report(epoch=np.int64(3), loss=np.float32("nan"))

    assert (told(tmp_path).epoch, told(tmp_path).loss, told(tmp_path).state) == (3, None, "ended")
    assert "reported epoch 3, loss nan\n" in capsys.readouterr().out


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """All that is written to the store, one after the other."""
    found: list[Progress] = []
    write = tracking.arrow.write

    def kept(place: Any, name: str, content: bytes) -> None:
        if name.startswith("progress/"):
            found.append(Progress.parse(content, name))
        write(place, name, content)

    monkeypatch.setattr(tracking, "EVERY_SECONDS", 0)
    monkeypatch.setattr(tracking.arrow, "write", kept)
    return found


@pytest.mark.parametrize(
    ("spec", "unit", "last"), [(DNN, "epoch", 3), ({"model": "trees", "trees": 25, "leaves": 4}, "tree", 25)]
)
def test_a_training_tells_how_far_it_is_until_it_has_ended(inputs, tmp_path, said, spec, unit, last):
    found = run(inputs, tmp_path, spec, store=str(tmp_path))

    progress, history = told(tmp_path), json.loads((tmp_path / "model" / "history.json").read_text())
    assert (progress.state, progress.said, progress.model) == ("ended", found.ended, spec["model"])
    assert (progress.task, progress.unit, progress.epoch, progress.epochs) == ("train-model", unit, last, last)
    assert list(progress.curve) == history
    assert progress.best["epoch"] == found.best.epoch
    assert re.fullmatch(r"\d+ CPU cores?", progress.device)
    assert progress.memory_bytes > 2**20
    going = [one for one in said if one.state == "running" and one.loss is not None]
    assert going
    assert all(one.left_seconds >= 0 and one.seconds >= 0 for one in going)
    assert (said[0].state, said[0].curve, said[-1]) == ("running", (), progress)


def test_where_a_training_belongs_to_no_run_nothing_is_written(inputs, tmp_path, said, monkeypatch):
    monkeypatch.delenv(records.RUN)
    run(inputs, tmp_path, {**DNN, "epochs": 1}, store=str(tmp_path))

    assert not said
    assert not (tmp_path / "progress").exists()


def test_a_store_that_takes_no_word_is_told_once_and_training_goes_on(inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tracking, "EVERY_SECONDS", 0)
    (tmp_path / "progress").write_text("no folder")

    found = run(inputs, tmp_path, store=str(tmp_path))

    assert found.epochs == 3
    place = f"{tmp_path}/progress/training/run-1/train-model-"
    assert capsys.readouterr().out.count(f"how far it is cannot be told in {place}") == 1


def test_a_store_that_does_not_answer_keeps_no_training_waiting(inputs, tmp_path, capsys, monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(tracking.arrow, "write", lambda *_: answered.wait(60))
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 0.01)
    started = time.monotonic()
    with Tracker("dnn", store=str(tmp_path), key="key") as tracker:
        for _ in range(1000):
            tracker.tell([], best=None, epoch=1)
    assert time.monotonic() - started < 5
    answered.set()


def test_what_ends_a_training_is_told(inputs, tmp_path):
    with pytest.raises(TrainingError):
        run(inputs, tmp_path, {**DNN, "hidden": [64] * 8, "learning_rate": 100.0}, store=str(tmp_path))

    assert told(tmp_path).state == "failed"
    assert told(tmp_path).said.startswith("epoch 1: the loss is ")


def test_a_training_that_is_told_to_end_is_not_said_to_go_on(tmp_path):
    with pytest.raises(SystemExit), Tracker("dnn", store=str(tmp_path), key="key"):
        raise SystemExit(128 + signal.SIGTERM)

    assert (told(tmp_path).state, told(tmp_path).said) == ("stopped", "before its end")


def test_a_training_that_goes_on_has_one_curve_without_a_gap(inputs, tmp_path, said):
    spec, over = {**DNN, "epochs": 40, "patience": 40}, threading.Event()

    def end() -> None:
        while not any(len(one.curve) > 2 for one in said) and not over.wait(0.001):
            pass
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end)
    ending.start()
    try:
        with pytest.raises(SystemExit):
            run(inputs, tmp_path, spec, store=str(tmp_path), checkpoint_seconds=0)
    finally:
        over.set()
        ending.join()
    stopped = told(tmp_path)
    run(inputs, tmp_path, spec, store=str(tmp_path))

    assert stopped.state == "stopped"
    assert [one["epoch"] for one in told(tmp_path).curve] == list(range(1, 41))


def test_a_long_training_has_a_line_in_the_log_between_its_epochs(inputs, tmp_path, capsys, monkeypatch, said):
    monkeypatch.setattr(tracking, "LINE_SECONDS", 0)

    run(inputs, tmp_path, {**DNN, "epochs": 2}, store=str(tmp_path))

    line = r"^epoch 1 of at most 2, step \d+ of 63: loss 0\.\d{4}, [\d,]+ rows a second, at most \d+ seconds? left$"
    assert re.search(line, capsys.readouterr().out, re.MULTILINE)


def test_a_score_that_is_no_number_and_very_many_epochs_are_told_all_the_same(tmp_path):
    many = [
        Epoch(epoch=number, seconds=1.0, loss=0.5, metric="auc", score=float("nan"), eval_loss=0.5, eval_score=0.5)
        for number in range(1, 10_001)
    ]
    with Tracker("dnn", store=str(tmp_path), key="key") as tracker:
        tracker.note(many, best=many[0], epoch=10_000)

    curve = told(tmp_path).curve
    assert len(curve) <= MOST_EPOCHS
    assert (curve[-1]["epoch"], "auc" in curve[-1]) == (10_000, False)


def test_a_loss_that_cannot_be_told_is_told_in_the_log_and_ends_nothing(tmp_path, capsys):
    with Tracker("own", store=str(tmp_path), key="key") as tracker:
        tracker.note([], best=None, loss=float("nan"))

    assert "how far it is cannot be told in " in capsys.readouterr().out


def test_what_was_told_a_month_ago_goes_on_this_machine(tmp_path):
    old = tmp_path / "progress" / "training" / "run-0" / "train-model-key.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    ago = time.time() - 31 * 24 * 3600
    os.utime(old, (ago, ago))

    with Tracker("dnn", store=str(tmp_path), key="key"):
        pass

    assert not old.parent.exists()
    assert told(tmp_path).state == "ended"
