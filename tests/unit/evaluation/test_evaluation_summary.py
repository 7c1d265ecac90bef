import json
from dataclasses import replace

import pytest
from evaluation_samples import group

from cd4ml.errors import EvaluationError
from cd4ml.evaluation import arguments, fairness, summary


def test_a_summary_is_read_as_it_was_written(found, written):
    assert summary.read(written(found)) == found


def test_what_cannot_be_computed_is_null_in_the_file(found, written):
    undefined = replace(found, slices=(group("region=east", auc=None),))

    content = json.loads((written(undefined) / "summary.json").read_text())

    assert content["slices"][0]["metrics"]["auc"] is None


def test_a_file_cut_short_says_what_to_do(found, written):
    file = written(found) / "summary.json"
    file.write_text(file.read_text()[:100])

    with pytest.raises(EvaluationError, match="run evaluate_model again"):
        summary.read(file.parent)


def test_groups_are_compared_by_each_rate():
    groups = [group("region=north", rate=0.6), group("region=south", rate=0.3), group("overall", rate=0.9)]

    compared = fairness.compare(groups, [["region"]], [0.5])

    assert [one.metric for one in compared] == ["true_positive_rate", "false_positive_rate", "selection_rate"]
    assert compared[0].gap == pytest.approx(0.3)
    assert compared[0].ratio == pytest.approx(0.5)
    assert (compared[0].lowest, compared[0].highest) == ("south", "north")
    assert compared[0].groups == {"north": 0.6, "south": 0.3}


def test_small_groups_and_groups_without_positives_are_listed_and_not_judged():
    groups = [
        group("region=north", rate=0.6),
        group("region=south", rate=0.5, rows=60, label_rate=0.5),
        group("region=east", rate=0.0, rows=1000, label_rate=0.029),
        group("region=west", rate=None),
        group("region=isle", rate=1.0, rows=1000, label_rate=0.971),
    ]

    positive, negative, selected = fairness.compare(groups, [["region"]], [0.5])

    assert positive.gap == pytest.approx(0.5)
    assert positive.too_small == ("east", "west")
    assert negative.gap == pytest.approx(0.6)
    assert negative.too_small == ("west", "isle")
    assert selected.gap == pytest.approx(1)
    assert selected.too_small == ("west",)


def test_the_weakest_slice_is_large_enough_to_judge(found):
    tiny = group("region=isle", auc=0.1, rows=1000, label_rate=0.01)

    assert replace(found, slices=(*found.slices, tiny)).weakest() == ("gender=female,region=south", 0.55)


def test_groups_that_all_get_nothing_have_no_gap_and_no_ratio():
    groups = [group("region=north", rate=0.0), group("region=south", rate=0.0)]

    compared = fairness.compare(groups, [["region"]], [0.5])[0]

    assert (compared.gap, compared.ratio) == (0, None)


def test_only_crosses_of_sensitive_columns_make_groups():
    by = arguments.crosses(["platform", ["region", "gender"], ["gender", "platform"]], ["gender", "region"])

    assert list(fairness.crosses(by, ["gender", "region"])) == [["gender"], ["region"], ("gender", "region")]
