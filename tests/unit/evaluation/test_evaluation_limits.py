import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given as drawn
from hypothesis import strategies as st

from cd4ml.contracts.binary import BINARY, CRITERIA
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.problems import PROBLEMS
from cd4ml.contracts.regression import REGRESSION
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import limits

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("nothing", [{}, {"fairness": {}}])
def test_limits_that_limit_nothing_are_refused_with_one_to_write(nothing):
    with pytest.raises(EvaluationError) as error:
        limits.parse(nothing)

    assert str(error.value) == (
        "model limits: not as it should be\n  - there is no limit, so every model would pass; "
        "write at least one, such as as_good_as: baseline"
    )
    assert limits.parse({"as_good_as": "baseline"})


def test_numbers_of_yaml_and_of_kfp_are_the_same():
    assert limits.parse({"auc": {"min": 0}}) == limits.parse({"auc": {"min": 0.0}})


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"acu": {"min": 0.7}}, "acu: unknown; did you mean 'auc'?"),
        ({"accuracy": {"min": 0.7}}, "accuracy: is measured at a threshold: write accuracy@0.5, or accuracy@chosen"),
        (
            {"fairness": {"a": {"selection_rate": {"max_gap": 0.1, "threshold": "chsen"}}}},
            "fairness.a.selection_rate.threshold: write a number above 0 and below 1, or chosen, not 'chsen'",
        ),
        ({"accuracy@5": {"min": 0.7}}, "accuracy@5: '5' is no threshold between 0 and 1"),
        ({"auc": {"mim": 0.7}}, "auc.mim: unknown; did you mean 'min'?"),
        ({"auc": {"baseline": {"min_chnge": 0}}}, "auc.baseline.min_chnge: unknown; did you mean 'min_change'?"),
        ({"auc": {"min": "high"}}, "not 'high'"),
        ({"auc": {"min": float("nan")}}, "auc.min: Input should be a finite number"),
        ({"auc": {"slices": ["overall"]}}, "auc: names no limit; give min or max or baseline or champion"),
        ({"auc": {"confident": True}}, "auc: names no limit; give min or max or baseline or champion"),
        ({"auc": {"min": 0.5, "confident": "yes"}}, "auc.confident: Input should be a valid boolean, not 'yes'"),
        (
            {"auc": {"confident": True, "baseline": {"min_change": 0}}},
            "auc.confident: is about min and max, and neither is given; write it under baseline",
        ),
        ({"auc": {"min": 0.5, "slices": []}}, "auc.slices: names no slice; write one, such as overall or region=*"),
        ({"auc": {"min": 0.5}, "required_slices": []}, "required_slices: names no slice; write one, such as overall"),
        ({"auc": {"min": 0.5}, "required_slices": ["south"]}, "required_slices.0: 'south' is no slice"),
        ({"fairnes": {}}, "fairnes: unknown; did you mean 'fairness'?"),
        ({"required_slice": ["region=*"]}, "required_slice: unknown; did you mean 'required_slices'?"),
        ({"bootstap": {"auc": {"min": 0.5}}}, "bootstap: unknown; did you mean 'bootstrap'?"),
        ({"latncy_ms": {"max": 5}}, "latncy_ms: unknown; did you mean 'latency_ms'?"),
        ({"auc": {"min": 0.5}, "bootstrap": {}}, "bootstrap: names no limit; write at least one, such as bootstrap: {"),
        ({"auc": {"min": 0.5}, "bootstrap": {"acu": {"min": 0.5}}}, "bootstrap.acu: unknown; did you mean 'auc'?"),
        (
            {"auc": {"min": 0.5}, "bootstrap": {"auc": {"champion": {"min_change": 0}}}},
            "bootstrap.auc.champion: unknown; there are",
        ),
        (
            {"latency_ms": {"max": 5, "slices": ["region=*"]}},
            "latency_ms.slices: latency_ms is of the whole model and of no slice; leave slices out",
        ),
        (
            {"size_mib": {"baseline": {"max_change": 5, "slices": ["region=*"]}}},
            "size_mib.baseline.slices: size_mib is of the whole model and of no slice; leave slices out",
        ),
        (
            {"example_count": {"min": 5, "confident": True}},
            "example_count.confident: example_count has no interval, so this could never be kept; leave it out",
        ),
        (
            {"auc": {"min": 0.5, "slices": ["region"]}},
            "'region' is no slice; write overall, or a column with its value",
        ),
        ({"auc": 0.7}, "auc: "),
        ({"fairness": {"region": {"true_positve_rate": {"max_gap": 0.1}}}}, "did you mean 'true_positive_rate'?"),
        ({"fairness": {"region": {"equalized_odds": {"max_gap": 0.1}}}}, "did you mean 'equalised_odds'?"),
        ({"fairness": {"region": {"four_fifths": False}}}, "fairness.region.four_fifths: Input should be True"),
        ({"fairness": {"region": {"selection_rate": {"threshold": 0.5}}}}, "names no limit; give max_gap or"),
        (
            {"fairness": {"region": {"calibration": {"max_gap": 0.1, "threshold": 0.5}}}},
            "fairness.region.calibration: is of no threshold; leave threshold out",
        ),
        ({"fairness": {"region": {"selection_rate": {"max_gp": 0.1}}}}, "max_gp: unknown; did you mean 'max_gap'?"),
        ({"fairness": {"region": {"selection_rate": {"max_gap": 1.5}}}}, "less than or equal to 1"),
        (
            {"fairness": {"region": {"selection_rate": {}}}},
            "names no limit; give max_gap or min_ratio or max_difference",
        ),
        ({"fairness": {"region": 0.1}}, "fairness.region: "),
        (
            {"auc": {"min": 0.5}, "fairness": {"region": {}}},
            "fairness.region: names no limit; give selection_rate or true_positive_rate",
        ),
    ],
)
def test_a_mistake_is_named_with_what_to_do(given, mistake):
    with pytest.raises(EvaluationError) as error:
        limits.parse(given)

    assert mistake in str(error.value)


