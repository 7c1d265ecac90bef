"""A label that is a number: what validation finds wrong with it, and what columns tell of it."""

import numpy as np
import pyarrow as pa
import pytest
from test_data_validate import ROWS, Validation, messages, players

from cd4ml.validation.gate import check


@pytest.fixture
def validation(tmp_path):
    return Validation(tmp_path)


def prices(**changed):
    random = np.random.default_rng(7)
    price = random.normal(100, 20, ROWS)
    columns = {"price": price, "about": price + random.normal(0, 20, ROWS)}
    return players(**{**columns, **changed}).drop(["took"])


def test_a_clean_table_has_no_findings_and_says_what_is_asked(validation, capsys):
    found = validation(prices(), label="price", sensitive=["region"], slices=["age"])

    assert messages(found) == []
    assert (found.problem, found.positive, found.label_rate, found.positives) == ("regression", "", None, None)
    assert "label 'price': regression (by its values)" in capsys.readouterr().out
    assert "To be predicted: <code>price</code>, a number." in validation.report
    assert check(validation.outputs.findings, {}).passed


@pytest.mark.parametrize(
    ("changed", "split", "told"),
    [
        ({0: np.nan, 1: np.nan}, "train", "train: 2 of 2,000 rows have no label 'price'; drop them from the source"),
        ({2500: np.inf}, "test", "test: 1 of 500 rows have an infinite label 'price'; drop them from the source"),
        (dict.fromkeys(range(2000, 2500), 5.0), "eval", "eval: label 'price' is 5.0 in every row"),
    ],
)
def test_rows_without_a_number_and_splits_of_one_are_errors(validation, changed, split, told):
    price = prices()["price"].to_numpy().copy()
    for place, value in changed.items():
        price[place] = value

    (finding,) = validation(prices(price=price), label="price").of_kind("label")

    assert (finding.severity, finding.split) == ("error", split)
    assert finding.message.startswith(told)


def test_a_constant_label_is_an_error(validation):
    (finding,) = validation(prices(price=np.full(ROWS, 2.5)), label="price", problem="regression").of_kind("label")

    assert finding.message.startswith("label 'price': every row is 2.5, so there is nothing to predict")


def test_a_spike_is_a_warning(validation):
    price = np.where(np.arange(ROWS) % 2 == 0, 0.0, prices()["price"].to_numpy())

    (finding,) = validation(prices(price=price), label="price").of_kind("label_balance")

    assert finding.severity == "warning"
    assert finding.message.startswith("label 'price' is 0 in 50.0 % of the rows")


def test_heavy_tails_are_a_warning(validation):
    price = np.exp(np.random.default_rng(1).normal(0, 2, ROWS))

    (finding,) = validation(prices(price=price), label="price").of_kind("label_balance")

    assert finding.message.startswith("label 'price' has heavy tails: 1.0 % of the rows make ")


def test_a_column_that_alone_tells_the_number_is_a_leak(validation):
    table = prices()
    taxed = table["price"].to_numpy() * 1.19 + np.random.default_rng(3).normal(0, 0.1, ROWS)

    found = validation(table.append_column("taxed", pa.array(taxed)), label="price")

    (leak,) = found.of_kind("leak")
    assert (leak.column, leak.severity) == ("taxed", "error")
    assert leak.message.startswith("column 'taxed' alone tells 0.99")
    assert leak.interval[0] > 0.9


def test_a_date_that_alone_tells_the_number_is_a_leak_where_a_model_sees_it(validation):
    table = prices()
    paid = (table["price"].to_numpy() * 24 * 3600 * 10**6).astype(np.int64)
    table = table.append_column("paid_at", pa.array(paid, pa.timestamp("us")))

    found = validation(table, label="price", dates=["paid_at"])

    (leak,) = found.of_kind("leak")
    assert (leak.column, leak.severity) == ("paid_at", "error")
    assert not check(validation.outputs.findings, {}).passed
    assert validation(table, label="price").of_kind("leak") == []


def test_what_is_filled_in_with_high_numbers_alone_is_a_warning(validation):
    table = prices()
    price = table["price"].to_numpy()
    refund = pa.array(np.ones(ROWS), mask=price < 100)

    (finding,) = validation(table.append_column("refund", refund), label="price").of_kind("missing")

    assert finding.message.startswith("the label of rows in which column 'refund' is missing has the mean rank 0.2")


def test_keys_in_the_order_of_the_number_are_a_warning(validation):
    price = np.sort(prices()["price"].to_numpy())

    found = validation(prices(price=price, about=np.zeros(ROWS)), label="price", exclude=["offered_at"])

    (finding,) = [one for one in found.of_kind("leak") if not one.column]
    assert finding.severity == "warning"
    assert finding.message.startswith("the order of the key tells 0.9")


def test_limits_of_classes_do_not_hold_for_a_number(validation):
    validation(prices(), label="price", slices=["region"])

    asked = check(validation.outputs.findings, {"min_class_rows": {"test": 10}, "max_label_rate_gap": 0.1})

    assert not asked.passed
    failed = [one.reason for one in asked.checks if not one.outcome.lets_pass]
    assert len(failed) == 2
    assert all("is of classes, and the label 'price' is a number; leave it out" in one for one in failed)


def test_whole_numbers_of_few_values_are_asked_for(validation):
    table = prices(price=np.arange(ROWS) % 5)

    (finding,) = validation(table, label="price").of_kind("label")
    assert "5 whole numbers (0, 1, 2, 3, 4) are numbers or the names of classes" in finding.message
    found = validation(table, label="price", problem="regression")
    assert found.of_kind("label") == []


def test_a_number_among_few_is_no_spike(validation):
    table = prices(price=np.where(np.arange(ROWS) % 2 == 0, 4, np.arange(ROWS) % 5))

    assert validation(table, label="price", problem="regression").of_kind("label_balance") == []
