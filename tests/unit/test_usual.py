"""A window has as many requests, and dates as old, as the same hours of earlier weeks; else it is told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cd4ml.contracts.verdict import WINDOW_GATE, Check, Outcome, Verdict
from cd4ml.contracts.window import DOCUMENT, Part, Window
from cd4ml.contracts.window_drift import Age, VersionDrift, WindowDrift
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.monitoring import judging, monitored, usual
from cd4ml.monitoring.monitored import Judged
from cd4ml.registry import clock
from cd4ml.storage.folder import FolderStore

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)
WINDOWS = 20_000
MOST = 0.01 * WINDOWS + 3.1 * (0.01 * 0.99 * WINDOWS) ** 0.5
"""That chance makes of a rate of 0.01 in 999 of 1,000 simulations."""


def window(requests: int, begin: datetime = MONDAY, width: timedelta = HOUR) -> Window:
    parts = (Part("blue", "1", False, requests, "", "", {"200": requests}, {}, requests, 0),) if requests else ()
    return Window("uptake", clock.written(begin), clock.written(begin + width), 1, f"sha256:{begin}", parts, {}, 0)


def version(age: float | None, rows: int = 100, number: str = "1") -> VersionDrift:
    ages = () if age is None else (Age("made_at", age, age * 2),)
    return VersionDrift(number, rows, 0, {}, rows, rows, rows, ages=ages)


def keep(store: FolderStore, about: Window, age: float | None = None) -> None:
    found = WindowDrift("uptake", about.key, 1, 0.01, (version(age),), ())
    monitored.keep(store, Judged(about, Verdict(WINDOW_GATE, {"window": about.digest}, (), ()), found))


def earlier(folder: Path, *requests: int, ages: float | None = None, width: timedelta = HOUR) -> FolderStore:
    """A store with the windows of the same hours of the weeks before, the last one first, and one of another hour."""
    store, step = FolderStore(folder / "store"), max(width, WEEK)
    for number, count in enumerate(requests, start=1):
        age = None if ages is None else ages + 0.01 * (number % 3)
        keep(store, window(count, MONDAY - number * step, width), age)
    keep(store, window(7, MONDAY - WEEK + width, width), ages)
    return store


def checks(store: FolderStore, about: Window, *found: VersionDrift) -> dict[str, Check]:
    return {one.name: one for one in usual.of_window(store, about, found)}


@pytest.mark.parametrize(
    ("freedom", "rate", "value"),
    [(1, 0.1, 6.3138), (2, 0.05, 4.3027), (3, 0.01, 5.8409), (4, 0.01, 4.6041), (7, 0.01, 3.4995), (7, 0.001, 5.4079)],
)
def test_student_s_t_is_that_of_the_tables(freedom: int, rate: float, value: float) -> None:
    assert usual.student(freedom, rate) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("weeks", [4, 8])
@pytest.mark.parametrize("mean", [3, 20, 5000])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.4])
def test_quiet_windows_fail_no_oftener_than_stated_whatever_their_size_and_how_weeks_differ(
    weeks: int, mean: float, spread: float
) -> None:
    """Counts vary by a share from week to week, and by chance besides (negative binomial)."""
    random = np.random.default_rng((weeks, int(mean), int(10 * spread)))
    share = random.gamma(1 / spread**2, spread**2, (WINDOWS, weeks + 1)) if spread else 1.0
    counts = random.poisson(mean * share, (WINDOWS, weeks + 1))
    here, before = counts[:, 0], np.maximum(counts[:, 1:], 1)

    middle, low, high = usual.usual_requests(before.astype(float))

    beyond = ~((low <= np.maximum(here, 0.5)) & (np.maximum(here, 0.5) <= high))
    ratio = here / middle
    failed = beyond & ((ratio > usual.TIMES) | (ratio < 1 / usual.TIMES))
    assert failed.sum() <= MOST


@pytest.mark.parametrize("weeks", [4, 8])
@pytest.mark.parametrize("spread", [0.1, 0.4])
def test_dates_as_old_as_ever_fail_no_oftener_than_stated(weeks: int, spread: float) -> None:
    ages = np.random.default_rng(weeks).lognormal(0.0, spread, (WINDOWS, weeks + 1))

    failed = ages[:, 0] > usual.oldest(ages[:, 1:])

    assert failed.sum() <= MOST


@pytest.mark.parametrize(
    ("requests", "outcome", "said"),
    [
        (1100, Outcome.PASSED, "1,100 requests, where the same hours of 6 earlier weeks had about 1,008, and "),
        (1500, Outcome.PASSED, "1,500 requests"),
        (100, Outcome.FAILED, "; see whether callers still reach the model"),
        (0, Outcome.FAILED, "0 requests, where the same hours of 6 earlier weeks had about 1,008"),
        (9000, Outcome.FAILED, "; see who has begun to ask"),
    ],
)
def test_traffic_that_falls_away_or_jumps_fails(tmp_path: Path, requests: int, outcome: Outcome, said: str) -> None:
    store = earlier(tmp_path, 1000, 1050, 980, 1100, 900, 1030)

    found = checks(store, window(requests))

    assert list(found) == ["traffic"]
    assert (found["traffic"].outcome, found["traffic"].value) == (outcome, requests)
    assert said in found["traffic"].reason


@pytest.mark.parametrize("mean", [50, 100, 150, 1000, 7000])
@pytest.mark.parametrize(("times", "outcome"), [(0.5, "passed"), (2, "passed"), (0.48, "failed"), (2.02, "failed")])
def test_half_and_twice_as_many_are_usual_whatever_the_mean(
    tmp_path: Path, mean: int, times: float, outcome: str
) -> None:
    store = earlier(tmp_path, *[mean] * 8)

    assert checks(store, window(int(mean * times)))["traffic"].outcome == outcome


def test_dates_exactly_twice_as_old_pass(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for number in range(1, 7):
        keep(store, window(1000, MONDAY - number * WEEK), 1.1)

    assert checks(store, window(1000), version(2.2))["age of made_at"].outcome is Outcome.PASSED


def test_what_chance_can_make_of_few_requests_is_not_told(tmp_path: Path) -> None:
    found = checks(earlier(tmp_path, 4, 9, 3, 14, 6), window(1))

    assert found["traffic"].outcome is Outcome.INCONCLUSIVE
    assert found["traffic"].reason.endswith("which chance can make; see the next windows")


def test_of_few_weeks_and_of_hours_in_which_nobody_asks_nothing_is_said(tmp_path: Path) -> None:
    assert checks(earlier(tmp_path / "few", 1000, 1000, 1000), window(0)) == {}
    assert checks(earlier(tmp_path / "night", 0, 0, 0, 0, 0, 3), window(400)) == {}


def test_windows_of_a_week_and_longer_are_held_against_those_before_them(tmp_path: Path) -> None:
    month = timedelta(days=30)
    store = earlier(tmp_path, 9000, 9100, 8900, 9050, width=month)

    found = checks(store, window(900, width=month))

    assert found["traffic"].outcome is Outcome.FAILED
    assert "where 4 earlier windows had about 9,012" in found["traffic"].reason


@pytest.mark.parametrize(
    ("age", "outcome", "said"),
    [
        (0.26, Outcome.PASSED, "more than 6.24 hours, and the same hours of 5 earlier weeks had 6.29 hours"),
        (
            3.0,
            Outcome.FAILED,
            "more than 3 days, and the same hours of 5 earlier weeks had 6.29 hours; see whether what",
        ),
        (0.01, Outcome.PASSED, "more than 14.4 minutes"),
    ],
)
def test_dates_that_grow_old_fail(tmp_path: Path, age: float, outcome: Outcome, said: str) -> None:
    store = earlier(tmp_path, *[1000] * 5, ages=0.25)

    found = checks(store, window(1000), version(age), version(90.0, rows=3, number="2"))

    assert list(found) == ["traffic", "age of made_at"]
    assert (found["age of made_at"].outcome, found["age of made_at"].value) == (outcome, age)
    assert said in found["age of made_at"].reason


def test_birthdays_and_other_dates_that_only_grow_older_by_the_week_are_quiet(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for week in range(1, 9):
        keep(store, window(1000, MONDAY - week * WEEK), age=400 - 7.0 * week)

    assert checks(store, window(1000), version(400.0))["age of made_at"].outcome is Outcome.PASSED


def test_they_are_no_drift_that_another_training_would_mend(tmp_path: Path) -> None:
    store = earlier(tmp_path, *[1000] * 5, ages=0.25)
    found = tuple(usual.of_window(store, window(10), [version(3.0)]))

    about = WindowDrift("uptake", DOCUMENT, 1, 0.01, (), found)

    assert len(about.failed) == 2
    assert about.beside_training("1") == ()


def test_the_gate_judges_it_also_beside_windows_of_the_same_run(tmp_path: Path) -> None:
    for week in range(6):
        about = window(1000 if week else 20, MONDAY - week * WEEK)
        (tmp_path / "windows" / about.key).mkdir(parents=True)
        about.write(tmp_path / "windows" / about.key / DOCUMENT)
        for name, found in (
            ("drift", WindowDrift("uptake", about.key, 1, 0.01, (), ())),
            ("quality", WindowQuality("uptake", about.key, 1, True, "", 0.01, ())),
        ):
            found.write(tmp_path / name / f"{about.key}.json")

    found = judging.check(
        tmp_path / "windows",
        drift=tmp_path / "drift",
        quality=tmp_path / "quality",
        model="uptake",
        store=str(tmp_path / "store"),
        output=tmp_path / "verdict.json",
    )

    assert [one.check for one in found.standing] == ["traffic"]
    assert "20 requests, where the same hours of 5 earlier weeks had about 1,000" in found.standing[0].reason
