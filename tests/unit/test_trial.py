"""A rollout by an experiment: what is planned is said, and how it went is kept, shown and told as a page."""

import logging
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from captures import BEGIN, Arms, write
from development_page import shown
from steps_taken import Answers, Clock
from typer.testing import CliRunner

from cd4ml import cli
from cd4ml.contracts.experiment import Decision, Experiment
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.traffic import Sticky
from cd4ml.deployment import rollout, steps, strategies
from cd4ml.deployment.steps import judging, trial
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import Release, Split
from cd4ml.errors import DeploymentError
from cd4ml.registry import deployments
from cd4ml.reports import deployed, page
from cd4ml.storage.folder import FolderStore

names: dict[str, Any] = {}
exec(shown("A new target")["acme_shelf.py"], names)
STEP = {
    "sticky": {"header": "X-Player"},
    "baseline": 0.4,
    "detect": 0.2,
    "window": "2 hours",
    "slices": ["region=south"],
    "within": "1 day",
}
DATASET = DatasetReference("players", 0, "sha256:d")


class Divided(names["Shelf"]):  # type: ignore[misc]
    """A shelf whose requests of some hours, a second each, were captured before."""

    splits = True
    arms = Arms()
    asked: tuple[Any, ...] = ()

    def share(
        self,
        release: Release,  # noqa: ARG002
        weight: float,
        features: list[str],
        *,
        sticky: Sticky | None = None,
    ) -> Split | None:
        self.asked = (weight, features, sticky)
        if self.current() is None:
            return None
        return Split(write(self.store.root.parent / "capture", 20_000, self.arms, unit=2), "old", "new")


@pytest.fixture
def clock() -> Clock:
    return Clock(1800.0)


@pytest.fixture
def shelf(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Divided:
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setattr(judging, "time", clock)
    monkeypatch.setattr(trial, "time", clock)
    monkeypatch.setattr(trial, "MOST_SECONDS", 1000)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 1000)
    monkeypatch.setattr(steps, "now", lambda: BEGIN + timedelta(seconds=clock.passed))
    monkeypatch.setattr(steps.verify, "wait_until_ready", lambda *_, **__: None)
    return Divided(FolderStore(tmp_path / "store"), "uptake")


def deploy(shelf: Divided, arms: Arms, *, first: bool = False, **step: Any) -> None:
    """Puts a version into production by an experiment; the first one, or after another."""
    shelf.arms = arms
    way = strategies.parse([{"ab-test": {**STEP, **step}}])
    by_experiment = (Answers(), *way.steps[1:])
    for number, taken in enumerate([by_experiment] if first else [(Answers(), Route()), by_experiment], start=1):
        rollout.roll_out(
            shelf,
            Strategy(way.name, taken),
            version=Version(
                "uptake",
                number,
                f"sha256:{number}",
                "2026-01-01",
                "run",
                "",
                DatasetReference("players", 0, "sha256:d"),
            ),
            run=f"run-{number}",
            port=0,
            log_file=Path("/no/such/log"),
        )


def last(shelf: Divided) -> tuple[str, dict[str, str], Experiment]:
    """How the last deployment ended, what it says of its steps, and its experiment."""
    series = deployments.every(shelf.store, "uptake")[-1]
    found = deployments.experiment(shelf.store, series.begun)
    assert found is not None
    return series.state, {one.step: one.said for one in series.events if hasattr(one, "step")}, found


