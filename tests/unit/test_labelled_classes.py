"""A model that tells several classes apart is judged by the class that it predicts, and by all its probabilities."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from captures import NO_FEEDBACK, check, labelled, mirrored, with_column

from cd4ml.contracts.model import Contract
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.verdict import Verdict
from cd4ml.deployment.evidence import analysis, divided, paired
from cd4ml.deployment.evidence import limits as rollout_limits
from cd4ml.deployment.evidence.compared import Compared
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.errors import DeploymentError

CLASSES = ("bus", "car", "train")
CONTRACT = Contract("way", CLASSES, (), {}, MULTICLASS)
ACCURACY = {"accuracy": {"min_change": -0.05}}
APART = {"prediction_difference": {"max_mean": 0.1}}


def analysed(found: Compared, limits: dict[str, Any] = ACCURACY, classes: Any = CLASSES) -> Verdict:
    return analysis.analyse(found, rollout_limits.parse(limits), about={}, classes=classes)


def answered(table: pa.Table, places: np.ndarray, names: tuple[str, ...] = CLASSES, rows: int = 1) -> pa.Table:
    """A capture whose rows are predicted to be of some classes, each with 0.6, and the next one with 0.3."""
    shares = np.array([0.6, 0.3, 0.1])[(np.arange(3) - places[:, None]) % 3]
    table = with_column(table, "outputs", [list(names)] * len(table))
    return with_column(table, "predictions", shares.reshape(-1, 3 * rows).tolist())


def way(requests: int, right: tuple[float, float], men: tuple[float, float] = (0, 0), strange: int = 0) -> Divided:
    """Two arms that predict the label so often, the old one first, and of men less often by so much."""
    table, feedback = labelled(requests)
    random, new = np.random.default_rng(0), table["arm"].to_numpy(zero_copy_only=False) == "new"
    came, man = random.integers(0, 3, requests), ["female" not in one for one in table["features"].to_pylist()]
    often = np.where(new, right[1], right[0]) - np.array(man) * np.where(new, men[1], men[0])
    predicted = (came + (random.random(requests) >= often)) % 3
    label = dict(zip(table["request_id"].to_pylist(), (f'"{CLASSES[one]}"' for one in came), strict=True))
    said = [[label[one]] for one in feedback["request_id"].to_pylist()]
    said[:strange] = [['"tram"']] * strange
    return divided.among(answered(table, predicted), with_column(feedback, "labels", said), challenger="new")


@pytest.mark.parametrize(("right", "outcome"), [((0.8, 0.8), "passed"), ((0.8, 0.65), "failed")])
def test_a_challenger_is_held_to_how_often_the_class_that_it_predicts_is_the_label(
    right: tuple[float, float], outcome: str
) -> None:
    verdict = analysed(way(8000, right))

    found = check(verdict, "accuracy")
    assert found.outcome == outcome, found.reason
    assert found.value == pytest.approx(right[1] - right[0], abs=0.04)
    assert re.search(r"from 0\.[78]\d* of [34],\d{3} to 0\.[678]\d* of", found.reason), found.reason
    assert check(verdict, "label_ratio").outcome == "passed"


def test_of_several_rows_the_request_is_as_right_as_they_are_on_average() -> None:
    table, feedback = labelled(400)
    table = answered(table, np.tile([0, 1, 2, 2], 400), rows=4)
    feedback = with_column(feedback, "labels", [['"bus"', '"car"', '"train"', '"bus"']] * 400)

    verdict = analysed(divided.among(table, feedback, challenger="new"))

    assert "from 0.75 of" in check(verdict, "accuracy").reason


@pytest.mark.parametrize("labels", [["3", "1"], ['"3"', '"1"'], ["3.0", "1.0"]])
def test_whole_numbers_name_classes_however_json_has_them(labels: list[str]) -> None:
    table, feedback = labelled(400)
    table = answered(table, np.tile([2, 0], 400), ("1", "2", "3"), rows=2)

    found = divided.among(table, with_column(feedback, "labels", [labels] * 400), challenger="new")

    assert "from 1 of" in check(analysed(found, classes=("1", "2", "3")), "accuracy").reason


def test_a_label_of_no_class_is_left_out_and_told() -> None:
    ratio = check(analysed(way(4000, (0.8, 0.8), strange=3)), "label_ratio")

    assert "3 of 4,000 are left out (" in ratio.reason
    assert "a label is 'tram', and those of the model are 'bus', 'car', 'train'; send these" in ratio.reason


def test_groups_may_be_held_to_be_predicted_equally_well() -> None:
    limits = {"fairness": {"gender": {"groups": ["female", "male"], "accuracy": {"max_gap": 0.2}}}}

    alike, apart = (analysed(way(12_000, (0.8, 0.8), men), limits) for men in ((0, 0), (0, 0.4)))

    assert [one.checks[-1].outcome for one in (alike, apart)] == ["passed", "failed"]
    assert apart.checks[-1].value == pytest.approx(0.4, abs=0.05)
    assert apart.checks[-1].reason.startswith("accuracy between groups of gender: the gap: +")


def test_probabilities_of_other_classes_or_in_another_order_are_never_taken_for_those_of_the_model() -> None:
    table, feedback = labelled(400)
    turned = answered(table, np.zeros(400, int), ("car", "bus", "train"))
    mixed = pa.concat_tables([answered(table, np.zeros(400, int)).slice(0, 200), turned.slice(200)])

    feedback = with_column(feedback, "labels", [['"bus"']] * 400)
    told = [analysed(divided.among(one, feedback, challenger="new")) for one in (turned, mixed)]
    assert [check(one, "accuracy").outcome for one in told] == ["error", "error"]
    said = "answers give the probabilities of 'car', 'bus', 'train', which are not the classes of the model in their"
    assert said in told[0].checks[2].reason
    assert "some answers are of other classes than others, or have them in another order" in told[1].checks[2].reason


def test_a_shadow_is_held_to_how_much_probability_it_gives_to_other_classes() -> None:
    asked, copies = mirrored(2000)
    places = np.random.default_rng(0).integers(0, 3, 2000)
    asked = answered(asked, places)

    same, other = (
        analysed(paired.among(asked, answered(copies, one), NO_FEEDBACK), APART) for one in (places, places + 1)
    )

    assert check(same, "prediction_difference").outcome == "passed"
    assert check(same, "prediction_difference").value == 0
    assert check(other, "prediction_difference").outcome == "failed"
    assert check(other, "prediction_difference").value == pytest.approx(0.5)  # 0.6, 0.3, 0.1 by 0.1, 0.6, 0.3


def test_several_predictions_that_are_no_probabilities_cannot_be_compared() -> None:
    asked, copies = (with_column(one, "outputs", [["a", "b"]] * 400) for one in mirrored(400))
    asked, copies = (with_column(one, "predictions", [[0.9, 0.9]] * 400) for one in (asked, copies))

    found = check(analysed(paired.among(asked, copies, NO_FEEDBACK), APART), "prediction_difference")

    assert found.outcome == "error"
    assert "a row has several predictions, and they are no probabilities that sum to 1" in found.reason


GAP = {"fairness": {"gender": {"groups": ["a", "b"], "equal_opportunity": {"max_gap": 0.1}}}}
CUT = {"fairness": {"gender": {"groups": ["a", "b"], "accuracy": {"max_gap": 0.1, "threshold": 0.5}}}}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"mean_prediction": {"max_change": 0.1}}, "mean_prediction: is of one number a row, and the model gives a"),
        ({"brier_score": {"max_increase": 0.1}}, "limit accuracy, or prediction_difference after a mirror"),
        ({"absolute_error": {"max_increase": 1, "range": [0, 9]}}, "absolute_error: is of one number a row"),
        ({"accuracy": {"min_change": -0.1, "threshold": 0.4}}, "accuracy: has a `threshold`, and the model gives a"),
        (
            {"prediction_difference": {"max_mean": 0.1, "range": [0, 2]}},
            "for each class of way, from 0 to 1; leave the range out",
        ),
        (GAP, "is of a positive class, and the model gives a probability for each class of way; compare the accuracy"),
        (
            CUT,
            "accuracy between groups of gender at 0.5: the gap: has a `threshold`, and the model gives a probability",
        ),
    ],
)
def test_a_limit_that_such_a_model_cannot_be_held_against_is_told(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentError, match=re.escape(said)):
        rollout_limits.check_fits(rollout_limits.parse(limits), CONTRACT)


def test_limits_that_fit_are_held() -> None:
    gap = {"gender": {"groups": ["a", "b"], "accuracy": {"max_gap": 0.1}}}
    limits = {**ACCURACY, **APART, "error_rate": {"max_increase": 0.1}, "reward": {"min_change": -0.1}, "fairness": gap}

    rollout_limits.check_fits(rollout_limits.parse(limits), CONTRACT)
