"""Bounds: what keeps them, what does not, and what cannot be told."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cd4ml.contracts.bounds import Bounds, Measured, hold
from cd4ml.contracts.shares import share_interval
from cd4ml.contracts.verdict import Check, Outcome


def held(bounds: Bounds, value: float | None, **more: object) -> Check:
    return hold("auc", slice_="overall", bounds=bounds, measured=Measured(value, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "outcome", "reason"),
    [
        (0.7, "passed", "auc is 0.7, at least 0.7 and at most 0.9 wanted"),
        (0.9, "passed", "auc is 0.9, at least 0.7 and at most 0.9 wanted"),
        (0.69999, "failed", "auc is 0.7, below the limit 0.7"),
        (0.90001, "failed", "auc is 0.9, above the limit 0.9"),
        (1234.5, "failed", "auc is 1,234, above the limit 0.9"),
        (-1000.4, "failed", "auc is -1,000, below the limit 0.7"),
        (math.inf, "error", "auc: it is not a finite number, so the limit 'at least 0.7 and at most 0.9' could not"),
        (math.nan, "error", "auc: it is not a finite number"),
        (None, "error", "auc: it is not a finite number"),
    ],
)
def test_a_value_at_a_bound_keeps_it(value: float | None, outcome: str, reason: str) -> None:
    check = held(Bounds(0.7, 0.9), value, interval=(0.1, 1.0))

    assert check.outcome == Outcome(outcome)
    assert check.reason.replace(" [0.1, 1]", "").startswith(reason)
    finite = value is not None and math.isfinite(value)
    assert (check.value, check.interval) == ((value, (0.1, 1.0)) if finite else (None, None))
    assert (check.name, check.slice, check.limit) == ("auc", "overall", "at least 0.7 and at most 0.9")


def test_a_bound_in_any_unit_is_written_in_full() -> None:
    assert held(Bounds(None, 1234567.0), 2e6).reason == "auc is 2,000,000, above the limit 1,234,567"


@pytest.mark.parametrize(
    ("interval", "outcome", "reason"),
    [
        ((0.7, 0.9), "passed", "auc is 0.8 [0.7, 0.9], at least 0.7 and at most 0.9 with 95% confidence wanted"),
        ((0.69, 0.9), "inconclusive", "and with 95% confidence it may be below the limit 0.7"),
        ((0.7, 0.91), "inconclusive", "and with 95% confidence it may be above the limit 0.9"),
        (None, "inconclusive", "too few rows to tell how sure that is"),
    ],
)
def test_with_confidence_the_whole_interval_is_within(
    interval: tuple[float, float] | None, outcome: str, reason: str
) -> None:
    check = held(Bounds(0.7, 0.9, confident=True), 0.8, interval=interval)

    assert check.outcome == Outcome(outcome)
    assert reason in check.reason
    assert held(Bounds(0.7, 0.9), 0.8, interval=interval).outcome is Outcome.PASSED


def test_what_has_no_value_for_too_few_rows_is_inconclusive_and_the_reason_is_told() -> None:
    check = held(Bounds(None, 0.1), None, why_not="no rows in this slice", too_few=True)

    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.reason == "auc: no rows in this slice, so the limit 'at most 0.1' could not be checked"


def test_what_rows_of_one_label_leave_undefined_is_inconclusive_where_an_error_is_stated_and_else_an_error() -> None:
    measured = Measured(None, why_not="all rows have one label", undefined=True)

    window, evaluation = (
        hold("r_squared", slice_="", bounds=Bounds(0.5, None), measured=measured, error=error) for error in (0.01, None)
    )

    assert (window.outcome, evaluation.outcome) == (Outcome.INCONCLUSIVE, Outcome.ERROR)
    assert window.reason == "r_squared: all rows have one label, so the limit 'at least 0.5' could not be checked"


def test_a_detail_is_told_and_words_of_ones_own_take_the_place_of_all() -> None:
    assert "auc is 0.8 (of 90 rows), at least 0.7" in held(Bounds(0.7, None), 0.8, detail="of 90 rows").reason
    said = hold("rows", slice_="", bounds=Bounds(1, None), measured=Measured(2), said="two rows, one wanted")
    assert said.reason == "two rows, one wanted"


@pytest.mark.parametrize(
    ("value", "interval", "outcome", "reason"),
    [
        (0.8, (0.7, 0.9), "passed", "at least 0.75 wanted"),
        (0.74, (0.72, 0.76), "inconclusive", "which may be chance; 5.6 times as many rows like these would tell"),
        (0.7, (0.68, 0.72), "failed", "below the limit 0.75"),
        (0.7, None, "inconclusive", "below the limit 0.75; it has no interval, so that may be chance"),
    ],
)
def test_what_chance_may_have_broken_is_inconclusive_where_an_error_is_stated(
    value: float, interval: tuple[float, float] | None, outcome: str, reason: str
) -> None:
    measured = Measured(value, interval)

    check = hold("auc", slice_="overall", bounds=Bounds(0.75, None), measured=measured, error=0.01)

    assert (check.outcome, check.value) == (Outcome(outcome), value)
    assert check.reason.endswith(reason)


@given(
    rows=st.integers(100, 3000),
    others=st.floats(0.001, 0.5),
    error=st.sampled_from([0.01, 0.0005, 1e-5]),
    value=st.floats(0, 0.9),
)
@settings(max_examples=50, deadline=None)
def test_rows_that_all_say_the_same_fail_as_often_as_is_stated(
    rows: int, others: float, error: float, value: float
) -> None:
    """The truth is just at the limit: so large a share of other rows makes it, each counting for as much as it can."""
    limit, chance = value + others * (1 - value), (1 - others) ** rows
    measured = Measured(value, alike=rows, ends=(0, 1))

    check = hold("auc", slice_="overall", bounds=Bounds(limit, None), measured=measured, error=error)

    assume(not math.isclose(chance, error, rel_tol=1e-6))
    assert (check.outcome is Outcome.FAILED) == (chance < error)
    mirrored = replace(measured, value=1 - value)
    assert (
        hold("gap", slice_="", bounds=Bounds(None, 1 - limit), measured=mirrored, error=error).outcome is check.outcome
    )


@pytest.mark.parametrize(
    ("rows", "outcome", "end"),
    [
        (100, "inconclusive", "below the limit 0.5, which may be chance; 1.5 times as many rows like these would tell"),
        (150, "failed", "below the limit 0.5"),
    ],
)
def test_of_what_has_no_end_a_twentieth_of_the_rows_may_be_others(rows: int, outcome: str, end: str) -> None:
    measured = Measured(0.01, alike=rows, ends=(0, None))

    check = hold("calibration", slice_="", bounds=Bounds(0.5, None), measured=measured, error=0.0005)

    assert (check.outcome, check.reason) == (Outcome(outcome), f"calibration is 0.01, {end}")


@pytest.mark.parametrize("error", [0.01, 0.0005])
@pytest.mark.parametrize(("share", "rows"), [(0.5, 200), (0.9, 300), (0.97, 1000)])
def test_a_share_that_just_keeps_its_limit_fails_as_often_as_is_stated(share: float, rows: int, error: float) -> None:
    found, counts = np.unique(np.random.default_rng(1).binomial(rows, share, 200_000), return_counts=True)

    failed = [
        hold(
            "share",
            slice_="",
            bounds=Bounds(share, None),
            measured=Measured(one / rows, share_interval(one / rows, rows)),
            error=error,
        ).outcome
        is Outcome.FAILED
        for one in found.tolist()
    ]

    assert counts[failed].sum() / 200_000 <= error * 1.5
