"""A challenger is held against the champion by the labels that came: as right, less right, or too early to tell."""

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from captures import Right, check, divided_by_labels, labelled, labelled_pairs, with_column

from cd4ml.contracts.model import Contract
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.verdict import Verdict, worst
from cd4ml.deployment.evidence import analysis, anytime, divided, paired
from cd4ml.deployment.evidence import limits as rollout_limits
from cd4ml.deployment.evidence.compared import Compared
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.errors import DeploymentError

LIMITS = {"accuracy": {"min_change": -0.05}, "brier_score": {"max_increase": 0.03}}
CLASSES = ("false", "true")
ROLLOUTS, ERROR = 1000, 0.05


def analysed(found: Compared, limits: dict[str, Any] = LIMITS, classes: Any = CLASSES) -> Verdict:
    return analysis.analyse(found, rollout_limits.parse(limits), about={}, classes=classes)


def test_a_challenger_that_is_as_right_passes_and_is_told_by_how_many_labels() -> None:
    verdict = analysed(divided_by_labels(12_000, Right(came=(0.5, 0.5))))

    assert verdict.passed, verdict.reasons
    assert [one.name for one in verdict.checks] == ["sample_ratio", "label_ratio", "accuracy", "brier_score"]
    ratio, accuracy = (check(verdict, name).reason for name in ("label_ratio", "accuracy"))
    assert re.fullmatch(
        r"label_ratio: [23],\d{3} of [56],\d{3} requests of the champion have labels, and [23],\d{3} of [56],\d{3} of "
        r"the challenger",
        ratio,
    ), ratio
    assert re.search(r", from 0\.[78]\d* of [23],\d{3} to 0\.[78]\d* of [23],\d{3}; at least -0.05 is kept", accuracy)


def test_a_challenger_that_is_less_right_fails_by_both_scores() -> None:
    verdict = analysed(divided_by_labels(6000, Right((0.8, 0.65))))

    assert {check(verdict, name).outcome for name in LIMITS} == {"failed"}
    assert check(verdict, "accuracy").value == pytest.approx(-0.15, abs=0.04)
    assert check(verdict, "brier_score").value == pytest.approx(0.15 * 0.6, abs=0.03)


def test_about_so_many_requests_more_as_are_said_tell() -> None:
    right = Right(came=(0.5, 0.5))
    first = check(analysed(divided_by_labels(1500, right)), "accuracy")
    more = int(re.search(r"; about ([\d,]+) requests more, like these, tell", first.reason)[1].replace(",", ""))

    assert first.outcome == "inconclusive"
    assert check(analysed(divided_by_labels(1500 + 2 * more, right)), "accuracy").outcome == "passed"


def test_a_shadow_is_judged_by_the_labels_of_what_the_champion_answered_with_far_fewer_requests() -> None:
    pairs = paired.among(*labelled_pairs(1500, same=True))

    verdict = analysed(pairs)

    assert verdict.passed, verdict.reasons
    assert "1,500 of 1,500 requests of the champion have labels, and 1,500 of 1,500 of" in verdict.checks[1].reason
    assert check(analysed(divided_by_labels(1500)), "accuracy").outcome == "inconclusive"


def test_a_shadow_that_is_less_right_fails() -> None:
    verdict = analysed(paired.among(*labelled_pairs(2000, Right((0.8, 0.65), came=(0.7, 0.7)))))

    assert check(verdict, "accuracy").outcome == "failed"


def test_labels_that_one_arm_lacks_beyond_chance_are_an_error_and_no_judgement() -> None:
    verdict = analysed(divided_by_labels(6000, Right(came=(0.6, 0.4))))

    ratio = check(verdict, "label_ratio")
    assert ratio.outcome == "error"
    assert "which is not chance, so that they do not tell of the arms; look why" in ratio.reason
    assert not verdict.passed


def test_before_labels_come_nothing_is_told() -> None:
    verdict = analysed(divided_by_labels(1000, Right(came=(0, 0))))

    assert check(verdict, "label_ratio").outcome == "passed"
    assert check(verdict, "label_ratio").value is None
    for name in LIMITS:
        assert check(verdict, name).outcome == "inconclusive"
        assert "nothing is known of the challenger yet" in check(verdict, name).reason


