"""What a person is shown of a training: its page, and its curves in TensorBoard."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from conftest import requested

from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.sweep import Sweep, Trial
from cd4ml.names import amount
from cd4ml.training import report
from cd4ml.training.board import Board
from cd4ml.training.fit import Epoch
from cd4ml.training.sweeping import Swept
from cd4ml.training.train import Trained, train

DNN = {"model": "dnn", "epochs": 3, "patience": 3, "batch_size": 64, "hidden": [8], "reweight": ["region"]}
TREES = {"model": "trees", "trees": 25, "leaves": 4}


def words(page: Path) -> str:
    """What a reader sees, without what the pictures say."""
    shown = re.sub(r"<(svg|script|style)\b.*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads: by tag the steps and values, of all files together."""
    found = defaultdict(list)
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found[value.tag].append((event.step, value.simple_value))
    return dict(found)


def epoch(number: int, **values: Any) -> Epoch:
    measured = {"loss": 0.5, "metric": "auc", "score": 0.7, "eval_loss": 0.6, "eval_score": 0.8}
    return Epoch(**{"epoch": number, "seconds": 1.0, **measured, **values})


CONTRACT = Contract("took", ("no", "yes"), (Input("<b>age</b>", "number"),), {"model": "own", "by": "<i>"})
TRAINED = Trained(
    problem=CONTRACT.problem,
    digest="sha256:m",
    name="own",
    rows=100,
    features=1,
    history=[epoch(1)],
    unit="epoch",
    weights=None,
    ended="",
    device="2 CPU cores",
    memory_bytes=2**30,
    device_memory_bytes=None,
)


def written(folder: Path, **changes: Any) -> Path:
    report.write(folder / "report.html", trained=replace(TRAINED, **changes), contract=CONTRACT, seed=7)
    return folder / "report.html"


def test_the_page_of_a_network_says_how_its_training_went(inputs, tmp_path):
    page, logs = tmp_path / "report.html", tmp_path / "logs"
    found = train(requested(inputs, spec=DNN, seed=7), folder=tmp_path / "model", report=page, logs=logs)
    history = json.loads((tmp_path / "model" / "history.json").read_text())

    said = words(page)
    assert "dnn , 4,000 rows, 5 features, label took , seed 7, on " in said
    assert f"Epoch {found.best.epoch} of 3 was kept" in said
    assert "Ended by its cap of 3 epochs" in said
    assert "Reweighted " in said
    assert f"{amount(found.best.eval_score)} AUC on eval" in said
    assert "hidden [8]" in said
    assert re.search(r"age number \d+ to \d+", said)
    assert re.search(r"region category 3 values: .*'north'", said)
    assert page.read_text().count("<svg") == 2
    assert "could not be drawn" not in page.read_text()

    for one in history:
        parts = one["input_seconds"] + one["step_seconds"] + one["eval_seconds"]
        assert 0 < parts <= one["seconds"] + 0.01
    assert found.metrics["seconds"] == pytest.approx(sum(one["seconds"] for one in history))
    assert 0 < found.metrics["step_share"] <= 1
    assert found.metrics["rows_per_second"] > 0
    assert 0.01 < found.metrics["memory_gib"] < 1000
    assert "gpu_memory_gib" not in found.metrics

    drawn = curves(logs)
    assert set(drawn) == {f"{name}/{split}" for name in ("loss", "auc") for split in ("train", "eval")} | {
        f"seconds/{part}" for part in ("all", "input", "step", "eval")
    }
    assert drawn["auc/eval"] == [(one["epoch"], pytest.approx(one["eval_auc"])) for one in history]


def test_the_page_of_trees_counts_trees(inputs, tmp_path):
    page = tmp_path / "report.html"
    found = train(requested(inputs, spec=TREES, seed=7), folder=tmp_path / "model", report=page)

    assert f"Tree {found.best.epoch} of {found.epochs} was kept" in words(page)
    assert "rows a second" not in words(page)
    assert page.read_text().count("<svg") == 2


def test_what_a_training_of_a_team_does_not_know_is_left_out(tmp_path):
    nan = float("nan")
    page = written(tmp_path, history=[epoch(1, score=nan), epoch(2, score=nan, eval_score=nan, loss=nan)])

    said = words(page)
    assert "Epoch 1 of 2 was kept Loss" not in said
    assert "in steps" not in said
    assert "Where the time went" not in said
    assert page.read_text().count("<svg") == 1
    assert "<b>age</b>" in said
    assert "by <i>" in said
    assert "could not be drawn" not in page.read_text()


