"""The page of what production does: every picture has what the windows say, whatever of it is missing."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import captures
import pytest
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.delays import Delays, Share
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.drift import Change, Comparison
from cd4ml.contracts.evaluation import Fairness, Slice
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.retraining import Decided, Reason
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import VersionDrift, WindowDrift
from cd4ml.contracts.window_quality import Estimate, Labelling, Reliance, VersionQuality, WindowQuality
from cd4ml.errors import DataError
from cd4ml.monitoring import alerts, monitored, production_page, windows
from cd4ml.monitoring.monitored import Judged
from cd4ml.registry import clock, deployments, retrainings
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

DAYS = 30
DRIFTS, RIPE = 20, 25
"""From which day on the age drifts, and until which labels are ripe."""

LIMITS = {"auc": {"min": 0.7}, "fairness": {"gender": {"true_positive_rate": {"max_gap": 0.15}}}}


@pytest.fixture
def store(tmp_path: Path) -> str:
    """With thirty judged days of `uptake`, of which the last ten drift; version 2 has answered since the day 10."""
    location = str(captures.publish(tmp_path / "store", model_limits=LIMITS))
    for number in (1, 2):
        data = DatasetReference("players", 0, "sha256:d")
        version = Version("uptake", number, f"sha256:{number}", "2026-01-01", "run", "", data)
        begun = deployments.begin(open_store(location), version, run="run", target="machine", strategy="direct")
        deployments.add(open_store(location), begun, Held("http://localhost", clock.now()))
    for day in range(DAYS):
        monitored.keep(open_store(location), judged(day))
    alerts.look(open_store(location), "uptake")
    decided = Decided(
        "uptake", 2, "sha256:r", 30, "", "", (Reason("drift", True, "drift failed"),), (), None, clock.now()
    )
    retrainings.decide(open_store(location), [], decided)
    return location


def judged(day: int) -> Judged:
    begin, until = (clock.written(captures.BEGIN + timedelta(days=day + end)) for end in (0, 1))
    version = "1" if day < 10 else "2"
    latency, lookup = {"p50": 2, "p95": 5}, {"p50": 7, "p95": 9} if day else {}
    part = Part("blue", version, False, 1000 + day, begin, begin, {"200": 990, "500": 10}, latency, 1000, 800, lookup)
    window = Window("uptake", begin, until, 1, "sha256:w", (part,), {}, 0, at=until)
    drift, quality = drift_of(window, version, day), quality_of(window, version, day)
    return Judged(window, Verdict("check_window", {}, (*drift.checks, *quality.checks)), drift, quality)


def drift_of(window: Window, version: str, day: int) -> WindowDrift:
    drifts = day >= DRIFTS
    change = Change("age", 0.4 if drifts else 0.01, {}, 0.0001 if drifts else 0.9, "age is older" if drifts else "")
    compared = Comparison("requests", "train of version 0", (1000, 1000), (1000, 1000), (change,), None, {})
    found = VersionDrift(version, 1000, 10, {}, 1000, 1000, 1000, "train of version 0", inputs=compared)
    outcome = Outcome.FAILED if drifts else Outcome.PASSED
    check = Check("drift of age", "as in training", change.effect, outcome, "age is older <b>")
    return WindowDrift("uptake", window.key, 1, 0.01, (found,), (check,))


def quality_of(window: Window, version: str, day: int) -> WindowQuality:
    ripe = day < RIPE
    auc = 0.8 - 0.002 * day
    overall = Slice("candidate", "overall", {}, 800, {"auc": auc}, {"auc": (auc - 0.02, auc + 0.02)})
    gap = Fairness(
        "candidate", "gender", "true_positive_rate", 0.5, 0.6, 0.12, (0.1, 0.14), None, None, "female", "male", {}, ()
    )
    outcome = Outcome.PASSED if ripe else Outcome.INCONCLUSIVE
    found = VersionQuality(
        version=version,
        digest=f"sha256:{version}",
        problem_name="binary",
        arms=("blue",),
        rows=1000,
        labelled=800 if ripe else 300,
        strange=0,
        thresholds=(0.5,),
        slices=(overall,),
        fairness=(gap,),
        moved=(),
        estimates=(Estimate("overall", "auc", auc + 0.01, (auc - 0.01, auc + 0.03), was=auc if ripe else None),),
        reliance=Reliance(Outcome.PASSED, 3, 0, "held"),
        labelling=Labelling(outcome, 800 if ripe else 300, "as they came"),
        limits_digest="",
        checks=(Check("auc on overall", "at least 0.7", auc, outcome, "auc"),),
    )
    return WindowQuality("uptake", window.key, 1, ripe, "", 0.05, (found,))


def page_of(store: str) -> str:
    return production_page.text(open_store(store), "uptake")


def card(text: str, title: str) -> str:
    return next(one for one in text.split('<div class="card">') if f"<h2>{title}</h2>" in one)


def test_quality_is_drawn_by_version_measured_and_estimated(store: str) -> None:
    drawn = card(page_of(store), "AUC by window")

    assert re.findall(r'class="key([^"]*)"[^>]*>([^<]*)<', drawn) == [
        ("", "version 1"),
        (" hollow", "version 1, estimated"),
        ("", "version 2"),
        (" hollow", "version 2, estimated"),
    ]
    assert drawn.count("<circle") == RIPE + DAYS
    assert "at least 0.7<" in drawn
    assert "2026-01-26T00:00: estimated 0.76" in drawn
    assert "2026-01-03T00:00: 0.796 of 800 labelled rows, version 1" in drawn


def test_gaps_traffic_and_latency_are_drawn(store: str) -> None:
    text = page_of(store)

    gaps = card(text, "Gaps between groups by window")
    assert gaps.count("<circle") == RIPE  # labels that are not ripe tell of no gap, as of no AUC
    assert "at most 0.15<" in gaps
    assert re.findall(r'class="key"[^>]*>([^<]*)<', gaps) == [
        "version 1: true_positive_rate at 0.5 by gender",
        "version 2: true_positive_rate at 0.5 by gender",
    ]
    assert "1,029 requests, 10 errors" in card(text, "Requests by window")
    assert card(text, "Latency by window, ms").count("<circle") == 2 * DAYS
    assert card(text, "Look-up of features by window, ms").count("<circle") == 2 * (DAYS - 1)


def test_shares_of_labels_are_drawn_as_shares(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = tuple(Share(86400.0 * day, day / 5, max(0.0, day / 5 - 0.1), min(1.0, day / 5 + 0.1)) for day in range(6))
    known = Delays("2026-02-01T00:00:00+00:00", 500, 86400.0 * 5, shares, None)
    monkeypatch.setattr(windows, "delays", lambda *_: known)

    drawn = card(page_of(store), "When labels come")

    upwards = re.findall(r'text-anchor="end">([^<]*)<', drawn)
    assert upwards == ["0%", "20%", "40%", "60%", "80%", "100%", "days after the request"]


def test_drift_is_shown_by_column_and_window(store: str) -> None:
    drawn = card(page_of(store), "Drift by column and window")

    assert drawn.count('class="told"') == DAYS - DRIFTS
    assert "age is older" in drawn


def test_alerts_decisions_and_deployments_are_on_one_time_line(store: str) -> None:
    text = page_of(store)

    happened = card(text, "What happened")
    words = set(re.findall(r'class="badge [^"]*">(\w+)<', happened))
    assert {"published", "begun", "held", "fired", "decided"} <= words
    assert "to train again? yes: drift failed" in happened
    assert "age is older &lt;b&gt;" in text
    assert "age is older <b>" not in text


def test_windows_of_which_little_is_known_are_shown(tmp_path: Path) -> None:
    location = str(captures.publish(tmp_path / "store", model_limits=LIMITS))
    one = judged(0)
    empty = replace(one.window, parts=())
    monitored.keep(open_store(location), Judged(empty, Verdict("check_window", {}, ())))

    text = page_of(location)

    assert "No alert stands" in text
    assert "AUC by window" not in text


def test_a_model_that_nobody_watched_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no window of uptake was judged"):
        page_of(str(captures.publish(tmp_path / "store", model_limits=LIMITS)))


def test_the_command_writes_one_file_that_needs_no_other(store: str, tmp_path: Path) -> None:
    file = tmp_path / "uptake.html"

    done: Any = CliRunner().invoke(app, ["monitor", "page", "uptake", "--html", str(file), "--store", store])

    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text)
    assert datetime.fromisoformat(re.findall(r'datetime="([^"]*)"', text)[0])


def test_limits_are_those_of_the_version_in_production(tmp_path: Path) -> None:
    location = str(tmp_path / "store")
    data = DatasetReference("players", 0, "sha256:d")
    for number, least in ((1, 0.7), (2, 0.9)):
        arguments = {"model_limits": {"metrics": {"auc": {"min": least}}}}
        version = Version("uptake", number, f"sha256:{number}", "2026-01-01", "run", "", data, arguments=arguments)
        FolderStore(location).add_folder(version.folder, {"version.json": version.text})
        if number == 1:
            assert production_page._limits(open_store(location), "uptake")["auc"] == {"min": 0.7}
            begun = deployments.begin(open_store(location), version, run="run", target="machine", strategy="direct")
            deployments.add(open_store(location), begun, Held("http://localhost", clock.now()))

    assert production_page._limits(open_store(location), "uptake")["auc"] == {"min": 0.7}
