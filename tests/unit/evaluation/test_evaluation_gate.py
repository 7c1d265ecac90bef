from dataclasses import replace

import pytest
from evaluation_samples import group, metrics

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import Change
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.errors import DocumentError, EvaluationError, GateError
from cd4ml.evaluation import fairness, gate
from cd4ml.evaluation.limits import digest, parse


def groups_of(slices, columns=(("region",),)):
    return tuple(fairness.compare(BINARY, slices=slices, columns=columns, thresholds=[0.5]))


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
    evaluated = {"model": "sha256:c", "data": "sha256:t", "evaluation": summary.digest(written(found))}
    assert verdict.about == {**evaluated, "limits": digest(parse(limits))}
    assert verdict.metadata["headline"] == "7 of 7 limits kept"
    assert verdict.checks[0] == Check(
        name="auc on overall",
        limit="at least 0.6",
        value=0.8,
        outcome=Outcome.PASSED,
        reason="auc on overall is 0.8 [0.78, 0.82], at least 0.6 wanted",
        slice="overall",
        interval=(0.78, 0.82),
    )
    assert [one.slice for one in verdict.checks] == [
        "overall",
        "region=north",
        "region=south",
        "overall",
        "overall",
        "region=*",
        "region=*",
    ]


def at_chosen(found, cut="0.5"):
    """The same, where training chose the threshold that all was measured at."""
    return replace(found, chosen_threshold=float(cut))


def test_a_limit_at_the_chosen_threshold_is_one_at_its_number(found, written):
    def held(cut):
        limits = {
            f"recall@{cut}": {"min": 0.4, "slices": ["overall", "region=*"]},
            "fairness": {"region": {"selection_rate": {"max_gap": 0.2, "threshold": cut if cut == "chosen" else 0.5}}},
        }
        return gate.check(written(at_chosen(found)), limits).checks

    by_name, by_number = held("chosen"), held("0.5")

    assert [(one.value, one.outcome, one.interval) for one in by_name] == [
        (one.value, one.outcome, one.interval) for one in by_number
    ]
    assert [one.name for one in by_name[:2]] == ["recall@chosen on overall", "recall@chosen on region=north"]
    assert by_name[0].reason == "recall@chosen on overall is 0.5 (at 0.5), at least 0.4 wanted"
    assert by_name[3].name == "selection_rate between groups of region at the chosen threshold: the gap"


def test_a_change_at_the_chosen_threshold_is_that_at_its_number(found, written):
    changes = (Change("baseline", "overall", "recall@0.5", 0.1, (0.05, 0.15)),)
    baseline = [replace(one, model="baseline") for one in found.slices]
    changed = replace(at_chosen(found), changes=changes, slices=(*found.slices, *baseline))

    limits = {"recall@chosen": {"baseline": {"min_change": -0.1, "confident": True}}}
    [check] = gate.check(written(changed), limits).checks

    assert (check.value, check.interval, str(check.outcome)) == (0.0, (0.05, 0.15), "passed")
    assert "(0.5 to 0.5 at 0.5)" in check.reason


def test_a_limit_at_a_threshold_that_was_not_chosen_is_told(found, written):
    with pytest.raises(EvaluationError, match=r"recall@chosen: training chose no threshold for the candidate; write"):
        gate.check(written(found), {"recall@chosen": {"min": 0.4}})

    limits = {"fairness": {"region": {"selection_rate": {"max_gap": 0.2, "threshold": "chosen"}}}}
    [reason] = reasons(written(found), limits)
    assert reason.startswith("selection_rate between groups of region at chosen: training chose no threshold")


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
        "change of auc on overall against the baseline is 0.05 [0.03, 0.07] (0.75 to 0.8), below the limit 0.06"
    ]


@pytest.mark.parametrize("value", [0.05, 0.0, -0.01])
def test_a_model_that_is_to_be_as_good_as_the_baseline_is_held_by_what_is_primary(found, written, value):
    before = found.models["baseline"].metrics["auc"]
    candidate = tuple(
        replace(one, metrics={**one.metrics, "auc": before + value}) if one.model == "candidate" else one
        for one in found.slices
    )

    verdict = gate.check(written(replace(found, slices=candidate)), {"as_good_as": "baseline"})

    [check] = verdict.checks
    assert (check.name, check.limit) == ("change of auc on overall against the baseline", "at least 0")
    assert verdict.passed is (value >= 0)