def mistakes(given):
    with pytest.raises(EvaluationError) as error:
        limits.parse(given)
    return str(error.value).split("\n  - ")[1:]


def test_every_mistake_is_reported_at_once_those_between_limits_too():
    given = {
        "auc": {"mim": 0.7},
        "auc_pr": {"min": "high", "champion": {"min_change": 0}},
        "label_rate": {"min": 0.5, "max": 0.4},
        "accuracy@0.5": {"min": 70},
        "fairness": {"gender": 3},
    }

    assert [mistake.partition(":")[0] for mistake in mistakes(given)] == [
        "auc.mim",
        "auc_pr.min",
        "fairness.gender",
        "auc_pr.champion",
        "accuracy@0.5.min",
        "label_rate",
    ]


@pytest.mark.parametrize(("metric", "bound"), [("auc", "min_change"), ("root_mean_squared_error", "max_change")])
def test_a_limit_against_the_champion_wants_a_rule_for_the_first_model(metric, bound):
    given = {metric: {"champion": {bound: 0.005}}}

    assert mistakes(given) == [
        f"{metric}.champion: a first model has no champion to be compared with; say what it must keep, such as "
        f"bootstrap: {{{metric}: {{baseline: {{{bound}: 0}}}}}}"
    ]
    assert limits.parse({**given, "bootstrap": {metric: {"baseline": {bound: 0}}}})


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"auc": {"min": 1.5}}, "auc.min: 1.5 is out of range: auc is from 0 to 1"),
        ({"auc": {"max": -0.1}}, "auc.max: -0.1 is out of range: auc is from 0 to 1"),
        ({"label_rate": {"max": 30}}, "label_rate.max: 30 is out of range: label_rate is from 0 to 1"),
        ({"recall@0.5": {"min": 70}}, "recall@0.5.min: 70 is out of range: recall@0.5 is from 0 to 1"),
        ({"calibration": {"min": -1}}, "calibration.min: -1 is out of range: calibration is at least 0"),
        ({"latency_ms": {"max": -1}}, "latency_ms.max: -1 is out of range: latency_ms is at least 0"),
        (
            {"auc": {"baseline": {"min_change": -5}}},
            "auc.baseline.min_change: -5 is out of range: a change of auc is from -1 to 1",
        ),
        (
            {"auc": {"min": 0.5}, "bootstrap": {"auc": {"min": 2}}},
            "bootstrap.auc.min: 2 is out of range: auc is from 0 to 1",
        ),
    ],
)
def test_a_limit_out_of_the_range_of_its_metric_is_told(given, mistake):
    assert mistakes(given) == [mistake]


