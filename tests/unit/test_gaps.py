"""A challenger must not treat groups apart: an absolute gap, and one above the champion's, with a stated error."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from captures import Right, check, divided_by_labels, labelled, labelled_pairs, with_column

from cd4ml.contracts.verdict import Verdict
from cd4ml.deployment.evidence import analysis, anytime, divided, gaps, paired
from cd4ml.deployment.evidence import limits as rollout_limits
from cd4ml.deployment.evidence.compared import Compared
from cd4ml.errors import DeploymentError

ROLLOUTS, ERROR = 1000, 0.05
PARITY = {"selection_rate": {"max_gap": 0.1, "max_increase": 0.1}}
SELECTION = "selection_rate between groups of gender at 0.5: the "


def analysed(found: Compared, rates: dict[str, Any] = PARITY, groups: tuple[str, ...] = ("female", "male")) -> Verdict:
    limits = {"fairness": {"gender": {"groups": list(groups), **rates}}}
    return analysis.analyse(found, rollout_limits.parse(limits), about={}, classes=("false", "true"))


def test_a_challenger_that_treats_groups_alike_passes_and_says_their_rates() -> None:
    verdict = analysed(divided_by_labels(20_000))

    assert verdict.passed, verdict.reasons
    assert [one.name for one in verdict.checks] == [
        "sample_ratio",
        f"{SELECTION}gap",
        f"{SELECTION}increase of the gap",
    ]
    gap, increase = verdict.checks[1:]
    rates = r"0\.4\d* of [45],\d{3} \(female\), 0\.4\d* of [45],\d{3} \(male\)"
    assert re.fullmatch(rf".*gap: \S+ \[\+0, \S+\], {rates}; at most 0.1 is kept", gap.reason), gap.reason
    assert re.search(rf"\], {rates}; the champion's {rates}; at most 0.1 is kept", increase.reason), increase.reason
    assert gap.slice == "gender=*"


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_challenger_that_treats_a_group_otherwise_fails_both_limits(mirrored: bool) -> None:
    right = Right(men=(0.0, 0.5))
    found = paired.among(*labelled_pairs(6000, right)) if mirrored else divided_by_labels(12_000, right)

    verdict = analysed(found)

    assert [one.outcome for one in verdict.checks[1:]] == ["failed", "failed"]
    assert verdict.checks[1].value == pytest.approx(0.5 * 0.56, abs=0.05)


def test_a_gap_that_the_champion_has_too_breaks_the_absolute_limit_alone() -> None:
    verdict = analysed(divided_by_labels(30_000, Right(men=(0.5, 0.5))))

    assert [one.outcome for one in verdict.checks[1:]] == ["failed", "passed"]


def test_a_gap_that_the_challenger_closes_is_no_increase() -> None:
    verdict = analysed(divided_by_labels(12_000, Right(men=(0.5, 0.0))))

    increase = check(verdict, SELECTION + "increase of the gap")
    assert increase.outcome == "passed"
    assert increase.interval[1] < 0


@pytest.mark.parametrize(
    ("rates", "outcomes"),
    [
        ({"true_positive_rate": {"max_gap": 0.15}}, ["passed"]),
        ({"false_positive_rate": {"max_gap": 0.15}}, ["failed"]),
        ({"accuracy": {"max_gap": 0.15}}, ["failed"]),
        ({"equal_opportunity": {"max_gap": 0.15}}, ["passed"]),
        ({"equalised_odds": {"max_gap": 0.15}}, ["passed", "failed"]),
    ],
)
def test_gaps_of_rates_by_labels_are_those_of_the_evaluation(rates: dict[str, Any], outcomes: list[str]) -> None:
    """Of men, the half of those who are not positive is selected too."""
    verdict = analysed(divided_by_labels(20_000, Right((0.95, 0.95), men=(0.5, 0.5), came=(0.9, 0.9))), rates)

    assert verdict.checks[1].name == "label_ratio"
    assert [one.outcome for one in verdict.checks[2:]] == outcomes


def test_what_a_gap_is_agrees_with_the_definition() -> None:
    table, feedback = labelled(5000, Right((0.9, 0.8), men=(0.1, 0.4)))
    verdict = analysed(
        divided.among(table, feedback, challenger="new"),
        {"true_positive_rate": {"max_gap": 0.9}, "false_positive_rate": {"max_gap": 0.9, "max_increase": 0.9}},
    )

    new = np.array(table["arm"].to_pylist()) == "new"
    man = np.array(["female" not in one for one in table["features"].to_pylist()])
    selected = np.array([one[0] > 0.5 for one in table["predictions"].to_pylist()])
    label = dict(zip(feedback["request_id"].to_pylist(), feedback["labels"].to_pylist(), strict=True))
    positive = np.array([label[one] == ["true"] for one in table["request_id"].to_pylist()])

    def gap(arm: np.ndarray, counted: np.ndarray) -> float:
        women, men = (selected[arm & counted & (man == one)].mean() for one in (False, True))
        return abs(men - women)

    wanted = [gap(new, positive), gap(new, ~positive), gap(new, ~positive) - gap(~new, ~positive)]
    assert [one.value for one in verdict.checks[2:]] == pytest.approx(wanted)


def test_a_group_that_is_too_small_to_tell_is_said_and_one_that_nobody_is_of_too() -> None:
    table, feedback = labelled(4000)
    other = [json.dumps({"gender": ["other"]}) if place < 6 else one for place, one in enumerate(table["features"])]
    table = with_column(table, "features", [one if isinstance(one, str) else one.as_py() for one in other])
    found = divided.among(table, feedback, challenger="new")

    few, none = (analysed(found, groups=("female", "male", one)).checks[1] for one in ("other", "unsaid"))

    assert (few.outcome, none.outcome) == ("inconclusive", "inconclusive")
    assert re.search(r"\(other\).*whether at most 0.1 is kept|\(other\); about [\d,]+ requests more", few.reason)
    assert "of unsaid one arm had no request yet; whether at most 0.1 is kept cannot be told yet" in none.reason


def test_rows_of_one_request_count_for_their_own_groups() -> None:
    table, feedback = labelled(3000)
    table = with_column(table, "predictions", [[0.9, 0.9, 0.1]] * 3000)
    table = with_column(table, "features", [json.dumps({"gender": ["male", "female", "female"]})] * 3000)

    gap = analysed(divided.among(table, feedback, challenger="new")).checks[1]

    assert (gap.outcome, gap.value) == ("failed", 0.5)
    assert re.search(r", 0\.5 of 1,\d{3} \(female\), 1 of 1,\d{3} \(male\)", gap.reason), gap.reason


def test_requests_whose_feature_is_not_said_for_each_row_are_of_no_group() -> None:
    table, feedback = labelled(3000)
    for other in (None, json.dumps({"gender": ["male", "male"]}), json.dumps({"gender": [None]})):
        features = [one if place % 3 == 0 else other for place, one in enumerate(table["features"].to_pylist())]
        found = divided.among(with_column(table, "features", features), feedback, challenger="new")

        counts = re.findall(r"of ([\d,]+) \(", check(analysed(found), SELECTION + "increase of the gap").reason)
        assert sum(int(count.replace(",", "")) for count in counts) == 1000


def test_a_feature_that_is_not_captured_is_an_error_with_the_remedy() -> None:
    table, feedback = labelled(1000)
    table = with_column(table, "features", [None] * 1000)

    told = analysed(divided.among(table, feedback, challenger="new")).checks[1]

    assert told.outcome == "error"
    assert "the feature 'gender' is captured of none of 1,000 requests" in told.reason
    assert "name it in the router's `captured_features`, as a rollout does by itself" in told.reason


def test_the_features_of_groups_are_those_that_a_rollout_captures() -> None:
    parsed = rollout_limits.parse(
        {
            "accuracy": {"min_change": -0.1, "slices": ["region=south"]},
            "fairness": {"gender": {"groups": ["f", "m"], **PARITY}},
        }
    )

    assert {column for held in parsed.each() for column in held.columns} == {"gender", "region"}


def test_about_so_many_requests_more_as_are_said_tell() -> None:
    for name in ("gap", "increase of the gap"):
        first = check(analysed(divided_by_labels(2000, seed=1)), SELECTION + name)
        more = int(re.search(r"; about ([\d,]+) requests more, like these, tell", first.reason)[1].replace(",", ""))

        assert first.outcome == "inconclusive"
        assert more < 20_000
        assert check(analysed(divided_by_labels(2000 + 2 * more, seed=1)), SELECTION + name).outcome == "passed"


@pytest.mark.parametrize(
    ("fairness", "said"),
    [
        ({"gender": {"groups": ["f"], **PARITY}}, "fairness.gender.groups: Tuple should have at least 2 items"),
        ({"gender": {"groups": ["f", "f"], **PARITY}}, "fairness.gender: groups: names one twice"),
        ({"gender": {"groups": ["f", "m"]}}, "names no limit; write one, such as selection_rate: {max_gap: 0.1}"),
        ({"gender": {"groups": ["f", "m"], "selection_rate": {}}}, "names no limit; give max_gap or max_increase"),
        ({"gender": {"groups": ["f", "m"], "selection": {}}}, "did you mean 'selection_rate'"),
        ({"gender,region": {"groups": ["f", "m"], **PARITY}}, "the groups of one feature are compared; name one"),
    ],
)
def test_limits_between_groups_that_say_nothing_are_refused(fairness: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        rollout_limits.parse({"fairness": fairness})

    assert said in str(refused.value)


def rollouts(rates: tuple[float, float], *, seconds: float, requests: int, count: int) -> list[anytime.Guesses]:
    """Guesses of the difference of two groups, of which the second has so large a share, in each of some rollouts."""
    random = np.random.default_rng(11)
    second = random.random((count, requests)) < seconds
    values = (random.random(second.shape) < np.where(second, rates[1], rates[0])) * 1.0
    return [anytime.between(one, groups, 1.0) for one, groups in zip(values, second, strict=True)]


@pytest.mark.parametrize(("rates", "seconds"), [((0.3, 0.3), 0.5), ((0.3, 0.4), 0.1), ((0.02, 0.02), 0.3)])
def test_a_true_difference_of_groups_is_hardly_ever_refuted_though_one_looks_after_every_round(
    rates: tuple[float, float], seconds: float
) -> None:
    refuted = 0
    for guesses in rollouts(rates, seconds=seconds, requests=1000, count=ROLLOUTS):
        ends = (guesses.against(rates[1] - rates[0], above=above) for above in (False, True))
        refuted += any(bool((end >= math.log(2 / ERROR)).any()) for end in ends)

    assert refuted / ROLLOUTS <= ERROR


def test_a_difference_of_groups_that_there_is_is_told() -> None:
    for rates, above in (((0.3, 0.5), False), ((0.3, 0.3), True)):
        guesses = rollouts(rates, seconds=0.5, requests=6000, count=100)
        told = [bool((one.against(0.1, above=above) >= math.log(2 / ERROR))[-1]) for one in guesses]

        assert np.mean(told) > 0.8


def test_an_hour_in_which_all_are_selected_more_is_no_gap() -> None:
    random = np.random.default_rng(0)
    second = np.concatenate((random.random(2000) < 0.9, random.random(2000) < 0.1))
    values = (random.random(4000) < np.where(np.arange(4000) < 2000, 0.8, 0.2)) * 1.0

    low, high = anytime.between(values, second, 1.0).interval(ERROR)

    assert low < 0 < high
    assert values[second].mean() - values[~second].mean() > 0.4


def pairs_of(women: float, before: float, now: float, random: np.random.Generator) -> list[gaps.Group]:
    """Two groups of requests that both had: women with one rate, and men with the champion's, or the challenger's."""
    man, chance = random.random(900) < 0.4, random.random(900)
    champion, challenger = ((chance < np.where(man, rate, women)) * 1.0 for rate in (before, now))
    found = []
    for places in (np.flatnonzero(~man), np.flatnonzero(man)):
        contents = champion, challenger, (challenger - champion) / 2
        found.append(gaps.Group("", *(gaps.Stream(places, values[places]) for values in contents)))
    return found


@pytest.mark.parametrize(
    ("rates", "increase"),
    [((0.3, 0.3, 0.3), 0), ((0.3, 0.3, 0.4), 0.1), ((0.3, 0.4, 0.3), -0.1), ((0.3, 0.4, 0.2), 0), ((0.3, 0.4, 0.4), 0)],
)
def test_the_true_increase_of_a_gap_is_hardly_ever_left_out(rates: tuple[float, float, float], increase: float) -> None:
    random, left_out = np.random.default_rng(6), 0
    for _ in range(200):
        low, high = gaps.increase(pairs_of(*rates, random), 0.1, ERROR).interval
        left_out += not low <= increase <= high

    assert left_out / 200 <= ERROR


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.4, 0.3, 0.3)])
def test_the_gap_of_groups_that_are_alike_is_hardly_ever_above_nothing(shares: tuple[float, ...]) -> None:
    random, above = np.random.default_rng(5), 0
    for _ in range(200):
        group = random.choice(len(shares), 600, p=shares)
        values = (random.random(600) < 0.3) * 1.0
        for count in (50, 200, 600):
            members = [np.flatnonzero(group[:count] == one) for one in range(len(shares))]
            streams = [gaps.Stream(one, values[one]) for one in members]
            found = gaps.gap([gaps.Group("", one, one, one) for one in streams], 0.1, 2 * ERROR)
            above += found.interval[0] > 0
    assert above / 200 <= ERROR