@pytest.mark.parametrize(("error", "passed"), [(3.0, True), (4.0, True), (4.5, False)])
def test_of_an_error_as_good_is_no_more(of_a_number, written, error, passed):
    verdict = gate.check(written(of_a_number(error)), {"as_good_as": "baseline"})

    [check] = verdict.checks
    assert (check.name, check.limit) == (
        "change of root_mean_squared_error on overall against the baseline",
        "at most 0",
    )
    assert verdict.passed is passed


def test_limits_that_the_problem_of_the_candidate_has_no_metric_for_are_told_at_once(of_a_number, written):
    limits = {"auc": {"min": 0.7}, "fairness": {"region": {"demographic_parity": {"max_gap": 0.1}}}}

    with pytest.raises(EvaluationError) as error:
        gate.check(written(of_a_number()), limits)

    assert "auc: no metric of regression; there are example_count, mean_label" in str(error.value)
    assert "demographic_parity: selection_rate is no metric of regression; compare groups by" in str(error.value)


def test_a_gap_in_the_mean_error_is_told_with_its_groups(of_a_number, written):
    assert reasons(written(of_a_number()), {"fairness": {"region": {"mean_error": {"max_gap": 1.0}}}}) == [
        "mean_error between groups of region: the gap is 3 (north -1.00, south 2.00), above the limit 1"
    ]


@pytest.mark.parametrize(("loss", "passed"), [(0.8, True), (0.9, True), (1.0, False)])
def test_of_a_log_loss_as_good_is_no_more(of_classes, written, loss, passed):
    verdict = gate.check(written(of_classes(loss=loss)), {"as_good_as": "baseline"})

    [check] = verdict.checks
    assert (check.name, check.limit) == ("change of log_loss on overall against the baseline", "at most 0")
    assert verdict.passed is passed


def test_a_limit_on_a_class_and_one_between_groups_are_held_of_the_class(of_classes, written):
    limits = {
        "class_recall@gold": {"min": 0.6, "slices": ["overall", "region=*"]},
        "fairness": {"region": {"class_recall": {"max_gap": 0.1}}},
    }

    assert reasons(written(of_classes()), limits) == [
        "class_recall@gold on region=south is 0.5, below the limit 0.6",
        *(
            f"class_recall@{one} between groups of region: the gap is 0.2 (south 0.50, north 0.70), above the limit 0.1"
            for one in ("bronze", "silver", "gold")
        ),
    ]


def test_of_many_classes_a_limit_on_one_is_held_on_all_rows_and_told_on_slices_and_groups(of_classes, written):
    limits = {
        "class_recall@7": {"min": 0.6, "slices": ["overall", "region=south"]},
        "fairness": {"region": {"class_recall": {"max_gap": 0.1}}},
    }

    verdict = gate.check(written(of_classes(tuple(map(str, range(21))))), limits)

    assert [str(check.outcome) for check in verdict.checks] == ["passed", "error", "error"]
    assert verdict.reasons == [
        "class_recall@7 on region=south: of more than 20 classes each is measured on all rows alone, "
        "so the limit 'at least 0.6' could not be checked",
        "class_recall between groups of region: of more than 20 classes each is measured on all rows alone",
    ]


def test_a_limit_on_a_class_that_is_none_is_told_with_the_nearest(of_classes, written):
    with pytest.raises(EvaluationError, match="class_recall@golden: not measured; did you mean 'class_recall@gold'"):
        gate.check(written(of_classes()), {"class_recall@golden": {"min": 0.5}})


def test_a_change_is_held_on_the_slices_that_it_names(found, written):
    limits = {"auc": {"baseline": {"min_change": 0.0, "slices": ["region=*"]}}}

    assert reasons(written(found), limits) == [
        "change of auc on region=south against the baseline is -0.15 (0.75 to 0.6), below the limit 0"
    ]


CHAMPION = {"auc": {"champion": {"min_change": 0.0}}, "bootstrap": {"auc": {"min": 0.9}}}


def test_a_first_model_is_held_against_bootstrap_in_place_of_a_champion(found, written):
    verdict = gate.check(written(found), CHAMPION)

    assert verdict.checks[0].outcome == "skipped"
    assert verdict.skipped == ["first model: no champion to compare with; the limits of bootstrap are held instead"]
    assert verdict.metadata["headline"] == "0 of 1 limits kept, 1 skipped"
    assert verdict.reasons == ["auc on overall is 0.8 [0.78, 0.82], below the limit 0.9"]


