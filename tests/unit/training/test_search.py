"""`cd4ml.training.search`: what a run file may say of a sweep."""

from typing import Any

import pytest

from cd4ml.errors import TrainingError
from cd4ml.training.search import Range, mistakes, parse, varied
from cd4ml.training.trainers import parse as model

RATE = {"learning_rate": {"min": 0.001, "max": 0.1, "log": True}}


def sweep(**changed: Any) -> dict[str, Any]:
    return {"ranges": RATE, "trials": 10, **changed}


def test_a_sweep_needs_ranges_and_an_end():
    found = parse(sweep())

    assert found.ranges == {"learning_rate": Range(min=0.001, max=0.1, log=True)}
    assert (found.most, found.parallel, found.seed, found.objective) == (10, 1, 0, None)
    assert parse({"ranges": RATE, "minutes": 5}).most == 1000


def test_numbers_may_come_as_kubeflow_sends_them():
    found = parse(sweep(trials=8.0, parallel=2.0, ranges={"epochs": {"min": 1.0, "max": 5.0, "whole": True}}))

    assert (found.trials, found.parallel) == (8, 2)
    assert found.ranges["epochs"].ends == (1, 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trials": None}, "trials: null is no value"),
        ({"trials": 0}, "trials: .* not 0"),
        ({"ranges": {}}, "ranges: "),
        ({"ranges": {"dropout": 0.5}}, r"ranges.dropout: write \{min, max\}, or a list of 2 to 100 choices, not 0.5"),
        ({"ranges": {"dropout": [0.5]}}, r"ranges.dropout: write \{min, max\}, or a list of 2"),
        ({"ranges": {"hidden": [[64], [32], [64]]}}, "ranges.hidden: name each choice once"),
        ({"ranges": {"dropout": {"min": 0.5, "max": 0.1}}}, "ranges.dropout: min 0.5 is not below max 0.1"),
        ({"ranges": {"dropout": {"min": 0, "max": 0.1, "log": True}}}, "ranges.dropout: min 0 has no logarithm"),
        ({"ranges": {"epochs": {"min": 1.5, "max": 9, "whole": True}}}, "ranges.epochs: .* are to be whole"),
        ({"ranges": {"dropout": {"min": 0, "maxi": 0.1}}}, "ranges.dropout.maxi: unknown; did you mean 'max'"),
        ({"ranges": {"model": ["dnn", "linear"]}}, "ranges: model: a sweep varies the settings of one model"),
        ({"ranges": {"calibration": ["none", "isotonic"]}}, "ranges: calibration: is fitted to eval, which so cannot"),
        ({"ranges": {"settings.a": [1, 2], "settings.a.b": [3, 4]}}, "settings.a: settings.a.b lies within it; leave"),
        ({"objective": "acu"}, "objective: no trial is measured by 'acu'; did you mean 'auc'"),
        ({"parallel": 65}, "parallel: .* 64"),
        ({"trails": 5}, "trails: unknown; did you mean 'trials'"),
        ({"constraints": {"size_mb": 5}}, "constraints.size_mb: unknown; did you mean 'size_mib'"),
        ({"constraints": {"fairness": {"region": {"selection": {"max_gap": 0.1}}}}}, "did you mean 'selection_rate'"),
    ],
)
def test_a_wrong_sweep_says_what_may_stand_there(changed, message):
    with pytest.raises(TrainingError, match=message):
        parse(sweep(**changed))


def test_a_sweep_without_an_end_is_refused():
    with pytest.raises(TrainingError, match="has no end; write how many `trials`, or for how many `minutes`"):
        parse({"ranges": RATE})


def test_every_mistake_is_reported_at_once():
    with pytest.raises(TrainingError) as caught:
        parse({"ranges": {"dropout": 1, "epochs": []}, "trials": -1, "seed": 1.5})

    assert len(str(caught.value).splitlines()) == 1 + 4


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"learning_rte": [0.1, 0.2]}, "learning_rte: 'dnn' has no such setting; did you mean 'learning_rate'?"),
        ({"dropout": {"min": 0, "max": 1}}, "dropout: dropout: Input should be less than 1, not 1"),
        ({"hidden": [[64], [64, -1]]}, "hidden: hidden.1: Input should be greater than or equal to 1, not -1"),
        (
            {"batch_size": {"min": 32, "max": 512}},
            "batch_size: batch_size takes whole numbers alone; write",
        ),
        ({"dropout.rate": [0.1, 0.2]}, "dropout.rate: dropout has no settings within it; leave out what follows"),
    ],
)
def test_what_a_model_does_not_take_is_said_before_anything_is_trained(ranges, said):
    found = list(mistakes(parse(sweep(ranges=ranges)), model({"model": "dnn"}), problem="auto"))

    assert len(found) == 1
    assert found[0].startswith(f"sweep.ranges.{said}")


