"""An experiment is planned, divides callers, and ends as the difference of what came of them does."""

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from captures import BEGIN, Arms, captured, with_column
from pydantic import ValidationError

from cd4ml.contracts.captured import FEEDBACK
from cd4ml.contracts.experiment import Decision
from cd4ml.contracts.verdict import Outcome
from cd4ml.deployment.evidence import ab_test, anytime, units
from cd4ml.deployment.evidence.ab_test import Judged
from cd4ml.deployment.evidence.designs import Counted, Design
from cd4ml.deployment.evidence.units import Units

EXPERIMENTS = 1000
GIVEN: dict[str, Any] = {"sticky": {"header": "X-Player"}, "baseline": 0.4, "detect": 0.2}


def design(**given: Any) -> Design:
    return Design.model_validate({**GIVEN, **given})


def told(wanted: Design, change: float, *, above: bool, chunk: int = 50) -> float:
    """The part of the experiments in which a difference is told, however often one looks, by the end of the plan."""
    random, share = np.random.default_rng(7), wanted.traffic / 100
    found = []
    for _ in range(EXPERIMENTS // chunk):
        challenged = random.random((chunk, wanted.planned)) < share
        rates = np.where(challenged, wanted.baseline + change, wanted.baseline)
        outcomes = (random.random(challenged.shape) < rates) * 1.0
        guesses = anytime.difference(outcomes, challenged, np.full(challenged.shape, share))
        found.append((guesses.against(0.0, above=above) >= -math.log(wanted.error / 2)).any(axis=-1))
    return float(np.concatenate(found).mean())


PLANS = [
    {"baseline": 0.3, "detect": 0.2},
    {"baseline": 0.05, "detect": 0.1, "traffic": 20},
    {"baseline": 0.3, "detect": 0.3, "power": 0.9, "error": 0.01},
]


@pytest.mark.parametrize("plan", PLANS)
def test_whom_the_plan_asks_for_tell_the_difference_as_often_as_it_says(plan: dict[str, float]) -> None:
    wanted = design(**plan)

    assert wanted.power <= told(wanted, wanted.detect, above=False) <= wanted.power + 0.1


@pytest.mark.parametrize("plan", PLANS)
def test_where_nothing_differs_hardly_an_experiment_is_decided(plan: dict[str, float]) -> None:
    wanted = design(**plan)

    assert told(wanted, 0.0, above=False) + told(wanted, 0.0, above=True) <= wanted.error


def test_outcomes_in_another_range_take_as_many() -> None:
    assert design(baseline=4.0, detect=2.0, range=[0, 10]).planned == design().planned


COUNTED = Counted("reward", timedelta(days=1), None)
ALIKE = Arms()


def among(
    table: pa.Table, given: pa.Table, counted: Counted = COUNTED, *, until: timedelta = timedelta(days=30)
) -> Units:
    return units.among(table, given, counted, challenger="new", until=BEGIN + until)


def judged(wanted: Design, arms: Arms = ALIKE, *, unit: int | None = 3) -> Judged:
    return ab_test.judge(wanted, among(*captured(3000, arms, seed=0, unit=unit)))


def outcomes(found: Units) -> list[float]:
    return [round(one, 3) for one in found.compared.rewarded()[1]]


def test_a_caller_counts_once_with_what_all_of_its_requests_came_to() -> None:
    table, _ = captured(6, Arms(), seed=0, unit=3)
    given = feedback(
        [("0-0", 1.0, 1), ("0-1", 0.0, 2), ("0-2", 1.0, 3), ("0-1", 1.0, 4), ("0-4", 0.0, 5), ("x", 1.0, 6)]
    )

    found = among(table, given)

    assert (found.count, found.requests, found.torn, found.unnamed) == (2, 6, 0, 0)
    assert outcomes(found) == [0.667, 0.0]  # of a request what came first


def feedback(given: list[tuple[str, float | None, int]], labels: list[list[str] | None] | None = None) -> pa.Table:
    """Rewards of requests after some hours."""
    return pa.table(
        [
            [BEGIN + timedelta(hours=hours) for _, _, hours in given],
            [request for request, _, _ in given],
            [reward for _, reward, _ in given],
            labels or [None] * len(given),
        ],
        schema=FEEDBACK,
    )


def test_what_comes_after_the_window_does_not_count_and_who_is_younger_neither() -> None:
    table, _ = captured(3, Arms(), seed=0, unit=1)
    given = feedback([("0-0", 1.0, 30), ("0-1", 1.0, 2), ("0-2", 0.0, 3)])

    later = among(table, given)
    now = among(table, given, until=timedelta(days=1, seconds=1))
    without = among(table, given, Counted("reward", timedelta(days=1), 0.5), until=timedelta(days=1, seconds=1))

    assert (outcomes(later), later.ripe.tolist()) == ([1.0, 0.0], [True] * 3)
    assert (outcomes(now), now.ripe.tolist()) == ([1.0], [True, True, False])
    assert outcomes(without) == [0.5, 1.0]


def test_labels_that_are_true_or_false_or_numbers_have_a_mean() -> None:
    table, _ = captured(4, Arms(), seed=0, unit=1)
    given = feedback(
        [("0-0", None, 1), ("0-1", None, 1), ("0-2", 1.0, 1), ("0-3", None, 1)],
        [["true", "false"], ["3"], None, ["true"]],
    )
    counted = Counted("label", timedelta(days=1), None)

    found = among(table, given, counted)

    assert outcomes(found) == [0.5, 3.0, 1.0]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ('"yes"', "a label is no number, true or false, so that it has no mean; send a reward with it"),
        ("NaN", "a label is no number, true or false"),
        ("7", "a label of 7 is not from 0 to 1; send such, or write the `range` that they have"),
    ],
)
def test_a_label_that_is_no_outcome_is_left_out_and_is_not_held_for_missing(label: str, said: str) -> None:
    table, _ = captured(3, Arms(), seed=0, unit=1)
    counted = Counted("label", timedelta(days=1), 0.0, range=(0, 1))

    found = among(table, feedback([("0-0", None, 1), ("0-1", None, 1)], [[label], ["true"]]), counted)

    assert outcomes(found) == [1.0, 0.0]
    assert (found.told, found.strange.tolist()) == (2, [True, False, False])
    assert said in found.why
    text = among(table, feedback([("0-0", None, 1)], [['"1"']]), counted)
    assert outcomes(text) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "decision", "said"),
    [
        ((0.3, 0.7), Decision.PROMOTE, "the challenger is better"),
        ((0.7, 0.3), Decision.ROLL_BACK, "the challenger is worse"),
        ((0.4, 0.4), Decision.INCONCLUSIVE, "which of both is better is not known"),
    ],
)
def test_an_experiment_ends_as_the_difference_does(rewards: tuple[float, float], decision: Decision, said: str) -> None:
    found = judged(design(), Arms(rewards=rewards))

    assert found.count >= found.design.planned
    assert found.decision(over=False) is decision
    assert said in found.said
    outcome = next(check for check in found.checks if check.name == "reward")
    assert outcome.interval[0] < rewards[1] - rewards[0] < outcome.interval[1]


