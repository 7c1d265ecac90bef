"""Approvals: a version waits until people let it into production, and what they said is kept."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cd4ml import cli
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.approval import Approval
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import release, rollout, strategies, waiting
from cd4ml.deployment.targets.machine import Machine
from cd4ml.errors import DeploymentError, DocumentError, RegistryError, StorageError
from cd4ml.registry import approvals, clock, deployments
from cd4ml.storage.folder import FolderStore

VERSION = Version("uptake", 4, "sha256:four", "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    store.add_folder(VERSION.folder, {"version.json": VERSION.text})
    return store


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST", timedelta(0))


def approve(store: FolderStore, by: str, **changed: Any) -> Approval:
    return approvals.approve(store, VERSION, **{"by": by, "reason": "better in the south", **changed})


def asked(store: FolderStore, *words: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cd4ml", "deployments", *words, "--store", store.location])
        patch.setattr("cd4ml.cli.deployments.console", Console(width=200))
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return str(ended.value.code or "")


def test_a_deployment_waits_until_somebody_approves_and_says_how(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.02)
    found: list[Approval] = []
    deploying = threading.Thread(target=lambda: found.extend(waiting.wait(store, VERSION, 1, within=waiting.LONGEST)))
    deploying.start()
    deploying.join(0.2)
    waited = deploying.is_alive()
    assert asked(store, "approve", "uptake", "4", "--reason", "better in the south", "--by", "Ada") == ""
    deploying.join(10)

    assert waited
    assert not deploying.is_alive()
    assert [(one.by, one.reason, one.digest) for one in found] == [("Ada", "better in the south", "sha256:four")]
    [told] = caplog.messages
    assert told == (
        "uptake version 4 (sha256:four) waits for 1 of 1 approvals; to approve it: "
        f"cd4ml deployments approve uptake 4 --store {store.location} --reason WHY"
    )


def test_a_deployment_that_asks_nobody_asks_the_store_nothing(unsteady: "Away") -> None:
    unsteady.away(1)

    assert waiting.wait(unsteady, VERSION, 0, within=waiting.LONGEST) == []


class Away(FolderStore):
    """It cannot be asked at some times of those at which it is."""

    def away(self, *times: int) -> None:
        self.asked, self.times = 0, times

    def children(self, place: str) -> list[str]:
        if not place.startswith("approvals/"):
            return super().children(place)
        self.asked += 1
        if self.asked == 4:
            approve(FolderStore(self.root), "Ada")
        if self.asked in self.times:
            raise StorageError("the store does not answer")
        return super().children(place)


@pytest.fixture
def unsteady(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> Away:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)
    return Away(store.root)


def test_a_store_that_is_away_for_a_while_ends_no_wait_of_days(
    unsteady: Away, caplog: pytest.LogCaptureFixture
) -> None:
    unsteady.away(2, 3)

    assert [one.by for one in waiting.wait(unsteady, VERSION, 1, within=waiting.LONGEST)] == ["Ada"]
    assert caplog.messages[1:] == ["the store does not answer; it is asked again"] * 2


@pytest.mark.parametrize(("times", "seconds"), [((1,), 60), ((2,), 0)])
def test_a_store_that_never_answers_or_not_for_long_ends_the_wait(
    unsteady: Away, monkeypatch: pytest.MonkeyPatch, times: tuple[int, ...], seconds: float
) -> None:
    monkeypatch.setattr(waiting, "AWAY_SECONDS", seconds)
    unsteady.away(*times)

    with pytest.raises(StorageError, match="does not answer"):
        waiting.wait(unsteady, VERSION, 1, within=waiting.LONGEST)


def test_four_eyes_are_those_of_two_people(store: FolderStore, impatient: None) -> None:
    approve(store, "Ada")
    approve(store, " ada ")

    with pytest.raises(DeploymentError, match="uptake version 4 was not approved in 0 hours: 1 of 2 approvals are"):
        waiting.wait(store, VERSION, 2, within=waiting.LONGEST)
    approve(store, "Grace")
    assert {one.by for one in waiting.wait(store, VERSION, 2, within=waiting.LONGEST)} == {"ada", "Grace"}


def test_where_nobody_is_asked_nobody_is_waited_for(store: FolderStore, impatient: None) -> None:
    assert waiting.wait(store, VERSION, 0, within=waiting.LONGEST) == []


def test_what_has_expired_or_is_about_another_model_does_not_count(store: FolderStore, impatient: None) -> None:
    approve(store, "Ada", valid=timedelta(0))
    approvals.approve(store, replace(VERSION, digest="sha256:other"), by="Grace", reason="fine")

    with pytest.raises(DeploymentError, match="1 of 1 approvals are missing"):
        waiting.wait(store, VERSION, 1, within=waiting.LONGEST)


def deploy(store: FolderStore, number: int, at: str) -> None:
    begun = deployments.begin(store, replace(VERSION, version=number), run="run", target="machine", strategy="replace")
    deployments.add(store, begun, Held("http://127.0.0.1:1", at))


def test_an_approval_from_before_a_newer_version_came_does_not_let_an_older_one_replace_it(
    store: FolderStore, impatient: None, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(store, 3, clock.now())
    approve(store, "Ada")
    waiting.wait(store, VERSION, 1, within=waiting.LONGEST)
    deploy(store, 5, clock.now())

    with pytest.raises(DeploymentError, match="1 of 1 approvals are missing"):
        waiting.wait(store, VERSION, 1, within=waiting.LONGEST)
    store.path("deployments/uptake/2/2.json").unlink()
    deploy(store, 5, since := clock.written(clock.moment() - timedelta(hours=1)))
    assert asked(store, "approve", "uptake", "4", "--reason", "5 forgets the south", "--by", "Ada") == ""
    assert f"it is to take the place of version 5, which is newer, in production since {since}" in (
        capsys.readouterr().out
    )
    waiting.wait(store, VERSION, 1, within=waiting.LONGEST)


def test_a_newer_version_that_came_while_a_rollout_waited_for_its_turn_stays(store: FolderStore) -> None:
    class Busy(Machine):
        @contextmanager
        def turn(self) -> Iterator[None]:
            deploy(store, 5, clock.now())
            yield

        def check(self, version: Version) -> None:
            pass

    approve(store, "Ada")
    with pytest.raises(DeploymentError) as told:
        rollout.roll_out(
            Busy(store, "uptake"),
            strategies.REPLACE,
            version=VERSION,
            run="run",
            port=1,
            log_file=Path("/no/such/log"),
            approvals=1,
        )

    assert str(told.value) == (
        "uptake version 4: 1 of 1 approvals do not stand any more, for version 5 has come into production since; if it "
        "is still to be deployed, approve it again, and run this again"
    )
    assert [series.begun.version for series in deployments.every(store, "uptake")] == [5]


def test_a_deployment_that_is_not_approved_changes_nothing(store: FolderStore, tmp_path: Path, impatient: None) -> None:
    check = gates.Check("auc on overall", "at least 0.7", 0.8, gates.Outcome.PASSED, "auc on overall is 0.8")
    VERSION.write(tmp_path / "version.json")
    gates.Verdict("check_model", {"model": VERSION.digest}, (check,)).write(tmp_path / "verdict.json")

    with pytest.raises(DeploymentError, match="approve it, and run this again"):
        release.deploy(
            store.location,
            published_file=str(tmp_path / "version.json"),
            verdict_file=str(tmp_path / "verdict.json"),
            target="machine",
            port=1,
            run="run",
            folder=str(tmp_path / "result"),
            approvals=1,
        )
    assert deployments.every(store, "uptake") == []


def test_the_events_of_a_deployment_show_who_approved_it_before_and_meanwhile(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    approve(store, "Ada")
    begun = deployments.begin(store, VERSION, run="run", target="machine", strategy="manual")
    for seconds, by in ((5, "Dennis"), (15, "Barbara")):  # before it held, and after
        with monkeypatch.context() as later:
            moment = clock.moment() + timedelta(seconds=seconds)
            later.setattr(clock, "moment", lambda at=moment: at)
            approve(store, by)
    deployments.add(store, begun, Held("http://127.0.0.1:1", clock.written(clock.moment() + timedelta(seconds=10))))

    assert asked(store, "show", "uptake", "1") == ""
    lines = [line.split(maxsplit=2)[2].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [
        "approved  Ada: better in the south",
        "begun     version 4 to machine by manual, for run run",
        "approved  Dennis: better in the south",
        "held      http://127.0.0.1:1",
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"reason": " "}, "the reason: write one line of 1 to 200 characters"),
        ({"reason": "a\nb"}, "the reason: write one line"),
        ({"reason": "x" * 201}, "the reason: write one line"),
        ({"by": ""}, r"who says so \(--by\): write one line"),
    ],
)
def test_an_approval_says_who_and_why(store: FolderStore, said: dict[str, str], told: str) -> None:
    with pytest.raises(RegistryError, match=told):
        approve(store, **{"by": "Ada", **said})
    assert store.children("approvals/uptake/4") == []


def test_an_approval_that_cannot_be_read_is_told_with_its_file(store: FolderStore, impatient: None) -> None:
    approve(store, "Ada")
    file = store.path("approvals/uptake/4/1.json")
    file.write_text(file.read_text().replace("+00:00", ""))

    with pytest.raises(DocumentError, match="approvals/uptake/4/1.json: not a cd4ml/Approval .*has no zone"):
        waiting.wait(store, VERSION, 1, within=waiting.LONGEST)


def test_a_version_that_is_not_published_cannot_be_approved(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(store, "approve", "uptake", "9", "--reason", "why not") == "1"
    assert "no version 9 of the model uptake; published: 4" in capsys.readouterr().err
