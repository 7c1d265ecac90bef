"""Windows of what routers captured: collected once, whole or not at all, and again where something new is known."""

import itertools
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import captures
import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts import captured, feature_names
from cd4ml.contracts.captured import FEEDBACK
from cd4ml.contracts.window import ROWS, Window
from cd4ml.errors import DataError, RegistryError
from cd4ml.monitoring import capture_files, joined, taking, window_table, windows
from cd4ml.monitoring.windows import Span
from cd4ml.registry import clock
from cd4ml.storage import open_store

BEGIN = captures.BEGIN
HOUR = timedelta(hours=1)
FIRST = Span(BEGIN, BEGIN + HOUR)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """With `uptake`, and a capture of two hours, a request a second, of arms `old` and `new`; all have labels."""
    captures.publish(tmp_path / "store")
    captures.write_labelled(tmp_path / "capture", 7200)
    return str(tmp_path / "store")


def collect(store: str, span: Span = FIRST, **others: Any) -> Window:
    return windows.collect(store, "uptake", span, capture=str(Path(store).parent / "capture"), **others)


def known(store: str) -> list[Window]:
    return window_table.every(open_store(store), "uptake")


def rows(store: str, window: Window, **others: Any) -> pa.Table:
    return window_table.rows(open_store(store), window, **others)


def write(store: str, name: str, table: pa.Table, file: str, day: str = "2026-01-01") -> Path:
    path = Path(store).parent / "capture" / name / day / f"{file}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def later(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(clock, "moment", lambda: moment)
    monkeypatch.setattr(clock, "now", lambda: clock.written(moment))


def test_a_window_has_the_rows_of_its_requests_with_their_labels(store: str) -> None:
    window = collect(store)

    requests, feedback = captures.labelled(7200)
    found = rows(store, window)
    assert found.drop_columns(["features"]).schema.names == ROWS.names
    assert found["request_id"].to_pylist() == requests["request_id"][:3600].to_pylist()
    by_request = dict(zip(feedback["request_id"].to_pylist(), feedback["labels"].to_pylist(), strict=True))
    assert found["label"].to_pylist() == [by_request[one][0] for one in found["request_id"].to_pylist()]
    assert found["features"][0].as_py().keys() == {"gender"}
    assert (window.requests, window.rows, window.labelled) == (3600, 3600, 3600)
    assert (window.headline, window.features, window.number) == ("3,600 rows, 100% labelled", ("gender",), 1)


def test_a_model_that_changed_within_the_window_shows_as_two_parts(store: str) -> None:
    window = collect(store)

    requests = captures.labelled(7200)[0].slice(0, 3600)
    assert [(one.arm, one.version, one.mirrored) for one in window.parts] == [("new", "2", False), ("old", "1", False)]
    for part in window.parts:
        own = requests.filter(pa.array([one == part.arm for one in requests["arm"].to_pylist()]))
        assert (part.requests, part.rows, part.labelled) == (len(own),) * 3
        statuses = own["status"].to_pylist()
        assert part.statuses == {str(one): statuses.count(one) for one in set(statuses)}
        assert part.errors == statuses.count(500)
        assert part.latency_ms == pytest.approx(
            {f"p{share}": np.quantile(own["latency_ms"].to_numpy(), share / 100) for share in (50, 95, 99)}
        )