def test_a_first_model_may_be_held_against_the_baseline_and_on_slices(found, written):
    first = {"auc": {"min": 0.59, "slices": ["region=*"], "baseline": {"min_change": 0.06}}}

    verdict = gate.check(written(found), {**CHAMPION, "bootstrap": first})

    assert [(one.slice, one.outcome) for one in verdict.checks[1:]] == [
        ("region=north", "passed"),
        ("region=south", "passed"),
        ("overall", "failed"),
    ]


def test_where_there_is_a_champion_bootstrap_is_not_held_and_that_is_said(with_champion, written):
    verdict = gate.check(written(with_champion), CHAMPION)

    assert verdict.reasons == [
        "change of auc on overall against the champion is -0.001 [-0.004, 0.002] (0.801 to 0.8), below the limit 0"
    ]
    assert verdict.skipped == ["there is a champion, so what a first model must keep is not held (auc)"]


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"auc": {"min": 0.79}}, "passed"),
        ({"auc": {"min": 0.81}}, "failed"),
        ({"auc": {"min": 0.79, "confident": True}}, "inconclusive"),
        ({"auc": {"min": 0.81, "confident": True}}, "failed"),
        ({"auc": {"min": 0.5, "slices": ["region=south"], "confident": True}}, "inconclusive"),
        ({"auc": {"min": 0.5, "slices": ["region=west"]}}, "inconclusive"),
        ({"auc": {"min": 0.5, "slices": ["planet=*"]}}, "error"),
        ({"fairness": {"planet": {"precision": {"max_gap": 0.1}}}}, "error"),
        ({"fairness": {"region": {"selection_rate": {"max_gap": 0.1}}}}, "failed"),
        ({"fairness": {"region": {"precision": {"max_gap": 0.1}}}}, "inconclusive"),
    ],
)
def test_only_what_is_known_to_be_kept_passes(found, written, limits, outcome):
    verdict = gate.check(written(found), limits)

    assert [one.outcome for one in verdict.checks] == [outcome]
    assert verdict.passed is (outcome == "passed")


def test_too_few_rows_tell_nothing_and_what_was_not_measured_is_an_error(found, written):
    tiny = replace(found, slices=(group("overall", rows=20), *found.slices[1:]))

    assert [one.outcome for one in gate.check(written(tiny), {"auc": {"min": 0.1}}).checks] == ["inconclusive"]
    unmeasured = replace(found, models={"candidate": found.models["candidate"]})
    held = {"auc": {"baseline": {"min_change": 0.0}}}
    assert [one.outcome for one in gate.check(written(unmeasured), held).checks] == ["error"]


def test_a_baseline_that_is_not_there_is_no_pass(found, written):
    alone = replace(found, models={"candidate": found.models["candidate"]})

    assert reasons(written(alone), {"auc": {"baseline": {"min_change": 0.0}}}) == [
        "change of auc against the baseline: no baseline was evaluated, so the limit 'at least 0' could not be checked"
    ]


@pytest.mark.parametrize(
    ("bound", "value", "kept"),
    [
        ("min", 0.8, True),
        ("min", 0.8001, False),
        ("max", 0.8, True),
        ("max", 0.7999, False),
    ],
)
def test_a_value_at_its_limit_keeps_it(found, written, bound, value, kept):
    assert gate.check(written(found), {"auc": {bound: value}}).passed is kept


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"min": 0.78}, None),
        ({"min": 0.79}, "[0.78, 0.82], and with 95% confidence it may be below the limit 0.79"),
        ({"max": 0.82}, None),
        ({"max": 0.81}, "[0.78, 0.82], and with 95% confidence it may be above the limit 0.81"),
        ({"min": 0.85}, "[0.78, 0.82], below the limit 0.85"),
    ],
)
def test_a_confident_limit_is_kept_by_the_whole_interval(found, written, limit, reason):
    told = reasons(written(found), {"auc": {**limit, "confident": True}})

    assert told == ([f"auc on overall is 0.8 {reason}"] if reason else [])


@pytest.mark.parametrize(("least", "kept"), [(-0.005, True), (-0.004, True), (-0.003, False), (0.0, False)])
def test_a_confident_change_is_a_test_of_non_inferiority_with_that_margin(with_champion, written, least, kept):
    limits = {**CHAMPION, "auc": {"champion": {"min_change": least, "confident": True}}}

    assert gate.check(written(with_champion), limits).passed is kept


