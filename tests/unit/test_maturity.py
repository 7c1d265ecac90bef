"""With what delay labels come: what is estimated is what is there, by simulation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts.delays import RIPE, Delays
from cd4ml.monitoring import maturity

DAY = 86_400.0
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def seen(
    random: np.random.Generator, rows: int, *, days: float, mean: float, ever: float = 1.0, growing: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The labels that are in, of requests of so many days whose labels come after an exponential time, if ever."""
    age = random.random(rows) * days * DAY
    if growing:  # most requests are young
        age = age**2 / (days * DAY)
    delay = random.exponential(mean * DAY, rows)
    is_in = (delay <= age) & (random.random(rows) < ever)
    return delay[is_in], age[is_in]


def true_share(days: float, mean: float, horizon: float) -> float:
    """Of the labels that come within a horizon of seconds."""
    return float(np.expm1(-days / mean) / np.expm1(-horizon / DAY / mean))


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("ever", [1.0, 0.3])
def test_the_share_is_not_biased_by_labels_that_are_still_to_come_or_never_do(growing: bool, ever: float) -> None:
    errors = []
    for seed in range(200):
        delay, age = seen(np.random.default_rng(seed), 2_000, days=30, mean=5, ever=ever, growing=growing)
        found = maturity.estimate(delay, age)
        errors.append(found.share(4 * DAY).value - true_share(4, 5, found.horizon))

    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(len(errors))
    assert np.std(errors) < 0.05

    plain = np.mean(delay <= 4 * DAY)  # of those that are in, more are early
    assert plain > true_share(4, 5, found.horizon) + 0.03


def test_the_interval_has_the_share_as_often_as_it_says() -> None:
    within = []
    for seed in range(400):
        delay, age = seen(np.random.default_rng(seed), 1_500, days=30, mean=5)
        found = maturity.estimate(delay, age)
        share = found.share(6 * DAY)
        within.append(share.low <= true_share(6, 5, found.horizon) <= share.high)

    assert 0.92 < np.mean(within) < 0.98


def test_windows_are_ripe_once_the_stated_share_of_their_labels_is_in() -> None:
    shares = []
    for seed in range(100):
        found = maturity.estimate(*seen(np.random.default_rng(seed), 20_000, days=60, mean=5))
        assert found.ripe_after is not None
        assert found.is_ripe(found.ripe_after)
        assert not found.is_ripe(found.ripe_after - 1)
        shares.append(1 - np.exp(-found.ripe_after / DAY / 5))

    assert np.mean(np.array(shares) < RIPE - 1e-3) < 0.05  # the lower end of the interval is there
    assert np.max(shares) < 0.97


def test_what_comes_later_than_requests_are_old_is_not_taken_for_nothing() -> None:
    found = maturity.estimate(*seen(np.random.default_rng(0), 20_000, days=10, mean=30))

    assert found.ripe_after is None
    assert not found.is_ripe(1000 * DAY)
    assert "not known yet: labels came for 9 days" in found.headline


def test_labels_that_come_together_after_a_month_are_ripe_then() -> None:
    age = np.random.default_rng(0).random(5_000) * 90 * DAY
    delay = np.full(5_000, 30 * DAY)
    is_in = delay <= age

    found = maturity.estimate(delay[is_in], age[is_in])

    assert found.ripe_after == 30 * DAY
    assert (found.share(29.9 * DAY).value, found.share(30 * DAY).value) == (0, 1)
    assert found.headline == "95% of the labels are in after 30 days"


def test_too_few_labels_tell_nothing() -> None:
    found = maturity.estimate(np.ones(99), np.full(99, 5.0))

    assert (found.ripe_after, found.shares, found.headline) == (
        None, (), "99 labels, too few to tell with what delay they come",
    )  # fmt: skip
    share = found.share(3.0)
    assert (share.low, share.high) == (0, 1)


def test_the_curve_of_many_labels_is_short_rises_and_is_read_again() -> None:
    found = maturity.estimate(*seen(np.random.default_rng(0), 50_000, days=60, mean=5))

    assert Delays.parse(found.text, "here") == found
    assert len(found.shares) <= maturity.POINTS
    assert all(
        one.value <= after.value and one.seconds < after.seconds
        for one, after in zip(found.shares, found.shares[1:], strict=False)
    )
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.shares)


def test_rows_are_taken_as_the_join_gives_them_and_labels_of_the_future_are_not_in() -> None:
    asked = [NOW - timedelta(days=40)] * 150
    told = [one + timedelta(days=2) for one in asked[:110]] + [NOW + timedelta(days=1)] * 10 + [None] * 30
    moments = pa.timestamp("us", "UTC")
    rows = pa.table({"at": pa.array(asked, moments), "labelled_at": pa.array(told, moments)})

    found = maturity.delays(rows, pa.chunked_array([pa.array([NOW] * 150, moments)]), NOW)

    assert (found.labels, found.horizon, found.ripe_after) == (110, 40 * DAY, 2 * DAY)