def test_rows_are_read_by_no_thread_that_a_process_which_ends_would_abort_on(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = collect(store)
    given, whole = [], deltalake.DeltaTable.to_pyarrow_dataset

    def seen(self: deltalake.DeltaTable, **others: Any) -> Any:
        given.append(others["filesystem"].base_fs)
        return whole(self, **others)

    monkeypatch.setattr(deltalake.DeltaTable, "to_pyarrow_dataset", seen)
    rows(store, window)
    window_table.given(open_store(store), "uptake", ["at"])
    window_table.of_request(open_store(store), "uptake", "1")

    assert [type(one) for one in given] == [fs.LocalFileSystem] * 3


def test_how_long_features_were_looked_up_is_told_where_requests_say_so(store: str, tmp_path: Path) -> None:
    file = tmp_path / "capture/requests/2026-01-01/0.parquet"
    requests = pq.read_table(file)
    said = np.arange(len(requests)) % 100
    old = np.array(requests["arm"].to_pylist()) == "old"
    requests = captures.with_column(requests, "lookup_ms", np.where(old, said, None))
    pq.write_table(requests, file)

    new_part, old_part = collect(store).parts
    looked = said[:3600][old[:3600]]
    assert old_part.lookup_ms == pytest.approx({f"p{at}": np.percentile(looked, at) for at in (50, 95, 99)})
    assert new_part.lookup_ms == {}


def test_captures_of_servers_that_kept_no_look_up_are_collected(store: str, tmp_path: Path) -> None:
    file = tmp_path / "capture/requests/2026-01-01/0.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["lookup_ms"]), file)

    assert collect(store).rows == 3600


def test_collecting_twice_adds_nothing(store: str) -> None:
    first = collect(store)
    before = sorted(Path(store, "windows").rglob("*"))

    assert collect(store) == first
    assert sorted(Path(store, "windows").rglob("*")) == before
    assert known(store) == [first]


def test_windows_side_by_side_share_no_row_and_leave_none_out(store: str) -> None:
    found = [collect(store, span) for span in captures.spans(BEGIN, BEGIN + 2 * HOUR, HOUR / 4)]

    ids = [one for window in found for one in rows(store, window)["request_id"].to_pylist()]
    assert ids == captures.labelled(7200)[0]["request_id"].to_pylist()
    assert known(store) == found


def test_a_window_that_overlaps_another_is_refused(store: str) -> None:
    collect(store)

    with pytest.raises(DataError, match="overlaps that from 2026-01-01T00:00:00"):
        collect(store, Span(BEGIN + HOUR / 2, BEGIN + 2 * HOUR))
    assert len(known(store)) == 1


def test_a_window_without_requests_has_a_document_that_says_so(store: str) -> None:
    empty = collect(store, Span(BEGIN + 5 * HOUR, BEGIN + 6 * HOUR))

    assert (empty.headline, empty.parts, empty.rows) == ("no requests", (), 0)
    assert known(store) == [empty]
    assert len(rows(store, empty)) == 0
    assert collect(store).rows == 3600


def test_labels_that_come_later_are_a_further_document_of_the_window(store: str, tmp_path: Path) -> None:
    (tmp_path / "capture/feedback/2026-01-01/0.parquet").unlink()
    first = collect(store)
    assert first.labelled == 0
    pq.write_table(pa.table({"request_id": ["0-0", "0-1"], "took": [True, False]}), tmp_path / "late.parquet")
    taking.take("uptake@2", source=str(tmp_path / "late.parquet"), store=store)

    second = collect(store)

    assert (second.number, second.labelled, second.key) == (2, 2, first.key)
    assert known(store) == [second]
    assert rows(store, second)["label"].to_pylist()[:3] == ["true", "false", None]
    assert len(rows(store, second)) == 3600


def test_labels_that_contradict_are_counted_and_of_no_row(store: str) -> None:
    write(store, "feedback", fed("true", "false"), "contradicting")  # and there is one already
    write(store, "feedback", fed("perhaps", request="0-1"), "other")

    window = collect(store)

    assert {why: count for why, count in window.apart.items() if count} == {"contradicting": 3, "other_type": 1}
    assert window.labelled == 3599
    assert (window.labels_apart, [one.split(":")[0] for one in window.kept_apart]) == (
        4,
        ["1 label kept apart", "3 labels kept apart"],
    )
    listed = CliRunner().invoke(app, ["monitor", "windows", "uptake", "--store", store], env={"COLUMNS": "200"})
    assert re.search(r"3,599\D+4\D+(no|yes)", listed.output)
    assert [one is None for one in rows(store, window)["label"].to_pylist()[:2]] == [True, False]


def test_a_label_that_was_taken_wrongly_counts_by_the_mended_source_once_what_was_taken_first_is_removed(
    store: str, tmp_path: Path
) -> None:
    (tmp_path / "capture/feedback/2026-01-01/0.parquet").unlink()
    (tmp_path / "wrong.csv").write_text("request_id,took\n0-0,false\n")
    (tmp_path / "mended.csv").write_text("request_id,took\n0-0,true\n")
    wrong = taking.take("uptake@2", source=str(tmp_path / "wrong.csv"), store=store).labels
    taking.take("uptake@2", source=str(tmp_path / "mended.csv"), store=store)
    assert collect(store).apart["contradicting"] == 2

    shutil.rmtree(Path(store) / wrong.folder)

    window = collect(store)
    assert (window.labels_apart, window.labelled) == (0, 1)
    assert rows(store, window)["label"].to_pylist()[0] == "true"


def fed(*labels: str, request: str = "0-0") -> pa.Table:
    """Feedback on a request, one a label."""
    at = BEGIN + 2 * HOUR
    said = [{"at": at, "request_id": request, "labels": [json.dumps(label)]} for label in labels]
    return pa.Table.from_pylist(said, FEEDBACK)


@pytest.mark.parametrize("kept", [0, 3, 100, 2000, -1])
def test_a_file_that_a_kill_has_cut_off_is_passed_over_and_told(store: str, kept: int) -> None:
    requests = captures.captured(100, captures.Arms(), seed=1, unit=None)[0]
    whole = write(store, "requests", requests, "cut")
    whole.write_bytes(whole.read_bytes()[:kept])
    write(store, "feedback", fed("true"), "cut").write_bytes(b"PAR1")

    window = collect(store)

    assert window.unreadable == ("feedback/2026-01-01/cut.parquet", "requests/2026-01-01/cut.parquet")
    assert window.rows == 3600


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("features", text) for text in ("[1,2]", "5", "{nope", "", '{"age": 5}', '{"age": [' + "[" * 100_000)),
        *((column, None) for column in ("version", "arm", "mirrored", "status", "request_id")),
        ("latency_ms", float("nan")),
    ],
)
def test_a_file_with_what_no_server_writes_is_passed_over_and_told(store: str, column: str, value: Any) -> None:
    request = captures.captured(1, captures.Arms(), seed=1, unit=None)[0]
    write(store, "requests", captures.with_column(request, column, [value]), "000500-strange")

    window = collect(store)

    assert window.unreadable == ("requests/2026-01-01/000500-strange.parquet",)
    assert (window.rows, window.requests) == (3600, 3600)