def test_requests_without_an_answer_are_judged_by_no_label() -> None:
    table, feedback = labelled(2000)
    lost = np.arange(2000) % 10 == 0
    predictions = [None if lost[place] else one for place, one in enumerate(table["predictions"].to_pylist())]
    verdict = analysed(divided.among(with_column(table, "predictions", predictions), feedback, challenger="new"))

    counts = re.search(r"from \S+ of ([\d,]+) to \S+ of ([\d,]+)", check(verdict, "accuracy").reason).groups()
    assert sum(int(one.replace(",", "")) for one in counts) == 1800


def test_of_several_rows_the_request_is_as_right_as_they_are_on_average() -> None:
    table, feedback = labelled(400)
    table = with_column(table, "predictions", [[0.9, 0.9, 0.1, 0.1]] * 400)
    feedback = with_column(feedback, "labels", [["1", "0", "0", "0"]] * 400)

    found = divided.among(table, feedback, challenger="new")
    verdict = analysed(found, {"accuracy": {"min_change": -0.05}, "brier_score": {"max_increase": 0.5}}, ("0", "1"))

    assert "from 0.75 of" in check(verdict, "accuracy").reason
    assert "from 0.21 of" in check(verdict, "brier_score").reason


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("false", "true"), ["false", "true"]),
        (("false", "true"), ["0", "1.0"]),
        (("0", "1"), ["0", "1.0"]),
        (("no", "yes"), ['"no"', '"yes"']),
    ],
)
def test_labels_are_those_of_the_contract_however_json_has_them(classes: tuple[str, str], labels: list[str]) -> None:
    table, feedback = labelled(400, Right((1, 1)))
    said = [[labels[one == ["true"]]] for one in feedback["labels"].to_pylist()]

    found = divided.among(table, with_column(feedback, "labels", said), challenger="new")

    assert "from 1 of" in check(analysed(found, classes=classes), "accuracy").reason


def numbers(requests: int, errors: tuple[float, float], *, strange: str = "") -> Divided:
    """Two arms that predict numbers about their labels, with errors of some size, the old one's first."""
    table, feedback = labelled(requests)
    random = np.random.default_rng(0)
    label = random.uniform(100_000, 400_000, requests)
    of_arm = np.where(table["arm"].to_numpy(zero_copy_only=False) == "new", errors[1], errors[0])
    table = with_column(table, "predictions", (label + random.choice([-1, 1], requests) * of_arm)[:, None].tolist())
    by_id = dict(zip(table["request_id"].to_pylist(), label, strict=True))
    said = [f"{by_id[one]}" for one in feedback["request_id"].to_pylist()]
    said[:3] = [strange] * 3 if strange else said[:3]
    return divided.among(table, with_column(feedback, "labels", [[one] for one in said]), challenger="new")


ERRORS = {"absolute_error": {"max_increase": 20_000, "range": [0, 500_000]}}


@pytest.mark.parametrize(("errors", "outcome"), [((30_000, 31_000), "passed"), ((30_000, 60_000), "failed")])
def test_numbers_are_judged_by_how_far_off_they_are_in_the_unit_of_the_label(
    errors: tuple[float, float], outcome: str
) -> None:
    found = check(analysed(numbers(4000, errors), ERRORS, ()), "absolute_error")

    assert found.outcome == outcome
    assert found.value == pytest.approx(errors[1] - errors[0], rel=0.2)
    assert re.search(rf"from {errors[0]:,} of 1,9\d\d to {errors[1]:,} of", found.reason), found.reason


@pytest.mark.parametrize(("strange", "shown"), [("1e9", "1000000000"), ("true", "true")])
def test_a_label_beyond_what_there_can_be_is_left_out_and_told(strange: str, shown: str) -> None:
    verdict = analysed(numbers(4000, (30_000, 31_000), strange=strange), ERRORS, ())

    assert verdict.passed
    told = f"a label is '{shown}', and those of the model are numbers from 0 to 500000; send such, or write the"
    assert "3 of 4,000 are left out (" in check(verdict, "label_ratio").reason
    assert told in check(verdict, "label_ratio").reason


def test_predictions_beyond_it_are_the_model_s_and_cannot_be_judged() -> None:
    limits = {"absolute_error": {"max_increase": 20_000, "range": [150_000, 500_000]}}

    found = check(analysed(numbers(400, (30_000, 31_000)), limits, ()), "absolute_error")

    assert found.outcome == "error"
    assert "values are not from 150000 to 500000, such as " in found.reason


