import json
import subprocess
import sys
from dataclasses import replace

import pytest

from cd4ml.contracts import findings
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.drift import Change, Comparison, ToldApart, Uncompared
from cd4ml.contracts.findings import Finding, Findings, Group
from cd4ml.errors import DataError, DocumentError, GateError
from cd4ml.validation import gate, limits

ANOMALY = Finding("anomaly", "error", "eval", "region", None, "eval: column 'region': a new value")
PERSONAL = Finding("personal_data", "warning", "all", "contact", 0.98, "column 'contact' seems to be personal data")
GROUPS = (
    Group("region", "north", True, 800, 0.8, 0.4, 0.2),
    Group("region", "south", True, 200, 0.2, 0.2, 0.4),
    Group("shop", "tiny", False, 5, 0.005, 1.0, 0.4),
)
CLEAN = Findings(
    dataset="players",
    version=3,
    digest="sha256:abc",
    label="took",
    positive="true",
    label_rate=0.36,
    rows={"train": 800, "eval": 100, "test": 100},
    groups=GROUPS,
    findings=(),
)


@pytest.fixture
def check(tmp_path):
    def held(found, **settings):
        found.write(tmp_path / "in" / "findings")
        return gate.check(tmp_path / "in" / "findings", settings)

    return held


def test_findings_read_as_they_were_written(tmp_path):
    found = replace(CLEAN, findings=(ANOMALY, PERSONAL)).write(tmp_path / "findings")

    assert findings.Findings.read(tmp_path / "findings") == found


def test_a_clean_dataset_passes_and_the_verdict_is_about_its_digest(check, tmp_path):
    check(CLEAN).write(tmp_path / "verdict").raise_if_failed()

    verdict = gates.Verdict.read(tmp_path / "verdict")
    assert verdict.passed
    assert verdict.about == {"dataset": "sha256:abc"}
    assert json.loads((tmp_path / "verdict").read_text())["gate"] == "check_dataset"


def test_an_anomaly_fails_the_run_with_its_message(check):
    with pytest.raises(GateError, match="1 found, 0 allowed: eval: column 'region': a new value"):
        check(replace(CLEAN, findings=(ANOMALY,))).raise_if_failed()


@pytest.mark.parametrize(
    ("number", "end"), [(1, "a1"), (3, "a1; a2; a3"), (4, "a1; a2; a3; and 1 more, see the report")]
)
def test_three_findings_are_named_and_of_more_it_is_said_how_many(check, number, end):
    found = tuple(replace(ANOMALY, message=f"a{place + 1}") for place in range(number))

    assert check(replace(CLEAN, findings=found)).reasons == [f"anomalies: {number} found, 0 allowed: {end}"]


def test_too_few_rows_of_a_class_in_test_are_told_before_training(check):
    rare = replace(CLEAN, positives={"train": 80, "eval": 10, "test": 90})

    assert check(rare).reasons == [
        "test: 10 of 100 rows are of the rarer class, at least 30 wanted; give more data, or a larger share to test"
    ]
    assert check(replace(rare, positives={"train": 80, "eval": 10, "test": 30})).passed
    assert check(rare, min_class_rows={}).passed
    assert check(rare, min_class_rows={"test": 10, "train": 100}).reasons == [
        "train: 80 of 800 rows are of the rarer class, at least 100 wanted; give more data, or a larger share to train"
    ]


def test_anomalies_that_are_allowed_pass(check):
    assert check(replace(CLEAN, findings=(ANOMALY,)), anomalies=1.0).passed


@pytest.mark.parametrize("settings", [{"anomalies": True}, {"min_rows": {"train": "5"}}, {"min_group_share": None}])
def test_what_is_no_number_is_no_limit(check, settings):
    with pytest.raises(DataError, match="data limits: not as it should be"):
        check(CLEAN, **settings)


def test_what_tfdv_calls_a_warning_is_no_failure(check):
    assert check(replace(CLEAN, findings=(replace(ANOMALY, severity="warning"),))).passed


def test_a_label_of_no_use_cannot_be_allowed(check):
    useless = replace(CLEAN, findings=(Finding("label", "error", "all", "took", 1, "label 'took' has one value only"),))

    assert check(useless, anomalies=9, personal_data=9).reasons == [
        "label: 1 found, 0 allowed: label 'took' has one value only"
    ]


