"""One engine rolls out anything anywhere: what answers, the history and the champion agree, wherever a process ends."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from development_page import shown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from steps_taken import Answers

from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import rollout, targets
from cd4ml.deployment.steps import Rollout, Step
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.strategies import REPLACE, Strategy
from cd4ml.deployment.targets import Target
from cd4ml.errors import DeploymentError, StorageError
from cd4ml.registry import deployments
from cd4ml.registry.deployments import Series
from cd4ml.storage import Content
from cd4ml.storage.folder import FolderStore

names: dict[str, Any] = {}
exec(shown("A new target")["acme_shelf.py"], names)
Shelf = names["Shelf"]


class Killed(BaseException):
    """The process was killed."""


@dataclass
class Life:
    """What a process does that outlives it, one thing at a time; killed, it does nothing any more."""

    left: int | None = None
    """How much it still does; None for as much as it likes."""
    dead: bool = False

    def begin(self, left: int | None) -> None:
        self.left, self.dead = left, False

    def spend(self) -> None:
        self.dead = self.dead or self.left == 0
        if self.dead:
            raise Killed
        self.left = None if self.left is None else self.left - 1


class MortalShelf(Shelf):  # type: ignore[misc, valid-type]
    """What is on it stays when its process is killed."""

    def __init__(self, store: "MortalStore") -> None:
        super().__init__(store, "uptake")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("top", "note"):
            self.store.life.spend()
        super().__setattr__(name, value)


class MortalStore(FolderStore):
    """Written as long as the process lives."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.life = Life()
        self.fails_on = ""
        """A word in what cannot be stored."""
        self.hangs: Callable[[], object] = lambda: None
        """What happens while it is told that something is undone."""

    def add(self, name: str, content: Content) -> None:
        self.life.spend()
        if self.fails_on and self.fails_on in str(content):
            raise StorageError("the store does not answer")
        if "DeploymentUndone" in str(content):
            self.hangs()
        super().add(name, content)


def fails(_: Rollout) -> None:
    raise DeploymentError("it predicts something else")


@pytest.fixture
def shelf(tmp_path: Path) -> MortalShelf:
    return MortalShelf(MortalStore(tmp_path / "store"))


def deploy(shelf: Target, *steps: Step, version: int = 1) -> int:
    """Rolls a version out; the number of its deployment."""
    dataset = DatasetReference("players", 0, "sha256:d")
    published = Version("uptake", version, f"sha256:{version}", "2026-01-01", "run", "", dataset)
    strategy = Strategy("replace", steps or (Answers(), Route()))
    deployed, _ = rollout.roll_out(
        shelf, strategy, version=published, run="run-1", port=0, log_file=Path("/no/such/log")
    )
    return deployed.number


def history(shelf: Target) -> list[Series]:
    return list(reversed(list(deployments.newest_first(shelf.store, "uptake"))))


def kinds(series: Series) -> list[str]:
    return [event.kind.removeprefix("cd4ml/Deployment") for event in series.events]


def test_a_documented_target_takes_a_release_through_all_steps_and_the_history_has_each(shelf: MortalShelf) -> None:
    number = deploy(shelf)

    (series,) = history(shelf)
    assert number == series.begun.number == shelf.current().number == 1
    assert shelf.unfinished() is None
    assert kinds(series) == ["Begun", "Step", "Step", "Held"]
    assert [(one.step, one.said) for one in series.events[1:3]] == [
        ("answers", "3 rows as evaluated, p50 1.0 ms"),
        ("route", "all requests to http://shelf"),
    ]
    assert (series.begun.target, series.begun.strategy, series.begun.run) == ("shelf", "replace", "run-1")
    assert series.deployment.endpoint == "http://shelf/api/v1.0/predictions"


def test_a_target_of_another_package_is_named_like_the_others(tmp_path: Path, documented: Callable[[str], Any]) -> None:
    named = documented("A new target")["target"]

    shelf = targets.TARGETS.load(targets.check(named))(FolderStore(tmp_path / "store"), "uptake")
    targets.check_together("shelf", "s3://cd4ml", "Any_name")
    deploy(shelf)

    assert deployments.latest(shelf.store, "uptake").target == "shelf"


def stopped(_: Rollout) -> None:
    raise SystemExit(143)


def ends(now: Rollout) -> None:
    now.target.top = None


