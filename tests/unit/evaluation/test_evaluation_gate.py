from dataclasses import replace

import pytest
from evaluation_samples import group

from cd4ml.errors import EvaluationError, GateError
from cd4ml.evaluation import fairness, gate


def reasons(folder, limits):
    return gate.check(folder, limits).reasons


def test_a_model_that_keeps_its_limits_passes_with_its_digest(found, written):
    limits = {
        "auc": {"min": 0.6, "slices": ["overall", "region=*"], "baseline": {"min_change": 0.0}},
        "accuracy@0.5": {"max": 0.9},
        "fairness": {"region": {"true_positive_rate": {"max_gap": 0.5, "min_ratio": 0.1}}},
    }

    verdict = gate.check(written(found), limits)

    assert verdict.passed
    assert verdict.about == {"model": "sha256:c"}
    assert verdict.metadata["headline"] == "7 of 7 limits kept"
    assert verdict.checks[0].reason == "auc on overall is 0.8, at least 0.6 wanted"


def test_a_slice_below_its_limit_is_named(found, written):
    limits = {"auc": {"min": 0.7, "slices": ["overall", "region=*"]}}

    assert reasons(written(found), limits) == ["auc on region=south is 0.6, below the limit 0.7"]


def test_a_value_above_its_limit_is_named(found, written):
    assert reasons(written(found), {"calibration": {"max": 0.9}}) == [
        "calibration on overall is 1, above the limit 0.9"
    ]


@pytest.mark.parametrize("name", ["region=south,gender=female", "gender=*,region=south", "gender=female, region=*"])
def test_a_cross_is_found_in_any_order_and_with_any_value(found, written, name):
    assert reasons(written(found), {"auc": {"min": 0.6, "slices": [name]}}) == [
        "auc on gender=female,region=south is 0.55, below the limit 0.6"
    ]


def test_a_slice_without_rows_fails(found, written):
    assert reasons(written(found), {"auc": {"min": 0.6, "slices": ["region=EU"]}}) == [
        "auc on region=EU: no rows in this slice, so the limit 'at least 0.6' could not be checked"
    ]


def test_a_slice_by_an_unknown_column_fails_and_names_the_nearest(found, written):
    assert reasons(written(found), {"auc": {"min": 0.6, "slices": ["regoin=*"]}}) == [
        "auc on regoin=*: no slice by 'regoin' was evaluated, so the limit 'at least 0.6' could not be checked; "
        "did you mean 'region'?"
    ]


def test_a_metric_that_is_undefined_on_one_class_fails(found, written):
    one_class = replace(found, slices=(group("region=east", auc=None, rows=7, label_rate=0.0),))

    assert reasons(written(one_class), {"auc": {"min": 0.6, "slices": ["region=east"]}}) == [
        "auc on region=east: it is not defined on 7 rows that are all of one class, "
        "so the limit 'at least 0.6' could not be checked"
    ]


def test_a_model_that_is_not_better_than_the_baseline_fails(found, written):
    assert reasons(written(found), {"auc": {"baseline": {"min_change": 0.06}}}) == [
        "change of auc on overall against the baseline is 0.05 (0.75 to 0.8), below the limit 0.06"
    ]


def test_a_change_is_held_on_the_slices_that_it_names(found, written):
    limits = {"auc": {"baseline": {"min_change": 0.0, "slices": ["region=*"]}}}

    assert reasons(written(found), limits) == [
        "change of auc on region=south against the baseline is -0.15 (0.75 to 0.6), below the limit 0"
    ]


def test_the_first_model_has_no_champion_to_beat(found, written):
    verdict = gate.check(written(found), {"auc": {"champion": {"min_change": 0.0}}})

    assert verdict.passed
    assert verdict.checks[0].reason == "first model: no champion to compare with"


def test_a_gap_between_groups_is_called_out(found, written):
    limits = {"fairness": {"region": {"true_positive_rate": {"max_gap": 0.2, "min_ratio": 0.8, "threshold": 0.5}}}}

    assert reasons(written(found), limits) == [
        "true_positive_rate between groups of region at 0.5: the gap is 0.41 (south 0.22, north 0.63), "
        "above the limit 0.2",
        "true_positive_rate between groups of region at 0.5: the ratio is 0.3492 (south 0.22, north 0.63), "
        "below the limit 0.8",
    ]


def test_groups_too_small_to_judge_are_no_pass(found, written):
    groups = [group("region=north", rate=0.9), group("region=south", rate=0.1, rows=29)]
    small = replace(found, fairness=tuple(fairness.compare(groups, [["region"]], [0.5])))

    assert reasons(written(small), {"fairness": {"region": {"selection_rate": {"max_gap": 0.2}}}}) == [
        "selection_rate between groups of region at 0.5: the gap: fewer than two groups are large enough to judge "
        "(too small: south), so the limit 'at most 0.2' could not be checked"
    ]


