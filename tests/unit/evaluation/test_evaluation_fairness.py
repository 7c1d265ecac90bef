from dataclasses import replace
from math import exp, hypot, log
from random import Random

import pytest
from evaluation_samples import group
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import Slice, at
from cd4ml.evaluation import arguments, fairness

OVERALL = group("overall", rate=0.4, rows=1000)
OF_THRESHOLDS = [
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "true_negative_rate",
    "false_negative_rate",
    "precision",
]
SELECTED = "selection_rate@0.5"


def compared(*groups: Slice, overall: Slice = OVERALL) -> dict[str, fairness.Fairness]:
    return {
        one.metric: one
        for one in fairness.compare(BINARY, slices=[*groups, overall], columns=[["region"]], thresholds=[0.5])
    }


def test_groups_are_compared_by_each_rate_at_each_threshold_and_once_by_calibration():
    north = group("region=north")
    both = {**north.metrics, **{at(one.name, 0.2): 0.5 for one in BINARY.among_groups}}
    slices = [replace(one, metrics={**both, **one.metrics}) for one in (OVERALL, north)]

    found = fairness.compare(BINARY, slices=slices, columns=[["region"]], thresholds=[0.5, 0.2])

    assert [(one.metric, one.threshold) for one in found] == [
        *((metric, threshold) for metric in OF_THRESHOLDS for threshold in (0.5, 0.2)),
        ("calibration", None),
    ]


def test_a_gap_names_the_groups_and_each_group_is_told_from_all_and_from_the_best():
    found = compared(group("region=north", rate=0.6), group("region=south", rate=0.3, rows=50))["selection_rate"]

    assert (found.lowest, found.highest, found.overall) == ("south", "north", 0.4)
    assert found.gap == pytest.approx(0.3)
    assert found.ratio == pytest.approx(0.5)
    south = found.groups["south"]
    assert (south.rate, south.rows, south.difference) == (0.3, 50, pytest.approx(-0.1))
    assert south.ratio == pytest.approx(0.5)
    assert found.groups["north"].ratio == 1


def test_the_rows_that_a_rate_is_over_are_counted():
    found = compared(group("region=north", rate=0.5, rows=100, label_rate=0.4))

    counted = {metric: one.groups["north"].rows for metric, one in found.items()}
    assert counted == {
        "selection_rate": 100,
        "true_positive_rate": 40,
        "false_positive_rate": 60,
        "true_negative_rate": 60,
        "false_negative_rate": 40,
        "precision": 50,
        "calibration": 40,
    }


def test_small_groups_and_groups_without_positives_are_listed_and_not_judged():
    found = compared(
        group("region=north", rate=0.6),
        group("region=south", rate=0.5, rows=60, label_rate=0.5),
        group("region=east", rate=0.0, rows=1000, label_rate=0.029),
        group("region=west", rate=None),
        group("region=isle", rate=1.0, rows=1000, label_rate=0.971),
    )

    assert found["true_positive_rate"].gap == pytest.approx(0.5)
    assert found["true_positive_rate"].too_small == ("east", "west")
    assert found["false_positive_rate"].gap == pytest.approx(0.6)
    assert found["false_positive_rate"].too_small == ("west", "isle")
    assert found["selection_rate"].gap == pytest.approx(1)
    assert found["selection_rate"].too_small == ("west",)
    assert found["calibration"].too_small == ("east",)


def test_a_group_too_small_to_judge_is_not_what_the_others_are_compared_with():
    found = compared(group("region=north", rate=0.6), group("region=isle", rate=0.9, rows=29))["selection_rate"]

    assert found.groups["north"].ratio == 1
    assert found.groups["isle"].ratio == pytest.approx(1.5)
    assert (found.gap, found.gap_interval, found.ratio, found.ratio_interval) == (None, None, None, None)


def test_groups_that_all_get_nothing_have_no_gap_and_no_ratio():
    found = compared(group("region=north", rate=0.0), group("region=south", rate=0.0))["selection_rate"]

    assert (found.gap, found.ratio, found.groups["north"].ratio) == (0, None, None)


def test_intervals_come_from_those_of_the_two_rates_by_square_and_add():
    found = compared(
        group("region=north", rate=0.6, intervals={SELECTED: (0.55, 0.66)}),
        group("region=south", rate=0.3, intervals={SELECTED: (0.22, 0.37)}),
    )["selection_rate"]

    assert found.gap_interval == pytest.approx((0.3 - hypot(0.05, 0.07), 0.3 + hypot(0.06, 0.08)))
    below = hypot(log(0.3) - log(0.22), log(0.66) - log(0.6))
    above = hypot(log(0.37) - log(0.3), log(0.6) - log(0.55))
    assert found.ratio_interval == pytest.approx((exp(log(0.5) - below), exp(log(0.5) + above)))
    assert found.groups["south"].interval == (0.22, 0.37)


