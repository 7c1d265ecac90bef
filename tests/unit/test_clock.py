"""The clock is that of the machine, unless somebody plays another time."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cd4ml.errors import EnvironmentSetupError
from cd4ml.registry import clock

LAST_YEAR = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_time_that_is_played_goes_on_from_where_it_begins_and_ends_with_its_block() -> None:
    with clock.at(LAST_YEAR):
        played, inner = clock.exact(), clock.now()
        with clock.at(LAST_YEAR + timedelta(days=7)):
            later = clock.exact()

    assert timedelta() <= played - LAST_YEAR < timedelta(seconds=30)
    assert inner.startswith("2025-01-02T03:04:")
    assert timedelta(days=7) <= later - LAST_YEAR < timedelta(days=7, seconds=30)
    assert abs(clock.exact() - datetime.now(UTC)) < timedelta(seconds=30)


def test_what_is_started_meanwhile_plays_the_same_time() -> None:
    ask = [sys.executable, "-c", "from cd4ml.registry import clock; print(clock.now())"]

    with clock.at(LAST_YEAR):
        said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout

    assert timedelta() <= datetime.fromisoformat(said.strip()) - LAST_YEAR < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["2 hours", "nan", "inf", "1e300", "1e13"])
def test_a_lead_that_is_no_number_of_seconds_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(clock.AHEAD, text)

    with pytest.raises(EnvironmentSetupError, match=f"^CD4ML_CLOCK_AHEAD: '{text}' is no number of seconds, such as"):
        clock.now()
