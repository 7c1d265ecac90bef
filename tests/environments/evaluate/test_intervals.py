"""The intervals hold what they say, in samples of a known truth, and stay within what a metric can be."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cd4ml.evaluation import confidence, measure
from cd4ml.evaluation.rows import Slicing

BENCH = Path(__file__).parents[3] / "benchmarks" / "intervals" / "bench.py"
AREAS = ["auc", "auc_pr", "binary_cross_entropy"]
RATES = ["label_rate", "accuracy", "precision", "true_positive_rate", "false_positive_rate", "selection_rate"]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("intervals_bench", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.KNOWN = 1_000_000
    return module


@pytest.mark.parametrize(("rows", "rate"), [(100, 0.5), (1_000, 0.1), (1_000, 0.05)])
def test_of_a_hundred_intervals_ninety_five_hold_the_truth(bench, rows, rate):
    found = bench.coverage(rows, rate=rate, apart=2.0, count=1_000)

    assert len(found) == 19  # a label rate does not change
    for metric, (given, held) in found.items():
        assert given > 0.9, metric
        assert 0.925 <= held <= 0.985, metric  # 1,000 samples tell a share to 0.014


@pytest.mark.parametrize("rows", [100, 1_000])
@pytest.mark.parametrize("chance", ["normal", "skewed"])
def test_of_a_hundred_intervals_of_a_number_ninety_five_hold_the_truth(bench, rows, chance):
    found = bench.coverage_of_numbers(rows, chance=chance, count=1_000)

    assert len(found) == 13  # a mean label does not change
    for metric, (given, held) in found.items():
        assert given == 1, metric
        assert 0.925 <= held <= 0.985, metric


def test_of_a_hundred_intervals_of_three_classes_ninety_five_hold_the_truth(bench):
    found = bench.coverage_of_classes(300, apart=2.0, count=1_000)

    assert len(found) == 21  # the share of a class does not change
    for metric, (given, held) in found.items():
        assert given > 0.9, metric
        assert 0.925 <= held <= 0.985, metric


def test_of_three_classes_a_mean_has_no_interval_where_one_of_them_has_few_rows(bench):
    found = bench.coverage_of_classes(100, apart=2.0, count=100)  # 20 of the rarest

    assert [found[metric].given for metric in ("balanced_accuracy", "macro_f1", "macro_auc", "change of macro_f1")] == [
        0
    ] * 4
    assert found["log_loss"].given == found["top_1_accuracy"].given == 1


def test_a_number_has_no_interval_of_few_rows_nor_of_errors_that_are_all_one(bench):
    few = bench.samples_of_numbers(29, chance="normal", count=1, seed=0)
    labels = np.arange(100.0)
    same = replace(few[0], labels=labels, predictions={"candidate": labels + 2, "baseline": labels})
    same = replace(same, slicings=[Slicing(["sample=0"], np.zeros(100, np.int64))])

    [of_few, _], _ = measure.complete(*few)
    [of_same, of_none], [*changes] = measure.complete(same, *few[1:])

    assert of_few.intervals == {}
    assert of_same.metrics["root_mean_squared_error"] == of_same.metrics["mean_error"] == 2
    assert of_same.intervals.keys() == {"mean_label", "mean_prediction", "r_squared"}
    assert of_none.metrics["r_squared"] == 1
    assert of_none.intervals.keys() == {"mean_label", "mean_prediction"}
    assert next(one.value for one in changes if one.metric == "mean_error") == 2


def test_where_rows_are_too_few_to_tell_areas_have_no_interval_and_rates_a_safe_one(bench):
    found = bench.coverage(100, rate=0.01, apart=2.0, count=1_000)

    assert [found[metric].given for metric in (*AREAS, "calibration", "change of auc")] == [0] * 5
    assert min(found[metric].held for metric in RATES) >= 0.93


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.001, 0.0001])
@pytest.mark.parametrize("rows", [30, 100, 1_000, 10_000])
def test_the_interval_of_a_rate_holds_it_as_often_as_it_says(rate, rows):
    """By the chance of each count: no draws."""
    counts = np.arange(rows + 1)
    low, high = confidence.proportion(counts / rows, np.full(rows + 1, rows))
    logs = np.array([math.lgamma(rows + 1) - math.lgamma(one + 1) - math.lgamma(rows - one + 1) for one in counts])
    chances = np.exp(logs + counts * math.log(rate) + (rows - counts) * math.log1p(-rate))

    held = chances[(low <= rate) & (rate <= high)].sum()

    assert 0 <= low.min() <= high.max() <= 1
    assert held >= 0.93
    if rows * rate >= 2 * confidence.FEW:
        assert held <= 0.97


@pytest.mark.parametrize(
    "rates", [[0.3, 0.3], [0.3, 0.4], [0.3] * 5, [0.3, 0.3, 0.3, 0.5], [0.02, 0.02, 0.02]], ids=str
)
def test_the_interval_of_a_gap_and_of_a_ratio_holds_it(bench, rates):
    for held in bench.coverage_of_gaps(rates, rows=200, count=500).values():
        assert held.given == 1
        assert held.held >= 0.93


def test_what_is_nearly_perfect_needs_more_rows():
    areas = np.array([0.98, 0.995, 0.995])

    assert confidence.enough_for_area(areas, np.array([30, 30, 100]), np.full(3, 5_000)).tolist() == [True, False, True]


def test_an_area_of_exactly_one_has_no_interval():
    nothing = confidence.Spread(np.zeros(1), np.zeros(1))

    assert np.isnan(confidence.bounded(np.ones(1), nothing)).all()