NUMBER = Contract("price", (), (), {}, REGRESSION)
TWO = Contract("took", ("no", "yes"), (), {})


@pytest.mark.parametrize(
    ("contract", "limits", "said"),
    [
        (
            NUMBER,
            {"accuracy": {"min_change": -0.1}},
            "accuracy: is of classes, and the model gives price, a number; limit absolute_error,",
        ),
        (NUMBER, {"brier_score": {"max_increase": 0.1}}, "brier_score: is of classes"),
        (
            NUMBER,
            {"fairness": {"gender": {"groups": ["f", "m"], "selection_rate": {"max_gap": 0.1}}}},
            "selection_rate between groups of gender at 0.5: the gap: is of classes",
        ),
        (
            NUMBER,
            {"mean_prediction": {"max_change": 0.1}},
            "mean_prediction: has no `range`, and the model gives price, a number; write the least",
        ),
        (NUMBER, {"prediction_difference": {"max_mean": 0.1}}, "prediction_difference: has no `range`"),
        (
            TWO,
            ERRORS,
            "absolute_error: is of numbers, and the model gives the probability that took is yes and not no;",
        ),
    ],
)
def test_a_limit_that_a_model_cannot_be_held_against_is_told_with_one_that_fits(
    contract: Contract, limits: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeploymentError, match=re.escape(said)):
        rollout_limits.check_fits(rollout_limits.parse(limits), contract)


@pytest.mark.parametrize(
    ("contract", "limits"),
    [
        (NUMBER, {**ERRORS, "error_rate": {"max_increase": 0.1}, "latency_p95": {"max_ratio": 2}}),
        (NUMBER, {"mean_prediction": {"max_change": 10, "range": [0, 99]}, "reward": {"min_change": -0.1}}),
        (TWO, {"mean_prediction": {"max_change": 0.1}, "accuracy": {"min_change": -0.1}}),
    ],
)
def test_a_limit_that_fits_is_held(contract: Contract, limits: dict[str, Any]) -> None:
    rollout_limits.check_fits(rollout_limits.parse(limits), contract)


def test_the_first_label_of_a_request_counts() -> None:
    table, feedback = labelled(400, Right((1, 1)))
    later = with_column(feedback, "labels", [["true"]] * len(feedback))

    found = divided.among(table, pa.concat_tables([feedback, later]), challenger="new")

    assert "from 1 of" in check(analysed(found), "accuracy").reason


def test_a_group_is_judged_by_its_own_labels() -> None:
    limits = {"accuracy": {"min_change": -0.1, "slices": ["gender=female", "gender=male"]}}

    verdict = analysed(divided_by_labels(8000, Right(men=(0.0, 0.6))), limits)

    assert check(verdict, "accuracy on gender=female").outcome == "passed"
    assert check(verdict, "accuracy on gender=male").outcome == "failed"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (['"maybe"'], "a label is 'maybe', and those of the model are 'false' and 'true'; send these"),
        (["7"], "a label is '7', and those of the model are 'false' and 'true'; send these"),
        (["no JSON"], "a label is 'no JSON', and those of the model are 'false' and 'true'; send these"),
        (["true", "true"], "a request has 2 labels, and predictions for another number of rows; send one label a row"),
    ],
)
@pytest.mark.parametrize("pairs", [False, True])
def test_labels_that_are_none_of_the_model_are_left_out_and_said_and_an_error_where_they_are_many(
    labels: list[str], said: str, pairs: bool
) -> None:
    def judged(every: int) -> Verdict:
        *answers, feedback = labelled_pairs(2000) if pairs else labelled(2000)
        given = [labels if place % every == 0 else one for place, one in enumerate(feedback["labels"].to_pylist())]
        feedback = with_column(feedback, "labels", given)
        found = paired.among(*answers, feedback) if pairs else divided.among(*answers, feedback, challenger="new")
        return analysed(found, {"accuracy": {"min_change": -0.5}})

    few, many = judged(every=40), judged(every=10)

    assert few.passed
    assert "50 of 2,000 are left out" in check(few, "label_ratio").reason
    assert said in check(few, "label_ratio").reason
    assert "of 1,950" in check(few, "accuracy").reason or not pairs
    assert check(many, "label_ratio").outcome == "error"
    assert (
        "these are more than 20 and more than 5%, so that feedback does not tell" in check(many, "label_ratio").reason
    )