@pytest.mark.parametrize(
    "given",
    [
        {"auc": {"min": 0, "max": 1}},
        {"auc": {"min": 0.5, "max": 0.5}},
        {"calibration": {"max": 3}},
        {"binary_cross_entropy": {"baseline": {"min_change": -5, "max_change": 5}}},
        {"auc": {"baseline": {"min_change": -1, "max_change": 1}}},
        {"size_mib": {"min": 0, "max": 500, "baseline": {"max_change": 100}}},
        {"example_count": {"min": 1000}},
    ],
)
def test_limits_at_the_ends_of_the_range_are_good(given):
    assert limits.parse(given)


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"auc": {"min": 0.9, "max": 0.8}}, "auc: min 0.9 is above max 0.8, so nothing can keep both"),
        (
            {"auc": {"baseline": {"min_change": 0.1, "max_change": 0}}},
            "auc.baseline: min_change 0.1 is above max_change 0, so nothing can keep both",
        ),
        (
            {"auc": {"min": 0.7}, "bootstrap": {"auc": {"max": 0.6}}},
            "auc: min 0.7 on overall contradicts bootstrap.auc, max 0.6 on overall: nothing can keep both",
        ),
        (
            {"auc": {"max": 0.6, "slices": ["region=*"]}, "bootstrap": {"auc": {"min": 0.7, "slices": ["region=a"]}}},
            "auc: max 0.6 on region=* contradicts bootstrap.auc, min 0.7 on region=a: nothing can keep both",
        ),
        (
            {"auc": {"min": 0.7, "slices": ["a=x,b=*"]}, "bootstrap": {"auc": {"max": 0.6, "slices": ["b=*, a=*"]}}},
            "auc: min 0.7 on a=x,b=* contradicts bootstrap.auc, max 0.6 on b=*, a=*: nothing can keep both",
        ),
        (
            {"recall@0.5": {"min": 0.7}, "true_positive_rate@0.50": {"max": 0.6}},
            "recall@0.5: min 0.7 on overall contradicts true_positive_rate@0.50, max 0.6 on overall: "
            "nothing can keep both",
        ),
        (
            {"recall@0.5": {"min": 0.7}, "false_negative_rate@0.5": {"min": 0.4}},
            "recall@0.5: min 0.7 on overall contradicts false_negative_rate@0.5, min 0.4 on overall: "
            "nothing can keep both",
        ),
        (
            {"true_negative_rate@0.5": {"max": 0.5}, "false_positive_rate@0.5": {"max": 0.4}},
            "true_negative_rate@0.5: max 0.5 on overall contradicts false_positive_rate@0.5, max 0.4 on overall: "
            "nothing can keep both",
        ),
        (
            {
                "recall@0.5": {"baseline": {"min_change": 0.1}},
                "false_negative_rate@0.5": {"baseline": {"min_change": 0}},
            },
            "recall@0.5.baseline: min_change 0.1 on overall contradicts false_negative_rate@0.5.baseline, "
            "min_change 0 on overall: nothing can keep both",
        ),
        (
            {
                "auc": {"baseline": {"min_change": 0.1}},
                "bootstrap": {"auc": {"baseline": {"max_change": 0.05}}},
            },
            "auc.baseline: min_change 0.1 on overall contradicts bootstrap.auc.baseline, max_change 0.05 on overall: "
            "nothing can keep both",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_told(given, mistake):
    assert mistakes(given) == [mistake]


@pytest.mark.parametrize(
    "given",
    [
        {"auc": {"min": 0.7}, "bootstrap": {"auc": {"max": 0.7}}},
        {"auc": {"min": 0.7}, "bootstrap": {"auc": {"max": 0.6, "slices": ["region=*"]}}},
        {"auc": {"min": 0.7, "slices": ["a=x"]}, "bootstrap": {"auc": {"max": 0.6, "slices": ["a=y"]}}},
        {"auc": {"min": 0.7, "slices": ["a=*"]}, "bootstrap": {"auc": {"max": 0.6, "slices": ["a=x,b=y"]}}},
        {"recall@0.5": {"min": 0.7}, "true_positive_rate@0.6": {"max": 0.6}},
        {"recall@0.5": {"min": 0.7}, "false_negative_rate@0.5": {"max": 0.4}},
        {"auc": {"min": 0.7}, "auc_pr": {"max": 0.6}},
        {
            "auc": {"baseline": {"min_change": 0.1}, "champion": {"max_change": 0.0}},
            "bootstrap": {"auc": {"min": 0.7}},
        },
        {"auc": {"min": 0.7, "baseline": {"max_change": 0.1}}},
    ],
)
def test_limits_that_can_be_kept_together_are_good(given):
    assert limits.parse(given)


def test_a_criterion_stands_for_its_rates():
    criteria = {
        "demographic_parity": {"max_gap": 0.1},
        "equal_opportunity": {"min_ratio": 0.9},
        "equalised_odds": {"max_difference": 0.2, "threshold": 0.5, "confident": True},
        "predictive_parity": {"max_gap": 0.2},
        "four_fifths": True,
    }

    rates = list(limits.parse({"fairness": {"gender": criteria}}).fairness["gender"].by_rate())

    assert [(name, rate) for name, rate, _ in rates] == [
        ("demographic_parity", "selection_rate"),
        ("equal_opportunity", "true_positive_rate"),
        ("equalised_odds", "true_positive_rate"),
        ("equalised_odds", "false_positive_rate"),
        ("predictive_parity", "precision"),
        ("four_fifths", "selection_rate"),
    ]
    assert rates[3][2] == limits.FairnessLimit(max_difference=0.2, threshold=0.5, confident=True)
    assert rates[-1][2] == limits.FairnessLimit(min_ratio=0.8)


def test_every_rate_that_groups_are_compared_by_can_be_limited():
    named = set(limits.FairnessLimits.model_fields)

    compared = (one.name for problem in PROBLEMS.values() for one in problem.among_groups)
    assert named == {*compared, *CRITERIA}


def test_limits_name_metrics_of_any_problem_and_what_a_number_is_has_no_end_of_its_own():
    given = {
        "root_mean_squared_error": {"max": 1000, "baseline": {"max_change": 0}},
        "mean_error": {"min": -20, "max": 20, "champion": {"min_change": -30}},
        "r_squared": {"min": -0.5, "confident": True},
        "bootstrap": {"mean_absolute_error": {"max": 12.5}},
        "fairness": {"region": {"mean_error": {"max_gap": 50}, "mean_absolute_error": {"min_ratio": 0.8}}},
    }

    assert list(limits.misfits(limits.parse(given), REGRESSION)) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"r_squared": {"min": 1.5}}, "r_squared.min: 1.5 is out of range: r_squared is at most 1"),
        ({"mean_absolute_error": {"max": -1}}, "-1 is out of range: mean_absolute_error is at least 0"),
        ({"mean_error@0.5": {"max": 1}}, "mean_error@0.5: unknown; did you mean 'mean_error'?"),
        ({"fairness": {"a": {"mean_error": {"min_ratio": 0.8}}}}, "may be below 0, so groups have no ratio of it"),
        ({"fairness": {"a": {"mean_error": {"max_gap": 1, "threshold": 0.5}}}}, "is of no threshold"),
        ({"fairness": {"a": {"mean_prediction": {"max_gap": -1}}}}, "fairness.a.mean_prediction.max_gap"),
        ({"as_good_as": "champion"}, "as_good_as"),
    ],
)
def test_a_mistake_in_the_limits_of_a_number_is_told(given, told):
    with pytest.raises(EvaluationError) as error:
        limits.parse(given)

    assert told in str(error.value)


