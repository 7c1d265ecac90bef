"""Requests that a cluster's router divides or copies while a release is on its way, whatever happens meanwhile."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
import urllib3
from kubernetes import client
from kubernetes_api import Api, Fault
from steps_taken import Answers

from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import rollout, steps, strategies, verify
from cd4ml.deployment.steps import Rollout, Step
from cd4ml.deployment.steps.written import Mirror, Route, Traffic
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import cluster, seldon
from cd4ml.deployment.targets.cluster import Cluster
from cd4ml.deployment.targets.stable import NOTE, StableService
from cd4ml.errors import DeploymentError
from cd4ml.registry import deployments
from cd4ml.storage import Store
from cd4ml.storage.folder import FolderStore

OLD, NEW, ROUTER = "uptake-1", "uptake-2", "uptake-2-router"
CANARY = (Traffic(traffic=10), Traffic(traffic=50))


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(cluster, "FOLLOW_SECONDS", 0.2)
        monkeypatch.setattr(urllib3.Retry, "get_backoff_time", lambda _: 0)
        for port in ("PORT", "METRICS_PORT"):  # where the API plays the router's pods
            monkeypatch.setattr(seldon, port, server.server_address[1])
        yield server
        server.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "store")


def deploy(store: Store, version: int, *between: Step, seconds: float = 5) -> int:
    """Rolls a version out, with steps between its verification and its route; the number of its deployment."""
    dataset = DatasetReference("players", 0, "sha256:d")
    published = Version("uptake", version, f"sha256:{version}", "2026-01-01", "run", "", dataset)
    deployed, _ = rollout.roll_out(
        Cluster(store, "uptake", seconds=seconds),
        Strategy("steps", (Answers(), *between, Route())),
        version=published,
        run=f"run-{version}",
        port=0,
        log_file=Path("/no/such/log"),
    )
    return deployed.number


def doing(instead: Callable[[Rollout], object]) -> Answers:
    """A step that does something."""
    return Answers(instead)


def fails(_: Rollout) -> None:
    raise DeploymentError("it does worse")


def shares(api: Api) -> dict[str, tuple[float, bool]]:
    """Who gets which part of the requests, and whether of copies."""
    arms = api.followed()["arms"]
    return {arm["name"]: (arm["copied" if arm["mirror"] else "weight"], arm["mirror"]) for arm in arms}


def left(api: Api) -> tuple[list[str], list[str], str, Any]:
    """What there is of the model, whom callers reach, and the note."""
    annotations = api.service()["metadata"].get("annotations") or {}
    return api.names("seldondeployments"), api.names("deployments"), api.reached(), annotations.get(NOTE)


def settle(store: Store) -> None:
    where = Cluster(store, "uptake")
    with where.turn():
        rollout.put_right(where)


def test_callers_reach_a_router_while_requests_are_divided_and_then_the_release(api: Api, store: Store) -> None:
    deploy(store, 1)
    api.answered.clear()
    seen: list[Any] = []
    look = doing(lambda now: seen.append((api.reached(), shares(api), now.split)))

    deploy(store, 2, CANARY[0], look, CANARY[1], look)

    (_, _, split), _ = seen
    assert [part[:2] for part in seen] == [
        (ROUTER, {"deployment-1": (0.9, False), "deployment-2": (0.1, False)}),
        (ROUTER, {"deployment-1": (0.5, False), "deployment-2": (0.5, False)}),
    ]
    assert (split.champion, split.challenger, split.mirrored) == ("deployment-1", "deployment-2", False)
    assert split.capture == store.uri("captures/uptake")
    assert list(dict.fromkeys(api.answered)) == [OLD, ROUTER, NEW]
    assert left(api) == ([NEW], [], NEW, None)


def test_of_two_releases_the_one_before_stays_up_while_the_other_has_all_requests_and_has_them_back_at_once(
    api: Api, store: Store
) -> None:
    deploy(store, 1)
    seen: list[Any] = []
    look = doing(lambda _: seen.append((api.reached(), api.names("seldondeployments"), shares(api))))

    with pytest.raises(DeploymentError, match="it does worse"):
        deploy(store, 2, Traffic(traffic=100), look, doing(fails))

    assert seen == [(ROUTER, [OLD, NEW], {"deployment-1": (0.0, False), "deployment-2": (1.0, False)})]
    assert left(api) == ([OLD], [], OLD, None)


def test_the_router_asks_both_releases_where_each_alone_answers(api: Api, store: Store) -> None:
    deploy(store, 1)
    urls: list[str] = []

    deploy(store, 2, CANARY[0], doing(lambda _: urls.extend(arm["url"] for arm in api.followed()["arms"])))

    assert urls == [f"http://uptake-{number}-p.team.svc:{seldon.PORT}" for number in (1, 2)]


def test_a_shadow_gets_copies_and_answers_nobody(api: Api, store: Store) -> None:
    deploy(store, 1)
    seen: list[Any] = []

    deploy(store, 2, Mirror(mirror=25), doing(lambda now: seen.append((shares(api), now.split.mirrored))))

    assert seen == [({"deployment-1": (1.0, False), "deployment-2": (0.25, True)}, True)]
    assert left(api) == ([NEW], [], NEW, None)


def test_where_nothing_was_served_before_there_is_nothing_to_divide(api: Api, store: Store) -> None:
    deploy(store, 1, *CANARY)

    assert (set(api.answered), api.names("deployments")) == ({"", OLD}, [])


def test_whoever_is_connected_to_the_router_still_is_answered_by_the_release_that_stays(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, 1)
    said: list[Any] = []
    delete = client.AppsV1Api.delete_namespaced_deployment

    def look(apps: Any, *given: Any, **named: Any) -> Any:
        said.append((shares(api), api.reached(), api.names("seldondeployments")))
        return delete(apps, *given, **named)

    monkeypatch.setattr(client.AppsV1Api, "delete_namespaced_deployment", look)
    deploy(store, 2, CANARY[0])
    with pytest.raises(DeploymentError, match="it does worse"):
        deploy(store, 3, CANARY[0], doing(fails))

    assert said == [
        ({"deployment-2": (1.0, False)}, NEW, [OLD, NEW]),
        ({"deployment-2": (1.0, False)}, NEW, [NEW, "uptake-3"]),
    ]


def test_a_release_that_does_worse_is_undone_and_what_was_served_before_gets_all(api: Api, store: Store) -> None:
    deploy(store, 1)

    with pytest.raises(DeploymentError, match=f"it does worse\n{OLD}, which was served before, was put back"):
        deploy(store, 2, *CANARY, doing(fails))

    assert left(api) == ([OLD], [], OLD, None)
    assert [series.state for series in deployments.every(store, "uptake")] == ["held", "undone"]


CHANGES = 17
"""How many a canary makes."""


@pytest.mark.parametrize("change", range(1, CHANGES + 2))
def test_wherever_a_process_is_killed_the_next_finds_one_release_and_no_router(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    deploy(store, 1)
    api.answered.clear()
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    def work() -> None:
        forked.dies_before(change, monkeypatch, MADE)
        deploy(store, 2, *CANARY)

    assert os.WIFSIGNALED(forked.status_of(work)) == (change <= CHANGES)
    settle(store)

    holds = deployments.latest(store, "uptake").number
    assert left(api) == ([f"uptake-{holds}"], [], f"uptake-{holds}", None)
    assert set(api.answered) <= {OLD, ROUTER, NEW}
    deploy(store, 3)
    assert api.names("seldondeployments") == [api.reached()]


MADE = (
    (FolderStore, "add"),
    (FolderStore, "replace"),
    (StableService, "write"),
    (StableService, "delete"),
    (client.CustomObjectsApi, "create_namespaced_custom_object"),
    (client.CustomObjectsApi, "delete_namespaced_custom_object"),
    (client.AppsV1Api, "create_namespaced_deployment"),
    (client.AppsV1Api, "delete_namespaced_deployment"),
)
"""By what a rollout changes something."""


@pytest.mark.parametrize("status", [0, 503])
@pytest.mark.parametrize("does", [False, True], ids=["refused", "done and not answered"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_api_that_fails_for_a_moment_is_asked_again(
    api: Api, store: Store, *, method: str, status: int, does: bool
) -> None:
    deploy(store, 1)
    api.faults.append(Fault(method, "deployments", status, times=1, does=does))

    deploy(store, 2, *CANARY)

    assert api.faults[0].times == 0
    assert left(api) == ([NEW], [], NEW, None)


def test_a_router_that_does_not_come_up_is_told_and_callers_never_reach_it(api: Api, store: Store) -> None:
    deploy(store, 1)
    api.answered.clear()
    api.waits.add(ROUTER)

    with pytest.raises(DeploymentError, match="got no router that divides requests in 0 s; it waited for 1 new pods"):
        deploy(store, 2, *CANARY, seconds=0.3)

    assert set(api.answered) == {OLD}
    assert left(api) == ([OLD], [], OLD, None)


def test_a_router_that_cannot_ask_a_release_is_told_and_callers_never_reach_it(api: Api, store: Store) -> None:
    deploy(store, 1)
    api.answered.clear()
    api.unreached = "arms that cannot answer: deployment-2"

    with pytest.raises(DeploymentError, match="arms that cannot answer: deployment-2"):
        deploy(store, 2, *CANARY, seconds=0.3)

    assert set(api.answered) == {OLD}


def test_a_router_that_does_not_follow_does_not_keep_a_bad_release(api: Api, store: Store) -> None:
    deploy(store, 1)

    def gets_lost(_: Rollout) -> None:
        api.unreached = "the store does not answer"
        raise DeploymentError("it does worse")

    with pytest.raises(DeploymentError, match="was put back"):
        deploy(store, 2, *CANARY, doing(gets_lost))

    assert left(api) == ([OLD], [], OLD, None)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases answer; there are no names of Services here."""
    monkeypatch.setattr(verify, "wait_until_ready", lambda *_, **__: None)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 0.05)


