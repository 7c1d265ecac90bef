"""What people decide of a rollout that waits: it gets all requests at once, or is undone, and the history has who."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from development_page import shown
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.release import DatasetReference, Verification, Version
from cd4ml.deployment import decided, rollout, steps, waiting
from cd4ml.deployment.steps import Rollout, judging
from cd4ml.deployment.steps.written import Approve, Asked, Hold, Route, Traffic
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import Release, Split
from cd4ml.errors import DeploymentError, RegistryError, StorageError
from cd4ml.registry import approvals, deployments, model_page
from cd4ml.storage.folder import FolderStore

names: dict[str, Any] = {}
exec(shown("A new target")["acme_shelf.py"], names)


class Divided(names["Shelf"]):  # type: ignore[misc]
    """A shelf that divides requests."""

    splits = True

    def share(self, release: Release, weight: float, features: list[str]) -> Split | None:  # noqa: ARG002
        return Split(self.store.root, "old", "new") if self.current() else None


class Clock:
    """Time that passes while one sleeps, and in which things happen."""

    passed = 0.0
    happens: Callable[[], object] = staticmethod(lambda: None)

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.happens()

    def monotonic(self) -> float:
        return self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setattr(judging, "time", clock)
    monkeypatch.setattr(steps.verify, "wait_until_ready", lambda *_, **__: None)
    monkeypatch.setattr(decided, "TOLD_SECONDS", 0)
    return clock


@pytest.fixture
def shelf(tmp_path: Path, clock: Clock) -> Divided:
    shelf = Divided(FolderStore(tmp_path / "store"), "uptake")
    deploy(shelf, version=1)
    return shelf


class Verified:
    """A step in the place of the one that asks a server."""

    name = "verify"

    def take(self, now: Rollout) -> str:
        now.verification = Verification(now.url, "sha256:m", 3, 0.0, p50_ms=1.0, p99_ms=2.0)
        return "as evaluated"


def deploy(shelf: Divided, *waits: Any, version: int = 2, persons: int = 0) -> None:
    published = Version(
        "uptake", version, f"sha256:{version}", "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d")
    )
    for by in ("Ada", "Grace")[:persons]:
        approvals.approve(shelf.store, published, by=by, reason="better in the south")
    rollout.roll_out(
        shelf,
        Strategy("ours", (Verified(), *waits, Route())),
        version=published,
        run="run",
        port=0,
        log_file=Path("/no/such/log"),
        approvals=persons,
    )


def asked(shelf: Divided, *words: str) -> str:
    ended = CliRunner().invoke(app, ["deployments", *words, "--store", shelf.store.location])
    if ended.exception:
        raise ended.exception
    return " ".join(ended.output.split())


def decide(shelf: Divided, what: str, by: str = "Ada") -> str:
    return asked(shelf, what, "uptake", "2", "--by", by, "--reason", "odd answers in the south")


CANARY = Traffic(traffic=10), Hold(hold="1 hour"), Traffic(traffic=50), Hold(hold="1 hour")


def test_a_release_that_is_promoted_gets_all_requests_and_waits_for_nothing_more(shelf: Divided, clock: Clock) -> None:
    clock.happens = lambda: clock.passed == 60 and decide(shelf, "promote")

    deploy(shelf, *CANARY)

    assert clock.passed == 60
    assert shelf.current().number == 2
    series = deployments.read(shelf.store, "uptake", 2)
    assert [(one.step, one.said) for one in series.events[1:-1]] == [
        ("verify", "as evaluated"),
        ("traffic 10", "10% of the requests to version 2"),
        ("hold", "promoted by Ada: odd answers in the south"),
        ("route", "all requests to http://shelf"),
    ]
    assert "promoted Ada: odd answers in the south" in asked(shelf, "show", "uptake", "2")
    assert "<b>Promoted by Ada:</b> odd answers" in model_page.text(shelf.store, "uptake")


def test_a_rollout_that_is_aborted_is_undone_and_says_by_whom_and_why(shelf: Divided, clock: Clock) -> None:
    clock.happens = lambda: clock.passed == 60 and decide(shelf, "abort", "Grace")

    with pytest.raises(DeploymentError, match="^aborted by Grace: odd answers in the south"):
        deploy(shelf, *CANARY)

    assert shelf.current().number == 1
    assert deployments.read(shelf.store, "uptake", 2).events[-1].reason == "aborted by Grace: odd answers in the south"


def test_what_two_people_had_to_approve_two_have_to_promote(shelf: Divided, clock: Clock) -> None:
    at = {60.0: "Ada", 120.0: " ada ", 180.0: "Grace"}
    clock.happens = lambda: clock.passed in at and decide(shelf, "promote", at[clock.passed])

    deploy(shelf, *CANARY, persons=2)

    assert clock.passed == 180


def test_what_two_people_have_to_approve_on_the_way_one_does_not_promote_past_them(
    shelf: Divided, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "time", clock)
    clock.happens = lambda: clock.passed == 60 and decide(shelf, "promote")
    waits = Traffic(traffic=10), Hold(hold="1 hour"), Approve(approve=Asked(approvals=2, within="1 hour"))

    with pytest.raises(DeploymentError, match="2 of 2 approvals are missing; run this again, and approve it then"):
        deploy(shelf, *waits)

    assert clock.passed > 7200


def test_what_is_decided_before_a_rollout_waits_is_heeded_as_soon_as_it_would(shelf: Divided, clock: Clock) -> None:
    told: list[str] = []

    class Decides(Verified):
        def take(self, now: Rollout) -> str:
            told.append(decide(shelf, "promote"))
            return super().take(now)

    deploy(shelf, Decides(), *CANARY)

    assert clock.passed == 0
    assert told[0] == (
        "deployment 2 of uptake: promoted by Ada: odd answers in the south deployment 2 of uptake is under way, and "
        "heeds it when it looks; `cd4ml deployments show uptake 2` says more"
    )


@pytest.mark.parametrize("waits", [(), (Traffic(traffic=100),), CANARY])
def test_what_is_aborted_while_a_step_passes_is_undone_also_where_nothing_waits_after_it(
    shelf: Divided, clock: Clock, waits: tuple[Any, ...]
) -> None:
    class Decides(Verified):
        def take(self, now: Rollout) -> str:
            decide(shelf, "abort")
            return super().take(now)

    with pytest.raises(DeploymentError, match="^aborted by Ada: odd answers in the south"):
        deploy(shelf, *waits, Decides())

    assert shelf.current().number == 1


def test_a_rollout_goes_on_where_decisions_cannot_be_read(
    shelf: Divided, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    children = FolderStore.children

    def away(store: FolderStore, name: str) -> list[str]:
        if name.startswith("approvals/") and clock.passed < 1800:
            raise StorageError("the store does not answer")
        return children(store, name)

    monkeypatch.setattr(FolderStore, "children", away)

    deploy(shelf, *CANARY)

    assert shelf.current().number == 2
    assert "the store does not answer; it is asked again" in caplog.messages


def test_a_rollout_says_how_people_decide_of_it(shelf: Divided, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    deploy(shelf, *CANARY)

    at = f"uptake 2 --store {shelf.store.location} --reason WHY"
    assert (
        f"uptake: to give it all requests at once: cd4ml deployments promote {at}; to have it undone: "
        f"cd4ml deployments abort {at}"
    ) in caplog.messages


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("1", "--reason", "why"), "deployment 1 of uptake is over (held); `cd4ml deployments rollback` puts"),
        (("7", "--reason", "why"), "uptake has no deployment 7"),
        (("2", "--reason", " "), "the reason: write one line"),
    ],
)
def test_what_cannot_be_decided_is_told(shelf: Divided, clock: Clock, words: tuple[str, ...], told: str) -> None:
    refused: list[str] = []

    def happens() -> None:
        with pytest.raises(RegistryError) as error:
            asked(shelf, "promote", "uptake", *words, "--by", "Ada")
        refused.append(str(error.value))
        clock.happens = lambda: None

    clock.happens = happens
    deploy(shelf, *CANARY)

    assert told in refused[0]


class Meanwhile:
    """What happens right before an object is stored that has some words."""

    words = ""
    happens: Callable[[], object] = staticmethod(lambda: None)


@pytest.fixture
def meanwhile(shelf: Divided, monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    meanwhile, add = Meanwhile(), FolderStore.add

    def added(store: FolderStore, name: str, text: str) -> None:
        if meanwhile.words and meanwhile.words in text:
            meanwhile.words = ""
            meanwhile.happens()
        add(store, name, text)

    monkeypatch.setattr(FolderStore, "add", added)
    return meanwhile


def test_what_is_aborted_in_the_moment_in_which_it_holds_is_undone(shelf: Divided, meanwhile: Meanwhile) -> None:
    meanwhile.words, meanwhile.happens = "cd4ml/DeploymentHeld", lambda: decide(shelf, "abort")

    with pytest.raises(DeploymentError, match="^aborted by Ada: odd answers in the south"):
        deploy(shelf)

    assert deployments.read(shelf.store, "uptake", 2).state == "undone"
    assert shelf.current().number == 1


def test_what_is_aborted_then_holds_where_the_history_cannot_be_told_otherwise(
    shelf: Divided, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile.words, meanwhile.happens = "cd4ml/DeploymentHeld", lambda: decide(shelf, "abort")
    add = FolderStore.add

    def away(store: FolderStore, name: str, text: str) -> None:
        if "cd4ml/DeploymentUndone" in text:
            raise StorageError("the store does not answer")
        add(store, name, text)

    with monkeypatch.context() as unsteady:
        unsteady.setattr(FolderStore, "add", away)
        with pytest.raises(DeploymentError, match="it holds all the same, for the history could not be told otherwise"):
            deploy(shelf)

    assert (deployments.read(shelf.store, "uptake", 2).state, shelf.current().number) == ("held", 2)
    deploy(shelf, version=3)
    assert (deployments.read(shelf.store, "uptake", 3).state, shelf.current().number) == ("held", 3)


def begun(shelf: Divided) -> deployments.Begun:
    version = Version("uptake", 2, "sha256:2", "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))
    return deployments.begin(shelf.store, version, run="run", target="shelf", strategy="canary")


def test_who_decides_is_told_what_came_of_it(shelf: Divided, meanwhile: Meanwhile) -> None:
    rollouts = [begun(shelf) for _ in range(4)]

    def ends(number: int, event: deployments.Event) -> None:
        meanwhile.words = "cd4ml/Approval"
        meanwhile.happens = lambda: deployments.add(shelf.store, rollouts[number - 2], event)

    person = ("--by", "Ada", "--reason", "odd answers")
    ends(2, deployments.Undone("aborted by Ada: odd answers", "now"))
    assert asked(shelf, "abort", "uptake", "2", *person).endswith(
        "deployment 2 of uptake is undone: aborted by Ada: odd answers"
    )
    ends(3, deployments.Held("http://shelf", "now"))
    with pytest.raises(DeploymentError) as late:
        asked(shelf, "abort", "uptake", "3", *person)
    assert str(late.value) == (
        "deployment 3 of uptake held before it could be aborted; `cd4ml deployments rollback uptake` puts back what "
        "was in production before"
    )
    ends(4, deployments.Held("http://shelf", "now"))
    assert asked(shelf, "promote", "uptake", "4", *person).endswith("deployment 4 of uptake is held")
    ends(5, deployments.Undone("the release does not keep its limits", "now"))
    with pytest.raises(
        DeploymentError, match="^deployment 5 of uptake is undone: the release does not keep its limits"
    ):
        asked(shelf, "promote", "uptake", "5", *person)


def test_a_word_about_one_deployment_is_none_about_the_next_of_the_same_version(shelf: Divided, clock: Clock) -> None:
    first = begun(shelf)
    decide(shelf, "abort")
    deployments.add(shelf.store, first, deployments.Undone("aborted", "now"))

    deploy(shelf, *CANARY)

    assert clock.passed == 7200
    assert "aborted" not in asked(shelf, "show", "uptake", "3")
