"""What a server keeps is written beside its answers, has a bound, and is collected as any capture."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import captures
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.contracts import captured
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.errors import EnvironmentSetupError
from cd4ml.monitoring import window_table, windows
from cd4ml.monitoring.windows import Span
from cd4ml.serving import capture, closed_hours
from cd4ml.serving.capture import Answered, Capture, Told
from cd4ml.serving.chance import drawn
from cd4ml.storage import open_store

HOUR = timedelta(hours=1)
AT = int(captures.BEGIN.timestamp() * 1_000_000)


def answered(request_id: str, at: int = AT, predictions: Sequence[float] = (0.25,)) -> Answered:
    return Answered(
        at=at,
        request_id=request_id,
        arm="version-2",
        version="2",
        propensity=1.0,
        mirrored=False,
        unit=None,
        status=200,
        latency_ms=1.5,
        lookup_ms=None,
        features='{"gender":["male"]}',
        outputs=["probability"],
        predictions=predictions,
    )


def rows(folder: Path) -> list[str]:
    return captured.requests(folder).to_table()["request_id"].to_pylist()


def test_rows_have_the_names_of_the_tables() -> None:
    assert list(Answered._fields) == REQUESTS.names
    assert list(Told._fields) == FEEDBACK.names


def test_what_is_written_is_what_was_kept(tmp_path: Path) -> None:
    kept = Capture(str(tmp_path), 5, days=90)
    for number in range(capture.TOGETHER + 1):
        kept.requests.add(answered(f"{number}", AT + number))
    late = answered("late")._replace(features=lambda: '{"gender":["female"]}', predictions=lambda: [0.5, 0.75])
    kept.requests.add(late)
    kept.feedback.add(Told(AT, "0", None, ["true"]))

    asyncio.run(kept.close())

    table = captured.requests(tmp_path).to_table().sort_by("at")
    assert sorted(table["request_id"].to_pylist()) == sorted([*map(str, range(capture.TOGETHER + 1)), "late"])
    [row] = [one for one in table.to_pylist() if one["request_id"] == "late"]
    assert (row["features"], row["predictions"]) == ('{"gender":["female"]}', [0.5, 0.75])
    assert row["at"] == captures.BEGIN
    [told] = captured.feedback(tmp_path).to_table().to_pylist()
    assert (told["request_id"], told["reward"], told["labels"]) == ("0", None, ["true"])


def test_what_has_no_room_is_counted_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture, "MOST_ROWS", 10)
    kept = Capture(str(tmp_path), 5, days=90)
    for number in range(15):
        kept.requests.add(answered(f"{number}"))
    kept.feedback.add(Told(AT, "0", 1.0, None), capture.MOST_BYTES + 1)

    asyncio.run(kept.close())

    assert kept.lost == 6
    assert rows(tmp_path) == [f"{number}" for number in range(10)]
    assert caplog.text.count("requests: no room for more rows") == 1
    assert caplog.text.count("feedback: no room for more rows") == 1


@pytest.mark.parametrize(("size", "rows_at_most"), [(capture.MOST_BYTES, 100), (1, 1)])
def test_what_is_on_its_way_takes_room_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, rows_at_most: int
) -> None:
    kept, free = Capture(str(tmp_path), 5, days=90), []
    write = capture.arrow.write

    def slow(*about: object) -> None:
        while not free:
            time.sleep(0.01)
        write(*about)  # type: ignore[arg-type]

    async def fill() -> list[int]:
        kept.requests.add(answered("large"), size)
        writing = asyncio.create_task(kept.requests.write())
        await asyncio.sleep(0.05)
        assert not kept.requests.add(answered("no room"), 1)
        lost = [kept.lost]
        free.append(True)
        await writing
        assert kept.requests.add(answered("room"), 1)
        await kept.close()
        return [*lost, kept.lost]

    monkeypatch.setattr(capture.arrow, "write", slow)
    monkeypatch.setattr(capture, "MOST_ROWS", rows_at_most)

    assert asyncio.run(fill()) == [1, 1]
    assert sorted(rows(tmp_path)) == ["large", "room"]


def test_a_row_that_cannot_be_written_is_lost_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Capture(str(tmp_path), 5, days=90)

    async def fill() -> None:
        kept.requests.add(answered("secret")._replace(latency_ms="Jane Roe"))  # type: ignore[arg-type]
        await kept.requests.write()
        kept.requests.add(answered("good"))
        await kept.close()

    asyncio.run(fill())

    assert (kept.lost, rows(tmp_path)) == (1, ["good"])
    assert "1 rows cannot be written" in caplog.text
    assert "Jane" not in caplog.text


def test_a_part_of_a_row_that_cannot_be_made_is_left_out_and_costs_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> str:
        raise TypeError("Jane Roe")

    kept = Capture(str(tmp_path), 5, days=90)
    for number in range(capture.TOGETHER + 1):
        kept.requests.add(answered(f"{number}"))
    kept.requests.add(answered("bad")._replace(features=fails, predictions=lambda: [0.5]))

    asyncio.run(kept.close())

    found = {row["request_id"]: row for row in captured.requests(tmp_path).to_table().to_pylist()}
    assert (len(found), kept.lost) == (capture.TOGETHER + 2, 0)
    assert (found["bad"]["features"], found["bad"]["predictions"]) == (None, [0.5])
    assert "a part of a row cannot be made (TypeError)" in caplog.text
    assert "Jane" not in caplog.text


def test_rows_that_are_being_written_as_the_server_ends_are_there(tmp_path: Path) -> None:
    kept = Capture(str(tmp_path), 0.01, days=90)

    async def serve() -> None:
        keeping = asyncio.create_task(kept.keep())
        for number in range(500):
            kept.requests.add(answered(f"{number}"))
            if number % 50 == 0:
                await asyncio.sleep(0.005)
        keeping.cancel()
        await kept.close()

    asyncio.run(serve())

    assert sorted(rows(tmp_path)) == sorted(map(str, range(500)))
    assert kept.lost == 0


def test_files_that_cannot_be_merged_end_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("not as the table has it")

    kept = Capture(str(tmp_path), 5, days=90)
    monkeypatch.setattr(closed_hours, "tidy", fails)

    async def serve() -> bool:
        keeping = asyncio.create_task(kept.keep())
        await asyncio.sleep(0.1)
        ended = keeping.done()
        keeping.cancel()
        return ended

    assert not asyncio.run(serve())
    assert "cannot be merged or removed (not as the table has it)" in caplog.text


HANGS = """
import asyncio, logging, sys, time
from cd4ml.serving import capture
from cd4ml.serving.capture import Answered, Capture
logging.basicConfig()
capture.END_SECONDS = capture.LEAST_SECONDS = 0.3
capture.arrow.write = lambda *_: time.sleep(600)
kept = Capture(sys.argv[1], 5, days=90)
kept.requests.add(Answered(*[None] * len(Answered._fields)))
asyncio.run(kept.close())
"""


def test_a_store_that_hangs_keeps_no_server_from_ending(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGS, tmp_path], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 0
    assert "requests: was not written in time" in done.stderr.replace(str(tmp_path), "requests")
    assert time.monotonic() - began < 20


def test_several_servers_write_files_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        kept = Capture(str(tmp_path), 5, days=90)
        kept.requests.add(answered(f"{number}"))
        asyncio.run(kept.close())

    assert sorted(rows(tmp_path)) == ["0", "1", "2"]
    assert len(list(tmp_path.glob("requests/*/*.parquet"))) == 3


@pytest.mark.parametrize("given", ["much", "-1", "1.5", "nan"])
def test_a_share_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CAPTURE_SHARE", given)

    with pytest.raises(EnvironmentSetupError, match=f"CAPTURE_SHARE: '{given}' is not a number from 0 to 1"):
        capture.number("CAPTURE_SHARE", 1, least=0, most=1)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_chance_draws_of_an_id_the_same_number_for_ever(one: str) -> None:
    assert 0 < drawn(one) <= 1
    assert drawn(one) == drawn(one)


def test_as_many_ids_are_drawn_as_a_share_says() -> None:
    count = sum(drawn(f"captured\0{number}") <= 0.1 for number in range(20_000))

    assert abs(count - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5


def test_what_a_model_server_kept_gives_its_window(tmp_path: Path) -> None:
    captures.publish(tmp_path / "store")
    store = open_store(tmp_path / "store")
    kept = Capture(store.uri("captures/uptake"), 5, days=90)
    for number in range(10):
        kept.requests.add(answered(f"{number}", AT + number * 1_000_000))
    kept.feedback.add(Told(AT + 60_000_000, "3", None, ["true"]))
    kept.feedback.add(Told(AT + 60_000_000, "nobody's", None, ["true"]))
    asyncio.run(kept.close())
    _of_the_day(tmp_path / "store/captures/uptake")

    window = windows.collect(store.location, "uptake", Span(captures.BEGIN, captures.BEGIN + HOUR))

    [part] = window.parts
    assert (part.arm, part.version, part.mirrored) == ("version-2", "2", False)
    assert (part.requests, part.rows, part.labelled) == (10, 10, 1)
    found = window_table.rows(store, window)
    assert found["propensity"].to_pylist() == [1.0] * 10
    assert found["features"].combine_chunks().field("gender").to_pylist() == ["male"] * 10
    assert found.filter(pa.compute.field("request_id") == "3")["label"].to_pylist() == ["true"]


def _of_the_day(folder: Path) -> None:
    """Puts files where those of the requests' time lie, which were not written then."""
    for day in list(folder.glob("*/*")):
        for file in list(day.iterdir()):
            file.rename(file.with_name(f"000500-{file.name.partition('-')[2]}"))
        day.rename(day.with_name(captured.day(captures.BEGIN)))
