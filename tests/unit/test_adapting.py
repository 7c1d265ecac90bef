"""A rollout by a bandit: the shares follow what comes of requests, within floors, and it ends as it should."""

import logging
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from captures import BEGIN, Arms, captured, take_labels, write
from development_page import shown
from steps_taken import Answers, Clock

from cd4ml.contracts.experiment import Decision, Experiment
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.traffic import Sticky
from cd4ml.deployment import rollout, steps, strategies
from cd4ml.deployment.steps import adapting, judging
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import Release, Split
from cd4ml.errors import DeploymentError
from cd4ml.registry import deployments
from cd4ml.reports import deployed
from cd4ml.storage.folder import FolderStore

names: dict[str, Any] = {}
exec(shown("A new target")["acme_shelf.py"], names)
ALIKE = Arms()
STEP = {"window": "61 minutes", "every": "20 minutes", "for": "5 hours", "replay": "none"}


class Divided(names["Shelf"]):  # type: ignore[misc]
    """A shelf that is asked once a second, by callers whom chance gives to its arms."""

    splits = True
    arms = Arms()
    clock: Clock
    shares: tuple[float, ...] = ()
    sticky: Sticky | None = None
    in_bulk = False
    """Whether labels that are taken in bulk come in place of feedback."""
    written = 0.0
    """Of the clock: until when requests are captured."""

    def share(
        self,
        release: Release,  # noqa: ARG002
        weight: float,
        features: list[str],  # noqa: ARG002
        *,
        sticky: Sticky | None = None,
    ) -> Split | None:
        if self.current() is None:
            return None
        self.shares, self.sticky = (*self.shares, weight), sticky
        self.written, self.clock.meanwhile = self.clock.passed, self.capture
        return Split(self.store.root.parent / "capture", "old", "new")

    def capture(self) -> None:
        """Writes what was asked since, and the feedback that these requests will have in an hour."""
        arms = Arms(self.shares[-1], self.arms.errors, rewards=self.arms.rewards)
        begin, end = (pa.scalar(BEGIN + timedelta(seconds=moment)) for moment in (self.written, self.clock.passed))
        for name, table in zip(("requests", "feedback"), captured(20_000, arms, seed=0, unit=2), strict=True):
            at = table["at"] if name == "requests" else pc.subtract(table["at"], timedelta(hours=1))
            folder = self.store.root.parent / "capture" / name / "2026-01-01"
            folder.mkdir(parents=True, exist_ok=True)
            asked = pc.and_(pc.greater_equal(at, begin), pc.less(at, end))
            name_of = f"{self.clock.passed:06.0f}-{len(self.shares)}"
            if name == "feedback" and self.in_bulk:
                self.take(table.filter(asked), name_of)
            else:
                pq.write_table(table.filter(asked), folder / f"{name_of}.parquet")
        self.written = self.clock.passed

    def take(self, feedback: pa.Table, name: str) -> None:
        """Takes rewards as labels, as if each were taken when it came."""
        labels = ["true" if one else "false" for one in feedback["reward"].to_pylist()]
        ids, at = (feedback[column].to_pylist() for column in ("request_id", "at"))
        about = {"digest": name, "taken_at": BEGIN.isoformat()}
        take_labels(self.store.root, ids=ids, labels=labels, at=at, about=about)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Divided:
    clock = Clock()
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setattr(judging, "time", clock)
    monkeypatch.setattr(adapting, "time", clock)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 1000)
    monkeypatch.setattr(steps, "now", lambda: BEGIN + timedelta(seconds=clock.passed))
    monkeypatch.setattr(steps.verify, "wait_until_ready", lambda *_, **__: None)
    shelf = Divided(FolderStore(tmp_path / "store"), "uptake")
    shelf.clock = clock
    return shelf


def put(shelf: Divided, number: int, taken: tuple[Any, ...]) -> None:
    dataset = DatasetReference("players", 0, "sha256:d")
    version = Version("uptake", number, f"sha256:{number}", "2026-01-01", "run", "", dataset)
    way = Strategy("bandit", (Answers(), *taken))
    rollout.roll_out(shelf, way, version=version, run=f"run-{number}", port=0, log_file=Path("/no/such/log"))


def deploy(shelf: Divided, *written: Any, arms: Arms = ALIKE, **step: Any) -> None:
    """Puts a second version into production by a bandit, after steps that are written."""
    shelf.arms = arms
    put(shelf, 1, (Route(),))
    put(shelf, 2, strategies.parse([*written, {"bandit": {**STEP, **step}}]).steps[1:])


def last(shelf: Divided) -> tuple[str, list[tuple[str, str]], Experiment | None]:
    """How the last deployment ended, what it says of its steps, and its experiment."""
    series = deployments.every(shelf.store, "uptake")[-1]
    said = [(one.step, one.said) for one in series.events if hasattr(one, "step")]
    return series.state, said, deployments.experiment(shelf.store, series.begun)


