"""Who looks at a capture again and again reads each file once, and sees what one does who reads all of it anew."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from captures import BEGIN, Arms, captured

from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.deployment.evidence import analysis, compared, divided, watched
from cd4ml.deployment.evidence import limits as rollout_limits
from cd4ml.deployment.evidence.compared import BY_CHANCE, UnreadableError
from cd4ml.deployment.evidence.own_limits import OwnLimits
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.serving import closed_hours

HOUR = timedelta(hours=1)
LIMITS = {
    "error_rate": {"max_increase": 0.1},
    "latency_p95": {"max_ratio": 2.0},
    "mean_prediction": {"max_change": 0.1, "slices": ["region=south"]},
    "reward": {"min_change": -0.1},
}


def put(folder: Path, hour: int, part: int = 0, *, unit: int | None = 3) -> list[Path]:
    """Writes a file of each table, of requests in an hour, of whom some are by callers of other hours."""
    made = captured(300, Arms(), seed=10 * hour + part, unit=unit)
    files = []
    later = hour * HOUR + part * timedelta(milliseconds=500)
    for name, table, schema in zip(("requests", "feedback"), made, (REQUESTS, FEEDBACK), strict=True):
        place = folder / name / "2026-01-01"
        place.mkdir(parents=True, exist_ok=True)
        files.append(place / f"{hour:02}{part:02}00-x.parquet")
        moved = table.set_column(0, "at", pc.add(table["at"], later))
        pq.write_table(moved.cast(schema), files[-1])
    return files


def verdict(seen: Captured, until: datetime) -> Any:
    found = divided.read(seen, champion="old", challenger="new", until=until)
    return analysis.analyse(found, rollout_limits.parse(LIMITS), about={}).checks


def after(hours: float) -> datetime:
    return BEGIN + hours * HOUR


@pytest.mark.parametrize("unit", [None, 3])
def test_looks_that_go_on_see_what_one_sees_who_reads_all(tmp_path: Path, unit: int | None) -> None:
    seen = Captured(tmp_path, BY_CHANCE, since=after(0.01))
    for hour in range(4):
        for part in (1, 0):  # files come late, and out of order
            put(tmp_path, hour, part, unit=unit)
            until = after(hour + 0.05)

            anew = Captured(tmp_path, BY_CHANCE, since=after(0.01))
            assert verdict(seen, until) == verdict(anew, until)


def test_a_file_is_read_once(tmp_path: Path) -> None:
    seen, files = Captured(tmp_path, BY_CHANCE, first=False), put(tmp_path, 0)
    before = verdict(seen, after(1))
    for file in files:
        file.write_bytes(b"none of Parquet")

    assert verdict(seen, after(1)) == before
    put(tmp_path, 1)
    assert (len(seen.requests(after(2))), len(seen.feedback(after(3)))) == (600, 300)


def test_days_that_are_over_are_not_even_listed(tmp_path: Path) -> None:
    seen = Captured(tmp_path, BY_CHANCE, first=False)
    put(tmp_path, 0)
    seen.requests(after(24))
    put(tmp_path, 1)
    assert len(seen.requests(after(27))) == 600
    put(tmp_path, 2)

    assert len(seen.requests(after(48))) == 600


def test_feedback_of_days_that_are_over_is_not_listed_either(tmp_path: Path) -> None:
    seen = Captured(tmp_path, BY_CHANCE, first=False)
    put(tmp_path, 0)
    seen.requests(after(27))
    assert len(seen.feedback()) == 150
    put(tmp_path, 1)

    assert len(seen.feedback()) == 150


@pytest.mark.parametrize("first", [True, False])
def test_files_that_are_merged_between_looks_have_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr(closed_hours, "READ_SECONDS", -1)
    seen = Captured(tmp_path, BY_CHANCE, first=first)
    put(tmp_path, 0, 0)
    seen.requests(after(1)), seen.feedback(after(1))
    put(tmp_path, 0, 1)

    for _ in range(2):
        for name, schema in (("requests", REQUESTS), ("feedback", FEEDBACK)):
            closed_hours.tidy(tmp_path / name, schema, days=10_000)
        assert len(seen.requests(after(1))) == (100 if first else 600)
        assert len(seen.feedback(after(3))) == 300


def test_a_look_that_fails_loses_nothing(tmp_path: Path) -> None:
    seen = Captured(tmp_path, BY_CHANCE)
    (bad, _), good = put(tmp_path, 0), tmp_path / "good"
    bad.rename(good)
    bad.write_bytes(b"half")

    with pytest.raises(UnreadableError, match="what was captured cannot be read"):
        seen.requests(after(1))
    good.rename(bad)

    assert len(seen.requests(after(1))) == 100


def test_columns_that_no_limit_needs_are_not_kept(tmp_path: Path) -> None:
    put(tmp_path, 0)
    seen = Captured(tmp_path, BY_CHANCE, needed=rollout_limits.parse({"error_rate": {"max_increase": 0.1}}).needed)

    names = ["at", "request_id", "arm", "version", "propensity", "mirrored", "unit", "status", "latency_ms"]
    assert seen.requests().column_names == names
    assert seen.feedback().column_names == ["at", "request_id"]
    assert seen.requests().nbytes < 60 * len(seen.requests())


@pytest.mark.parametrize("name", ["mean_prediction", "brier_score", "fairness", "accuracy", "reward", "latency_p99"])
def test_every_limit_has_the_columns_that_it_needs(tmp_path: Path, name: str) -> None:
    limits = {
        "mean_prediction": {"max_change": 0.1},
        "brier_score": {"max_increase": 0.1},
        "fairness": {"region": {"groups": ["north", "south"], "selection_rate": {"max_gap": 0.5}}},
        "accuracy": {"min_change": -0.1, "slices": ["region=south"]},
        "reward": {"min_change": -0.1, "slices": ["region=south"]},
        "latency_p99": {"max_ratio": 3},
    }
    put(tmp_path, 0)
    wanted = rollout_limits.parse({name: limits[name]})
    whole, some = (
        divided.read(Captured(tmp_path, BY_CHANCE, **more), champion="old", challenger="new")
        for more in ({}, {"needed": wanted.needed})
    )

    verdicts = [analysis.analyse(one, wanted, about={}, classes=("0", "1")) for one in (whole, some)]
    assert verdicts[0] == verdicts[1]


def test_feedback_finds_the_first_request_of_its_id_wherever_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared, "MANY", 3)
    requests, ids = (pa.chunked_array([list(text)]) for text in ("abcdefgab", "gahbz"))

    assert compared.places_in(requests, ids).to_pylist() == [6, 0, None, 1, None]


def test_an_arm_is_watched_by_the_same_look(tmp_path: Path) -> None:
    limits = OwnLimits.model_validate({"for": "1 hour", "error_rate": {"max": 0.5}})
    seen = Captured(tmp_path, watched.asked("new"), needed=watched.NEEDED)
    for hour in range(2):
        put(tmp_path, hour)
        anew = Captured(tmp_path, watched.asked("new"))

        found = [watched.judge(one, limits, arm="new", until=after(hour + 1)) for one in (seen, anew)]

        assert found[0] == found[1]


def test_moments_are_those_of_any_zone(tmp_path: Path) -> None:
    put(tmp_path, 0)
    until = after(0).astimezone(UTC) + timedelta(seconds=150)

    assert len(Captured(tmp_path, BY_CHANCE, first=False).requests(until)) == 150
    assert np.all(Captured(tmp_path, BY_CHANCE).requests(until)["at"].to_numpy() < np.datetime64("2026-01-01T00:02:30"))