def test_personal_data_is_refused_unless_it_is_allowed(check):
    found = replace(CLEAN, findings=(PERSONAL,))

    assert not check(found).passed
    assert check(found, personal_data=1).passed


def test_a_column_that_is_hashed_counts_as_no_personal_data(check):
    noted = replace(PERSONAL, severity="note")

    assert check(replace(CLEAN, findings=(noted,))).passed


def test_rows_are_held_against_their_split(check):
    verdict = check(CLEAN, min_rows={"train": 800, "test": 500})

    assert verdict.reasons == ["test: 100 rows, at least 500 wanted"]


def test_the_smallest_sensitive_group_is_named(check):
    assert check(CLEAN, min_group_share=0.2).passed
    assert check(CLEAN, min_group_share=0.25).reasons == ["region=south: 20.0 % of the rows, at least 25.0 % wanted"]


def test_the_largest_gap_is_named_and_tiny_groups_are_left_out(check):
    assert check(CLEAN, max_label_rate_gap=0.3).passed
    assert check(CLEAN, max_label_rate_gap=0.1).reasons == [
        "region=north: label rate 40.0 %, all others 20.0 %: a gap of 20.0 %, at most 10.0 % allowed"
    ]


def test_a_group_that_never_has_the_label_is_told_as_none_in_a_hundred(check):
    never, always = replace(GROUPS[0], label_rate=0.0, others_label_rate=0.5), replace(GROUPS[1], others_label_rate=0.0)

    assert check(replace(CLEAN, groups=(never,)), max_label_rate_gap=0.1).reasons == [
        "region=north: label rate 0.0 %, all others 50.0 %: a gap of 50.0 %, at most 10.0 % allowed"
    ]
    assert check(replace(CLEAN, groups=(always,)), max_label_rate_gap=0.1).reasons == [
        "region=south: label rate 20.0 %, all others 0.0 %: a gap of 20.0 %, at most 10.0 % allowed"
    ]


def test_a_limit_that_cannot_be_checked_fails_and_says_why(check):
    verdict = check(replace(CLEAN, groups=()), min_group_share=0.1, max_label_rate_gap=0.5)

    share, gap = verdict.reasons
    assert share == "share of the smallest sensitive group: no sensitive column is named, so it cannot be checked"
    assert gap.endswith("no sensitive or slice column with groups of enough rows, so it cannot be checked")
    assert [check.outcome for check in verdict.checks][-2:] == [gates.Outcome.ERROR] * 2
    few = check(replace(CLEAN, groups=GROUPS[2:]), max_label_rate_gap=0.5)
    assert few.checks[-1].outcome is gates.Outcome.INCONCLUSIVE


def test_a_limit_whose_sensitive_columns_are_personal_data_says_what_it_needs(check):
    limits = {"min_group_share": 0.1, "max_label_rate_gap": 0.5, "max_proxy_auc": 0.8}

    verdict = check(replace(CLEAN, groups=(), ungrouped=("dob", "name")), **limits)

    assert len(verdict.reasons) == 3
    for reason in verdict.reasons:
        assert reason.endswith(
            ": 'dob', 'name' left out as personal data, and counted only with a waiver for `personal_data`, "
            "so it cannot be checked"
        )


def test_every_mistake_in_the_limits_is_reported_at_once():
    with pytest.raises(DataError) as refused:
        limits.parse({"anomalys": 0, "min_rows": {"trian": 1}, "min_group_share": 2})

    assert "anomalys: unknown; did you mean 'anomalies'?" in str(refused.value)
    assert "min_rows.trian" in str(refused.value)
    assert "min_group_share" in str(refused.value)


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "findings").write_text("[]")
    with pytest.raises(DocumentError, match="run validate_dataset again"):
        gate.check(tmp_path / "findings", {})


@pytest.mark.parametrize(
    ("found", "headline"),
    [
        ((), "no anomalies"),
        ((ANOMALY, ANOMALY), "2 anomalies"),
        ((PERSONAL,), "no anomalies, 1 warning"),
        ((replace(PERSONAL, kind="label", severity="error"),), "no anomalies, 1 problem with the label"),
    ],
)
def test_the_headline_counts_what_was_found(found, headline):
    assert replace(CLEAN, findings=found).metadata["headline"] == headline