def test_what_is_not_known_yet_goes_on_until_the_plan_or_the_time_is_over() -> None:
    found = judged(design(detect=0.02))

    assert (found.decision(over=False), found.decision(over=True)) == (None, Decision.INCONCLUSIVE)


KEPT = {"error_rate": {"max_increase": 0.1}}


def test_where_no_difference_is_known_the_limits_decide() -> None:
    without, kept = judged(design()), judged(design(limits=KEPT))
    unknown = judged(design(limits={"error_rate": {"max_increase": 0.001}}))

    assert [one.decision(over=False) for one in (without, kept, unknown)] == [Decision.INCONCLUSIVE] * 3
    assert [one.limits_kept for one in (without, kept, unknown)] == [False, True, False]


def test_a_challenger_that_earns_more_and_breaks_a_limit_is_rolled_back() -> None:
    found = judged(design(limits=KEPT), Arms(rewards=(0.3, 0.7), errors=(0.02, 0.5)))

    assert found.decision(over=False) is Decision.ROLL_BACK
    assert any("at most 0.1 is broken" in check.reason for check in found.checks)


def test_a_challenger_that_earns_more_goes_on_until_its_limits_are_known_to_be_kept() -> None:
    limits = {"error_rate": {"max_increase": 0.001}}
    found = judged(design(detect=0.02, limits=limits), Arms(rewards=(0.3, 0.7)))

    assert found.decision(over=False) is None


def errors(found: Judged) -> Iterator[str]:
    return (check.reason for check in found.checks if check.outcome is Outcome.ERROR)


def test_callers_that_one_arm_loses_are_an_error_and_no_result() -> None:
    table, given = captured(3000, Arms(rewards=(0.3, 0.7)), seed=0, unit=1)
    lost = np.random.default_rng(1).random(3000) < np.where(pc.equal(table["arm"], "new").to_numpy(), 0.3, 0.0)

    result = ab_test.judge(design(), among(table.filter(~lost), given))

    assert result.decision(over=False) is Decision.ERROR
    (said, *_) = errors(result)
    assert "which is not chance, so that the arms cannot be compared; look for requests that one arm loses" in said


def test_feedback_that_one_arm_gets_less_of_is_an_error_unless_it_is_said_what_its_lack_means() -> None:
    table, given = captured(3000, Arms(rewards=(0.3, 0.7)), seed=0, unit=1)
    rewarded = given.filter(pc.equal(given["reward"], 1.0))

    silent, said = (
        ab_test.judge(wanted, among(table, rewarded, wanted.counted)) for wanted in (design(), design(missing=0.0))
    )

    assert silent.decision(over=False) is Decision.ERROR
    assert "feedback_ratio" in next(errors(silent))
    assert "write what one without counts as: `missing: 0`" in next(errors(silent))
    assert said.decision(over=False) is Decision.PROMOTE
    assert [check.name for check in said.checks] == ["reward", "sample_ratio"]