def test_the_page_of_a_winner_shows_what_was_tried(tmp_path):
    ranges = {"learning_rate": {"min": 0.001, "max": 0.1, "log": True}, "hidden": [[8], [8, 4]], "<b>": [1, 2]}
    sweep = Sweep(
        name="0a1b",
        model={"model": "own"},
        objective="auc",
        better="higher",
        ranges=ranges,
        constraints={"latency_ms": 5.0, "fairness.region.selection_rate@0.5": 0.1},
        parallel=2,
        seed=0,
        trials=14,
        minutes=None,
    )
    tried = [
        Trial(
            number,
            {"learning_rate": 0.001 * (number + 1), "hidden": [8] if number % 2 else [8, 4], "<b>": 1},
            0,
            "2026-11-30T05:00:00+00:00",
            state="ended",
            value=0.7 + number / 100,
            measured={"latency_ms": 1.0 + number, "fairness.region.selection_rate@0.5": 0.05},
            seconds=30,
        )
        for number in range(12)
    ]
    tried.append(Trial(12, {}, 1, tried[0].seen_at, state="failed", error="out of <i>memory</i>", seconds=30))
    tried.append(replace(tried[0], number=13, state="pruned", value=None, measured={}))

    report.write(tmp_path / "report.html", trained=TRAINED, contract=CONTRACT, seed=7, swept=Swept(sweep, tuple(tried)))

    said, page = words(tmp_path / "report.html"), (tmp_path / "report.html").read_text()
    assert "14 trials took 7 minutes together: 12 ended, 1 failed, 1 pruned. Trial 4 won with auc 0.74 on eval." in said
    assert " 4 0.005 [8, 4] 1 0.74 5 0.05 30 won " in said
    assert " 5 0.006 [8] 1 0.75 6 0.05 30 breaks a constraint " in said
    assert "Trial 12 failed: out of <i>memory</i>" in said
    assert page.count("<svg") == 5
    assert "could not be drawn" not in page


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        ("by its cap of 3 epochs", "warning"),
        ("by a flat loss: 0.7", "warning"),
        ("as auc on eval got no better for 2 epochs", "passed"),
        ("", "passed"),
    ],
)
def test_a_training_that_was_cut_short_is_marked(tmp_path, ended, verdict):
    assert f'class="verdict {verdict}"' in written(tmp_path, ended=ended).read_text()


def test_a_very_long_training_has_a_page_that_a_browser_can_show(tmp_path):
    many = [epoch(number, step_seconds=0.5) for number in range(1, 20_001)]

    page = written(tmp_path, history=many)

    assert page.stat().st_size < 10**6
    assert "Epoch 1 of 20,000 was kept" in words(page)
    assert "could not be drawn" not in page.read_text()


def test_an_attempt_begins_its_curves_anew_and_shows_no_epoch_twice(tmp_path):
    first = Board(tmp_path / "logs")
    first.show([epoch(1)])
    again = Board(tmp_path / "logs")
    again.show([epoch(1), epoch(2, score=float("nan"))])
    again.show([epoch(1), epoch(2), epoch(3)])

    drawn = curves(tmp_path / "logs")
    assert [step for step, _ in drawn["auc/eval"]] == [1, 2, 3]
    assert [step for step, _ in drawn["auc/train"]] == [1, 3]


def test_a_folder_for_curves_that_cannot_be_made_ends_no_training(inputs, tmp_path, capsys):
    (tmp_path / "file").touch()

    found = train(requested(inputs, spec=TREES, seed=7), folder=tmp_path / "model", logs=tmp_path / "file" / "logs")

    assert found.epochs > 0
    assert capsys.readouterr().out.count("the curves cannot be shown any more ([Errno 20] Not a directory") == 1


def test_curves_that_cannot_be_shown_are_told_once_and_training_goes_on(inputs, tmp_path, capsys, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Board, "show", full)
    found = train(requested(inputs, spec=DNN, seed=7), folder=tmp_path / "model", logs=tmp_path / "logs")

    assert found.epochs == 3
    assert capsys.readouterr().out.count("the curves cannot be shown any more ([Errno 28] No space left") == 1