def test_a_change_that_may_be_nothing_is_no_confident_one(with_champion, written):
    limits = {**CHAMPION, "auc": {"champion": {"min_change": 0.0, "confident": True}}}
    better = replace(with_champion, changes=(Change("champion", "overall", "auc", 0.01, (-0.001, 0.02)),))
    slices = tuple(replace(one, metrics=metrics(0.79)) if one.model == "champion" else one for one in better.slices)

    assert reasons(written(replace(better, slices=slices)), limits) == [
        "change of auc on overall against the champion is 0.01 [-0.001, 0.02] (0.79 to 0.8), "
        "and with 95% confidence it may be below the limit 0"
    ]


@pytest.mark.parametrize(
    "limits",
    [
        {"auc_pr": {"min": 0.1, "confident": True}},
        {"auc_pr": {"baseline": {"min_change": -1, "confident": True}}},
        {"fairness": {"region": {"selection_rate": {"max_gap": 1, "confident": True}}}},
        {"fairness": {"region": {"selection_rate": {"min_ratio": 0, "confident": True}}}},
        {"fairness": {"region": {"selection_rate": {"max_difference": 1, "confident": True}}}},
    ],
)
def test_what_has_no_interval_cannot_be_confident(found, written, limits):
    (reason,) = reasons(written(found), limits)

    assert "; too few rows to tell how sure that is, so it has no interval, and the limit '" in reason
    assert "with 95% confidence' could not be checked" in reason


def test_an_interval_of_another_slice_metric_or_model_is_not_taken(with_champion, written):
    others = tuple(
        Change(*one, value=0.05, interval=(0.04, 0.06))
        for one in (("champion", "overall", "auc"), ("baseline", "region=north", "auc"), ("baseline", "overall", "x"))
    )
    limits = {"auc": {"baseline": {"min_change": 0, "confident": True}}}

    (reason,) = reasons(written(replace(with_champion, changes=others)), limits)

    assert "so it has no interval" in reason


def test_required_slices_must_be_there_with_rows_enough(found, written):
    few = replace(found, slices=(*found.slices, group("region=isle", rows=29)))
    limits = {"auc": {"min": 0.1}, "required_slices": ["region=south", "region=*", "gender=*", "region=EU"]}

    assert reasons(written(few), limits) == [
        "row count of the required slice region=isle is 29, below the limit 30",
        "row count of the required slice gender=*: no rows in this slice, "
        "so the limit 'at least 30' could not be checked",
        "row count of the required slice region=EU: no rows in this slice, "
        "so the limit 'at least 30' could not be checked",
    ]


def test_a_required_slice_of_just_enough_rows_passes(found, written):
    enough = replace(found, slices=(*found.slices, group("region=isle", rows=30)))

    verdict = gate.check(written(enough), {"auc": {"min": 0.1}, "required_slices": ["region=isle"]})

    assert verdict.passed
    assert (verdict.checks[0].value, verdict.checks[0].slice) == (30, "region=isle")


def test_latency_and_size_are_held_of_the_model_itself(with_champion, written):
    limits = {
        "latency_ms": {"max": 3, "baseline": {"max_change": 2}, "champion": {"max_change": 1}},
        "size_mib": {"max": 2, "baseline": {"max_change": 1}},
        "bootstrap": {"size_mib": {"max": 1}},
    }

    assert reasons(written(with_champion), limits) == [
        "latency_ms of the model is 4, above the limit 3",
        "change of latency_ms against the baseline is 3 (1 to 4), above the limit 2",
        "change of size_mib against the baseline is 1.5 (0.5 to 2), above the limit 1",
    ]


def test_a_latency_that_was_not_measured_is_no_pass(found, written):
    baseline = found.models["baseline"]
    unmeasured = {name: value for name, value in baseline.metrics.items() if name != "latency_ms"}
    models = {**found.models, "baseline": replace(baseline, metrics=unmeasured)}

    assert reasons(written(replace(found, models=models)), {"latency_ms": {"baseline": {"max_change": 9}}}) == [
        "change of latency_ms against the baseline: it was not measured of the baseline, "
        "so the limit 'at most 9' could not be checked"
    ]


