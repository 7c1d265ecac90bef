"""A label of three or more classes: what validation finds wrong with it, and what columns tell of it."""

import numpy as np
import pyarrow as pa
import pytest
from test_data_validate import ROWS, Validation, messages, players

from cd4ml.validation.gate import check


@pytest.fixture
def validation(tmp_path):
    return Validation(tmp_path)


def results(**changed):
    """Players with a result, in train 2,000 rows, then in eval and test 500 each."""
    result = np.random.default_rng(7).choice(["drawn", "lost", "won"], ROWS, p=[0.2, 0.3, 0.5])
    return players(**{"result": result, **changed}).drop(["took"])


def ask(validation, table, **others):
    return validation(table, label="result", problem="multiclass", **others)


def test_a_clean_table_has_no_findings_and_says_what_is_asked(validation, capsys):
    found = ask(validation, results(), sensitive=["region"], slices=["age"])

    assert messages(found) == []
    assert (found.problem, found.positive, found.label_rate, found.positives) == ("multiclass", "", None, None)
    assert {split: sum(rows.values()) for split, rows in found.class_rows.items()} == found.rows
    assert list(found.class_shares) == ["won", "lost", "drawn"]
    assert "multiclass classification of 3 classes ('drawn', 'lost', 'won')" in capsys.readouterr().out
    assert "To be predicted: <code>result</code>, one of 3 classes." in validation.report
    assert "of the rows are of the rarest class, <code>drawn</code>" in validation.report
    assert check(validation.outputs.findings, {}).passed


def test_an_order_of_classes_is_said_and_what_it_lacks_is_told_before_training(validation, capsys):
    found = validation(results(), label="result", classes=["lost", "drawn", "won"])

    assert (found.problem, found.positive, messages(found)) == ("ordinal", "", [])
    assert list(found.class_rows["train"]) == ["lost", "drawn", "won"]
    assert "ordinal classification of 3 classes ('lost', 'drawn', 'won') in this order" in capsys.readouterr().out

    found = validation(results(), label="result", classes=["lost", "drown", "won"])

    told = "classes: they are to name each value of the label 'result' once, in their order, and they lack 'drawn', and"
    assert messages(found) == [f"{told} no row is 'drown'; correct them, or clean the source"]
    assert not check(validation.outputs.findings, {}).passed


def with_class(places, name):
    labels = results()["result"].to_pylist()
    for place in places:
        labels[place] = name
    return results(result=pa.array(labels))


@pytest.mark.parametrize(
    ("places", "name", "split", "severity", "told"),
    [
        ([0, 1], None, "train", "error", "train: 2 of 2,000 rows have no label 'result'; drop them from the source"),
        ([0, 1], " ", "train", "error", "train: 2 of 2,000 rows have no label 'result'; drop them from the source"),
        ([2100], "void", "train", "error", "train: no row is of the class 'void', so no model can learn of it; give"),
        ([5, 2600], "void", "eval", "warning", "eval: no row is of the class 'void' of label 'result'; give more data"),
        (range(2500, 3000), "won", "test", "error", "test: label 'result' is 'won' in every row; give more data, or"),
    ],
)
def test_a_split_without_rows_of_a_class_is_told(validation, places, name, split, severity, told):
    found = ask(validation, with_class(places, name))

    said = [one.message for one in found.findings if (one.split, one.severity) == (split, severity)]
    assert any(message.startswith(told) for message in said), said


def test_a_class_of_one_row_keeps_no_model_from_training_but_where_the_gate_asks_for_more(validation):
    found = ask(validation, with_class([5], "void"))

    assert [one.severity for one in found.of_kind("label")] == []
    verdict = check(validation.outputs.findings, {})
    assert verdict.reasons == [
        "test: 0 of 500 rows are of the class 'void', at least 30 wanted; give more data, or a larger share to test, "
        "or group it with another class"
    ]
    assert check(validation.outputs.findings, {"min_class_rows": {}}).passed
    assert any("the rarest of 4 classes, 'void', is 0.0 % of the rows" in one for one in messages(found))


def test_a_limit_of_a_positive_class_is_refused(validation):
    ask(validation, results(), sensitive=["region"])

    verdict = check(validation.outputs.findings, {"max_label_rate_gap": 0.2})

    assert verdict.reasons == [
        "largest gap of the label rate: is of a positive class, and the label 'result' has none; leave it out"
    ]


def test_a_column_that_tells_one_class_is_a_leak(validation):
    labels = results()["result"].to_numpy()
    reason = pa.array(np.where(labels == "drawn", "time is up", None), pa.string())

    found = ask(validation, results(reason=reason))

    (leak,) = [one for one in found.of_kind("leak") if one.severity == "error"]
    assert leak.column == "reason"
    assert leak.message.startswith("class 'won' against all others: column 'reason' has a value in 583 of the rows")


def test_more_classes_than_can_be_told_apart_are_an_error(validation):
    found = ask(validation, results(result=[f"c{one % 201}" for one in range(ROWS)]))

    (finding,) = found.of_kind("label")
    assert "201 values" in finding.message
    assert "200 classes can be told apart at most" in finding.message
    assert not check(validation.outputs.findings, {}).passed