def test_a_release_is_verified_at_its_own_address_while_the_one_before_answers_callers(shelf: MortalShelf) -> None:
    deploy(shelf)
    seen: list[tuple[str, str, int]] = []

    deploy(
        shelf,
        Answers(lambda now: seen.append((now.url, now.endpoint, now.target.current().number))),
        Route(),
        version=2,
    )

    assert [step.name for step in REPLACE.steps] == ["verify", "route"]
    assert seen == [("http://shelf/2", "", 1)]
    assert shelf.current().number == 2


@pytest.mark.parametrize(
    ("instead", "raised", "reason"),
    [
        (fails, DeploymentError, "it predicts something else"),
        (stopped, SystemExit, "it was stopped"),
        (ends, DeploymentError, "http://shelf: the release has ended, was replaced, or never got the requests"),
    ],
)
def test_a_step_that_does_not_pass_routes_back_and_says_why(
    shelf: MortalShelf,
    caplog: pytest.LogCaptureFixture,
    *,
    instead: Callable[[Rollout], object],
    raised: type[BaseException],
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    deploy(shelf)

    with pytest.raises(raised) as told:
        deploy(shelf, Route(), Answers(instead), version=2)

    assert "the release was taken down again" in caplog.messages
    if raised is DeploymentError:
        assert str(told.value) == f"{reason}\nthe release was taken down again"
    first, second = history(shelf)
    assert (first.state, second.state, second.events[-1].reason) == ("held", "undone", reason)
    assert shelf.current().number == 1
    assert deployments.latest(shelf.store, "uptake").version == 1


def test_what_the_history_cannot_be_told_does_not_hold(shelf: MortalShelf) -> None:
    deploy(shelf)
    answered: list[int] = []
    shelf.store.fails_on = "DeploymentHeld"
    shelf.store.hangs = lambda: answered.append(shelf.current().number)

    with pytest.raises(StorageError, match="does not answer"):
        deploy(shelf, version=2)

    assert answered == [2]  # told first: it may have been stored all the same
    assert [series.state for series in history(shelf)] == ["held", "undone"]
    assert shelf.current().number == 1


def test_what_is_put_back_is_put_back_also_where_the_store_is_gone(shelf: MortalShelf) -> None:
    deploy(shelf)

    with pytest.raises(DeploymentError):
        deploy(shelf, Route(), Answers(lambda now: (setattr(shelf.store, "fails_on", "cd4ml"), fails(now))), version=2)

    assert shelf.current().number == 1
    assert [series.state for series in history(shelf)] == ["held", "begun"]


def test_what_was_served_is_back_before_a_store_that_hangs_is_told(shelf: MortalShelf) -> None:
    deploy(shelf)
    answered: list[int] = []
    shelf.store.hangs = lambda: answered.append(shelf.current().number)

    with pytest.raises(DeploymentError):
        deploy(shelf, Route(), Answers(fails), version=2)

    assert answered == [1]


def test_what_holds_holds_also_where_the_rest_cannot_be_taken_away_which_the_next_start_does(
    shelf: MortalShelf, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(shelf)

    def away(_: MortalShelf) -> None:
        monkeypatch.setattr(MortalStore, "read", away)
        raise StorageError("it does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(MortalShelf, "keep", away)
        assert deploy(shelf, version=2) == 2
        patch.undo()
    monkeypatch.undo()

    assert "deployment 2 holds, but what was served before could not be taken away: it does not answer" in caplog.text
    assert ([one.state for one in history(shelf)], shelf.unfinished().number) == (["held", "held"], 2)
    rollout.put_right(shelf)
    assert (shelf.current().number, shelf.unfinished()) == (2, None)


def test_what_cannot_be_put_back_is_told_with_what_failed_first_and_the_next_start_does_it(
    shelf: MortalShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(shelf)

    def full(_: MortalShelf) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MortalShelf, "undo", full)
        with pytest.raises(DeploymentError) as told:
            deploy(shelf, Route(), Answers(fails), version=2)

    assert str(told.value) == (
        "it predicts something else\n"
        "what was served before could not be put back: [Errno 28] No space left on device; the next rollout does it"
    )
    assert [series.state for series in history(shelf)] == ["held", "undone"]
    assert rollout.put_right(shelf) == "the release was taken down again"
    assert shelf.current().number == 1


def test_a_strategy_that_verifies_nothing_holds_nothing(shelf: MortalShelf) -> None:
    with pytest.raises(DeploymentError, match="strategy replace: no step of it verifies the release"):
        deploy(shelf, Route())

    assert shelf.current() is None


def test_a_rollout_whose_process_was_killed_is_undone_by_the_next_which_says_so(
    shelf: MortalShelf, caplog: pytest.LogCaptureFixture
) -> None:
    deploy(shelf)
    with pytest.raises(Killed):
        deploy(shelf, Route(), Answers(lambda _: shelf.store.life.begin(0)), version=2)
    shelf.store.life.begin(None)
    assert [series.state for series in history(shelf)] == ["held", "begun"]
    assert deployments.latest(shelf.store, "uptake").version == 1

    deploy(shelf, version=3)

    assert "the release was taken down again" in caplog.text
    assert [(series.state, series.begun.version) for series in history(shelf)] == [
        ("held", 1),
        ("undone", 2),
        ("held", 3),
    ]
    assert history(shelf)[1].events[-1].reason == "its process was killed"


def test_one_that_was_killed_before_it_changed_anything_is_told_of_by_the_next(
    shelf: MortalShelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.store.life.begin(1)
    with pytest.raises(Killed):
        deploy(shelf)
    shelf.store.life.begin(None)
    assert (history(shelf)[0].state, deployments.latest(shelf.store, "uptake")) == ("begun", None)
    assert "has begun" not in caplog.text

    deploy(shelf, version=2)

    assert "deployment 1, of run run-1, has begun and not ended" in caplog.text
    assert [series.state for series in history(shelf)] == ["begun", "held"]
    caplog.clear()
    deploy(shelf, version=3)
    assert "has begun" not in caplog.text


def test_stopping_ends_what_is_served_and_the_history_says_so(shelf: MortalShelf) -> None:
    deploy(shelf)

    assert rollout.stop(shelf).served.url == "http://shelf"

    assert [series.state for series in history(shelf)] == ["stopped"]
    assert deployments.latest(shelf.store, "uptake") is None
    with pytest.raises(DeploymentError, match="nothing of the model uptake is served at the target `shelf`"):
        rollout.stop(shelf)


def test_stopping_a_rollout_that_was_left_halfway_ends_also_what_it_replaced(shelf: MortalShelf) -> None:
    deploy(shelf)
    with pytest.raises(Killed):
        deploy(shelf, Route(), Answers(lambda _: shelf.store.life.begin(0)), version=2)
    shelf.store.life.begin(None)

    assert rollout.stop(shelf).halfway

    assert [series.state for series in history(shelf)] == ["stopped", "undone"]
    assert shelf.current() is None


Lives = st.lists(st.tuples(st.sampled_from(["holds", "fails", "stop"]), st.none() | st.integers(0, 14)), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=Lives)
def test_wherever_processes_are_killed_the_champion_is_the_last_that_held_and_stands_and_it_answers(
    lives: list[tuple[str, int | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = MortalStore(tmp_path_factory.mktemp("store"))
    shelf = MortalShelf(store)
    answers: int | None = None
    for version, (what, left) in enumerate(lives, start=1):
        killed = live(shelf, what, version=version, left=left)
        store.life.begin(None)
        if what == "stop" and killed and (shelf.current() or shelf.unfinished()):
            rollout.stop(shelf)  # who stops a thing that is still there does it again
        rollout.put_right(shelf)

        told = dict(stored(store))
        standing = [number for number, kinds in told.items() if counts(kinds)]
        latest = deployments.latest(store, "uptake")
        assert (latest.number if latest else None) == max(standing, default=None)
        if what == "stop":
            assert answers not in standing
            answers = None
        elif version in [deployments.find(store, "uptake", number).begun.version for number in standing]:
            answers = max(standing)
        assert (shelf.current().number if shelf.current() else None) == answers
        assert answers is None or answers == max(standing)
        assert shelf.unfinished() is None


def live(shelf: MortalShelf, what: str, *, version: int, left: int | None) -> bool:
    """A process that deploys or stops, and may be killed after some of its work; whether it was."""
    shelf.store.life.begin(left)
    try:
        if what == "stop":
            rollout.stop(shelf)
        else:
            deploy(shelf, Route(), Answers(fails if what == "fails" else lambda _: None), version=version)
    except DeploymentError:
        pass
    except Killed:
        return True
    return False


def stored(store: FolderStore) -> Iterator[tuple[int, set[str]]]:
    """The kinds of the events of each deployment, read from the files alone."""
    for folder in (store.root / "deployments" / "uptake").glob("*"):
        yield int(folder.name), {json.loads(file.read_text())["kind"] for file in folder.iterdir()}


def counts(kinds: set[str]) -> bool:
    return "cd4ml/DeploymentHeld" in kinds and not {"cd4ml/DeploymentUndone", "cd4ml/DeploymentStopped"} & kinds