def test_checking_settings_needs_no_arrow():
    code = (
        "import sys; from cd4ml.data import split; from cd4ml.validation import limits; "
        "split.parse({}); limits.parse({}); "
        "assert not {'pyarrow', 'deltalake', 'kfp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CENTS = Change("spend", 0.9, {"jensen_shannon": 0.9, "missing": 0.0}, 1e-9, "`spend` is about 100 times what it was")
SMALL = Change("age", 0.04, {"jensen_shannon": 0.04, "missing": 0.0}, 1e-6, "`age`: the mean is 31, 30 before")
MAYBE = Change("score", 0.3, {"jensen_shannon": 0.3, "missing": 0.0}, 0.03, "")
COMPARISON = Comparison(
    split="train",
    before="train of version 2",
    rows=(900, 800),
    compared=(900, 800),
    changes=(SMALL, MAYBE),
    told_apart=ToldApart(0.5, (0.4, 0.6), 0.5, ()),
    left_out={"player": "the key"},
)
FIRST = Uncompared("train", "no version was published", too_few=False)
FEW = Uncompared("eval", "12 rows are too few to compare", too_few=True)


def drift_checks(verdict):
    return [check for check in verdict.checks if check.name.startswith("drift")]


def test_a_comparison_reads_as_it_was_written(tmp_path):
    found = replace(CLEAN, comparisons=(COMPARISON,), uncompared=(FIRST,)).write(tmp_path / "findings")

    assert findings.Findings.read(tmp_path / "findings") == found


def test_drift_without_a_limit_is_held_against_nothing(check):
    assert drift_checks(check(replace(CLEAN, comparisons=(replace(COMPARISON, changes=(CENTS,)),)))) == []


def test_a_change_of_which_nothing_is_said_is_named_by_its_column(check):
    (held,) = drift_checks(check(replace(CLEAN, comparisons=(COMPARISON,)), drift={"false_alarm_rate": 0.05}))

    assert held.reason.endswith("at a false-alarm rate of 0.05: `score` has changed (effect 0.30)")


def test_a_large_change_beyond_chance_fails_and_is_named(check):
    (held,) = drift_checks(check(replace(CLEAN, comparisons=(replace(COMPARISON, changes=(CENTS, SMALL)),)), drift={}))

    assert (held.name, held.limit, held.value) == ("drift of train against train of version 2", "at most 0.1", 0.9)
    assert held.outcome == gates.Outcome.FAILED
    assert held.reason == (
        "drift of train against train of version 2: 1 of 2 columns with an effect above 0.1, beyond chance at a "
        "false-alarm rate of 0.01: `spend` is about 100 times what it was (effect 0.90)"
    )


@pytest.mark.parametrize(
    ("limit", "passes"),
    [
        ({}, True),
        ({"max_effect": 0.04}, True),
        ({"max_effect": 0.03}, False),
        ({"max_effect": 0.03, "false_alarm_rate": 1e-7}, True),
        ({"false_alarm_rate": 0.05}, False),
    ],
)
def test_a_change_breaks_the_limit_where_it_is_large_and_beyond_chance(check, limit, passes):
    assert check(replace(CLEAN, comparisons=(COMPARISON,)), drift=limit).passed == passes


def test_a_first_model_skips_the_limit_and_says_why(check):
    verdict = check(replace(CLEAN, uncompared=(FIRST,)), drift={})

    assert verdict.passed
    assert verdict.skipped == ["drift of train is held against nothing: no version was published"]


def test_too_few_rows_to_compare_do_not_keep_the_limit(check):
    (held,) = drift_checks(check(replace(CLEAN, uncompared=(FEW,)), drift={}))

    assert held.outcome == gates.Outcome.INCONCLUSIVE
    assert "12 rows are too few to compare, so the limit 'at most 0.1' could not be checked" in held.reason


def test_splits_that_were_not_compared_at_all_do_not_keep_the_limit(check):
    (held,) = drift_checks(check(CLEAN, drift={"max_effect": 1}))

    assert held.outcome == gates.Outcome.ERROR


@pytest.mark.parametrize("limit", [{"max_effect": 2}, {"max_effect": True}, {"false_alarm_rate": 0}, {"columns": []}])
def test_a_limit_of_drift_that_is_none_is_told(check, limit):
    with pytest.raises(DataError, match="data limits: not as it should be"):
        check(CLEAN, drift=limit)
