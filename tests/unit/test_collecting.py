"""What is due is collected and handed on to be judged: what is new first, and what was judged already not again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import captures
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.document import Document
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Window
from cd4ml.errors import ArgumentsError, DataError, RegistryError, StorageError
from cd4ml.monitoring import collecting, handed, judging, monitored, spans, window_table, windows
from cd4ml.monitoring.collecting import Collected
from cd4ml.monitoring.judging import Outcomes
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.windows import Span
from cd4ml.registry import clock
from cd4ml.storage import open_store

HOUR = timedelta(hours=1)
FIRST, SECOND = "20260101T000000Z-20260101T010000Z", "20260101T010000Z-20260101T020000Z"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """With `uptake`, and a capture of two hours, a request a second; it is five past two."""
    captures.publish(tmp_path / "store")
    captures.write_labelled(tmp_path / "capture", 7200)
    at(monkeypatch, captures.BEGIN + 2 * HOUR + timedelta(minutes=5))
    return str(tmp_path / "store")


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(clock, "moment", lambda: moment)
    monkeypatch.setattr(clock, "now", lambda: clock.written(moment))


def collect(store: str, output: str = "windows", **others: Any) -> Collected:
    folder = Path(store).parent
    return collecting.collect(
        store, "uptake", every="1 hour", output=folder / output, capture=str(folder / "capture"), **others
    )


def check(store: str, folder: Path) -> Outcomes:
    """What is told of the windows that were handed on in a folder, none of which was compared or measured."""
    for name in ("drift", "quality"):
        (folder / name).mkdir()
    return judging.check(
        folder / "windows",
        drift=folder / "drift",
        quality=folder / "quality",
        model="uptake",
        store=store,
        output=folder / "verdict.json",
    )


def keys(found: Collected) -> list[str]:
    return [one.key for one in found.windows]


def judge(store: str, *some: Window) -> None:
    check = Check("auc", "at least 0.7", 0.8, Outcome.PASSED, "auc is 0.8")
    for window in some:
        monitored.keep(open_store(store), Judged(window, Verdict("check_window", {}, (check,))))


def test_what_is_due_is_handed_on_a_folder_a_window_with_its_rows(store: str) -> None:
    found = collect(store)

    folders = handed.every(Path(store).parent / "windows")
    assert [one.name for one in folders] == [FIRST, SECOND] == keys(found)
    assert [Window.read(one / "window.json") for one in folders] == list(found.windows)
    rows = pq.read_table(folders[0] / "rows.parquet")
    assert rows.equals(window_table.rows(open_store(store), found.windows[0]))
    assert found.headline == "2 windows, 7,200 rows, 6,309 labelled"


def test_what_was_judged_is_not_handed_on_again_and_what_was_not_is(store: str) -> None:
    first = collect(store)
    judge(store, first.windows[0])

    assert keys(collect(store, "again")) == [SECOND]
    judge(store, first.windows[1])
    assert collect(store, "nothing").headline == "no window is due"
    assert handed.every(Path(store).parent / "nothing") == []


def test_windows_that_were_collected_otherwise_are_judged_too(store: str) -> None:
    window = windows.collect(
        store, "uptake", Span(captures.BEGIN, captures.BEGIN + HOUR), capture=str(Path(store).parent / "capture")
    )

    found = collect(store)

    assert keys(found) == [SECOND, FIRST]  # what is new comes first
    assert window in found.windows


def test_a_run_takes_on_so_many_windows_and_says_how_many_are_left(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "MOST", 1)

    found = collect(store)

    assert (keys(found), found.left) == ([FIRST], 1)
    assert found.headline == "1 window, 3,600 rows, 3,600 labelled, 1 more due"


def test_late_labels_have_a_window_judged_again(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collect(store)
    judge(store, *first.windows)
    at(monkeypatch, captures.BEGIN + 6 * HOUR)

    later = collect(store, "later")

    known = {one.key: one.number for one in first.windows}
    assert all(one.number > known[one.key] for one in later.windows if one.key in known)


def test_windows_that_are_named_are_handed_on_whether_due_or_not(store: str) -> None:
    judge(store, *collect(store).windows)

    found = collect(store, "named", since="2026-01-01T01:00", until="2026-01-01T02:00Z")

    assert keys(found) == [SECOND]


@pytest.mark.parametrize("given", [{"since": "yesterday"}, {"since": "2026-01-01", "until": "soon"}])
def test_a_time_that_is_none_is_told(store: str, given: dict[str, str]) -> None:
    with pytest.raises(DataError, match="is no time; write it as 2026-11-29T08:00Z"):
        collect(store, **given)


def test_where_nothing_is_captured_nothing_has_passed(store: str, tmp_path: Path) -> None:
    found = collecting.collect(
        store, "uptake", every="1 hour", output=tmp_path / "windows", capture=str(tmp_path / "none")
    )
    told = check(store, tmp_path)

    told.raise_if_failed()  # nobody may have asked yet
    assert found.headline == "nothing is captured"
    assert (told.headline, told.metadata["passed"]) == ("nothing is captured, no alerts", False)
    assert handed.collecting(tmp_path / "windows").warnings == ()  # the check has it
    (said,) = told.verdict.warnings
    assert said.startswith(f"nothing is captured at {tmp_path / 'none'}; see whether the model is asked")
    assert not Verdict.read(tmp_path / "verdict.json").passed


def test_a_span_that_is_none_is_told() -> None:
    assert [spans.width(one) for one in ("1h", "30m", "1d", "7d", "90s", "2w")] == [
        spans.width(one) for one in ("1 hour", "PT30M", "24 hours", "1 week", "90 seconds", "P14D")
    ]
    for wrong in ("1 h", "h", "0h", "1y", "-1h", "1h30m", "1", "999999 weeks"):
        with pytest.raises(DataError, match=f"'{wrong}' is no span of time"):
            spans.width(wrong)
    with pytest.raises(DataError, match="'hourly' is no span of time"):
        spans.width("hourly")


@dataclass(frozen=True)
class Counted(Document, kind="cd4ml/Counted", remedy="count again"):
    """What a test finds of a window."""

    rows: int

    @property
    def headline(self) -> str:
        return f"{self.rows} rows"


def test_each_window_is_judged_by_itself_into_a_file_of_its_key(store: str, tmp_path: Path) -> None:
    collect(store)

    def count(window: Path, *, store: str, output: Path) -> Counted:
        return Counted(Window.read(window / "window.json").rows).write(output)

    found = handed.judge_each(tmp_path / "windows", count, store=store, output=tmp_path / "counted")

    assert [one.rows for one in found] == [3600, 3600]
    assert Counted.read(tmp_path / "counted" / f"{SECOND}.json") == found[1]
    assert handed.headline(found) == "3600 rows (the last of 2 windows)"
    assert (handed.headline(found[:1]), handed.headline([])) == ("3600 rows", "no window is due")


def broken(monkeypatch: pytest.MonkeyPatch, *hours: int) -> None:
    """The windows of some hours cannot be collected."""
    collect_one = windows.collect

    def tried(store: str, model: str, span: Span, **others: Any) -> Window:
        if (span.begin - captures.BEGIN) // HOUR in hours:
            raise OverflowError("too large\n   0: <unknown>")
        return collect_one(store, model, span, **others)

    monkeypatch.setattr(windows, "collect", tried)


def test_a_window_that_cannot_be_collected_keeps_no_other_and_is_due_again(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken(patch, 0)
        found = collect(store)
    told = handed.collecting(tmp_path / "windows")

    assert keys(found) == [SECOND]
    assert found.headline.endswith(" labelled, 1 window could not be collected")
    assert [one.outcome for one in told.checks] == [Outcome.ERROR]
    assert "could not be collected (OverflowError: too large)" in told.checks[0].reason
    assert keys(collect(store, "again")) == [FIRST, SECOND]
    assert handed.collecting(tmp_path / "again").checks == ()


def test_where_no_window_can_be_collected_the_run_ends_with_what_ended_the_first(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, 0, 1)

    with pytest.raises(OverflowError, match="too large"):
        collect(store)


@pytest.mark.parametrize("folder", ["1970-01-01", "1abc", "0001-01-01", "9999-01-01", "2026-1-1", "20260101"])
def test_a_folder_of_no_day_of_now_brings_no_windows_and_is_told(store: str, tmp_path: Path, folder: str) -> None:
    (tmp_path / "capture/requests/2026-01-01").rename(tmp_path / "kept")
    (tmp_path / "capture/requests" / folder).mkdir()
    assert collecting.due(store, "uptake", every="1 hour", capture=str(tmp_path / "capture")) == []
    (tmp_path / "kept").rename(tmp_path / "capture/requests/2026-01-01")

    assert keys(collect(store)) == [FIRST, SECOND]
    [told] = handed.collecting(tmp_path / "windows").warnings
    assert f"requests: '{folder}': no window is due of what lies there" in told


def test_days_that_are_kept_on_purpose_are_only_not_due(store: str, tmp_path: Path) -> None:
    (tmp_path / "capture/requests/2025-01-01").mkdir()

    assert keys(collect(store)) == [FIRST, SECOND]
    assert handed.collecting(tmp_path / "windows").warnings == ()


def test_the_command_collects_the_others_and_fails(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, 0)
    (tmp_path / "capture/requests/1abc").mkdir()

    words = ["monitor", "collect", "uptake", "--capture", str(tmp_path / "capture"), "--store", store]
    done = CliRunner().invoke(app, words)

    assert done.exit_code == 1
    assert "failed   2026-01-01 00:00 OverflowError: too large\n" in done.output
    assert "2026-01-01 01:00 3,600 rows" in done.output
    assert "'1abc': no window is due" in done.output


@pytest.mark.parametrize("command", ["collect", "run"])
def test_a_store_that_is_down_for_a_time_ends_no_command_that_goes_on(
    store: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "the store is away"
    ends: list[Exception] = [RegistryError(away), OSError(away), StorageError(away)]
    slept: list[float] = []

    due_now = windows.due

    def due(*asked: Any, **others: Any) -> Any:
        if not slept:
            return due_now(*asked, **others)
        if ends:
            raise ends.pop()
        raise KeyboardInterrupt

    run_by(monkeypatch, store, [0])
    monkeypatch.setattr(windows, "due", due)
    monkeypatch.setattr("time.sleep", slept.append)
    done = monitor(store, command, "--go-on")

    assert slept == [360.0] * 4
    assert done.output.count("the store is away; it is tried again") == 1
    assert done.exit_code == 130


def monitor(store: str, command: str, *options: str, model: str = "uptake") -> Any:
    folder = Path(store).parent
    where = ["--capture", str(folder / "capture"), "--store", store]
    runs = ["--runs", str(folder / "runs")] if command == "run" else []
    return CliRunner().invoke(app, ["monitor", command, model, *options, *where, *runs])


def looks(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The clock goes on where a command sleeps, so many times."""
    slept = 0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == most:
            raise KeyboardInterrupt
        at(monkeypatch, clock.moment() + timedelta(seconds=seconds))

    monkeypatch.setattr("time.sleep", sleep)