def test_a_label_that_is_no_json_is_none(store: str) -> None:
    labels = ["[" * 100_000, '"\\ud800"']
    at = BEGIN + 2 * HOUR
    write(
        store, "feedback", pa.table([[at] * 2, ["0-0"] * 2, [1.0] * 2, [[one] for one in labels]], FEEDBACK), "strange"
    )

    window = collect(store)

    assert (window.apart["other_type"], window.labelled) == (2, 3600)


def test_a_file_of_more_rows_than_its_bytes_can_hold_is_not_read(store: str) -> None:
    rows = 1_000_000
    same = pa.table([[BEGIN] * 1, ["0-0"], [1.0], [["true"]]], FEEDBACK).take(pa.array(np.zeros(rows, np.int32)))
    write(store, "feedback", same, "many")

    assert collect(store).unreadable == ("feedback/2026-01-01/many.parquet",)


def test_a_merged_file_hides_those_of_its_hour_alone(store: str, tmp_path: Path) -> None:
    merged = captures.captured(1, captures.Arms(), seed=1, unit=None)[0]
    hides = merged.replace_schema_metadata(captured.made_of(["0.parquet", "00.parquet", "00-a.parquet"]))
    write(store, "requests", merged, "00-a")
    write(store, "requests", hides, "00")

    assert collect(store).requests == 3601


