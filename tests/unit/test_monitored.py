"""Judgements of windows in the store: each whole, the last one of a window counts, and none is kept twice."""

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from s3_server import S3Server

from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Window
from cd4ml.errors import DocumentError
from cd4ml.monitoring import monitored
from cd4ml.monitoring.monitored import Judged
from cd4ml.registry import clock
from cd4ml.storage import Store, open_store

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "store")
    request.getfixturevalue("s3")
    return open_store("s3://cd4ml")


def judged(hour: int = 0, *, number: int = 1, outcome: Outcome = Outcome.PASSED) -> Judged:
    """A window of an hour, held against one limit."""
    begin, until = (clock.written(BEGIN + timedelta(hours=one)) for one in (hour, hour + 1))
    window = Window("uptake", begin, until, number, "sha256:w", parts=(), apart={}, repeated=0)
    check = Check("auc", "at least 0.7", 0.8, outcome, "auc is 0.8")
    return Judged(window, Verdict("check_window", {"window": window.digest}, (check,)))


def test_windows_are_read_as_they_were_judged_the_earliest_first(store: Store) -> None:
    windows = [judged(hour) for hour in (10, 2, 0)]

    assert [monitored.keep(store, one) for one in windows] == [True, True, True]
    assert monitored.every(store, "uptake") == windows[::-1]
    assert monitored.every(store, "uptake", last=2) == windows[1::-1]
    assert monitored.every(store, "other") == []


def test_a_window_that_is_judged_alike_is_kept_once(store: Store) -> None:
    monitored.keep(store, judged())

    assert not monitored.keep(store, judged())
    assert store.children(f"monitored/uptake/{judged().window.key}") == ["1"]


def test_the_last_judgement_of_a_window_counts(store: Store) -> None:
    changes = [judged(), judged(number=2), judged(number=2, outcome=Outcome.FAILED)]
    for one in [*changes, judged(1)]:
        monitored.keep(store, one)

    assert monitored.every(store, "uptake") == [changes[-1], judged(1)]
    assert store.children(f"monitored/uptake/{judged().window.key}") == ["1", "2", "3"]


def test_of_many_judgements_at_once_none_is_lost(store: Store) -> None:
    outcomes = [Outcome.PASSED, Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE]
    threads = [threading.Thread(target=monitored.keep, args=(store, judged(outcome=one))) for one in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    folder = f"monitored/uptake/{judged().window.key}"
    kept = {store.read(f"{folder}/{number}/verdict.json") for number in store.children(folder)}
    assert kept == {judged(outcome=one).verdict.text for one in outcomes}


def test_a_judgement_whose_writer_was_killed_is_none_and_keeps_its_number(s3: S3Server) -> None:
    store, folder = open_store("s3://cd4ml"), f"monitored/uptake/{judged().window.key}"
    s3.objects |= {f"{folder}/1/.writer": b"killed", f"{folder}/1/window.json": judged().window.text.encode()}
    assert monitored.every(store, "uptake") == []

    assert monitored.keep(store, judged())

    assert monitored.every(store, "uptake") == [judged()]
    assert store.children(folder) == ["2"]


def test_a_judgement_that_cannot_be_read_is_told(store: Store) -> None:
    one = judged()
    store.add_folder(f"monitored/uptake/{one.window.key}/1", {"window.json": "{", "verdict.json": one.verdict.text})

    with pytest.raises(DocumentError, match=r"20260101T000000Z-20260101T010000Z/1/window.json: not a cd4ml/Window"):
        monitored.every(store, "uptake")


def test_models_are_told_apart(store: Store) -> None:
    other = replace(judged(), window=replace(judged().window, model="upta"))
    monitored.keep(store, judged())
    monitored.keep(store, other)

    assert (monitored.every(store, "uptake"), monitored.every(store, "upta")) == ([judged()], [other])


def test_the_page_reads_the_judgements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monitored.keep(open_store(tmp_path / "store"), judged())
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    [code] = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "monitored" in one]

    exec(code, {})

    assert capsys.readouterr().out == "2026-01-01T00:00:00+00:00 1 of 1 limits kept\n"