def test_a_better_release_gets_all_requests_and_what_was_planned_was_said_before(
    shelf: Divided, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        deploy(shelf, Arms(rewards=(0.3, 0.7)))

    _, said, found = last(shelf)
    assert shelf.asked == (0.5, ["region"], Sticky("X-Player"))
    assert list(said) == ["answers", "ab-test plan", "ab-test", "route"]
    assert re.fullmatch(
        r"about 4\d\d callers whose reward is known tell a difference of 0.2 from 0.4 with a probability of 0.8, at an "
        r"error of 0.05; at the present rate of requests that takes 2.1 hours at least; it ends after "
        r"1 day at the latest, and as soon as a difference is known",
        said["ab-test plan"],
    )
    assert said["ab-test plan"] in caplog.messages
    assert re.search(r"reward: \+0\.\d+ \[\+.* the challenger is better", said["ab-test"])
    assert (found.decision, found.promoted) == (Decision.PROMOTE, True)
    assert found.challenger.known + found.champion.known < found.planned
    assert "callers have come in the last 2 hours, and do not count" in found.notes[0]
    assert shelf.current().number == 2


def test_what_is_known_is_said_as_the_plan_goes_on(shelf: Divided, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(DeploymentError, match="the release is not known to be better"):
        deploy(shelf, Arms(rewards=(0.4, 0.4)), detect=0.1)

    progress = [message for message in caplog.messages if "at this rate" in message]
    assert 2 <= len(progress) <= trial.PARTS
    assert re.search(
        r"reward: .* is not known; \d+ of about 1,7\d\d callers; at this rate [\d.]+ \w+ more at most", progress[0]
    )
    state, _, found = last(shelf)
    assert (state, found.decision, found.promoted) == ("undone", Decision.INCONCLUSIVE, False)
    assert shelf.current().number == 1


def test_a_worse_release_is_rolled_back_and_its_experiment_is_kept(shelf: Divided) -> None:
    with pytest.raises(DeploymentError, match=r"the release is rolled back: reward: .* the challenger is worse"):
        deploy(shelf, Arms(rewards=(0.7, 0.3)))

    state, said, found = last(shelf)
    assert (state, found.decision) == ("undone", Decision.ROLL_BACK)
    assert list(said) == ["answers", "ab-test plan"]
    assert shelf.current().number == 1


def test_a_capture_that_cannot_be_read_for_a_while_ends_no_experiment(
    shelf: Divided, clock: Clock, tmp_path: Path
) -> None:
    bad = tmp_path / "capture" / "requests" / "2026-01-01" / "9.parquet"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"half")
    clock.meanwhile = lambda: bad.unlink() if bad.exists() else bad.write_bytes(b"half")

    deploy(shelf, Arms(rewards=(0.3, 0.7)))

    assert last(shelf)[2].decision is Decision.PROMOTE


def test_where_no_difference_is_known_limits_that_are_kept_promote(shelf: Divided) -> None:
    deploy(shelf, Arms(rewards=(0.4, 0.4)), limits={"error_rate": {"max_increase": 0.2}})

    state, said, found = last(shelf)
    assert (state, found.decision, found.promoted) == ("held", Decision.INCONCLUSIVE, True)
    assert "at most 0.2 is kept" in said["ab-test"]


def test_an_experiment_ends_with_its_time(shelf: Divided) -> None:
    with pytest.raises(DeploymentError, match="the release is not known to be better: reward: "):
        deploy(shelf, Arms(rewards=(0.4, 0.4)), detect=0.01, within="3 hours")

    _, _, found = last(shelf)
    assert 3 <= (datetime.fromisoformat(found.points[-1].at) - BEGIN).total_seconds() / 3600 < 4


def test_a_first_version_has_nobody_to_be_compared_with(shelf: Divided) -> None:
    deploy(shelf, Arms(), first=True)

    said = [one.said for one in deployments.every(shelf.store, "uptake")[-1].events if hasattr(one, "step")]
    assert "nothing was served before, so there is nothing to compare with" in said


def test_a_deployment_is_shown_with_its_experiment_and_written_as_a_page(shelf: Divided, tmp_path: Path) -> None:
    deploy(shelf, Arms(rewards=(0.3, 0.7)))
    page = tmp_path / "page.html"

    shown = CliRunner().invoke(
        cli.app, ["deployments", "show", "uptake", "2", "--store", shelf.store.location, "--page", str(page)]
    )

    assert shown.exit_code == 0, shown.output
    assert "promote: " in " ".join(shown.output.split())
    text = page.read_text()
    assert "The challenger is better" in text
    assert text.count("<polyline") == 1
    for word in ("region=south", "ab-test plan", "feedback_ratio", "do not count."):
        assert word in text


def test_a_deployment_without_an_experiment_has_a_page_too(shelf: Divided, tmp_path: Path) -> None:
    deploy(shelf, Arms(rewards=(0.3, 0.7)))
    series = deployments.every(shelf.store, "uptake")[0]

    deployed.write(series.events, deployments.experiment(shelf.store, series.begun), tmp_path / "page.html")

    text = (tmp_path / "page.html").read_text()
    assert "In production" in text
    *_, last = text.split("<tr>")
    assert page.minute(series.events[-1].at) in last
    assert "<polyline" not in text


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"ab-test": STEP}, "has more than one ab-test; write one, for the first already decides"),
        ({"traffic": 100}, "1: ab-test comes after {traffic: 100}, which gives the release all; write it before"),
    ],
)
def test_an_experiment_that_decides_nothing_is_refused(before: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentError, match=re.escape(said)):
        strategies.parse([before, {"ab-test": STEP}])


def test_steps_may_follow_an_experiment() -> None:
    after = [
        {"watch": {"error_rate": {"max": 0.1}, "for": "1 hour"}},
        {"analyse": {"error_rate": {"max_increase": 0.1}}},
    ]

    assert strategies.parse([{"ab-test": STEP}, *after, {"traffic": 80}]).splits