def test_a_sweep_that_fits_its_model_has_no_mistakes():
    ranges = {
        **RATE,
        "dropout": {"min": 0, "max": 0.5},
        "batch_size": {"min": 32, "max": 512, "whole": True, "log": True},
        "hidden": [[64], [64, 32]],
        "reweight": [[], ["region"]],
    }
    constraints = {"latency_ms": 5, "fairness": {"region": {"selection_rate": {"max_gap": 0.1}}}}
    found = parse(sweep(ranges=ranges, objective="auc_pr", constraints=constraints))

    assert list(mistakes(found, model({"model": "dnn", "epochs": 3}), problem="binary")) == []
    assert found.constraints.bounds == {"latency_ms": 5, "fairness.region.selection_rate@0.5": 0.1}


def test_what_means_nothing_for_the_problem_is_said():
    constraints = {"fairness": {"region": {"precision": {"max_gap": 0.1}}}}
    found = mistakes(
        parse(sweep(objective="auc", constraints=constraints)), model({"model": "dnn"}), problem="regression"
    )

    objective, rate = found
    assert objective == (
        "sweep.objective: auc means nothing here; there are root_mean_squared_error, mean_absolute_error, loss"
    )
    assert rate.startswith("sweep.constraints.fairness.region.precision@0.5: precision means nothing here; ")


def test_groups_may_be_compared_at_the_threshold_that_is_chosen_for_each_trial():
    gap = {"max_gap": 0.1, "threshold": "chosen"}
    found = parse(sweep(constraints={"fairness": {"region": {"selection_rate": gap}}}))

    (said,) = mistakes(found, model({"model": "dnn"}), problem="binary")
    assert said.startswith("sweep.constraints.fairness.region.selection_rate@chosen: no threshold is chosen; write a n")
    chooses = model({"model": "dnn", "threshold": {"costs": {}}})
    assert list(mistakes(found, chooses, problem="binary")) == []
    with pytest.raises(TrainingError, match="write a number above 0 and below 1, or chosen, not 'best'"):
        parse(sweep(constraints={"fairness": {"region": {"selection_rate": {**gap, "threshold": "best"}}}}))


def test_of_three_classes_no_groups_are_compared():
    constraints = {"fairness": {"region": {"selection_rate": {"max_gap": 0.1}}}}
    (said,) = mistakes(parse(sweep(constraints=constraints)), model({"model": "dnn"}), problem="multiclass")

    assert (
        said
        == "sweep.constraints.fairness.region.selection_rate@0.5: selection_rate means nothing here; there are none"
    )


@pytest.mark.parametrize(
    ("tried", "outer"), [("settings.depth.least", "settings.depth"), ("settings.a.b.c", "settings.a.b")]
)
def test_a_range_within_what_is_no_mapping_is_told(tried, outer):
    spec = {"function": "team.models:wide", "settings": {"depth": 5, "a": {"b": [1]}}}
    (said,) = mistakes(parse(sweep(ranges={tried: [1, 2]})), model(spec), problem="auto")

    assert said == f"sweep.ranges.{tried}: {outer} has no settings within it; leave out what follows the point"


def test_a_range_may_lie_within_settings_that_are_not_there_yet():
    tried = parse(sweep(ranges={"settings.a.b.c": [1, 2]}))

    assert list(mistakes(tried, model({"function": "team.models:wide"}), problem="auto")) == []


def test_a_function_has_settings_of_its_own():
    spec = {"function": "team.models:wide", "settings": {"depth": 2, "units": 8}}
    tried = parse(sweep(ranges={"settings.depth": [1, 2, 3], "minutes": [5, 10]}))

    assert list(mistakes(tried, model(spec), problem="auto")) == []
    assert varied(spec, {"settings.depth": 3})["settings"] == {"depth": 3, "units": 8}
