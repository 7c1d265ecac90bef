"""How far the trainings of a run are, as `cd4ml runs show` has it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cd4ml import cli
from cd4ml.contracts.progress import MOST_EPOCHS, Progress, thinned
from cd4ml.errors import DocumentError
from cd4ml.registry import records
from cd4ml.storage import open_store

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
BEST = {"epoch": 2, "seconds": 60.0, "loss": 0.5, "auc": 0.8, "eval_loss": 0.5, "eval_auc": 0.7875}
PROGRESS = Progress(
    "train-model-2",
    "dnn",
    began_at="2026-11-30T11:00:00+00:00",
    seen_at="2026-11-30T11:59:48+00:00",
    epoch=3,
    epochs=10,
    step=128,
    steps=1391,
    loss=0.43125,
    rows_per_second=51234.5,
    seconds=3588,
    left_seconds=7300,
    metric="auc",
    best=BEST,
    curve=(BEST,),
    device="2 CPU cores",
    memory_bytes=3 * 2**29,
)


def shown(store: Path) -> str:
    result = CliRunner().invoke(cli.app, ["runs", "show", "run-1", "--store", str(store)], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with the record of a run."""
    monkeypatch.setenv(records.PIPELINE, "training")
    monkeypatch.setenv(records.RUN, "run-1")
    records.begin(str(tmp_path), name="first", arguments={"seed": 7})
    return tmp_path


def tell(store: Path, progress: Progress) -> None:
    name = f"progress/training/run-1/{progress.task}-0123abcd.json"
    open_store(store).replace(name, progress.text)


def test_how_far_a_training_is_is_said_in_words() -> None:
    assert PROGRESS.facts(NOW) == {
        "model": "dnn",
        "state": "running",
        "at": "epoch 3 of at most 10, step 128 of 1,391",
        "loss": "0.4313",
        "best auc on eval": "0.7875, epoch 2",
        "rows a second": "51,234",
        "trained for": "59 minutes",
        "left at most": "2 hours 1 minute",
        "device": "2 CPU cores",
        "memory at most": "1.5 GiB",
        "GPU memory at most": "",
        "last word": "12 seconds ago",
    }


def test_a_training_without_word_is_not_said_to_run() -> None:
    later = NOW + timedelta(minutes=7)

    assert PROGRESS.facts(later)["state"] == "no word for 7 minutes: it was killed, or stands still"
    assert replace(PROGRESS, state="ended", said="by its cap").facts(later)["state"] == "ended by its cap"


def test_a_training_of_a_run_that_has_ended_is_not_said_to_run() -> None:
    assert PROGRESS.facts(NOW, over=True)["state"] == "killed, for it did not say that it ended"
    assert (
        replace(PROGRESS, state="stopped", said="before its end").facts(NOW, over=True)["state"].startswith("stopped")
    )


def test_one_that_has_just_begun_says_what_it_knows() -> None:
    begun = Progress("train-model", "own", PROGRESS.began_at, PROGRESS.seen_at, metric="auc", best={"epoch": 1})

    assert {name: fact for name, fact in begun.facts(NOW).items() if fact} == {
        "model": "own",
        "state": "running",
        "at": "epoch 1",
        "trained for": "0 seconds",
        "last word": "12 seconds ago",
    }


def test_of_many_epochs_some_are_left_out_and_never_the_last() -> None:
    for number in (0, 1, MOST_EPOCHS, MOST_EPOCHS + 1, 100_000):
        epochs = list(range(number))
        kept = thinned(epochs)
        assert len(kept) <= MOST_EPOCHS
        assert kept == sorted(kept)
        assert kept[-1:] == epochs[-1:]
    assert thinned([1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize("at", ["soon", "2026-11-30T11:59:48"])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    with pytest.raises(DocumentError, match="here: not a cd4ml/Progress"):
        Progress.parse(PROGRESS.text.replace(PROGRESS.seen_at, at), "here")


def test_a_run_that_goes_on_is_shown_with_its_trainings_side_by_side(store: Path) -> None:
    now = datetime.now(UTC)
    tell(store, replace(PROGRESS, seen_at=now.isoformat()))
    tell(store, replace(PROGRESS, task="train-model", model="[own]", seen_at=(now - timedelta(minutes=9)).isoformat()))

    rows = [" ".join(line.split()) for line in shown(store).splitlines()]

    assert "training train-model train-model-2" in rows
    assert "model [own] dnn" in rows
    assert "state no word for 9 minutes: it was killed, or stands still running" in rows
    assert not [row for row in rows if row.startswith("GPU")]


def test_a_run_with_a_sweep_is_shown_with_how_many_trials_have_ended_and_which_is_best(store: Path) -> None:
    now = datetime.now(UTC).isoformat()
    best = {"epoch": 4, "seconds": 31.0, "eval_auc": 0.8125}
    sweep = Progress(
        "train-model-2", "sweep of trees", now, now, unit="trial", epoch=7, epochs=40, seconds=185, best=best
    )
    tell(store, replace(sweep, metric="auc"))
    winner = replace(PROGRESS, model="trees", state="ended", said="no better for 3 epochs", seen_at=now)
    open_store(store).replace("progress/training/run-1/train-model-2-89abcdef.json", winner.text)

    rows = [" ".join(line.split()) for line in shown(store).splitlines()]

    assert "training train-model-2 train-model-2" in rows
    assert "model sweep of trees trees" in rows
    assert "state running ended no better for 3 epochs" in rows
    assert "at trial 7 of at most 40 epoch 3 of at most 10" in rows
    assert "best auc on eval 0.8125, trial 4 0.7875, epoch 2" in rows
    assert "trained for 3 minutes 59 minutes" in rows


def test_a_run_that_was_killed_is_shown_with_a_training_that_was_too(store: Path) -> None:
    tell(store, replace(PROGRESS, seen_at=datetime.now(UTC).isoformat()))
    records.close(str(store), pipeline="training", run="run-1", status="failed", failure="ended by signal 9")

    assert "killed, for it did not say that it ended" in shown(store)


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(store: Path) -> None:
    tell(store, PROGRESS)
    (store / "progress/training/run-1/train-model-0123abcd.json").write_text("{")
    (store / "progress/training/run-1/.unfinished-1").write_text("{")

    said = shown(store)

    assert "train-model-2" in said
    assert f"left out: {store}/progress/training/run-1/train-model-0123abcd.json: not a cd4ml/Progress" in said


def test_a_run_without_trainings_says_nothing_of_them(store: Path) -> None:
    assert "training" not in [line.split()[0] for line in shown(store).splitlines() if line.split()]
