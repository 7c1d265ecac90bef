import subprocess
import sys

import pytest

from cd4ml.errors import EvaluationError
from cd4ml.evaluation import arguments
from cd4ml.evaluation.limits import parse

ASKED = {"thresholds": [0.5, 0.25], "slices": ["platform", ["region", "gender"]], "sensitive": ["gender", "region"]}


def mistakes(limits, **changes):
    with pytest.raises(EvaluationError) as error:
        arguments.check_together(parse(limits), **{**ASKED, **changes})
    first, *lines = str(error.value).split("\n  - ")
    assert first == "model limits: they name what is not evaluated"
    return lines


def test_limits_that_the_problem_has_no_metric_for_are_told_before_anything_runs():
    given = {"auc": {"min": 0.7}, "r_squared": {"min": 0.5}}

    with pytest.raises(EvaluationError, match="name what is not evaluated\n  - auc: no metric of regression"):
        arguments.check_together(parse(given), **ASKED, problem="regression")
    with pytest.raises(EvaluationError, match="- r_squared: no metric of binary classification"):
        arguments.check_together(parse(given), **ASKED, problem="binary")
    arguments.check_together(parse(given), **ASKED, problem="auto")


def test_thresholds_keep_six_digits_and_come_once():
    assert arguments.thresholds([0.5, 0.12345678, 0.5]) == (0.5, 0.123457)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no threshold is given; give numbers from"),
        ([0.5, 1.0], "1.0 is no threshold; give numbers from"),
        ([True], "True is no threshold"),
        (["0.5"], "'0.5' is no threshold"),
        ([float("nan")], "nan is no threshold"),
        ([1e-9], "1e-09 is no threshold"),
        (0.5, "0.5 is no list; write [0.5]"),
    ],
)
def test_thresholds_that_are_none_are_refused(values, message):
    with pytest.raises(EvaluationError) as error:
        arguments.thresholds(values)

    assert message in str(error.value)


def test_columns_are_names_and_lists_of_names_each_once():
    given = ["region", ["region", "gender"], ["gender", "region"], ("region",)]

    assert arguments.columns(given) == [("region",), ("gender", "region")]


@pytest.mark.parametrize("values", [[3], [[]], [["region", None]], [{"region": 1}], [[["region"]]]])
def test_what_is_no_column_is_refused(values):
    with pytest.raises(EvaluationError, match="must be names of columns, or lists of names to cross"):
        arguments.columns(values)


def test_a_text_is_no_list_of_columns():
    with pytest.raises(EvaluationError, match=r"'region' is no list; write \[region\]"):
        arguments.columns("region")


def test_sensitive_columns_are_named_one_by_one():
    assert arguments.sensitive(["gender", "region", "gender"]) == ("gender", "region")
    with pytest.raises(EvaluationError, match="is no column; name sensitive columns one by one"):
        arguments.sensitive([["gender", "region"]])


def test_limits_on_what_is_evaluated_are_good():
    limits = {
        "auc": {
            "min": 0.7,
            "slices": ["overall", "platform=*", "region=south", "gender=female, region=*", "platform=Mac, old"],
            "baseline": {"min_change": 0, "slices": ["gender=*"]},
        },
        "accuracy@0.25": {"min": 0.5},
        "latency_ms": {"max": 5, "baseline": {"max_change": 2}},
        "bootstrap": {"auc": {"min": 0.7, "slices": ["platform=*"]}},
        "required_slices": ["overall", "gender=*,region=*"],
        "fairness": {
            "gender": {"selection_rate": {"max_gap": 0.1, "threshold": 0.25}},
            "region, gender": {"selection_rate": {"min_ratio": 0.1}, "calibration": {"max_gap": 0.1}},
        },
    }

    arguments.check_together(parse(limits), **ASKED)


def test_limits_at_the_chosen_threshold_are_good_where_the_candidate_chooses_one():
    limits = {
        "recall@chosen": {"min": 0.5},
        "bootstrap": {"precision@chosen": {"min": 0.5}},
        "fairness": {"gender": {"equal_opportunity": {"max_gap": 0.1, "threshold": "chosen"}}},
    }

    arguments.check_together(parse(limits), **ASKED, chosen=True)

    remedy = "write in it what errors cost, as `threshold: {costs: {false_negative: 5}}`, or name one of thresholds"
    assert mistakes(limits) == [
        f"{name}: the candidate chooses no threshold; {remedy}"
        for name in ("recall@chosen", "precision@chosen", "fairness.gender.equal_opportunity")
    ]


