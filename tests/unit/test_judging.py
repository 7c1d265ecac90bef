"""The gate of monitoring: what fails and nobody knows of ends the run, and each window is kept as it was judged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from measured import VERSION

from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import VersionDrift, WindowDrift
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.errors import DocumentError, GateError
from cd4ml.monitoring import alerts, handed, judging, monitored
from cd4ml.monitoring.judging import Outcomes
from cd4ml.registry import clock
from cd4ml.storage import open_store

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PASSED, FAILED, ERROR, OPEN = Outcome.PASSED, Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE


def of_drift(window: Window, checks: tuple[Check, ...]) -> WindowDrift:
    version = VersionDrift("1", 500, 0, {}, 500, 500, 500)
    return WindowDrift("uptake", window.key, window.number, 0.01, (version,), checks)


def of_quality(window: Window, checks: tuple[Check, ...]) -> WindowQuality:
    version = replace(VERSION, digest="sha256:m", checks=checks)
    return WindowQuality("uptake", window.key, window.number, False, "", 0.05, (version,))


class Place:
    """A store, and what the tasks before the gate hand on to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.apart: dict[str, int] = {}
        self.store = open_store(folder / "store")

    def check(self, *windows: dict[str, Outcome], first: int = 0, **others: Any) -> Outcomes:
        """Judges windows of an hour, each with outcomes by check; what begins as those of drift is of drift."""
        self.runs += 1
        run = self.folder / str(self.runs)
        (run / "windows").mkdir(parents=True, exist_ok=True)
        for hour, outcomes in enumerate(windows, first):
            begin, until = (clock.written(BEGIN + timedelta(hours=one)) for one in (hour, hour + 1))
            part = Part("only", "1", False, 500, begin, until, {"200": 500}, {}, 500, 0)
            window = Window("uptake", begin, until, self.runs, "sha256:w", (part,), self.apart, 0, ("cut.parquet",))
            window.write(run / "windows" / window.key / "window.json")
            checks = [Check(name, "at least 0.7", 0.6, one, f"{name} is 0.6, why") for name, one in outcomes.items()]
            drift = tuple(one for one in checks if one.name.startswith(("drift", "errors", "flood")))
            of_drift(window, drift).write(run / "drift" / f"{window.key}.json")
            quality = tuple(one for one in checks if one not in drift)
            of_quality(window, quality).write(run / "quality" / f"{window.key}.json")
        return judging.check(
            run / "windows",
            drift=run / "drift",
            quality=run / "quality",
            model="uptake",
            store=str(self.folder / "store"),
            output=run / "verdict.json",
            **others,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_verdict_tells_of_labels_that_are_of_no_row_and_passes(place: Place) -> None:
    place.apart = {"other_type": 1019, "twice": 3, "early": 0}

    found = place.check({"auc": PASSED})

    told = [one for one in found.verdict.warnings if "kept apart" in one]
    assert [one.partition(": ")[2].partition(";")[0] for one in told] == [
        "1,019 labels kept apart: no class of the model, or no number"
    ]
    found.raise_if_failed()


def test_windows_are_kept_as_they_were_judged_with_what_was_found(place: Place) -> None:
    found = place.check({"auc": PASSED, "drift of age": PASSED}, {"auc": OPEN})

    first, second = monitored.every(place.store, "uptake")
    assert [check.name for check in first.verdict.checks] == ["drift of age", "auc"]
    assert first.drift == of_drift(first.window, first.verdict.checks[:1])
    assert first.quality == of_quality(first.window, first.verdict.checks[1:])
    assert second.verdict.warnings == ("cut.parquet: cut off, or no file of a capture; its rows are left out",)
    assert found.headline == "2 windows judged, no alerts"
    found.raise_if_failed()


def test_what_fails_ends_the_run_in_plain_words(place: Place) -> None:
    found = place.check({"auc": FAILED, "drift of age": PASSED, "limits": ERROR})

    with pytest.raises(GateError) as refused:
        found.raise_if_failed()
    first, second, third, know = str(refused.value).splitlines()
    assert first == "check_window: 2 alerts of uptake"
    ids = [one.id for one in found.standing]
    assert second == (
        f"  - {ids[0]}: auc is 0.6, why (since 2026-01-01T00:00:00Z, 500 rows predicted in 1 window; 0.6)"
    )
    assert third.startswith(f"  - {ids[1]}: limits is 0.6")
    assert know == "`cd4ml monitor acknowledge uptake ALERT` says that somebody knows"
    assert not found.metadata["passed"]


def test_a_window_that_was_not_compared_is_not_as_in_training_and_is_told_of(place: Place) -> None:
    skipped, some = Outcome.SKIPPED, {"drift of age in version 1": PASSED}
    nothing = {"drift of inputs in version 1": skipped, "drift of predictions in version 1": skipped}

    found = place.check({**nothing, "errors in version 1": PASSED, "flood of one caller": PASSED}, {**nothing, **some})

    why = "not compared in version 1: drift of inputs in version 1 is 0.6, why"
    assert [one for one in found.verdict.warnings if "compared" in one] == [
        f"the window from 2026-01-01T00:00:00+00:00: {why}"
    ]
    assert [one.drift.headline for one in monitored.every(place.store, "uptake")] == [why, "as in training"]
    found.raise_if_failed()


def test_what_cannot_be_told_ends_no_run_and_is_said(place: Place) -> None:
    found = place.check({"auc": OPEN})

    found.raise_if_failed()
    assert "auc is 0.6, why" in found.verdict.warnings
    assert Verdict.read(place.folder / "1" / "verdict.json") == found.verdict


def test_an_acknowledged_alert_ends_no_run_and_is_said(place: Place) -> None:
    place.check({"auc": FAILED})
    alerts.acknowledge(place.store, "uptake", "auc", by="A", reason="the source is late")

    found = place.check({"auc": FAILED}, first=1)

    found.raise_if_failed()
    assert found.headline == "1 window judged, 1 alert"
    assert any("A knows of it: the source is late" in one for one in found.verdict.warnings)


def test_a_window_that_failed_before_one_that_passed_ends_no_run(place: Place) -> None:
    found = place.check({"auc": FAILED}, {"auc": PASSED})

    found.raise_if_failed()
    assert [check.name for check in found.verdict.checks] == [
        "auc from 2026-01-01T00:00:00+00:00",
        "auc from 2026-01-01T01:00:00+00:00",
    ]


def test_a_run_with_nothing_to_judge_says_what_stands_and_passes(place: Place) -> None:
    place.check({"auc": FAILED})

    found = place.check()

    found.raise_if_failed()
    assert found.headline == "no window is due, 1 alert"


def test_a_receiver_that_is_down_ends_no_run_and_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cd4ml.monitoring.receivers.WAITS", ())

    found = place.check({"auc": FAILED}, tell={"alertmanager": "http://127.0.0.1:9", "webhook": ""})

    assert "alertmanager: 127.0.0.1:9 does not answer (ConnectError)" in found.verdict.warnings[-1]


def test_a_window_that_could_not_be_collected_fails_the_run_and_others_are_judged(place: Place) -> None:
    check = Check("collected from then", "it can be collected", None, ERROR, "the window from then is too large")
    handed.tell(place.folder / "1" / "windows", [check], ["requests/1abc: no day"])

    found = place.check({"auc": PASSED})

    assert found.headline == "1 window judged, 1 window could not be collected, no alerts"
    assert [one.outcome for one in found.verdict.checks] == [PASSED, ERROR]
    assert "requests/1abc: no day" in found.verdict.warnings
    assert not found.metadata["passed"]
    with pytest.raises(GateError, match="1 window could not be collected\n  - the window from then is too large"):
        found.raise_if_failed()


def test_what_was_found_of_a_window_must_be_there(place: Place) -> None:
    window = place.folder / "windows" / "k"
    Window("uptake", "a", "b", 1, "sha256:w", (), {}, 0).write(window / "window.json")

    with pytest.raises(DocumentError, match=r"drift/k.json: cannot be read .*; compare the window again"):
        judging.check(
            place.folder / "windows",
            drift=place.folder / "drift",
            quality=place.folder / "quality",
            model="uptake",
            store=str(place.folder / "store"),
            output=place.folder / "verdict.json",
        )
