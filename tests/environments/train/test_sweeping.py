"""A sweep: what it tries follows from its seed alone, and nothing that befalls one trial ends the others."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Inputs, requested

from cd4ml.contracts import model
from cd4ml.contracts.sweep import SWEEP, Sweep, Trial, trial_name
from cd4ml.errors import TrainingError
from cd4ml.training import code, search, sweeping, trying
from cd4ml.training.on_eval import Measured
from cd4ml.training.request import Request
from cd4ml.training.search import parse
from cd4ml.training.suggest import Suggestion
from cd4ml.training.sweeping import described, open_round
from cd4ml.training.trying import Asked

RANGES = {
    "learning_rate": {"min": 0.001, "max": 0.1, "log": True},
    "batch_size": {"min": 32, "max": 512, "whole": True},
    "reweight": [[], ["region"]],
}
AT = "2026-11-30T05:00:00+00:00"


def content(**changed: Any) -> dict[str, Any]:
    return {"ranges": RANGES, "trials": 16, "parallel": 4, **changed}


def suggestion(asked: Mapping[str, Any], number: int, before: list[Trial]) -> Suggestion:
    searched = parse(asked)
    return Suggestion(searched, number=number, before=before, bounds=searched.constraints.bounds, better="higher")


def ended(number: int, settings: Mapping[str, Any]) -> Trial:
    value = 1 - abs(settings["learning_rate"] - 0.01)
    values = ((10, value / 4), (20, value / 3), (30, value / 2), (40, value))  # of trees
    return Trial(number, settings, 0, AT, state="ended", value=value, values=values, measured={"latency_ms": number})


def searched_in_any_order(asked: Mapping[str, Any], order: random.Random) -> list[Trial]:
    """All trials of a sweep whose rounds are tried in an order of their own; each fourth fails."""
    over: list[Trial] = []
    for first in range(0, asked["trials"], asked["parallel"]):
        numbers = list(range(first, first + asked["parallel"]))
        order.shuffle(numbers)
        tried = []
        for number in numbers:
            settings = suggestion(asked, number, over).settings
            failed = Trial(number, settings, 0, AT, state="failed", error="no memory")
            tried.append(failed if number % 4 == 1 else ended(number, settings))
        over += sorted(tried, key=lambda one: one.number)
    return over


def test_what_is_tried_is_the_same_for_the_same_seed_whoever_is_quicker():
    asked = content(constraints={"latency_ms": 9})
    found = [searched_in_any_order(asked, random.Random(order)) for order in range(3)]

    assert found[0] == found[1] == found[2]
    assert len({json.dumps(one.settings) for one in found[0]}) == 16
    assert found[0] != searched_in_any_order({**asked, "seed": 1}, random.Random(0))


def test_a_larger_budget_goes_on_from_what_was_tried():
    small, large = (searched_in_any_order(content(trials=trials), random.Random(0)) for trials in (8, 16))

    assert large[:8] == small


def test_a_trial_that_is_worse_than_half_of_the_others_were_ends_early():
    over = [ended(number, suggestion(content(), number, []).settings) for number in range(4)]
    over += [ended(number, suggestion(content(), number, over).settings) for number in range(4, 8)]

    first = [(10, 0.1), (20, 0.1), (30, 0.1)]
    assert not suggestion(content(), 8, over).is_worse(first)
    assert suggestion(content(), 8, over).is_worse([*first, (40, 0.1)])
    assert not suggestion(content(), 8, over).is_worse([*first, (40, 2.0)])
    assert not suggestion(content(), 4, over[:4]).is_worse([*first, (40, 0.1)])


@pytest.fixture
def training(inputs: Inputs, tmp_path: Path) -> Request:
    """What is asked of each training, but for the model."""
    return requested(inputs, spec={}, accelerator="cpu", store=tmp_path / "store")


@pytest.fixture
def sweep(training: Request) -> Callable[..., tuple[Sweep, list[Trial]]]:
    """Takes the first place of a sweep until it is over."""

    def run(asked: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[Sweep, list[Trial]]:
        found = sweeping.run(asked, replace(training, spec=spec), place=0)
        return found.sweep, list(found.trials)

    return run


def kept(sweep: Sweep, training: Request) -> dict[str, bytes]:
    folder = Path(training.store) / "sweeps" / sweep.name
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


MODULE = """
import os, signal