def test_only_files_that_may_have_requests_of_a_window_are_read(store: str) -> None:
    rows = captures.captured(1, captures.Arms(), seed=1, unit=None)[0]
    for name in ("000001-a", "005501-b", "01", "050000-c", "050001-d", "235900-e", "999999-f"):
        write(store, "requests", rows, name).write_bytes(b"PAR1")

    window = collect(store, Span(BEGIN + 2 * HOUR, BEGIN + 3 * HOUR))

    read = [one.removeprefix("requests/2026-01-01/").removesuffix(".parquet") for one in window.unreadable]
    assert read == ["005501-b", "01", "050000-c", "999999-f"]  # from an hour before it until two hours after it


def test_a_window_that_is_too_much_for_the_memory_is_refused(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_files, "MOST_BYTES", 100_000)

    with pytest.raises(DataError, match=r"too much for the memory; collect narrower windows \(`--every`\)"):
        collect(store)
    assert collect(store, Span(BEGIN, BEGIN + HOUR / 12)).rows == 300


def test_a_merged_file_that_is_cut_off_does_not_hide_those_that_it_is_made_of(store: str) -> None:
    requests = captures.captured(100, captures.Arms(), seed=1, unit=None)[0]
    write(store, "requests", requests, "000001-a")
    write(store, "requests", requests, "00").write_bytes(b"PAR1")

    assert collect(store).requests == 3700


def test_a_request_that_came_again_is_counted_once_also_across_windows(store: str) -> None:
    again = captures.labelled(7200)[0].slice(3599, 1)
    again = captures.with_column(again, "at", [BEGIN + HOUR + timedelta(seconds=1)])
    write(store, "requests", again, "again")

    second = collect(store, Span(BEGIN + HOUR, BEGIN + 2 * HOUR))

    assert (second.requests, second.rows, second.repeated) == (3600, 3600, 1)


def test_answers_of_mirrors_are_kept_apart(store: str, tmp_path: Path) -> None:
    captures.write_mirrored(tmp_path / "mirrored", 100)

    window = windows.collect(store, "uptake", FIRST, capture=str(tmp_path / "mirrored"))

    assert [(one.arm, one.mirrored, one.rows) for one in window.parts] == [("new", True, 100), ("old", False, 100)]
    assert (window.requests, window.rows) == (100, 100)
    assert set(rows(store, window)["arm"].to_pylist()) == {"old"}
    assert set(rows(store, window, mirrored=True)["arm"].to_pylist()) == {"new"}


def test_of_many_that_collect_one_window_at_once_one_does(store: str) -> None:
    ends: list[Window | Exception] = []

    def run() -> None:
        try:
            ends.append(collect(store))
        except Exception as error:
            ends.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert [(one.number, one.rows) if isinstance(one, Window) else one for one in ends] == [(1, 3600)] * 4
    assert len(known(store)) == 1
    assert window_table.given(open_store(store), "uptake", ["at"]).num_rows == 3600


def test_a_window_whose_capture_is_gone_stays_as_it_was(store: str, tmp_path: Path) -> None:
    window = collect(store)
    (tmp_path / "capture/requests/2026-01-01/0.parquet").unlink()

    assert collect(store) == window
    assert len(rows(store, window)) == 3600


@pytest.mark.parametrize("kept", [None, 0, 1000])
def test_a_window_of_which_a_file_is_lost_is_written_again_by_the_command_that_the_error_names(
    store: str, kept: int | None
) -> None:
    window, later_one = collect(store), collect(store, Span(BEGIN + HOUR, BEGIN + 2 * HOUR))
    before = rows(store, window)
    [file] = Path(store, f"windows/uptake/window={window.key}").glob("*.parquet")
    file.unlink() if kept is None else file.write_bytes(file.read_bytes()[:kept])
    run, place = CliRunner(), ["--store", store]

    errors = [str(run.invoke(app, ["monitor", "windows", "uptake", *place]).exception)]
    with pytest.raises(DataError) as raised:
        window_table.of_request(open_store(store), "uptake", "0-0")
    with pytest.raises(DataError):
        rows(store, window)
    errors.append(str(raised.value))
    [command] = {one for error in errors for one in re.findall("`cd4ml (.*)`", error)}
    done = run.invoke(app, [*command.split(), "--capture", str(Path(store).parent / "capture"), *place])

    assert done.exit_code == 0, done.exception
    assert [(one.key, one.number) for one in known(store)] == [(window.key, 2), (later_one.key, 1)]
    assert rows(store, known(store)[0]).equals(before)
    assert run.invoke(app, ["monitor", "windows", "uptake", *place]).exit_code == 0
    assert collect(store) == known(store)[0]