def test_a_number_that_is_none_is_no_pass(found, written):
    folder = written(found)
    file = folder / "summary.json"
    file.write_text(file.read_text().replace('"auc": 0.8,', '"auc": NaN,'))

    assert gate.check(folder, {"auc": {"min": 0.1}}).reasons == [
        "auc on overall: it is not a finite number, so the limit 'at least 0.1' could not be checked"
    ]


@pytest.mark.parametrize(("judged", "headline"), [(20, "1 of 1 limits kept"), (21, "1 of 1 limits kept, 1 warning")])
def test_a_test_split_that_has_judged_many_models_is_warned_of(found, written, judged, headline):
    verdict = gate.check(written(replace(found, judged=judged)), {"auc": {"min": 0.6}})

    assert verdict.passed
    assert verdict.metadata["headline"] == headline
    if judged == 21:
        assert "this test split has judged 21 models" in verdict.metadata["warnings"]
        assert "a new split.seed, or a newer time window" in verdict.metadata["warnings"]


def test_a_gap_between_groups_is_called_out(found, written):
    limits = {"fairness": {"region": {"true_positive_rate": {"max_gap": 0.2, "min_ratio": 0.8, "threshold": 0.5}}}}

    assert reasons(written(found), limits) == [
        "true_positive_rate between groups of region at 0.5: the gap is 0.41 (south 0.22, north 0.63), "
        "above the limit 0.2",
        "true_positive_rate between groups of region at 0.5: the ratio is 0.3492 (south 0.22, north 0.63), "
        "below the limit 0.8",
    ]


FAIR = {
    "selection_rate@0.5": (0.6, 0.66),
    "true_positive_rate@0.5": (0.6, 0.66),
    "false_positive_rate@0.5": (0.6, 0.66),
}
UNFAIR = {"selection_rate@0.5": (0.2, 0.24), "true_positive_rate@0.5": (0.2, 0.24)}


@pytest.fixture
def between(found):
    """Of the whole (0.5) the north gets 0.63, the south 0.22 and the small isle nothing."""
    slices = (
        group("overall", intervals={"selection_rate@0.5": (0.49, 0.51)}),
        group("region=north", rate=0.63, rows=200, intervals=FAIR),
        group("region=south", rate=0.22, rows=200, intervals=UNFAIR),
        group("region=isle", rate=0.0, rows=29),
    )
    return replace(
        found,
        slices=slices,
        fairness=groups_of(slices),
    )


def test_the_gaps_of_another_model_are_not_the_candidates(between, written):
    baseline = tuple(replace(one, model="baseline", gap=0.9) for one in between.fairness)
    both = replace(between, fairness=baseline + between.fairness)

    assert reasons(written(both), {"fairness": {"region": {"selection_rate": {"max_gap": 0.5}}}}) == []


def test_groups_too_small_to_judge_are_told_where_the_others_are_judged(between, written):
    limits = {"fairness": {"region": {"selection_rate": {"max_gap": 0.5, "min_ratio": 0.3, "max_difference": 0.3}}}}

    verdict = gate.check(written(between), limits)

    assert verdict.passed
    assert [one.reason.count("too small to judge: isle") for one in verdict.checks] == [1, 1, 1]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_gap": 0.46}, None),
        ({"max_gap": 0.42}, "the gap is 0.41 [0.3739, 0.4461] (south 0.22, north 0.63; too small to judge: isle), "),
        ({"min_ratio": 0.3}, None),
        (
            {"min_ratio": 0.34},
            "the ratio is 0.3492 [0.3141, 0.3858] (south 0.22, north 0.63; too small to judge: isle)",
        ),
        ({"max_difference": 0.31}, None),
        ({"max_difference": 0.29}, "the largest difference from all, that of south, is -0.28 [-0.3024, -0.2576]"),
    ],
)
def test_a_confident_fairness_limit_is_kept_by_the_whole_interval(between, written, limit, reason):
    folder = written(between)
    assert gate.check(folder, {"fairness": {"region": {"selection_rate": limit}}}).passed

    told = reasons(folder, {"fairness": {"region": {"selection_rate": {**limit, "confident": True}}}})

    assert len(told) == (1 if reason else 0)
    if reason:
        assert reason in told[0]
        assert "and with 95% confidence it may be " in told[0]


@pytest.mark.parametrize(("most", "kept"), [(0.28, True), (0.27, False)])
def test_the_group_that_is_farthest_from_all_is_named(between, written, most, kept):
    verdict = gate.check(written(between), {"fairness": {"region": {"selection_rate": {"max_difference": most}}}})

    assert verdict.passed is kept
    assert verdict.checks[0].value == pytest.approx(-0.28)
    assert "the largest difference from all, that of south, is -0.28" in verdict.checks[0].reason
    assert "(0.22, all 0.50; too small to judge: isle)" in verdict.checks[0].reason


