import numpy as np
import pyarrow as pa
import pytest
from audited import alarms, clean, found_in, having

SEED = 2
TABLE = clean(SEED)
POSITIVE = TABLE["label"].to_numpy()
RANDOM = np.random.default_rng(1)
AMOUNT = RANDOM.gamma(2, 5, len(POSITIVE))
SOME = POSITIVE & (RANDOM.random(len(POSITIVE)) < 0.4)

PLANTED = {
    "the label itself": POSITIVE,
    "the label in words": np.where(POSITIVE, "refunded", "delivered"),
    "the label, one row in a hundred wrong": POSITIVE ^ (RANDOM.random(len(POSITIVE)) < 0.01),
    "a score made from the label": POSITIVE + RANDOM.normal(0, 0.25, len(POSITIVE)),
    "a number high and low for positive rows": np.where(POSITIVE, RANDOM.choice([-3, 3], len(POSITIVE)), 0)
    + RANDOM.normal(0, 0.5, len(POSITIVE)),
    "filled only after the event": pa.array(AMOUNT, mask=~POSITIVE),
    "filled only where it did not happen": pa.array(AMOUNT, mask=POSITIVE),
    "filled after some of the events": pa.array(AMOUNT, mask=~SOME),
    "a reason after some of the events": pa.array(RANDOM.choice(["price", "moved"], len(POSITIVE)), mask=~SOME),
    "an amount that is 0 without the event": np.where(SOME, AMOUNT, 0.0),
    "a state that only the event gives": np.where(SOME, "closed", RANDOM.choice(["new", "open"], len(POSITIVE))),
}


@pytest.mark.parametrize("leak", PLANTED)
def test_a_leak_is_found_and_nothing_else(leak):
    (finding,) = alarms(having(TABLE, leak=PLANTED[leak]))

    assert (finding.kind, finding.severity, finding.column) == ("leak", "error", "leak")
    assert "make sure that it is known before the event" in finding.message


def test_two_leaks_do_not_hide_each_other():
    twice = having(TABLE, leak=POSITIVE, again=POSITIVE)

    assert [finding.column for finding in alarms(twice)] == ["leak", "again"]


def test_a_column_that_no_model_sees_is_no_leak():
    assert alarms(having(TABLE, leak=POSITIVE), exclude=["leak"]) == []


def test_the_finding_says_how_well_it_tells_the_label_and_how_well_all_others_do():
    (finding,) = alarms(having(TABLE, leak=PLANTED["filled only after the event"]))

    assert finding.value == pytest.approx(1, abs=1e-3)
    assert finding.interval[0] > 0.99
    assert "there is a value in 100.0 % of the positive rows, and in 0.0 % of the others" in finding.message


def test_a_value_that_is_missing_more_often_in_one_class_is_a_signal():
    often = RANDOM.random(len(POSITIVE)) < np.where(POSITIVE, 0.5, 0.1)
    (finding,) = alarms(having(TABLE, often=pa.array(AMOUNT, mask=often)))

    assert (finding.kind, finding.severity, finding.column) == ("missing", "warning", "often")
    assert finding.interval[0] < 0.4 < finding.interval[1]


@pytest.mark.parametrize("of_text", [False, True])
def test_a_key_in_whose_order_the_label_changes_is_a_signal(of_text):
    appended = np.argsort(POSITIVE, kind="stable")
    key = np.empty(len(POSITIVE), np.int64)
    key[appended] = np.arange(len(POSITIVE))
    table = having(TABLE.drop(["key"]), key=[f"row-{one}" for one in key] if of_text else key)

    (finding,) = alarms(table)

    assert (finding.kind, finding.severity) == ("leak", "warning")
    assert finding.message.startswith("the order of the key tells the label with AUC 0.99")


@pytest.mark.parametrize("key", [["a", "b"], ["", "x7"], [None, "3f"]])
def test_a_key_without_an_order_is_none(key):
    table = having(TABLE.drop(["key"]), key=key * (len(POSITIVE) // 2))

    assert alarms(table) == []


def test_moments_later_than_the_row_are_told():
    event = TABLE["offered_at"].to_numpy().astype(np.int64)
    closed = pa.array(event + 3600, pa.timestamp("s"), mask=RANDOM.random(len(event)) < 0.8)

    (finding,) = alarms(having(TABLE, closed_at=closed))

    assert (finding.kind, finding.severity, finding.column, finding.value) == ("leak", "warning", "closed_at", 1)
    assert "later than 'offered_at' in 100.0 % of the rows that have both" in finding.message


def test_moments_later_than_the_row_that_are_excluded_are_not_told():
    closed = pa.array(TABLE["offered_at"].to_numpy().astype(np.int64) + 3600, pa.timestamp("s"))

    assert alarms(having(TABLE, closed_at=closed), exclude=["closed_at"]) == []


DAY = 24 * 3600
OFFERED = TABLE["offered_at"].to_numpy().astype(np.int64)
HOURS = RANDOM.integers(0, DAY, len(POSITIVE))
DATES = {
    "set only after the event": pa.array(OFFERED - HOURS, pa.timestamp("s"), mask=~POSITIVE),
    "set after some of the events": pa.array(OFFERED - HOURS, pa.timestamp("s", "UTC"), mask=~SOME),
    "changed with the event": pa.array(OFFERED - np.where(POSITIVE, 0, 30 * DAY) - HOURS, pa.timestamp("s")),
    "none, but for some of the events": pa.array(np.where(SOME, OFFERED, 0), pa.timestamp("s")),
}


@pytest.mark.parametrize(
    ("leak", "timed"),
    [
        ("set only after the event", True),
        ("set only after the event", False),
        ("set after some of the events", True),
        ("set after some of the events", False),
        ("changed with the event", True),
        ("none, but for some of the events", False),
    ],
)
def test_a_date_that_a_model_sees_is_a_leak_where_it_or_its_time_since_the_row_tells_the_label(leak, timed):
    table = having(TABLE if timed else TABLE.drop(["offered_at"]), leak=DATES[leak])

    (finding,) = alarms(table, dates=["leak", "joined_at"])

    assert (finding.kind, finding.severity, finding.column) == ("leak", "error", "leak")
    assert "make sure that it is known before the event" in finding.message
    assert alarms(table) == []


def test_rows_too_few_to_tell_raise_nothing():
    few = having(TABLE, leak=POSITIVE).slice(0, 150)

    assert found_in(few) == []


def test_rows_without_a_label_are_passed_over():
    some = pa.array(POSITIVE, mask=np.arange(len(POSITIVE)) % 3 == 0)
    table = having(TABLE.drop(["label"]), leak=POSITIVE, label=some)

    assert [finding.column for finding in alarms(table)] == ["leak"]
