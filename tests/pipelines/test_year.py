"""A year in a box, shortened: a model decays, and is seen to, estimated, confirmed, replaced, and better."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from workplace import ROOT, Workplace

from cd4ml.contracts.deployment import StepTaken
from cd4ml.contracts.verdict import Outcome
from cd4ml.monitoring import alerts, monitored
from cd4ml.monitoring.monitored import Judged
from cd4ml.registry import deployments, models, retrainings
from cd4ml.storage import Store, open_store

MODEL = "promotion-uptake"
DRIFT, ROLLOUT, WEEKS = 13, 20, 27
CHANGES: dict[str, Any] = {"weeks": WEEKS, "drift": DRIFT, "looks": [DRIFT - 1, DRIFT + 1, ROLLOUT, WEEKS]}
GAIN = -0.05
"""So soon after the drift the backtest has none of its rows to learn from, and would say that it is not worth it."""
Year = tuple[str, Store, Path]
"""What the command said, and the store and the folder that it left."""
SECONDS = 1800
"""Where other tests have the machine; it takes less than a tenth of it alone."""


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    place = Workplace(tmp_path_factory.mktemp("year"))
    example = place.folder / "promotions" / "year"
    shutil.copytree(ROOT / "examples" / "promotions", example.parent, ignore=shutil.ignore_patterns("data"))
    content = yaml.safe_load((example / "year.yaml").read_text())
    content["retraining"]["gain"] = GAIN
    (example / "year.yaml").write_text(yaml.safe_dump(content | CHANGES))
    process = place.start("demo", example)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    [folder] = (place.folder / "runs").glob("demo-*")
    return said, open_store(folder / "store"), folder


def weeks(store: Store) -> list[Judged]:
    """The windows, the earliest first."""
    found = monitored.every(store, MODEL)
    assert len(found) == WEEKS
    return found


def drifted(one: Judged) -> set[str]:
    assert one.drift
    return {check.name for check in one.drift.checks if check.outcome is Outcome.FAILED}


def auc(one: Judged, version: str) -> tuple[float, float]:
    """What was estimated, and what it was."""
    assert one.quality
    [found] = [each for each in one.quality.by_version if each.version == version]
    estimate = found.estimated("auc")
    assert estimate
    assert estimate.was is not None
    return estimate.value, estimate.was


def test_drift_is_seen_with_the_week_in_which_it_begins_and_not_before(year: Year) -> None:
    _, store, _ = year
    judged = weeks(store)

    assert not any(drifted(one) for one in judged[:DRIFT])
    assert all("drift of acquisition in version 1" in drifted(one) for one in judged[DRIFT:ROLLOUT])


def test_quality_is_estimated_before_labels_are_in_and_confirmed_by_them(year: Year) -> None:
    _, store, _ = year
    judged = weeks(store)
    before, after = judged[: DRIFT - 1], judged[DRIFT : DRIFT + 2]

    came = [one.quality.by_version[0].estimated("auc") for one in before if one.quality]
    assert sum(bool(one and one.within) for one in came) >= len(before) - 2
    assert max(auc(one, "1")[0] for one in after) < min(auc(one, "1")[0] for one in before)
    assert max(auc(one, "1")[1] for one in after) < 0.77


def test_the_alert_is_told_and_the_decision_has_its_reason(year: Year) -> None:
    said, store, _ = year
    changes = [one for state in alerts.history(store, MODEL) for one in state.alerts.changes]

    fired, resolved = ([one.alert.check for one in changes if one.what == what] for what in ("fired", "resolved"))
    assert any(one.startswith("drift of acquisition") for one in fired)
    assert any("auc on overall" in one for one in fired)
    assert any("auc on overall" in one for one in resolved)
    yes = [one for one in retrainings.every(store, MODEL) if one.decided.retrain]
    assert len(yes) == 1
    assert yes[0].decided.headline.startswith("yes: quality failed in the last 2 windows")
    assert yes[0].decided.headline in said.replace("\n", "")


def test_the_new_version_comes_by_a_canary_and_is_better(year: Year) -> None:
    _, store, _ = year
    [_, second] = deployments.every(store, MODEL)
    taken = [one.step for one in second.events if isinstance(one, StepTaken)]

    assert [one.version for one in models.versions(store, MODEL)] == [1, 2]
    assert second.begun.version == 2
    assert taken[1:] == ["traffic 50", "analyse", "route"]
    judged = weeks(store)
    first, last = auc(judged[DRIFT], "1")[1], auc(judged[ROLLOUT + 1], "2")[1]
    assert last > first + 0.03
    assert {part.version for part in judged[ROLLOUT].window.parts} == {"1", "2"}


def test_all_of_it_is_on_one_page(year: Year) -> None:
    said, _, folder = year
    page = (folder / "page.html").read_text()

    assert "page.html" in said
    for words in ("AUC by window", "Drift by column and window", "When labels come", "fired", "resolved", "v2"):
        assert words in page
    assert "to train again? yes: quality failed" in page