def test_a_group_that_gets_more_than_all_is_as_far_as_one_that_gets_less(between, written):
    slices = (*between.slices[:3], group("region=west", rate=0.9))
    found = replace(
        between,
        slices=slices,
        fairness=groups_of(slices),
    )

    (reason,) = reasons(written(found), {"fairness": {"region": {"selection_rate": {"max_difference": 0.3}}}})

    assert "that of west, is 0.4 (0.90, all 0.50), above the limit 0.3" in reason


def test_a_limit_of_the_farthest_group_is_one_check_whichever_that_is_and_where_none_can_tell(between, written):
    limits = {"fairness": {"region": {"selection_rate": {"max_difference": 0.2}}}}
    north, small = group("region=north", rate=0.95, rows=200), group("region=isle", rows=29)
    courses = [between.slices, (between.slices[0], north, between.slices[2]), (between.slices[0], small)]

    checks = []
    for slices in courses:
        checks += gate.check(written(replace(between, slices=slices, fairness=groups_of(slices))), limits).checks

    assert [one.outcome for one in checks] == ["failed", "failed", "inconclusive"]
    assert ["south, is -0.28" in checks[0].reason, "north, is 0.45" in checks[1].reason] == [True, True]
    name = "selection_rate between groups of region at 0.5: the largest difference from all"
    assert {(one.name, one.slice) for one in checks} == {(name, "region=*")}


def test_no_group_large_enough_has_no_difference(found, written):
    slices = (group("overall"), group("region=isle", rows=29))
    small = replace(
        found,
        slices=slices,
        fairness=groups_of(slices),
    )

    assert reasons(written(small), {"fairness": {"region": {"selection_rate": {"max_difference": 1}}}}) == [
        "selection_rate between groups of region at 0.5: the largest difference from all: no group is large enough to "
        "judge; too small to judge: isle, so the limit 'at least -1 and at most 1' could not be checked"
    ]


@pytest.mark.parametrize(
    ("criterion", "rates"),
    [
        ({"demographic_parity": {"max_gap": 0.1}}, ["demographic parity (selection_rate)"]),
        ({"equal_opportunity": {"max_gap": 0.1}}, ["equal opportunity (true_positive_rate)"]),
        (
            {"equalised_odds": {"max_gap": 0.1}},
            ["equalised odds (true_positive_rate)", "equalised odds (false_positive_rate)"],
        ),
        ({"predictive_parity": {"max_gap": 0.1}}, ["predictive parity (precision)"]),
        ({"four_fifths": True}, ["four fifths (selection_rate)"]),
    ],
)
def test_a_criterion_is_held_by_its_rates(between, written, criterion, rates):
    told = reasons(written(between), {"fairness": {"region": criterion}})

    assert [reason.partition(" between groups of region at 0.5: ")[0] for reason in told] == rates
    what = "the ratio is 0.3492" if "four_fifths" in criterion else "the gap is 0.41"
    assert all(what in reason for reason in told)


def test_four_fifths_is_a_ratio_of_at_least_four_fifths(found, written):
    for rate, kept in ((0.4, True), (0.399, False)):
        slices = (group("overall"), group("region=north", rate=0.5), group("region=south", rate=rate))
        groups = replace(
            found,
            slices=slices,
            fairness=groups_of(slices),
        )

        assert gate.check(written(groups), {"fairness": {"region": {"four_fifths": True}}}).passed is kept


def test_calibration_is_compared_without_a_threshold(between, written):
    slices = tuple(
        replace(one, metrics={**one.metrics, "calibration": 1.3}) if one.slice == "region=south" else one
        for one in between.slices
    )
    found = replace(
        between,
        slices=slices,
        fairness=groups_of(slices),
    )

    assert reasons(written(found), {"fairness": {"region": {"calibration": {"max_gap": 0.2}}}}) == [
        "calibration between groups of region: the gap is 0.3 (north 1.00, south 1.30; too small to judge: isle), "
        "above the limit 0.2"
    ]