def a_hold(seconds: int) -> Step:
    [*_, hold, _] = strategies.parse([{"traffic": 10}, {"hold": f"PT{seconds}S"}]).steps
    return hold


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(("kind", "name"), [("deployments", ROUTER), ("seldondeployments", OLD)])
def test_a_router_or_release_that_goes_in_a_hold_ends_it(api: Api, store: Store, kind: str, name: str) -> None:
    deploy(store, 1)

    with pytest.raises(DeploymentError, match="what was served before has ended, or the router has"):
        deploy(store, 2, CANARY[0], doing(lambda _: api.objects.pop((kind, name))), a_hold(20))

    assert api.names("deployments") == []


@pytest.mark.usefixtures("answering")
def test_a_hold_goes_on_while_the_api_is_away(api: Api, store: Store) -> None:
    deploy(store, 1)
    fault = Fault("GET", "", 503, times=20)

    deploy(store, 2, CANARY[0], doing(lambda _: api.faults.append(fault)), a_hold(1))

    assert fault.times == 0
    assert api.reached() == NEW


def test_a_rollout_that_takes_longer_than_its_note_holds_renews_it(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "DEAD_SECONDS", 3)
    monkeypatch.setattr(cluster, "RENEW_SECONDS", 0.2)
    deploy(store, 1)
    another = threading.Thread(target=deploy, args=(store, 3))

    def takes_its_time(_: Rollout) -> None:
        another.start()
        time.sleep(5)

    deploy(store, 2, CANARY[0], doing(takes_its_time))
    another.join()

    assert [series.state for series in deployments.every(store, "uptake")] == ["held"] * 3
    assert api.reached() == "uptake-3"


def test_who_was_taken_for_dead_and_lives_divides_nothing(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, 1)
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    with pytest.raises(DeploymentError, match="uptake: run-2-2 was undone by another rollout"):
        deploy(store, 2, CANARY[0], doing(lambda _: deploy(store, 3)), CANARY[1])

    assert left(api) == (["uptake-3"], [], "uptake-3", None)


def test_stopping_in_the_middle_of_a_canary_ends_all(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(store, 1)
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    def work() -> None:
        deploy(store, 2, CANARY[0], doing(lambda _: os.kill(os.getpid(), 9)))

    forked.status_of(work)
    assert api.reached() == ROUTER

    assert rollout.stop(Cluster(store, "uptake")).halfway

    assert api.objects == {}