def made(job):
    if job.settings["how"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    from keras import layers
    return job.network(lambda features: layers.Dense(1)(features.vector()), epochs=1)
"""


def test_a_trial_whose_process_is_killed_does_not_sink_the_rest(sweep, training, tmp_path):
    (tmp_path / "team.py").write_text(MODULE)
    spec = {"function": "team:made", "source": code.beside("team:made", tmp_path)}
    asked = {
        "ranges": {"settings.how": ["killed", "well"]},
        "trials": 2,
        "parallel": 2,
        "constraints": {
            "latency_ms": 1000,
            "size_mib": 10,
            "fairness": {
                "region": {"selection_rate": {"max_gap": 1}, "true_positive_rate": {"max_gap": 1, "threshold": 0.3}}
            },
        },
    }

    found, trials = sweep(asked, spec)

    by_how = {one.settings["settings.how"]: one for one in trials}
    assert by_how["killed"].state == "failed"
    assert by_how["killed"].error.startswith("its process ended by signal 9; where that is 9, its memory was too small")
    won = by_how["well"]
    assert found.best(trials) == won
    assert won.value is not None
    assert won.value > 0.7
    assert won.seconds > 0
    assert [epoch for epoch, _ in won.values] == [1]
    assert won.values[0][1] == won.value
    assert set(won.measured) == set(found.constraints)
    assert 0 < won.measured["fairness.region.selection_rate@0.5"] < 1
    assert 0 < won.measured["latency_ms"] < 1000
    before = kept(found, training)

    again = sweep(asked, spec)

    assert again == (found, trials)
    assert kept(found, training) == before


STOPS = """
import os, signal, time

def stops(job):
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_place_that_is_told_to_end_leaves_its_trial_to_the_next_and_counts_no_attempt(
    sweep, training, tmp_path, monkeypatch
):
    (tmp_path / "team.py").write_text(STOPS)
    (tmp_path / "queue.py").write_text("raise ImportError('in the place of the library')")
    monkeypatch.chdir(tmp_path)
    spec = {"function": "team:stops", "source": code.beside("team:stops", tmp_path)}

    with pytest.raises(SystemExit) as ended:
        sweep({"ranges": {"settings.depth": [1, 2]}, "trials": 1}, spec)

    assert ended.value.code == 143
    (folder,) = (Path(training.store) / "sweeps").iterdir()
    left = Trial.read(folder / trial_name(0))
    assert (left.state, left.attempt) == ("running", 0)
    assert left.seconds > 0
    assert set(left.settings) == {"settings.depth"}


def test_a_sweep_goes_on_from_the_store_and_ends_early_what_is_worse(sweep, training):
    spec = {"model": "linear", "epochs": 5}
    asked = {"ranges": {"learning_rate": {"min": 1e-7, "max": 1e-6}}, "trials": 7, "parallel": 1, "objective": "auc"}
    described_ = described(parse(asked), replace(training, spec=spec), problem="binary")
    folder = Path(training.store) / "sweeps" / described_.name
    values = tuple((epoch, 0.99) for epoch in (1, 2, 3, 4, 5))
    for number in range(5):
        done = Trial(number, {"learning_rate": 1e-6}, 0, AT, state="ended", value=0.99, values=values, seconds=1)
        done.write(folder / trial_name(number))
    Trial(5, {}, 0, AT, attempt=2).write(folder / trial_name(5))  # killed, again and again
    Trial(6, {}, 0, AT, seconds=1000.0).write(folder / trial_name(6))  # killed with its place

    found, trials = sweep({**asked, "trials": 7}, spec)

    assert Sweep.read(folder / SWEEP) == found
    assert [one.state for one in trials] == ["ended"] * 5 + ["failed", "pruned"]
    assert trials[5].error.startswith("its process ended 2 times without a word; its memory may be too small")
    assert trials[6].attempt == 2
    assert trials[6].seconds > 1000
    assert [epoch for epoch, _ in trials[6].values] == [1, 2, 3, 4]


def asked_for(spec: Mapping[str, Any], **changed: Any) -> Sweep:
    """A sweep, as the store would have it."""
    asked = parse({"ranges": RANGES, "minutes": 1, "parallel": 2, **changed})
    files = dict.fromkeys(("train", "eval", "statistics", "schema"), __file__)
    return described(asked, Request(**files, label="took", spec=spec, seed=0, problem="binary"), problem="binary")


def test_rounds_end_with_the_budget():
    done = {number: Trial(number, {}, number % 2, AT, state="failed", seconds=40.0) for number in range(4)}
    sweep = asked_for({"model": "linear"})

    assert open_round(sweep, {}) == ([], range(2))
    assert open_round(sweep, {0: done[0]}) == ([], range(2))
    assert open_round(sweep, {0: done[0], 1: done[1]}) == ([done[0], done[1]], range(2, 4))
    assert open_round(sweep, done) == ([done[number] for number in range(4)], range(0))
    assert open_round(replace(sweep, minutes=None, trials=3), done) == ([done[0], done[1], done[2]], range(0))
    assert open_round(replace(sweep, minutes=None, trials=5), done)[1] == range(4, 5)


def test_a_place_that_tries_a_whole_round_alone_spends_the_time_of_all_its_trials():
    alone = {number: Trial(number, {}, 1, AT, state="failed", seconds=40.0) for number in range(2)}

    assert open_round(asked_for({"model": "linear"}), alone) == ([alone[0], alone[1]], range(0))


def test_a_sweep_ends_once_its_first_trials_have_failed_for_one_reason():
    sweep = asked_for({"model": "linear"}, trials=8, parallel=1)
    alike = {number: Trial(number, {}, 0, AT, state="failed", error="no memory") for number in range(3)}
    unlike = alike | {1: replace(alike[1], error="no such column")}

    assert open_round(sweep, {0: alike[0], 1: alike[1]})[1] == range(2, 3)
    assert open_round(sweep, alike)[1] == range(0)
    assert open_round(sweep, unlike)[1] == range(3, 4)
    assert open_round(replace(sweep, parallel=4), alike)[1] == range(4)
    with pytest.raises(TrainingError, match=r"3 failed\): trial 0: no memory; all trials failed like that, so no more"):
        assert sweeping.Swept(sweep, list(alike.values())).winner


def test_other_code_makes_another_sweep_and_a_default_that_is_written_does_not(tmp_path):
    names = []
    for text in (MODULE, MODULE + "# more"):
        (tmp_path / "team.py").write_text(text)
        spec = {"function": "team:made", "source": code.beside("team:made", tmp_path)}
        names.append(asked_for(spec, ranges={"settings.how": [1, 2]}).name)

    assert names[0] != names[1]
    assert asked_for({"model": "linear"}).name == asked_for({"model": "linear", "epochs": 50}).name


FINISHED = """
import pathlib, time

def finished(job):
    pathlib.Path(job.settings["file"]).write_text(job.settings["text"])
    time.sleep(1)
    raise ValueError("too late")
"""


def test_a_trial_that_another_place_has_finished_stays_as_it_is(sweep, training, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "BEAT_SECONDS", 0.2)
    (tmp_path / "team.py").write_text(FINISHED)
    spec = {"function": "team:finished", "source": code.beside("team:finished", tmp_path)}
    other = Trial(0, {"settings.depth": 1}, 1, AT, state="ended", value=0.9)
    asked = {"ranges": {"settings.depth": [1, 2]}, "trials": 1}
    link = tmp_path / "to"  # for the name of the sweep follows from its settings
    spec["settings"] = {"file": str(link), "text": other.text}
    name = described(parse(asked), replace(training, spec=spec), problem="binary").name
    file = Path(training.store) / "sweeps" / name / trial_name(0)
    link.symlink_to(file)

    assert sweep(asked, spec)[1] == [other]
    assert Trial.read(file) == other


def test_a_trial_is_worth_what_its_calibrated_model_is_and_rows_without_a_value_are_one_group(training, tmp_path):
    spec = {"model": "linear", "epochs": 1, "calibration": "temperature", "threshold": {"costs": {"false_negative": 3}}}
    searched = parse({"ranges": {"learning_rate": [0.01, 0.02]}, "trials": 1, "objective": "loss"})
    sweep = described(searched, replace(training, spec=spec), problem="binary")
    Asked(searched, sweep, Trial(0, {}, 0, AT), [], training).write(tmp_path)

    trying.main(tmp_path)

    tried = Trial.read(tmp_path / trying.TRIAL)
    (loss,) = [one for _, one in tried.values]
    calibration = model.read_contract(tmp_path / "model").calibration
    assert tried.value == calibration.loss[1] < loss

    table = pq.read_table(training.eval)
    places = np.arange(len(table))
    band = pa.array(np.where(places % 4 == 1, np.nan, 1.0), mask=places % 4 == 3)
    pq.write_table(table.append_column("band", band), tmp_path / "split")
    labels = table["took"].to_numpy()
    gap = {"max_gap": 1, "threshold": 1e-9}
    constraints = search.Constraints(fairness={"band": {"precision": search.EvalGap(**gap)}})

    (found,) = Measured(tmp_path / "model", tmp_path / "split").constrained(constraints).values()

    assert found == pytest.approx(abs(labels[places % 2 == 0].mean() - labels[places % 2 == 1].mean()))
    cuts = ("chosen", model.read_contract(tmp_path / "model").threshold.value, 0.5)
    gaps = [{"selection_rate": search.EvalGap(max_gap=1, threshold=cut)} for cut in cuts]
    measured = Measured(tmp_path / "model", Path(training.eval))
    asked = [search.Constraints(fairness={"region": gap}) for gap in gaps]
    at_chosen, at_its_number, at_a_half = (next(iter(measured.constrained(one).values())) for one in asked)
    assert at_chosen == at_its_number != at_a_half


def test_a_trial_of_ordered_classes_may_be_worth_how_far_its_predictions_are_from_the_true_ones(prepare, tmp_path):
    random = np.random.default_rng(1)
    heights = random.normal(size=600)
    size = np.array(["small", "middle", "large"])[np.digitize(heights + random.normal(0, 0.7, 600), [-0.5, 0.5])]
    table = pa.table({"height": heights, "size": size})
    inputs = prepare(table.slice(0, 400), table.slice(400), label="size", exclude=())
    spec = {"model": "linear", "epochs": 2}
    classes = ["small", "middle", "large"]
    request = requested(inputs, spec=spec, classes=classes, problem="ordinal")
    searched = parse({"ranges": {"learning_rate": [0.01, 0.02]}, "trials": 1, "objective": "mean_class_error"})
    sweep = described(searched, request, problem="ordinal")
    Asked(searched, sweep, Trial(0, {}, 0, AT), [], request).write(tmp_path)

    trying.main(tmp_path)

    served = tf.saved_model.load(str(tmp_path / "model" / "saved_model")).signatures["serving_default"]
    height = tf.constant(heights[400:], tf.float32)
    predicted = [classes[one] for one in served(height=height)["probabilities"].numpy().argmax(axis=1)]
    apart = [abs(classes.index(one) - classes.index(other)) for one, other in zip(predicted, size[400:], strict=True)]
    assert sweep.better == "lower"
    assert Trial.read(tmp_path / trying.TRIAL).value == pytest.approx(sum(apart) / 200)


def fair(column: str) -> dict[str, Any]:
    return {"constraints": {"fairness": {column: {"selection_rate": {"max_gap": 0.1}}}}}


@pytest.mark.parametrize(
    ("asked", "given", "said"),
    [
        ({"objective": "root_mean_squared_error"}, {}, "sweep.objective: root_mean_squared_error means nothing here"),
        (fair("regoin"), {}, "sweep.constraints.fairness.regoin: column 'regoin' .* did you mean 'region'"),
        (
            fair("tags"),
            {},
            "sweep.constraints.fairness.tags: column 'tags' is list<.*; name texts, numbers or booleans",
        ),
        ({}, {"accelerator": "gpu", "gpus": 9}, "accelerator: gpu: 9 GPUs asked for, and TensorFlow sees"),
    ],
)
def test_a_sweep_that_does_not_fit_is_told_before_anything_is_tried(training, tmp_path, asked, given, said):
    table = pq.read_table(training.eval)
    pq.write_table(table.append_column("tags", pa.array([["a"]] * len(table))), tmp_path / "split")
    request = replace(training, spec={"model": "linear"}, eval=str(tmp_path / "split"), **given)

    with pytest.raises(TrainingError, match=said):
        sweeping.run({"ranges": RANGES, "trials": 2, **asked}, request, place=0)

    assert not Path(training.store).exists()