def test_a_caller_whom_both_arms_answered_is_an_error() -> None:
    table, given = captured(300, Arms(), seed=0, unit=3)
    arms = table["arm"].to_pylist()
    mixed = with_column(table, "arm", [{"new": "old", "old": "new"}[arms[0]], *arms[1:]])

    found = ab_test.judge(design(), among(mixed, given))

    assert found.decision(over=False) is Decision.ERROR
    assert "; 1 had both arms" in next(errors(found))


def test_requests_that_do_not_say_whose_they_are_are_an_error() -> None:
    found = judged(design(), unit=None)

    assert next(errors(found)).startswith(
        "callers: 3,000 of 3,000 requests do not say whose they are; send what `sticky`"
    )


def with_rewards(strange: np.ndarray) -> Judged:
    """An experiment in which some callers, all of one request, are given 100 where 1 is the most (bool [callers])."""
    table, given = captured(3000, Arms(rewards=(0.3, 0.7)), seed=0, unit=1)
    every_second = np.arange(0, 3000, 2)
    rewards = np.where(strange[every_second], 100.0, given["reward"].to_numpy())
    given = with_column(given, "reward", rewards)
    return ab_test.judge(design(), among(table, given, design().counted))


def test_an_outcome_out_of_range_is_left_out_and_said_and_ends_nothing() -> None:
    found = with_rewards(np.arange(3000) % 100 == 0)

    assert found.decision(over=False) is Decision.PROMOTE
    (said,) = (check.reason for check in found.checks if check.name == "strange_feedback")
    assert re.fullmatch(
        r"strange_feedback: of callers with a reward, 30 of 1,500 are left out \(\d+ of the champion, \d+ of the "
        r"challenger\), for a reward of 100 is not from 0 to 1; send such, or write the `range` that they have",
        said,
    )


def test_outcomes_out_of_range_are_an_error_where_they_are_many_or_of_one_arm() -> None:
    new = pc.equal(captured(3000, Arms(), seed=0, unit=1)[0]["arm"], "new").to_numpy()
    many, of_one_arm = with_rewards(np.arange(3000) % 10 == 0), with_rewards(new & (np.arange(3000) % 24 == 0))

    assert [one.decision(over=False) for one in (many, of_one_arm)] == [Decision.ERROR] * 2
    assert "these are more than 20 and more than 5%" in next(errors(many))
    assert "one arm has more of these than chance gives" in next(errors(of_one_arm))


def test_each_slice_has_its_difference_and_all_of_their_intervals_hold_together() -> None:
    alone, both = (
        list(judged(design(slices=names)).slices()) for names in (["region=south"], ["region=south", "region=north"])
    )

    assert [check.name for check in both] == ["reward on region=south", "reward on region=north"]
    assert np.diff(both[0].interval) > np.diff(alone[0].interval)
    assert design(
        slices=["region=south"], limits={**KEPT, "reward": {"min_change": -1, "slices": ["age=1"]}}
    ).columns == {
        "age",
        "region",
    }


def test_the_picture_is_that_of_the_interval_after_ever_more_callers() -> None:
    found = judged(design(), Arms(rewards=(0.3, 0.7)))

    points = list(found.points())

    outcome = next(check for check in found.checks if check.name == "reward")
    assert (points[-1].units, points[-1].value, points[-1].interval) == (found.count, outcome.value, outcome.interval)
    widths = [point.interval[1] - point.interval[0] for point in points]
    assert sorted(set(widths), reverse=True) == widths


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sticky": {}}, "takes either the name of a header or that of a feature"),
        ({"sticky": {"header": "a b"}}, "'a b' is no name of a header"),
        ({"baseline": 0.9}, "baseline: with `detect` it does not lie from 0 to 1"),
        ({"range": [1, 0]}, "range: write the least outcome and then a greater one"),
        ({"missing": 2}, "missing: 2 does not lie from 0 to 1"),
        ({"detect": 1e-5}, "detect: a billion callers do not tell so small a difference; write a greater one"),
        ({"window": "7 days", "within": "5 days"}, "within: ends before the `window` of the first caller does"),
        ({"limits": {"prediction_difference": {"max_mean": 0.1}}}, "prediction_difference takes requests that both"),
        (
            {"limits": {"accuracy": {"min_change": -0.1}}},
            "limits: those that take labels are of an `analyse`; leave them",
        ),
        ({"slices": ["region=*"]}, "slices: 'region=*' is not one part of the requests"),
        ({"slices": ["overall"]}, "slices: 'overall' is not one part of the requests"),
    ],
)
def test_what_is_no_experiment_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("*", r"\*")):
        design(**given)