def test_limits_name_the_metrics_of_each_class():
    given = {
        "log_loss": {"max": 1.2, "baseline": {"max_change": 0}},
        "macro_f1": {"min": 0.5, "confident": True},
        "class_recall@north@night, late": {"min": 0.5, "slices": ["overall", "region=*"]},
        "bootstrap": {"class_auc@1": {"min": 0.7}},
        "fairness": {"region": {"class_recall": {"max_gap": 0.1}, "class_selection_rate": {"min_ratio": 0.8}}},
    }

    assert list(limits.misfits(limits.parse(given), MULTICLASS)) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"class_recall": {"min": 0.5}}, "write class_recall@CLASS with the name of one"),
        ({"class_recall@": {"min": 0.5}}, "write class_recall@CLASS with the name of one"),
        ({"class_recal@a": {"min": 0.5}}, "class_recal@a: unknown; did you mean 'class_recall@CLASS'?"),
        ({"macro_f1@a": {"min": 0.5}}, "macro_f1@a: unknown; did you mean 'macro_f1'?"),
        ({"class_auc@a": {"min": 75}}, "class_auc@a.min: 75 is out of range: class_auc@a is from 0 to 1"),
        ({"log_loss": {"max": -1}}, "log_loss.max: -1 is out of range: log_loss is at least 0"),
        (
            {"class_recall@a": {"min": 0.7}, "bootstrap": {"class_recall@a": {"max": 0.6}}},
            "class_recall@a: min 0.7 on overall contradicts bootstrap.class_recall@a, max 0.6 on overall",
        ),
        ({"fairness": {"a": {"class_recall": {"max_gap": 0.1, "threshold": 0.5}}}}, "is of no threshold"),
        ({"fairness": {"a": {"class_recall": {"max_gap": 2}}}}, "fairness.a.class_recall.max_gap"),
    ],
)
def test_a_mistake_in_the_limits_of_classes_is_told(given, told):
    with pytest.raises(EvaluationError) as error:
        limits.parse(given)

    assert told in str(error.value)