def test_a_rate_without_an_interval_leaves_none_to_the_gap():
    found = compared(group("region=north", rate=0.6, intervals={SELECTED: (0.5, 0.7)}), group("region=south", rate=0.3))

    assert found["selection_rate"].gap == pytest.approx(0.3)
    assert (found["selection_rate"].gap_interval, found["selection_rate"].ratio_interval) == (None, None)


def test_a_rate_that_may_be_zero_may_make_a_ratio_of_zero():
    found = compared(
        group("region=north", rate=0.6, intervals={SELECTED: (0.5, 0.7)}),
        group("region=south", rate=0.1, intervals={SELECTED: (-0.01, 0.2)}),
    )["selection_rate"]

    assert found.ratio_interval[0] == pytest.approx(0)
    assert found.ratio_interval[1] > found.ratio


def test_a_group_that_gets_nothing_has_a_ratio_that_may_be_more_than_nothing():
    found = compared(
        group("region=north", rate=0.6, intervals={SELECTED: (0.5, 0.7)}),
        group("region=south", rate=0.0, intervals={SELECTED: (0.0, 0.1)}),
    )["selection_rate"]

    assert found.ratio == 0
    assert found.ratio_interval == pytest.approx((0, 0.1 / 0.6), rel=0.01)


def test_a_gap_is_never_below_nothing_and_a_ratio_never_above_one():
    found = compared(
        group("region=north", rate=0.52, intervals={SELECTED: (0.4, 0.6)}),
        group("region=south", rate=0.5, intervals={SELECTED: (0.4, 0.6)}),
    )["selection_rate"]

    assert found.gap_interval == (0, pytest.approx(0.02 + hypot(0.08, 0.1)))
    assert found.ratio_interval[1] == 1


def test_many_groups_that_are_alike_are_seldom_told_apart():
    """Of ten groups of one rate the two that are farthest apart differ at 95% in more than half of all samples."""
    random, selected, rows = Random(0), 0.3, 400
    told = 0
    for _ in range(300):
        rates = [sum(random.random() < selected for _ in range(rows)) / rows for _ in range(10)]
        half = [1.96 * (rate * (1 - rate) / rows) ** 0.5 for rate in rates]
        groups = [
            group(f"region={place}", rate=rate, rows=rows, intervals={SELECTED: (rate - apart, rate + apart)})
            for place, (rate, apart) in enumerate(zip(rates, half, strict=True))
        ]
        told += compared(*groups)["selection_rate"].gap_interval[0] > 0

    assert told / 300 <= 0.07


RATES = st.tuples(*[st.floats(0.001, 0.999)] * 3).map(sorted)


@given(RATES, RATES)
def test_an_interval_holds_what_it_is_about(one, other):
    north, south = (
        group(f"region={name}", rate=rate, intervals={SELECTED: (low, high)})
        for name, (low, rate, high) in (("north", one), ("south", other))
    )
    found = compared(north, south)["selection_rate"]

    assert found.gap_interval[0] <= found.gap <= found.gap_interval[1]
    assert found.ratio_interval[0] <= found.ratio * (1 + 1e-12)
    assert found.ratio <= found.ratio_interval[1] * (1 + 1e-12)
    assert found.lowest != found.highest


def test_only_crosses_of_sensitive_columns_make_groups():
    by = arguments.crosses(["platform", ["region", "gender"], ["gender", "platform"]], ["gender", "region"])

    assert list(fairness.crosses(by, ["gender", "region"])) == [["gender"], ["region"], ("gender", "region")]


def test_the_interval_of_a_gap_goes_by_every_pair_of_groups():
    """South lies between the others, and may be farther from either than they are from each other."""
    south = replace(group("region=south", rate=0.78), intervals={SELECTED: (0.58, 0.98)})
    north = replace(group("region=north", rate=0.80), intervals={SELECTED: (0.79, 0.81)})
    east = replace(group("region=east", rate=0.75), intervals={SELECTED: (0.74, 0.76)})

    found = compared(south, north, east)["selection_rate"]

    assert (found.lowest, found.highest, found.gap) == ("east", "north", pytest.approx(0.05))
    assert found.gap_interval[1] == pytest.approx(0.03 + hypot(0.2, 0.01))
    assert found.ratio_interval[0] < 0.58 / 0.79