def run_by(monkeypatch: pytest.MonkeyPatch, store: str, codes: Sequence[int]) -> list[datetime]:
    """Has runs collect and judge, and end with some codes, the last one from then on; when each began."""
    began: list[datetime] = []

    def execute(*_: Any, folder: Path) -> int:
        began.append(clock.moment())
        with suppress(OverflowError):
            judge(store, *collect(store, str(folder / "windows")).windows)
        (folder / "summary.json").write_text('{"status": "passed"}')
        return codes[min(len(began), len(codes)) - 1]

    monkeypatch.setattr("cd4ml.cli.run.execute", execute)
    return began


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1)])
def test_a_command_that_takes_several_runs_fails_where_one_of_them_did(
    store: str, codes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MOST", 1)
    began = run_by(monkeypatch, store, codes)

    done = monitor(store, "run")

    assert (len(began), done.exit_code) == (2, max(codes)), done.output


def test_what_cannot_be_collected_begins_a_run_only_together_with_what_is_new(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, *range(10))
    began = run_by(monkeypatch, store, [1])
    looks(monkeypatch, 25)

    monitor(store, "run", "--go-on")

    assert [one - captures.BEGIN for one in began] == [hours * HOUR + timedelta(minutes=5) for hours in (2, 3, 4)]


def test_what_no_one_foresaw_is_told_once_by_a_command_that_goes_on(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, 0)
    looks(monkeypatch, 4)

    done = monitor(store, "collect", "--go-on")

    assert done.output.count("failed   2026-01-01 00:00 OverflowError: too large") == 1
    assert done.output.count("Traceback") == 1


@pytest.mark.parametrize(
    ("command", "model", "options", "error"),
    [
        ("run", "uptaek", (), RegistryError),
        ("collect", "uptaek", (), RegistryError),
        ("collect", "uptake", ("--since", "2025-01-01"), ArgumentsError),
        ("collect", "uptake", ("--since", "2026-01-01T00:30"), ArgumentsError),
    ],
)
def test_a_mistake_of_what_is_asked_for_ends_also_a_command_that_goes_on(
    store: str, monkeypatch: pytest.MonkeyPatch, command: str, model: str, options: tuple[str, ...], error: type
) -> None:
    looks(monkeypatch, 1)

    done = monitor(store, command, "--go-on", *options, model=model)

    assert (done.exit_code, type(done.exception)) == (1, error)


def test_whether_anything_is_captured_does_not_go_by_how_many_checks_there_are(store: str, tmp_path: Path) -> None:
    (tmp_path / "windows").mkdir()
    handed.tell(tmp_path / "windows", [Check("another", "it is so", None, Outcome.SKIPPED, "it is not looked at")], [])

    told = check(store, tmp_path)

    assert told.headline == "no window is due, no alerts"