def test_limits_of_two_classes_do_not_contradict_each_other():
    given = {"class_recall@a": {"min": 0.7}, "bootstrap": {"class_recall@b": {"max": 0.6}}}

    assert limits.parse(given)


def test_a_limit_of_another_problem_is_told_with_what_to_limit_instead():
    given = {
        "auc": {"min": 0.7},
        "precision@0.5": {"min": 0.7},
        "fairness": {"region": {"four_fifths": True, "mean_error": {"max_gap": 1}}},
    }

    said = list(limits.misfits(limits.parse(given), REGRESSION))

    known = ", ".join(one.name for one in REGRESSION.metrics)
    assert said == [
        f"auc: no metric of regression; there are {known}",
        f"precision@0.5: no metric of regression; there are {known}",
        "fairness.region.four_fifths: selection_rate is no metric of regression; compare groups by mean_error, "
        "mean_prediction, mean_absolute_error",
    ]
    assert [one.partition(":")[0] for one in limits.misfits(limits.parse(given), BINARY)] == [
        "fairness.region.mean_error"
    ]


def test_the_digest_tells_limits_apart_and_not_how_they_are_written():
    given = {"auc": {"min": 0, "slices": ["region=*"]}, "calibration": {"max": 2}}

    one = limits.digest(limits.parse(given))

    assert one.startswith("sha256:")
    assert one == limits.digest(limits.parse({"calibration": {"max": 2.0}, "auc": {**given["auc"], "min": 0.0}}))
    for other in (
        {**given, "required_slices": ["region=*"]},
        {**given, "calibration": {"max": 2, "confident": True}},
        {**given, "bootstrap": {"auc": {"min": 0}}},
        {**given, "calibration": {"max": 2.1}},
        {**given, "fairness": {"gender": {"four_fifths": True}}},
    ):
        assert one != limits.digest(limits.parse(other))


def test_the_limits_of_the_documentation_are_good():
    blocks = (ROOT / "docs" / "limits.md").read_text().split("```yaml\n")[1:]
    model_limits = [yaml.safe_load(block.partition("```")[0]).get("model_limits") for block in blocks]

    assert [bool(limits.parse(one)) for one in model_limits if one] == [True] * 3


NAMES = st.sampled_from(
    [
        *limits.PARTS,
        *limits.MetricLimit.model_fields,
        *limits.FairnessLimits.model_fields,
        *("auc", "recall@0.5", "size_mib", "auk", "gender", "min_change", "max_gap", "threshold"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.sampled_from(["overall", "region=*", "south"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
)


@drawn(st.dictionaries(NAMES, VALUES, max_size=4))
def test_whatever_is_given_is_parsed_or_refused_in_words(given):
    with contextlib.suppress(EvaluationError):
        parsed = limits.parse(given)
        assert parsed.metrics or parsed.fairness


def test_the_schema_of_limits_has_slices_as_they_are_written():
    slices = limits.Limits.model_json_schema()["$defs"]["Change"]["properties"]["slices"]

    assert slices["default"] == ["overall"]
    assert slices["items"] == {"type": "string"}


@pytest.mark.parametrize(
    "written",
    [
        {"auc": {"min": 0.7, "slices": ["overall", "region=*"], "confident": True}},
        {"auc": {"champion": {"min_change": -0.01}}, "bootstrap": {"auc": {"min": 0.6}}},
        {"as_good_as": "baseline", "fairness": {"gender": {"equal_opportunity": {"max_gap": 0.1}}}},
    ],
)
def test_limits_are_read_as_the_record_of_a_run_has_them(written):
    allowed = limits.parse(written)

    assert limits.recorded(allowed.model_dump(mode="json", exclude_none=True)) == allowed
    assert limits.recorded(written) == allowed
