"""Monitoring on one machine: from what a router captured to a verdict, an alert, and a person who knows of it."""

import captures
import pytest
from workplace import Workplace

from cd4ml.monitoring import alerts, monitored
from cd4ml.storage import open_store


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """With `uptake`, whose limits nobody knows, and what a router captured of it in two hours."""
    place = Workplace(tmp_path_factory.mktemp("asked"))
    captures.publish(place.folder / "store")
    captures.write_labelled(place.folder / "capture", 7200)
    return place


def test_what_fails_is_told_until_somebody_knows_of_it(asked: Workplace) -> None:
    store = open_store(asked.folder / "store")
    words = ("monitor", "run", "uptake", "--capture", "capture", "--every", "2 hours")
    span = ("--since", "2026-01-01", "--until", "2026-01-01T02:00")

    failed = asked.run(*words, *span)

    assert failed.code == 1, failed.output
    assert failed.states() == {
        "Collect window": "passed",
        "Compare window": "passed",
        "Measure window": "passed",
        "Check window": "failed",
    }
    page = (failed.folder / "index.html").read_text()
    assert page.count("<iframe") == 2
    assert "uptake: what differs from training" in page
    assert "uptake: how right it is" in page
    [standing] = alerts.known(store, "uptake").alerts.standing
    assert standing.check == "limits"
    assert f"{standing.id}: " in failed.output
    [judged] = monitored.every(store, "uptake")
    assert judged.drift
    assert judged.quality
    assert (judged.window.rows, judged.window.key) == (7200, "20260101T000000Z-20260101T020000Z")

    known = asked.run("monitor", "acknowledge", "uptake", "limits", "--by", "A", "--reason", "they are written soon")
    assert known.code == 0, known.output
    listed = asked.run("monitor", "alerts", "uptake")
    assert "A: they are written soon" in listed.output
