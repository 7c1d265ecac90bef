"""What the audit says of groups, labels and personal data, at the edges of its rules."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts.findings import Group
from cd4ml.errors import DataError
from cd4ml.validation import groups, label, personal

GROUP = Group("region", "south", sensitive=True, rows=1000, share=0.5, label_rate=0.5, others_label_rate=0.5)


def measured(values, outcome=None, sensitive=()):
    table = pa.table({"age": values, "took": pa.array(outcome or [1] * len(values), pa.int8())})
    return groups.measure(table, outcome=table.column("took"), columns=["age"], sensitive=sensitive)


def kinds(**changed):
    return [finding.kind for finding in groups.examine([replace(GROUP, **changed)])]


def test_numbers_of_twenty_values_are_groups_each_and_of_more_are_cut_into_quarters():
    assert len(measured(list(range(20)) * 10)) == 20
    assert {group.value: group.rows for group in measured(list(range(21)) * 10)} == {
        "0 to 5": 60,
        "5 to 10": 50,
        "10 to 15": 50,
        "15 to 20": 50,
    }
    assert len(measured([f"v{number}" for number in range(21)])) == 21


def test_quarters_that_share_an_edge_are_one_and_missing_numbers_are_a_group_of_their_own():
    found = measured([0.0] * 61 + [float(number) for number in range(1, 25)] + [None] * 7)

    assert [(group.value, group.rows) for group in found] == [("0 to 3", 64), ("3 to 24", 21), ("(missing)", 7)]


def test_a_group_has_its_share_its_label_rate_and_that_of_all_others():
    outcome = [1, 1, 0, 0, None, 0, 0, 1, None, None]
    found = measured(["a"] * 5 + ["b"] * 3 + ["c"] * 2, outcome, sensitive=["age"])

    assert found == [
        Group("age", "a", sensitive=True, rows=5, share=0.5, label_rate=0.5, others_label_rate=pytest.approx(1 / 3)),
        Group("age", "b", sensitive=True, rows=3, share=0.3, label_rate=pytest.approx(1 / 3), others_label_rate=0.5),
        Group("age", "c", sensitive=True, rows=2, share=0.2, label_rate=None, others_label_rate=pytest.approx(3 / 7)),
    ]
    assert [group.sensitive for group in measured(["a", "b"], sensitive=["other"])] == [False, False]
    assert [group.others_label_rate for group in measured(["a", "a"])] == [None]


def test_groups_of_one_size_are_in_the_order_of_their_values():
    assert [group.value for group in measured(["c", "a", "b", "d", "d"])] == ["d", "a", "b", "c"]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"share": 0.01, "rows": 100}, []),
        ({"share": 0.0099}, ["representation"]),
        ({"rows": 99}, ["representation"]),
        ({"share": 0.0099, "sensitive": False}, []),
    ],
)
def test_a_sensitive_group_is_small_below_one_in_a_hundred_and_below_a_hundred_rows(changed, found):
    assert kinds(**changed) == found


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"label_rate": 0.40}, []),
        ({"label_rate": 0.39}, ["label_balance"]),
        ({"label_rate": 0.61}, []),
        ({"label_rate": 0.36, "rows": 100}, []),
        ({"label_rate": 0.34, "rows": 100}, ["label_balance"]),
        ({"label_rate": 0.0, "rows": 99, "sensitive": False}, []),
        ({"label_rate": None}, []),
        ({"label_rate": 0.1, "others_label_rate": None}, []),
        ({"label_rate": 0.03, "others_label_rate": 0.05}, []),
        ({"label_rate": 0.02, "others_label_rate": 0.05}, ["label_balance"]),
    ],
)
def test_a_group_is_at_a_disadvantage_below_four_fifths_where_three_standard_errors_say_so(changed, found):
    assert kinds(**changed) == found


def test_the_finding_says_both_rates_and_holds_the_gap():
    (finding,) = groups.examine([replace(GROUP, label_rate=0.25)])

    assert finding.value == 0.25
    assert (finding.severity, finding.split, finding.column) == ("warning", "all", "region")
    assert finding.message.startswith("region: 'south' is positive in 25.0 % of its rows, all others in 50.0 %")


def test_slices_are_counted_by_their_own_number_and_together():
    table = pa.table({name: np.arange(400) % 100 for name in ("a", "b", "c")})

    groups.check_slices(table, ["a", "b", ["a"], ["b", "b"]])
    with pytest.raises(DataError, match="they make 300 together, more than 200"):
        groups.check_slices(table, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("positive", "said"), [(50, None), (49, "4.9 %"), (951, "4.9 %"), (950, None), (10, "1.0 %"), (500, None)]
)
def test_a_class_is_rare_below_one_in_twenty_whichever_it_is(positive, said):
    took = np.arange(1000) < positive
    parts = {"train": pa.table({"took": took[::2]}), "test": pa.table({"took": took[1::2]})}

    found = label.examine(parts, "took").findings

    assert [(one.kind, one.severity, one.split) for one in found] == [("label_balance", "warning", "all")] * bool(said)
    for one in found:
        assert f"the rarer class is {said} of the rows" in one.message
        assert one.value == pytest.approx(min(positive, 1000 - positive) / 1000)


@pytest.mark.parametrize(("rows", "said"), [([10] * 21, False), ([10] * 20 + [5], False), ([10] * 20 + [4], True)])
def test_of_many_classes_one_is_rare_below_half_of_an_even_share(rows, said):
    parts = {"train": pa.table({"kind": np.repeat([f"c{place}" for place in range(21)], rows)})}

    assert [one.kind for one in label.examine(parts, "kind").findings] == ["label_balance"] * said


@pytest.mark.parametrize("blank", [None, "", " "])
def test_what_a_split_lacks_of_the_label_is_told_of_that_split(blank):
    parts = {"train": pa.table({"took": ["no", "yes", None, blank]}), "test": pa.table({"took": ["no", "no"]})}

    found = label.examine(parts, "took")
    gaps, one_class = found.findings

    assert found.outcome(parts["train"]).to_pylist() == [0, 1, None, None]

    assert (gaps.kind, gaps.severity, gaps.split, gaps.column, gaps.value) == ("label", "error", "train", "took", 2)
    assert gaps.message == "train: 2 of 4 rows have no label 'took'; drop them from the source"
    assert (one_class.severity, one_class.split, one_class.value) == ("error", "test", 1)
    assert one_class.message.startswith("test: label 'took' is 'no' in every row; give more data")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a"] * 9, "label 'took': every row is 'a', so there is nothing to tell apart"),
        ([None] * 9, "label 'took': no row has one"),
        (["no", "yes", "?"], "label 'took': 'no' and 'yes' are two classes, but there are 3 values ('?', 'no', 'yes')"),
        ([0, 2], "label 'took': '0', '2' do not say which one is to be predicted"),
        ([1.5, 2.5], "label 'took': the numbers are 1.5, 2.5; write `problem: regression`"),
        (pa.array([0, 1], pa.timestamp("s")), "label 'took': timestamp[s] cannot be a label"),
    ],
)
def test_what_is_no_label_of_two_classes_is_told_with_what_is(values, said):
    found = label.examine({"train": pa.table({"took": values})}, "took")

    (finding,) = found.findings
    assert (found.positive, finding.kind, finding.severity, finding.split) == ("", "label", "error", "all")
    assert finding.message.startswith(said)


def test_the_label_is_one_and_zero_by_row_whatever_its_type():
    for values in (["no", "yes", None], [0, 1, None], [0.0, 1.0, None], [False, True, None]):
        table = pa.table({"took": values})
        assert label.examine({"train": table}, "took").outcome(table).to_pylist() == [0, 1, None]
    table = pa.table({"took": ["a", "b", "c"]})
    assert label.examine({"train": table}, "took").outcome(table).to_pylist() == [None] * 3


@pytest.mark.parametrize(("rows", "found"), [(100, 1), (101, 0)])
def test_a_form_of_personal_data_is_no_accident_from_one_in_a_hundred_on(rows, found):
    values = ["x"] * (rows - 1) + ["ann@example.com"]

    assert len(personal.examine(pa.table({"notes": values}))) == found


@pytest.mark.parametrize(("distinct", "rows", "found"), [(101, 300, 1), (100, 300, 0), (51, 100, 1), (50, 100, 0)])
def test_the_name_of_a_column_counts_where_its_values_differ(distinct, rows, found):
    values = [f"v{number % distinct}" for number in range(rows)]

    assert [one.value for one in personal.examine(pa.table({"first_name": values}))] == [None] * found


def test_a_sample_of_a_large_table_is_spread_over_all_of_it():
    values = ["x"] * 15_000 + ["ann@example.com"] * 5_000
    (finding,) = personal.examine(pa.table({"notes": values}))

    assert finding.value == pytest.approx(0.25, abs=0.001)
    assert "25.0 % of the values look like e-mail addresses" in finding.message


def test_numbers_are_of_cards_where_most_have_the_check_digit():
    right, wrong = "4111111111111111", "4111111111111112"

    assert len(personal.examine(pa.table({"paid": [right] * 91 + [wrong] * 9}))) == 1
    assert personal.examine(pa.table({"paid": [right] * 90 + [wrong] * 10})) == []
    assert len(personal.examine(pa.table({"paid": [right] + ["-"] * 99}))) == 1
    assert personal.examine(pa.table({"paid": [right] + ["-"] * 100})) == []