def test_labels_of_one_arm_that_are_strange_are_an_error_though_few() -> None:
    table, feedback = labelled(4000)
    new = dict(zip(table["request_id"].to_pylist(), pc.equal(table["arm"], "new").to_pylist(), strict=True))
    strange = [new[one] and place % 40 == 0 for place, one in enumerate(feedback["request_id"].to_pylist())]
    given = [["7"] if bad else one for bad, one in zip(strange, feedback["labels"].to_pylist(), strict=True)]

    verdict = analysed(divided.among(table, with_column(feedback, "labels", given), challenger="new"))

    assert check(verdict, "label_ratio").outcome == "error"
    assert "one arm has more of these than chance gives" in check(verdict, "label_ratio").reason


def test_where_the_classes_are_not_known_the_positive_one_is_not() -> None:
    told = check(analysed(divided_by_labels(100), classes=None), "accuracy")

    assert told.outcome == "error"
    assert "which label is the positive one is not known; name the model" in told.reason


def late(rates: tuple[float, float], came: float, seed: int, chunk: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Of some rollouts whether answers were right, and whose they were, in the order in which labels came."""
    random = np.random.default_rng(seed)
    challenged = random.random((chunk, 1000)) < 0.5
    right = random.random(challenged.shape) < np.where(challenged, rates[1], rates[0])
    order = np.argsort(np.where(random.random(challenged.shape) < came, random.random(challenged.shape), 2), axis=-1)
    first = order[:, : int(came * 900)]
    return np.take_along_axis(right, first, -1) * 1.0, np.take_along_axis(challenged, first, -1)


@pytest.mark.parametrize("came", [1.0, 0.4])
def test_a_true_change_of_accuracy_is_hardly_ever_refuted_though_one_looks_after_every_label(came: float) -> None:
    refuted, uneven = [], []
    for seed in range(ROLLOUTS // 50):
        right, challenged = late((0.8, 0.75), came, seed)
        guesses = anytime.difference(right, challenged, np.full(right.shape, 0.5))
        ends = (guesses.against(-0.05, above=above) >= math.log(2 / ERROR) for above in (False, True))
        refuted.append(np.logical_or.reduce([end.any(axis=-1) for end in ends]))
        uneven += [not anytime.by_chance(arms, np.full(arms.shape, 0.5), ERROR) for arms in challenged]

    assert np.concatenate(refuted).mean() <= ERROR
    assert np.mean(uneven) <= ERROR


def test_a_change_of_accuracy_that_there_is_is_told_and_the_sooner_by_pairs() -> None:
    told = []
    for seed in range(4):
        right, challenged = late((0.8, 0.65), 1.0, seed)
        against = anytime.difference(right, challenged, np.full(right.shape, 0.5)).against(0.0, above=True)
        told.append((against >= math.log(2 / ERROR)).any(axis=-1))
    random = np.random.default_rng(0)
    champion = random.random((200, 900)) < 0.8
    challenger = champion & (random.random((200, 900)) < 0.65 / 0.8)
    pairs = anytime.paired(challenger * 1.0, champion * 1.0).against(0.0, above=True) >= math.log(2 / ERROR)

    assert np.concatenate(told).mean() > 0.8
    assert pairs[:, 200].mean() > 0.8


@pytest.mark.parametrize("pairs", [False, True])
def test_when_nothing_differs_rollouts_that_are_looked_at_again_and_again_are_hardly_ever_undone(pairs: bool) -> None:
    limits = {"accuracy": {"min_change": -0.001}, "brier_score": {"max_increase": 0.001}, "error": 0.1}
    undone = 0
    for seed in range(100):
        *answers, feedback = (labelled_pairs if pairs else labelled)(400, Right(came=(0.6, 0.6)), seed=seed)
        looks = (feedback.slice(0, count) for count in (50, 100, 240))
        for look in looks:
            found = paired.among(*answers, look) if pairs else divided.among(*answers, look, challenger="new")
            undone += worst(one.outcome for one in analysed(found, limits).checks) in ("failed", "error")

    assert undone / 100 <= 0.1