def test_a_window_of_which_a_file_and_the_capture_are_lost_is_told(store: str, tmp_path: Path) -> None:
    window = collect(store)
    shutil.rmtree(Path(store, f"windows/uptake/window={window.key}"))
    (tmp_path / "capture/requests/2026-01-01/0.parquet").unlink()

    with pytest.raises(DataError, match=f"bring back windows/uptake/window={window.key}"):
        collect(store)


def test_a_window_that_is_not_over_is_refused(store: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)

    with pytest.raises(DataError, match="is not over yet"):
        collect(store, Span(now - HOUR, now))
    for span in ((now, now), (now, now - HOUR), (now - HOUR, now + timedelta(microseconds=1))):
        with pytest.raises(DataError):
            Span(*span)


def test_a_model_that_was_never_published_has_no_windows(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no version of uptake is published"):
        windows.collect(str(tmp_path / "store"), "uptake", FIRST, capture=str(tmp_path))


def test_what_was_captured_later_than_others_brings_new_features(store: str) -> None:
    collect(store)
    others = captures.captured(100, captures.Arms(), seed=1, unit=None)[0]
    at = [BEGIN + timedelta(days=1, seconds=second) for second in range(100)]
    write(store, "requests", captures.with_column(others, "at", at), "0", day="2026-01-02")

    day = collect(store, Span(BEGIN + timedelta(days=1), BEGIN + timedelta(days=1) + HOUR))

    assert day.features == ("region",)
    assert set(rows(store, day)["features"][0].as_py()) == {"gender", "region"}


def asked_of(features: dict[str, list[str]], begin: datetime, *, seed: int) -> pa.Table:
    """Two requests a second apart with the same features."""
    rows = captures.captured(2, captures.Arms(), seed=seed, unit=None)[0]
    rows = captures.with_column(rows, "at", [begin + timedelta(seconds=second) for second in range(2)])
    return captures.with_column(rows, "features", [json.dumps(features)] * 2)


def test_features_that_differ_by_case_alone_are_told_apart_within_a_window_and_in_later_ones(store: str) -> None:
    hours = [Span(BEGIN + place * HOUR, BEGIN + (place + 1) * HOUR) for place in range(3, 6)]
    write(store, "requests", asked_of({"region": ["north"]}, hours[0].begin, seed=1), "030001-a")
    write(store, "requests", asked_of({"region": ["a"], "Region": ["b"]}, hours[1].begin, seed=2), "040001-a")
    write(store, "requests", asked_of({"Region": ["South"], "REGION": ["5"]}, hours[2].begin, seed=3), "050001-a")

    first, both, last = (collect(store, span) for span in hours)

    def features(window: Window) -> dict[str, str]:
        given = rows(store, window)["features"][0].as_py()
        return {name: value for name, value in given.items() if value is not None}

    assert (both.features, last.features) == (("Region", "region"), ("REGION", "Region"))
    assert [features(one) for one in (first, both, last)] == [
        {"region": "north"},
        {"region": "a", "Region": "b"},
        {"Region": "South", "REGION": "5"},
    ]
    opened = open_store(store)
    found = window_table.of_features(opened, "uptake", {"Region": ["South"]})
    assert found["request_id"].to_pylist() == ["3-0", "3-1"]
    assert set(found["features"][0].as_py()) >= {"Region", "REGION"}
    by_key = pa.concat_tables(window_table.features(opened, "uptake", ["Region"]))
    assert sorted(one for one in by_key["0"].to_pylist() if one) == ["South", "South", "b", "b"]
    assert len(window_table.of_request(opened, "uptake", "2-0")) == 1


NAMES = st.lists(st.text(st.sampled_from("aAbBİi\u0307ß\u03a3\u03c2\x1f1"), max_size=3), max_size=6)


@settings(max_examples=100)
@given(NAMES, NAMES)
def test_no_two_features_are_called_the_same_but_for_case(before: list[str], now: list[str]) -> None:
    there = list(feature_names.stored(dict.fromkeys(before), []).values())
    found = feature_names.stored(dict.fromkeys(now), there)

    called = {*there, *found.values()}
    assert len({one.lower() for one in called}) == len(called) == len({*before, *now})
    assert {name: feature_names.captured(one) for name, one in found.items()} == {name: name for name in now}


def test_windows_are_due_until_their_labels_are_ripe(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = str(Path(store).parent / "capture")

    def due() -> list[Span]:
        return list(windows.due(open_store(store), "uptake", HOUR, capture=capture))

    def collect_due() -> list[str]:
        wanted = due()
        for span in wanted:
            collect(store, span)
        return [span.written[0][8:16] for span in wanted]

    later(monkeypatch, BEGIN + 2 * HOUR + timedelta(minutes=2))
    assert collect_due() == ["01T00:00", "01T01:00"]
    assert due() == []

    later(monkeypatch, BEGIN + 4 * HOUR + timedelta(minutes=2))
    assert collect_due() == ["01T02:00", "01T03:00", "01T00:00", "01T01:00"]  # the last two again, for labels may come
    assert due() == []

    later(monkeypatch, BEGIN + 40 * HOUR)
    collect_due()
    assert windows.delays(open_store(store), "uptake").ripe_after is not None
    later(monkeypatch, BEGIN + 100 * HOUR)
    assert min(collect_due()) > "02T12:00"  # those before were ripe when they were collected


def test_of_many_rows_some_tell_with_what_delay_labels_come(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for span in captures.spans(BEGIN, BEGIN + 2 * HOUR, HOUR):
        collect(store, span)
    every = windows.delays(open_store(store), "uptake")

    monkeypatch.setattr(windows, "SAMPLE", 1000)
    some = windows.delays(open_store(store), "uptake")

    assert every.labels > 6000
    assert 700 < some.labels < 1000
    assert some == replace(windows.delays(open_store(store), "uptake"), at=some.at)
    half = every.shares[len(every.shares) // 2]
    assert some.share(half.seconds).low <= half.value <= some.share(half.seconds).high


def test_feedback_is_read_once_for_several_windows_where_it_is_not_too_much(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = str(Path(store).parent / "capture")
    write(store, "feedback", fed("true"), "cut").write_bytes(b"PAR1")
    wanted = list(captures.spans(BEGIN, BEGIN + 2 * HOUR, HOUR / 2))
    read: list[datetime] = []
    labels = capture_files.CaptureFiles.labels

    def counted(files: capture_files.CaptureFiles, since: datetime) -> Any:
        read.append(since)
        return labels(files, since)

    monkeypatch.setattr(capture_files.CaptureFiles, "labels", counted)
    together = windows.feedback(open_store(store), "uptake", wanted, capture=capture)
    found = [collect(store, span, feedback=together) for span in wanted]
    assert read == [BEGIN - joined.CLOCKS]
    monkeypatch.setattr(capture_files, "MOST_KEPT", 1000)
    much = windows.feedback(open_store(store), "uptake", wanted, capture=capture)
    again = [collect(store, span, feedback=much) for span in wanted]

    assert again == found
    assert {one.unreadable for one in found} == {("feedback/2026-01-01/cut.parquet",)}
    assert [one.labelled for one in found[:2]] == [1800, 1800]
    assert len(read) == 1 + 1 + len(wanted)


def due(store: str, width: timedelta) -> list[tuple[str, str]]:
    """From when until when, by day and hour."""
    found = windows.due(open_store(store), "uptake", width, capture=str(Path(store).parent / "capture"))
    return [(begin[8:13], until[8:13]) for begin, until in (one.written for one in found)]


def test_no_time_is_lost_where_windows_become_wider(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(store)
    later(monkeypatch, BEGIN + 49 * HOUR)
    collect(store)

    assert due(store, 24 * HOUR) == [("01T01", "02T00"), ("02T00", "03T00")]
    assert due(store, 7 * 24 * HOUR) == []  # until 2026-01-08, a Thursday


def test_no_time_is_lost_before_the_first_window_nor_where_the_width_is_no_part_of_a_day(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, BEGIN + 10 * HOUR)
    assert due(store, 5 * HOUR) == [("01T00", "01T04"), ("01T04", "01T09")]  # multiples of five hours since 1970
    collect(store, Span(BEGIN + HOUR, BEGIN + 2 * HOUR))
    later(monkeypatch, BEGIN + 2 * HOUR + timedelta(minutes=2))

    assert due(store, HOUR) == [("01T00", "01T01")]


@given(
    st.sets(st.integers(0, 60), max_size=8).map(sorted),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(1, 20),
)
@settings(max_examples=50, deadline=None)
def test_all_time_is_of_one_window(edges: list[int], begin: int, until: int, width: int) -> None:
    minute = timedelta(minutes=1)
    known = [Span(BEGIN + a * minute, BEGIN + b * minute) for a, b in zip(edges[::2], edges[1::2], strict=False)]

    found = list(windows.laid(known, begin=BEGIN + begin * minute, until=BEGIN + until * minute, width=width * minute))

    assert all(one.until == after.begin for one, after in itertools.pairwise(found))
    assert all(one in known or one.until - one.begin <= width * minute for one in found)
    if begin < until:
        assert found[0].begin <= BEGIN + begin * minute
        assert found[-1].until >= BEGIN + until * minute


def collect_by_command(store: str, *options: str) -> Any:
    where = ["--capture", str(Path(store).parent / "capture"), "--store", store]
    return CliRunner().invoke(app, ["monitor", "collect", "uptake", *options, *where])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--until", "2026-01-02"), "--until: nothing says from when; name --since too"),
        (("--since", "2026-01-05", "--until", "2026-01-02"), "until: 2026-01-02T00:00:00+00:00 is not after"),
        (
            ("--since", "2026-01-03", "--until", "2026-01-10", "--every", "7 days"),
            "since: 2026-01-03T00:00:00+00:00 is within the window from 2026-01-01T00:00:00+00:00 until "
            "2026-01-08T00:00:00+00:00, for windows of 7 days end at multiples of that since 1970, UTC",
        ),
        (("--since", "2026-01-01T08:30", "--every", "1 day"), "is within the window from 2026-01-01T00:00:00+00:00"),
        (
            ("--since", "2026-01-01", "--until", "2026-01-03", "--every", "7 days"),
            "since: the window from 2026-01-01T00:00:00+00:00 is over at 2026-01-08T00:00:00+00:00",
        ),
        (("--since", "2025-12-31T23:00", "--until", "2026-01-01T01:00"), "before 2026-01-01; name that, or a later"),
    ],
)
def test_moments_of_which_no_window_is_are_told_with_the_nearest(
    store: str, options: tuple[str, ...], said: str
) -> None:
    done = collect_by_command(store, *options)

    assert done.exit_code == 1
    assert said in str(done.exception)
    assert known(store) == []


def test_windows_that_are_named_stay_as_wide_as_they_were_collected(store: str) -> None:
    collect(store)

    done = collect_by_command(store, "--since", "2026-01-01", "--until", "2026-01-02", "--every", "1 day")

    assert (done.exit_code, done.exception) == (0, None)
    assert [(one.begin[8:13], one.until[8:13]) for one in known(store)] == [("01T00", "01T01"), ("01T01", "02T00")]


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "0206-01-01", "2206-01-01"])
@pytest.mark.parametrize(
    "words",
    [
        ["monitor", "collect", "uptake", "--since"],
        ["trace", "r1", "--at"],
        ["labels", "next", "uptake", "x.csv", "--since"],
    ],
)
def test_a_year_that_nobody_means_is_told(store: str, words: list[str], text: str) -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, text, "--store", store])

    assert done.exit_code != 0
    assert f"{text!r} is no time from 1970 until 2199; see whether the year is right" in done.output + str(
        done.exception
    )