@pytest.mark.parametrize("policy", ["thompson", "epsilon-greedy"])
def test_a_better_release_gets_more_and_then_all(
    shelf: Divided, policy: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.INFO):
        deploy(shelf, arms=Arms(rewards=(0.35, 0.45)), policy=policy, sticky={"header": "X-Player"})

    state, said, found = last(shelf)
    told = [text for name, text in said if name == "bandit shares"]
    assert found is not None
    assert (state, found.decision, found.promoted, found.planned) == ("held", Decision.PROMOTE, True, None)
    assert (shelf.shares[0], shelf.shares[-1], shelf.sticky) == (0.5, 0.9, Sticky("X-Player"))
    assert min(shelf.shares) >= 0.1
    assert len(told) <= len(shelf.shares)
    assert re.match(r"\d\d% of the requests to the release: reward: [+-]0\.\d+ \[", told[0])
    assert f"bandit shares: {told[0]}" in caplog.messages
    assert "the challenger is better" in said[-2][1]
    assert found.challenger.share > 0.5
    deployed.write(deployments.every(shelf.store, "uptake")[-1].events, found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "planned" not in page.split("<h2>Arms")[0]
    cost = found.adapted
    assert cost is not None
    assert cost.regret is not None
    assert cost.interval is not None
    assert cost.even is not None
    assert (cost.policy, cost.floor, cost.below, found.said.endswith(cost.said)) == (policy, 0.1, 0, True)
    assert cost.least == pytest.approx(0.1)
    assert cost.shares[0].value == 0.5
    assert max(one.value for one in cost.shares) <= 0.9
    assert cost.interval[0] <= cost.regret <= cost.even + 1e-9
    assert "<h2>Shares and regret" in page
    assert "floor of the champion" in page
    assert cost.said in page


def test_requests_that_were_divided_below_the_floor_do_not_count_and_many_are_told(shelf: Divided) -> None:
    write(shelf.store.root.parent / "capture", 400, Arms(weight=0.05, rewards=(0.0, 1.0)), seed=1)

    with pytest.raises(DeploymentError, match=r"floor: .* are too many; look why the router does not follow"):
        deploy(shelf)

    _, _, found = last(shelf)
    assert found is not None
    assert found.adapted is not None
    assert (found.decision, found.adapted.below) == (Decision.ERROR, 400)
    assert found.adapted.regret is None


def test_labels_in_bulk_teach_a_bandit(shelf: Divided) -> None:
    shelf.in_bulk = True
    deploy(shelf, arms=Arms(rewards=(0.1, 0.9)), outcome="label")

    state, _, found = last(shelf)
    assert (state, found and found.decision) == ("held", Decision.PROMOTE)


def test_a_worse_release_is_undone_as_soon_as_that_is_known(shelf: Divided) -> None:
    with pytest.raises(DeploymentError, match=r"the release is rolled back: reward: .* the challenger is worse"):
        deploy(shelf, arms=Arms(rewards=(0.7, 0.3)))

    state, _, found = last(shelf)
    assert (state, found and found.decision) == ("undone", Decision.ROLL_BACK)
    assert shelf.clock.passed < timedelta(hours=3).total_seconds()
    assert shelf.current().number == 1


def test_what_is_not_known_in_the_end_is_undone_unless_limits_are_kept(shelf: Divided) -> None:
    with pytest.raises(DeploymentError, match="the release is not known to be better: reward"):
        deploy(shelf, every="1 hour")
    assert shelf.clock.passed >= timedelta(hours=5).total_seconds()

    shutil.rmtree(shelf.store.root.parent / "capture")
    shelf.clock.passed = 0.0
    kept = {"every": "1 hour", "limits": {"error_rate": {"max_increase": 0.2}}}
    put(shelf, 3, strategies.parse([{"bandit": {**STEP, **kept}}]).steps[1:])
    state, _, found = last(shelf)
    assert (state, found and found.promoted) == ("held", True)


def test_a_bandit_that_nobody_has_asked_anything_before_is_refused_with_the_remedy(shelf: Divided) -> None:
    with pytest.raises(DeploymentError, match=r"has no two arms between which chance divided.*`replay: none`"):
        deploy(shelf, replay="captured")

    assert shelf.shares == (0.0,)
    assert shelf.current().number == 1


def test_a_policy_is_replayed_on_what_the_rollout_has_divided_before(shelf: Divided) -> None:
    before = [{"traffic": 30}, {"hold": "3 hours"}]
    deploy(shelf, *before, arms=Arms(rewards=(0.3, 0.7)), replay="captured")

    state, said, _ = last(shelf)
    assert state == "held"
    (told,) = (text for name, text in said if name == "bandit replay")
    assert re.match(r"thompson on [\d,]+ callers of old and new \(\d+ of the rarer from when it would have", told)
    assert "a caller over what was earned; " in told


def test_a_policy_is_replayed_on_an_earlier_rollout_where_this_one_has_divided_nothing(shelf: Divided) -> None:
    write(shelf.store.root.parent / "capture", 8000, Arms(), seed=1)
    shelf.clock.passed = 12_000.0

    with pytest.raises(DeploymentError, match="the release is rolled back"):
        deploy(shelf, arms=Arms(rewards=(0.7, 0.3)), replay="captured")

    assert [name for name, _ in last(shelf)[1]][:3] == ["answers", "bandit replay", "bandit plan"]


def test_a_first_version_has_nobody_to_be_compared_with(shelf: Divided) -> None:
    put(shelf, 1, strategies.parse([{"bandit": {**STEP, "replay": "captured"}}]).steps[1:])

    assert "nothing was served before, so there is nothing to compare with" in dict(last(shelf)[1])["bandit"]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"bandit": {}}, "has more than one bandit; write one, for the first already decides"),
        (
            {"ab-test": {"sticky": {"header": "X"}, "baseline": 0.1, "detect": 0.1}},
            "has more than one ab-test or bandit; write one",
        ),
        ({"traffic": 100}, "1: bandit comes after {traffic: 100}, which gives the release all; write it before"),
    ],
)
def test_a_bandit_that_decides_nothing_is_refused(before: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentError, match=re.escape(said)):
        strategies.parse([before, {"bandit": {}}])


def test_few_events_tell_of_shares_that_change_all_the_time() -> None:
    told, shares = [], adapting.Shares(0.5, 0.5)
    for count in range(0, 100_000, 50):
        share = 0.9 if count % 100 else 0.1
        if shares.tells(share, count):
            told.append(count)
            shares = adapting.Shares(share, share, count)

    assert 10 < len(told) < 50
