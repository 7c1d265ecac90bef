"""The small files of a capture are merged and removed, and who reads meanwhile has each row once."""

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import forked
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import captured
from cd4ml.contracts.captured import FEEDBACK
from cd4ml.serving import closed_hours

DAYS = 30


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A capture with twelve rows of feedback in files of yesterday, of three hours."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for row in range(12):
        write(tmp_path, yesterday.replace(hour=row // 4, minute=row % 4), row)
    return tmp_path


def write(folder: Path, at: datetime, row: int) -> Path:
    day = folder / "feedback" / captured.day(at)
    day.mkdir(parents=True, exist_ok=True)
    file = day / f"{at.strftime('%H%M%S')}-{row}.parquet"
    rows = [{"at": at, "request_id": str(row), "reward": float(row), "labels": None}]
    pq.write_table(pa.Table.from_pylist(rows, FEEDBACK), file)
    return file


def tidy(capture: Path) -> None:
    closed_hours.tidy(capture / "feedback", FEEDBACK, days=DAYS)


def rows(capture: Path) -> list[int]:
    return sorted(map(int, captured.feedback(capture).to_table()["request_id"].to_pylist()))


def files(capture: Path) -> list[str]:
    return sorted(file.name for file in (capture / "feedback").glob("*/*"))


@pytest.fixture
def readers_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_hours, "READ_SECONDS", -1)


def test_the_files_of_an_hour_become_one_and_are_removed_later(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = captured.feedback(capture).to_table()
    listed = captured.feedback(capture)
    monkeypatch.setattr(closed_hours, "ROWS", 3)

    tidy(capture)

    assert len(files(capture)) == 12 + 3
    assert captured.feedback(capture).to_table().sort_by("at") == before.sort_by("at")
    tidy(capture)
    assert listed.count_rows() == 12  # who has listed them before still reads them
    monkeypatch.setattr(closed_hours, "READ_SECONDS", -1)
    tidy(capture)
    assert files(capture) == ["00.parquet", "01.parquet", "02.parquet"]
    assert captured.feedback(capture).to_table().sort_by("at") == before.sort_by("at")


def test_an_hour_that_may_go_on_and_a_file_that_comes_late_stay_as_they_are(
    capture: Path, readers_are_gone: None
) -> None:
    now = datetime.now(UTC)
    new = [write(capture, now, 12).name, write(capture, now - timedelta(microseconds=1), 13).name]
    tidy(capture)
    late = write(capture, now.replace(hour=1) - timedelta(days=1), 14).name

    tidy(capture)
    tidy(capture)

    assert set(files(capture)) == {"00.parquet", "01.parquet", "02.parquet", late, *new}
    assert rows(capture) == list(range(15))


def test_days_that_are_old_are_removed_and_what_is_no_day_stays(capture: Path, readers_are_gone: None) -> None:
    today = datetime.now(UTC)
    kept, old = (write(capture, today - timedelta(days=days), 20 + days) for days in (DAYS, DAYS + 1))
    (capture / "feedback" / "notes").mkdir()

    tidy(capture)

    assert (kept.exists(), old.parent.exists(), (capture / "feedback" / "notes").exists()) == (True, False, True)


def changes() -> Iterator[tuple[Any, str]]:
    return iter([(pq, "ParquetWriter"), (os, "link"), (Path, "unlink"), (shutil, "rmtree")])


def test_what_somebody_else_put_there_stays_and_stops_nothing(capture: Path, readers_are_gone: None) -> None:
    [day] = (capture / "feedback").glob("*")
    strays = [day / name for name in ("stray.parquet", "99.5.parquet", "240000-1.parquet", "20261130.parquet")]
    for stray in strays:
        stray.write_text("anything")
    no_days = [capture / "feedback" / name for name in ("0000-00-00", "abcd-ef-gh", "1999-01-01")]
    for folder in no_days[:2]:
        folder.mkdir()
    no_days[2].write_text("a file")

    tidy(capture)
    tidy(capture)

    assert all(one.exists() for one in [*strays, *no_days])
    own = {file.name for file in day.iterdir()} - {stray.name for stray in strays}
    assert own == {"00.parquet", "01.parquet", "02.parquet"}


@pytest.mark.parametrize("dies", ["before", "after"])
@pytest.mark.parametrize(("where", "what"), list(changes()))
def test_wherever_it_is_killed_each_row_is_there_once_and_the_next_look_finishes(
    capture: Path,
    monkeypatch: pytest.MonkeyPatch,
    readers_are_gone: None,
    *,
    where: Any,
    what: str,
    dies: str,
) -> None:
    old = write(capture, datetime.now(UTC) - timedelta(days=DAYS + 1), 99)

    def work() -> None:
        monkeypatch.setattr(where, what, forked.killing(getattr(where, what), dies))
        tidy(capture)
        tidy(capture)

    assert os.WTERMSIG(forked.status_of(work)) == signal.SIGKILL

    assert [row for row in rows(capture) if row != 99] == list(range(12))
    tidy(capture)
    tidy(capture)
    assert rows(capture) == list(range(12))
    assert [name for name in files(capture) if not name.startswith(".")] == ["00.parquet", "01.parquet", "02.parquet"]
    assert not old.exists()


def test_a_file_that_cannot_be_read_leaves_its_hour_as_it_is_and_holds_up_no_other(capture: Path) -> None:
    broken = next((capture / "feedback").glob("*/01*"))
    broken.write_text("no Parquet")

    with pytest.raises(pa.ArrowException, match=broken.name):
        tidy(capture)

    assert [name for name in files(capture) if captured.is_merged(name)] == ["00.parquet", "02.parquet"]