@pytest.mark.parametrize("name", ["region=isle", "region=*"])
@pytest.mark.parametrize("limit", [{"min": 0.6}, {"baseline": {"min_change": 0.0}}])
def test_a_slice_with_too_few_rows_of_a_class_is_no_pass(found, written, name, limit):
    candidate = group("region=isle", auc=1.0, rows=1000, label_rate=0.029)
    small = replace(found, slices=(candidate, replace(candidate, model="baseline")))
    limits = {"auc": {key: {**one, "slices": [name]} if key == "baseline" else one for key, one in limit.items()}}
    limits["auc"].setdefault("slices", [name])

    (reason,) = reasons(written(small), limits)

    assert "auc on region=isle" in reason
    assert "too small to judge (29 of its 1,000 rows count, 30 are needed" in reason
    assert "could not be checked" in reason


@pytest.mark.parametrize("name", ["selection_rate@0.5", "accuracy@0.5", "false_positive_rate@0.5", "example_count"])
def test_a_slice_of_few_positives_is_judged_by_what_counts_other_rows(found, written, name):
    few_positives = replace(found, slices=(group("region=isle", rows=100, label_rate=0.01),))

    assert reasons(written(few_positives), {name: {"max": 100, "slices": ["region=isle"]}}) == []


def test_precision_of_few_selected_rows_is_no_pass(found, written):
    few = replace(found, slices=(group("region=isle", rate=0.1, rows=100),))

    (reason,) = reasons(written(few), {"precision@0.5": {"max": 1, "slices": ["region=isle"]}})

    assert "too small to judge (10 of its 100 rows count" in reason


def test_a_ratio_of_rates_that_are_all_zero_is_no_pass(found, written):
    groups = [group("region=north", rate=0.0), group("region=south", rate=0.0)]
    nothing = replace(found, fairness=tuple(fairness.compare(groups, [["region"]], [0.5])))
    limits = {"fairness": {"region": {"selection_rate": {"min_ratio": 0.8, "max_gap": 0.1}}}}

    assert reasons(written(nothing), limits) == [
        "selection_rate between groups of region at 0.5: the ratio: no group has a rate above 0, so there is no ratio, "
        "so the limit 'at least 0.8' could not be checked"
    ]


def test_a_value_with_a_comma_is_one_value(found, written):
    washington = replace(group("city=?", auc=0.5), slice="city=Washington, DC", values={"city": "Washington, DC"})
    city = replace(found, slices=(washington, group("city=Bonn,region=south", auc=0.5)))
    limits = {"auc": {"min": 0.6, "slices": ["city=Washington, DC", "city=Paris, TX", "city=*,region=south"]}}

    assert reasons(written(city), limits) == [
        "auc on city=Washington, DC is 0.5, below the limit 0.6",
        "auc on city=Paris, TX: no rows in this slice, so the limit 'at least 0.6' could not be checked",
        "auc on city=Bonn,region=south is 0.5, below the limit 0.6",
    ]


def test_columns_of_groups_may_have_spaces(found, written):
    groups = [
        replace(group("region=north"), values={"home region": "north", "gender": "female"}),
        replace(group("region=south"), values={"home region": "south", "gender": "female"}),
    ]
    spaced = replace(found, fairness=tuple(fairness.compare(groups, [["gender", "home region"]], [0.5])))

    assert reasons(written(spaced), {"fairness": {"home region, gender": {"selection_rate": {"max_gap": 0}}}}) == []


def test_a_column_or_threshold_that_was_not_evaluated_fails(found, written):
    limits = {
        "fairness": {
            "regions": {"selection_rate": {"max_gap": 0.2}},
            "region": {"selection_rate": {"max_gap": 0.2, "threshold": 0.7}},
        }
    }

    assert reasons(written(found), limits) == [
        "selection_rate between groups of regions: it is no sensitive column of the evaluation; did you mean 'region'?",
        "selection_rate between groups of region at 0.7: it was measured at 0.5 only; name it in `thresholds`",
    ]


def test_a_metric_at_a_threshold_that_was_not_measured_is_a_mistake(found, written):
    with pytest.raises(EvaluationError, match="accuracy@0.7: not measured; did you mean 'accuracy@0.5'"):
        gate.check(written(found), {"accuracy@0.7": {"min": 0.5}})


def test_the_run_fails_with_a_line_for_each_reason(found, written, tmp_path):
    with pytest.raises(GateError, match="check_model: 1 of 1 limits not kept\n  - auc on overall is 0.8"):
        gate.check(written(found), {"auc": {"min": 0.9}}).write(tmp_path / "verdict").raise_if_failed()


def test_a_folder_that_is_no_evaluation_says_so(tmp_path):
    with pytest.raises(EvaluationError, match="not an evaluation .* run evaluate_model again"):
        gate.check(tmp_path, {"auc": {"min": 0.5}})