def test_a_class_that_is_called_chosen_is_no_threshold():
    arguments.check_together(parse({"class_recall@chosen": {"min": 0.5}}), **ASKED, problem="multiclass")


def test_everything_that_is_not_evaluated_is_told_at_once():
    limits = {
        "accuracy@0.7": {"min": 0.5},
        "recall@0.50": {"min": 0.5},
        "auc": {
            "min": 0.7,
            "slices": ["regoin=*", "gender=*,platform=*"],
            "baseline": {"min_change": 0, "slices": ["country=*"]},
            "champion": {"min_change": 0, "slices": ["regoin=*"]},
        },
        "bootstrap": {"accuracy@0.6": {"min": 0.5}, "auc_pr": {"min": 0.5, "slices": ["gendr=*"]}},
        "required_slices": ["platform=Mac", "regio=south"],
        "fairness": {
            "platfrom": {"selection_rate": {"max_gap": 0.1}},
            "gendre": {"selection_rate": {"max_gap": 0.1}},
            "gender": {"selection_rate": {"max_gap": 0.1, "threshold": 0.7}},
            "region": {"equalised_odds": {"max_gap": 0.1, "threshold": 0.7}},
        },
    }

    assert mistakes(limits) == [
        "required_slices on regio=south: 'regio' is in neither slices nor sensitive; add it to slices; "
        "did you mean 'region'?",
        "accuracy@0.7: not evaluated at 0.7; add it to thresholds; did you mean 'accuracy@0.5'?",
        "recall@0.50: not evaluated at 0.50; did you mean 'recall@0.5'?",
        "auc on regoin=*: 'regoin' is in neither slices nor sensitive; add it to slices; did you mean 'region'?",
        "auc on gender=*,platform=*: no slice by gender × platform is evaluated; add [gender, platform] to slices",
        "auc on country=*: 'country' is in neither slices nor sensitive; add it to slices; "
        "there are platform, gender, region",
        "accuracy@0.6: not evaluated at 0.6; add it to thresholds; did you mean 'accuracy@0.5'?",
        "auc_pr on gendr=*: 'gendr' is in neither slices nor sensitive; add it to slices; did you mean 'gender'?",
        "fairness.platfrom: 'platfrom' is no sensitive column; add it to sensitive; there are gender, region",
        "fairness.gendre: 'gendre' is no sensitive column; add it to sensitive; did you mean 'gender'?",
        "fairness.gender.selection_rate: not evaluated at 0.7; add it to thresholds, or name one of 0.5, 0.25",
        "fairness.region.equalised_odds: not evaluated at 0.7; add it to thresholds, or name one of 0.5, 0.25",
    ]


def test_a_cross_of_groups_must_be_named():
    limits = {"fairness": {"gender,region": {"selection_rate": {"max_gap": 0.1}}}}

    assert mistakes(limits, slices=[]) == [
        "fairness.gender,region: the groups of gender × region are not evaluated; add [gender, region] to slices"
    ]


def test_a_column_that_is_only_crossed_makes_no_slices_of_its_own():
    assert mistakes({"auc": {"min": 0.5, "slices": ["level=*"]}}, slices=[["level", "region"]]) == [
        "auc on level=*: no slice by level is evaluated; add level to slices"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [2]}, "2 is no threshold"),
        ({"sensitive": [["gender"]]}, "one by one"),
        ({"slices": [3]}, "3 must"),
    ],
)
def test_an_argument_that_is_not_good_by_itself_is_told(changes, message):
    with pytest.raises(EvaluationError, match=message):
        arguments.check_together(parse({"auc": {"min": 0.5}}), **{**ASKED, **changes})


def test_arguments_are_checked_without_the_libraries_of_evaluation():
    code = (
        "import sys; from cd4ml.evaluation import arguments, limits; "
        "arguments.check_together(limits.parse({'auc': {'min': 0}}), thresholds=[0.5], slices=['a'], sensitive=['b']); "
        "assert not {'pyarrow', 'numpy', 'tensorflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_limits_on_a_class_need_no_threshold():
    given = {"log_loss": {"max": 1}, "class_recall@0.7": {"min": 0.5, "slices": ["region=*"]}}

    arguments.check_together(parse(given), **ASKED, problem="multiclass")