def test_a_first_moment_long_before_all_that_is_captured_is_told_before_windows_are_laid(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = str(captures.write(tmp_path / "capture", 10))
    laid = windows.laid

    def counting(*given: Any, **named: Any) -> Iterator[Span]:
        for number, one in enumerate(laid(*given, **named)):
            assert number < 2
            yield one

    monkeypatch.setattr(windows, "laid", counting)

    done = CliRunner().invoke(
        app, ["monitor", "collect", "uptake", "--since", "1970-01-01", "--capture", capture, "--store", store]
    )

    assert str(done.exception).endswith("before 2026-01-01; name that, or a later moment")


def test_a_model_that_is_not_published_and_a_capture_that_is_not_there_are_told(store: str, tmp_path: Path) -> None:
    run = CliRunner()
    typo = run.invoke(app, ["monitor", "run", "uptaek", "--store", store, "--runs", str(tmp_path / "runs")])
    empty = ["--since", "2026-01-01", "--capture", str(tmp_path / "none"), "--store", store]
    nothing = run.invoke(app, ["monitor", "collect", "uptake", *empty])

    assert (typo.exit_code, nothing.exit_code) == (1, 1)
    assert "no version of uptaek is published; did you mean 'uptake'?" in str(typo.exception)
    assert f"nothing is captured at {tmp_path / 'none'}; see whether the model is asked" in str(nothing.exception)
    assert known(store) == []


def test_the_command_collects_and_lists(store: str) -> None:
    run = CliRunner()
    capture = str(Path(store).parent / "capture")

    times = ["--since", "2026-01-01", "--until", "2026-01-01T03:00Z"]
    done = run.invoke(app, ["monitor", "collect", "uptake", *times, "--capture", capture, "--store", store])
    listed = run.invoke(app, ["monitor", "windows", "uptake", "--store", store])
    nothing = run.invoke(
        app, ["monitor", "collect", "uptake", "--store", store]
    )  # nothing was captured on this machine

    assert (done.exit_code, listed.exit_code) == (0, 0), done.exception
    assert "2026-01-01 00:00 3,600 rows, 100% labelled" in done.output
    assert "2026-01-01 02:00 no requests" in done.output
    assert "2026-01-01 00:00" in listed.output
    assert f"none is due; nothing is captured at {Path(store) / '.serving/uptake/capture'}" in nothing.output


def test_the_page_takes_the_rows_of_a_person_out_of_the_windows(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    window = collect(store)
    before = set(rows(store, window)["request_id"].to_pylist())
    monkeypatch.chdir(Path(store).parent)
    page = (Path(__file__).parents[2] / "docs/admin.md").read_text()
    [code] = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "vacuum" in one]

    exec(code, {})

    erased = {"0-17", "0-18"}
    assert set(rows(store, window)["request_id"].to_pylist()) == before - erased
    assert known(store) == [window]
    for file in Path(store, "windows").rglob("*.parquet"):
        assert not erased & set(pq.ParquetFile(file).read(["request_id"])["request_id"].to_pylist())


def test_the_page_reads_the_windows(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(store)
    monkeypatch.chdir(Path(store).parent)
    page = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    [code] = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "window_table" in one]

    exec(code, {})

    assert capsys.readouterr().out == "2026-01-01T00:00:00+00:00 3,600 rows, 100% labelled 3600\n"