def test_groups_too_small_to_judge_are_no_pass(found, written):
    groups = [group("overall"), group("region=north", rate=0.9), group("region=south", rate=0.1, rows=29)]
    small = replace(found, fairness=groups_of(groups))

    assert reasons(written(small), {"fairness": {"region": {"selection_rate": {"max_gap": 0.2}}}}) == [
        "selection_rate between groups of region at 0.5: the gap: fewer than two groups are large enough to judge; "
        "too small to judge: south, so the limit 'at most 0.2' could not be checked"
    ]


@pytest.mark.parametrize("name", ["region=isle", "region=*"])
@pytest.mark.parametrize("change", [False, True])
def test_a_slice_with_too_few_rows_of_a_class_is_no_pass(found, written, name, change):
    candidate = group("region=isle", auc=1.0, rows=1000, label_rate=0.029)
    small = replace(found, slices=(candidate, replace(candidate, model="baseline")))
    limits = {"auc": {"baseline": {"min_change": 0.0, "slices": [name]}} if change else {"min": 0.6, "slices": [name]}}

    (reason,) = reasons(written(small), limits)

    assert "auc on region=isle" in reason
    assert "too small to judge (29 of its 1,000 rows count, 30 are needed" in reason
    assert "could not be checked" in reason


def test_a_slice_of_just_enough_rows_of_each_class_is_judged(found, written):
    enough = replace(found, slices=(group("region=isle", auc=0.7, rows=1000, label_rate=0.03),))

    assert reasons(written(enough), {"auc": {"min": 0.7, "slices": ["region=isle"]}}) == []


@pytest.mark.parametrize("name", ["selection_rate@0.5", "accuracy@0.5", "false_positive_rate@0.5", "example_count"])
def test_a_slice_of_few_positives_is_judged_by_what_counts_other_rows(found, written, name):
    few_positives = replace(found, slices=(group("region=isle", rows=100, label_rate=0.01),))

    most = 100 if name == "example_count" else 1
    assert reasons(written(few_positives), {name: {"max": most, "slices": ["region=isle"]}}) == []


def test_precision_of_few_selected_rows_is_no_pass(found, written):
    few = replace(found, slices=(group("region=isle", rate=0.1, rows=100),))

    (reason,) = reasons(written(few), {"precision@0.5": {"max": 1, "slices": ["region=isle"]}})

    assert "too small to judge (10 of its 100 rows count" in reason


def test_a_ratio_of_rates_that_are_all_zero_is_no_pass(found, written):
    groups = [group("overall"), group("region=north", rate=0.0), group("region=south", rate=0.0)]
    nothing = replace(found, fairness=groups_of(groups))
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
        group("overall"),
        replace(group("region=north"), values={"home region": "north", "gender": "female"}),
        replace(group("region=south"), values={"home region": "south", "gender": "female"}),
    ]
    spaced = replace(
        found,
        fairness=groups_of(groups, [["gender", "home region"]]),
    )

    assert reasons(written(spaced), {"fairness": {"home region, gender": {"selection_rate": {"max_gap": 0}}}}) == []


def test_a_column_may_have_any_name(found, written):
    """In limits a comma and an equals sign in the name of a column are written as in a URL."""
    hostile = "a=b, 50 %"
    named = replace(group("a%3Db%2C 50 %=south", auc=0.5), values={hostile: "south"})
    fair = groups_of([group("overall"), named], [[hostile]])
    compared = replace(found, slices=(named,), fairness=fair)
    limits = {
        "auc": {"min": 0.6, "slices": ["a%3Db%2C 50 %=*"]},
        "fairness": {"a%3Db%2C 50 %": {"selection_rate": {"max_gap": 0.2}}},
    }

    assert reasons(written(compared), limits) == [
        "auc on a%3Db%2C 50 %=south is 0.5, below the limit 0.6",
        "selection_rate between groups of a%3Db%2C 50 % at 0.5: the gap: fewer than two groups are large enough to "
        "judge, so the limit 'at most 0.2' could not be checked",
    ]


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
    with pytest.raises(DocumentError, match="summary.json: cannot be read .*; run evaluate_model again"):
        gate.check(tmp_path, {"auc": {"min": 0.5}})


def test_a_value_that_is_a_star_does_not_stand_for_all_others(found, written):
    star = replace(found, slices=(*found.slices, group("region=*", auc=0.99)))

    verdict = gate.check(written(star), {"auc": {"min": 0.6, "slices": ["region=*"]}})

    assert {"auc on region=*", "auc on region=south"} <= {check.name for check in verdict.checks}
