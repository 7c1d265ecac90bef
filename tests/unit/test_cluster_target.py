"""A rollout on a cluster, whatever happens to its process and to the cluster's API: callers reach what was verified."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
import urllib3
from kubernetes import client
from kubernetes_api import Api, Fault, Object
from steps_taken import Answers

from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import rollout
from cd4ml.deployment.steps import Rollout
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import cluster, kind, kserve, seldon, stable
from cd4ml.deployment.targets.cluster import Cluster
from cd4ml.deployment.targets.kserve import KServe
from cd4ml.deployment.targets.stable import NOTE, StableService
from cd4ml.errors import DeploymentError, StorageError
from cd4ml.registry import approvals, deployments
from cd4ml.storage import Store
from cd4ml.storage.folder import FolderStore

CHANGES = (
    "store: begun",
    "write the note",
    "make the object",
    "store: verified",
    "route",
    "store: routed",
    "store: held",
    "delete the one before",
    "take the note away",
)
"""What a rollout changes, in turn."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(urllib3.Retry, "get_backoff_time", lambda _: 0)
        yield server
        server.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "store")


def deploy(
    store: Store,
    version: int,
    instead: Callable[[Rollout], object] = lambda _: None,
    *,
    seconds: float = 5,
    where: type[Cluster] = Cluster,
) -> int:
    """Rolls a version out; the number of its deployment."""
    dataset = DatasetReference("players", 0, "sha256:d")
    published = Version("uptake", version, f"sha256:{version}", "2026-01-01", "run", "", dataset)
    deployed, _ = rollout.roll_out(
        where(store, "uptake", seconds=seconds),
        Strategy("replace", (Answers(instead), Route())),
        version=published,
        run=f"run-{version}",
        port=0,
        log_file=Path("/no/such/log"),
    )
    return deployed.number


def routed_first(store: Store, version: int, instead: Callable[[Rollout], object]) -> None:
    """Rolls a version out that is verified when callers reach it."""
    dataset = DatasetReference("players", 0, "sha256:d")
    rollout.roll_out(
        Cluster(store, "uptake", seconds=5),
        Strategy("replace", (Route(), Answers(instead))),
        version=Version("uptake", version, f"sha256:{version}", "2026-01-01", "run", "", dataset),
        run=f"run-{version}",
        port=0,
        log_file=Path("/no/such/log"),
    )


def states(store: Store) -> list[str]:
    return [series.state for series in deployments.every(store, "uptake")]


def note(api: Api) -> Any:
    return (api.service()["metadata"].get("annotations") or {}).get(NOTE)


def fails(_: Rollout) -> None:
    raise DeploymentError("it predicts something else")


def settle(store: Store) -> str:
    """What the next process says when it looks for what was left."""
    where = Cluster(store, "uptake")
    with where.turn():
        return rollout.put_right(where)


def test_each_release_is_an_object_of_its_own_which_callers_reach_by_one_address(api: Api, store: Store) -> None:
    seen: list[tuple[str, list[str], str]] = []

    def look(now: Rollout) -> None:
        seen.append((now.url, api.names("seldondeployments"), api.reached()))

    deploy(store, 1, look)
    deploy(store, 2, look)

    assert seen == [
        ("http://uptake-1-p.team.svc:8000", ["uptake-1"], ""),
        ("http://uptake-2-p.team.svc:8000", ["uptake-1", "uptake-2"], "uptake-1"),
    ]
    assert deployments.latest(store, "uptake").endpoint == "http://uptake.team.svc:8000/api/v1.0/predictions"
    assert (api.names("seldondeployments"), api.reached(), note(api)) == (["uptake-2"], "uptake-2", None)
    assert Cluster(store, "uptake").current().number == 2
    assert {"name": "http", "port": 8000, "targetPort": "http"}.items() <= api.service()["spec"]["ports"][0].items()


def test_what_is_not_as_evaluated_is_never_reached_and_goes(api: Api, store: Store) -> None:
    deploy(store, 1)
    api.answered.clear()

    with pytest.raises(DeploymentError) as told:
        deploy(store, 2, fails)

    assert str(told.value) == ("it predicts something else\nuptake-1, which was served before, is served as before")
    assert (set(api.answered), api.names("seldondeployments")) == ({"uptake-1"}, ["uptake-1"])
    assert states(store) == ["held", "undone"]


def test_a_first_release_that_fails_leaves_nothing(api: Api, store: Store) -> None:
    with pytest.raises(DeploymentError, match="uptake was not served before and was removed again"):
        deploy(store, 1, fails)

    assert api.objects == {}


@pytest.mark.parametrize(
    ("first", "change"),
    [(False, change) for change in (*CHANGES, "not at all")]
    + [(True, change) for change in CHANGES if change != "delete the one before"],
)
def test_wherever_a_process_is_killed_the_next_finds_one_release_that_is_verified(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch, *, first: bool, change: str
) -> None:
    before = None if first else deploy(store, 1)
    api.answered.clear()
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)
    changes = [*(one for one in CHANGES if not (first and one == "delete the one before")), "not at all"]

    def work() -> None:
        forked.dies_before(changes.index(change) + 1, monkeypatch, MADE)
        deploy(store, 2)

    assert os.WIFSIGNALED(forked.status_of(work)) == (change != "not at all")
    settle(store)

    number = 1 if first else 2
    holds = number if changes.index(change) > changes.index("store: held") else before
    latest = deployments.latest(store, "uptake")
    assert (latest.number if latest else None) == holds
    assert api.names("seldondeployments") == ([f"uptake-{holds}"] if holds else [])
    assert api.reached() == (f"uptake-{holds}" if holds else "")
    assert api.names("services") == (["uptake"] if holds else [])
    assert not holds or note(api) is None
    assert first or set(api.answered) <= {"uptake-1", "uptake-2"}
    deploy(store, 3)
    assert api.names("seldondeployments") == [api.reached()]


MADE = (
    (FolderStore, "add"),
    (StableService, "write"),
    (StableService, "delete"),
    (client.CustomObjectsApi, "create_namespaced_custom_object"),
    (client.CustomObjectsApi, "delete_namespaced_custom_object"),
)
"""By what a rollout makes them."""


@pytest.mark.parametrize("status", [0, 429, 500, 503])
@pytest.mark.parametrize("does", [False, True], ids=["refused", "done and not answered"])
@pytest.mark.parametrize(
    ("method", "kind"),
    [("GET", "services"), ("PUT", "services"), ("POST", "seldondeployments"), ("DELETE", "seldondeployments")],
)
def test_an_api_that_fails_for_a_moment_is_asked_again(
    api: Api, store: Store, *, method: str, kind: str, status: int, does: bool
) -> None:
    deploy(store, 1)
    api.answered.clear()
    api.faults.append(Fault(method, kind, status, times=1, does=does))

    deploy(store, 2)

    assert api.faults[0].times == 0
    assert set(api.answered) == {"uptake-1", "uptake-2"}
    assert (api.names("seldondeployments"), api.reached(), note(api)) == (["uptake-2"], "uptake-2", None)


@pytest.mark.parametrize("does", [False, True])
def test_a_first_service_whose_answer_is_lost_is_made_once(api: Api, store: Store, does: bool) -> None:
    api.faults.append(Fault("POST", "services", 0, times=1, does=does))

    deploy(store, 1)

    assert (api.reached(), note(api)) == ("uptake-1", None)


def test_an_api_that_is_away_while_a_release_comes_up_is_waited_for(api: Api, store: Store) -> None:
    api.faults += [Fault("GET", "deployments", 503, times=20), Fault("GET", "endpointslices", 0, times=20)]

    deploy(store, 1)

    assert api.reached() == "uptake-1"


def test_an_api_that_stays_away_leaves_the_one_before_and_the_next_takes_the_rest_away(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, 1)
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    def goes(_: Rollout) -> None:
        api.faults += [Fault(method, "", 500, times=1000) for method in ("GET", "PUT", "POST", "DELETE")]

    with pytest.raises(
        DeploymentError,
        match="not now\nwhat was served before could not be put back: .*not now.*; the next rollout does it",
    ):
        deploy(store, 2, goes)
    api.faults.clear()
    assert (api.reached(), api.names("seldondeployments")) == ("uptake-1", ["uptake-1", "uptake-2"])

    assert settle(store) == "uptake-1, which was served before, is served as before"
    assert api.names("seldondeployments") == ["uptake-1"]


def test_a_start_that_cannot_put_right_what_a_killed_one_left_deploys_nothing_and_the_next_one_does(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, 1)
    left_by_a_killed_one(api, store, monkeypatch)
    api.faults.append(Fault("DELETE", "seldondeployments", 403, times=1))

    with pytest.raises(DeploymentError, match="^the cluster refuses: not now$"):
        deploy(store, 3)
    assert (states(store), api.reached()) == (["held", "undone"], "uptake-1")

    deploy(store, 3)
    assert (states(store), api.reached()) == (["held", "undone", "held"], "uptake-3")
    assert api.names("seldondeployments") == ["uptake-3"]


def test_a_store_that_is_away_while_it_is_put_right_leaves_the_rest_to_the_next_start(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, 1)
    left_by_a_killed_one(api, store, monkeypatch)
    read = FolderStore.read

    def away(_: FolderStore, name: str) -> bytes:
        raise StorageError(f"{name}: the store does not answer")

    for asked in range(4):
        answers = [read] * asked + [away]
        with monkeypatch.context() as unsteady:
            unsteady.setattr(FolderStore, "read", lambda *given, left=answers: (left.pop(0) if left else read)(*given))
            with contextlib.suppress(StorageError):
                settle(store)
        assert api.reached() == "uptake-1"

    settle(store)
    assert (states(store), api.names("seldondeployments"), note(api)) == (["held", "undone"], ["uptake-1"], None)


def left_by_a_killed_one(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout of version 2 whose process was killed when its release was up."""
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    def work() -> None:
        deploy(store, 2, lambda _: os.kill(os.getpid(), signal.SIGKILL))

    assert os.WIFSIGNALED(forked.status_of(work))
    assert api.names("seldondeployments") == ["uptake-1", "uptake-2"]


def test_a_service_that_others_write_to_is_written_again(api: Api, store: Store) -> None:
    deploy(store, 1)

    def meddle() -> None:
        service = api.service()
        api.put("services", {**service, "metadata": {**service["metadata"], "annotations": {"mine": "kept"}}})

    def later(_: Rollout) -> None:
        service = api.service()
        marked = {**service["metadata"]["annotations"], "mine": "kept"}
        api.before_put = lambda: api.put(
            "services", {**service, "metadata": {**service["metadata"], "annotations": marked}}
        )

    api.before_put = meddle
    deploy(store, 2, later)

    assert api.reached() == "uptake-2"
    assert api.service()["metadata"]["annotations"]["mine"] == "kept"
    assert note(api) is None


def test_what_the_cluster_refuses_is_told_and_nothing_is_left(api: Api, store: Store) -> None:
    api.faults.append(Fault("POST", "seldondeployments", 403, times=1))

    with pytest.raises(DeploymentError, match="^the cluster refuses: not now\nuptake was not served before"):
        deploy(store, 1)

    assert api.objects == {}


@pytest.mark.parametrize(
    ("what", "said"),
    [("hidden", "it waited for Seldon's operator to act"), ("waits", "it waited for 1 new pods: 1 made, 0 ready")],
)
def test_a_release_that_does_not_come_up_is_told_and_the_one_before_is_served(
    api: Api, store: Store, what: str, said: str
) -> None:
    deploy(store, 1)
    getattr(api, what).add("uptake-2")

    with pytest.raises(DeploymentError, match=said):
        deploy(store, 2, seconds=0.2)

    assert (api.reached(), api.names("seldondeployments")) == ("uptake-1", ["uptake-1"])


def test_a_cluster_without_seldon_is_told(api: Api, store: Store) -> None:
    api.seldon = False

    with pytest.raises(DeploymentError, match="Seldon Core is not installed in this cluster"):
        deploy(store, 1)

    assert api.objects == {}


def test_a_service_of_that_name_that_is_not_ours_is_left_alone(api: Api, store: Store) -> None:
    api.put("services", {"metadata": {"name": "uptake"}, "spec": {}})

    with pytest.raises(DeploymentError, match="the Service uptake in team was not made by cd4ml"):
        deploy(store, 1)

    assert (api.names("services"), api.names("seldondeployments"), states(store)) == (["uptake"], [], [])


def test_an_object_of_that_name_that_is_not_ours_is_left_alone(api: Api, store: Store) -> None:
    api.put("seldondeployments", served_by("uptake-1", labels={}))

    with pytest.raises(DeploymentError, match="the SeldonDeployment uptake-1 is in team already, and this rollou"):
        deploy(store, 1)
    deploy(store, 2)

    assert (api.names("seldondeployments"), api.reached()) == (["uptake-1", "uptake-2"], "uptake-2")


def test_the_object_by_which_a_version_before_served_is_replaced(api: Api, store: Store) -> None:
    api.put("seldondeployments", served_by("uptake"))
    assert Cluster(store, "uptake").current().url == "http://uptake-default.team.svc:8000"

    with pytest.raises(DeploymentError, match="uptake, which was served before, is served as before"):
        deploy(store, 1, fails)
    assert (api.names("seldondeployments"), api.reached()) == (["uptake"], "uptake")
    deploy(store, 2)

    assert set(api.answered) == {"uptake", "uptake-2"}
    assert (api.names("seldondeployments"), api.reached()) == (["uptake-2"], "uptake-2")


def test_a_rollout_of_a_version_before_that_is_not_over_is_told(api: Api, store: Store) -> None:
    api.put("seldondeployments", served_by("uptake", annotations={NOTE: "{}"}))

    with pytest.raises(DeploymentError, match="a rollout of an earlier version of cd4ml is not over; wait for it"):
        deploy(store, 1)

    assert (api.names("seldondeployments"), api.names("services")) == (["uptake"], [])


def test_the_object_of_another_model_is_not_taken_for_one_of_a_version_before(api: Api, store: Store) -> None:
    deploy(store, 1)

    assert Cluster(store, "uptake-1").current() is None


def test_stopping_ends_all_that_is_served_and_halfway(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(store, 1)
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    def work() -> None:
        forked.dies_before(CHANGES.index("store: verified") + 1, monkeypatch, MADE)
        deploy(store, 2)

    forked.status_of(work)
    assert api.names("seldondeployments") == ["uptake-1", "uptake-2"]

    assert rollout.stop(Cluster(store, "uptake")).halfway

    assert api.objects == {}
    assert states(store) == ["stopped", "undone"]
    with pytest.raises(DeploymentError, match="nothing of the model uptake is served at the namespace team"):
        rollout.stop(Cluster(store, "uptake"))


def test_stopping_takes_away_the_service_of_what_somebody_else_has_removed(api: Api, store: Store) -> None:
    deploy(store, 1)
    del api.objects["seldondeployments", "uptake-1"]

    rollout.stop(Cluster(store, "uptake"))

    assert api.objects == {}
    assert states(store) == ["stopped"]


def test_who_was_taken_for_dead_and_lives_does_not_route(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, 1)
    monkeypatch.setattr(cluster, "DEAD_SECONDS", -1)

    with pytest.raises(DeploymentError, match="uptake: run-2-2 was undone by another rollout"):
        deploy(store, 2, lambda _: deploy(store, 3))

    assert (api.reached(), api.names("seldondeployments"), note(api)) == ("uptake-3", ["uptake-3"], None)
    assert states(store) == ["held", "undone", "held"]


def test_two_at_once_take_turns(api: Api, store: Store) -> None:
    waiting: list[threading.Thread] = []

    def another(_: Rollout) -> None:
        waiting.append(threading.Thread(target=deploy, args=(store, 3)))
        waiting[0].start()
        waiting[0].join(0.5)
        assert waiting[0].is_alive()
        assert api.names("seldondeployments") == ["uptake-1", "uptake-2"]

    deploy(store, 1)
    deploy(store, 2, another)
    waiting[0].join()

    assert api.reached() == "uptake-3"
    assert states(store) == ["held", "held", "held"]


@pytest.mark.parametrize("meddle", [rollout.put_right, Cluster.undo])
def test_who_has_changed_nothing_yet_leaves_a_rollout_that_began_at_the_same_moment_alone(
    api: Api, store: Store, meddle: Callable[[Cluster], str]
) -> None:
    deploy(store, 1)

    deploy(store, 2, lambda _: meddle(Cluster(store, "uptake")))

    assert (api.reached(), api.names("seldondeployments"), note(api)) == ("uptake-2", ["uptake-2"], None)
    assert states(store) == ["held", "held"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", "{}", "[" * 100_000]
    + [
        json.dumps({"until": "2026-01-01T00:00:00+00:00", "release": "x", "number": 1, "before": "", **wrong})
        for wrong in (
            {"until": "soon"},
            {"until": 5},
            {"number": "1"},
            {"number": True},
            {"before": None},
            {"release": 5},
        )
    ],
)
def test_a_note_that_cannot_be_read_is_told_with_its_service(api: Api, store: Store, text: str) -> None:
    metadata = {"name": "uptake", "labels": kind.labels("uptake"), "annotations": {NOTE: text}}
    api.put("services", {"metadata": metadata, "spec": {}})

    with pytest.raises(DeploymentError, match=f"^the Service uptake: its annotation {NOTE} is no note"):
        rollout.put_right(Cluster(store, "uptake"))


@pytest.mark.parametrize("number", ["first", "", "-1", "01"])
def test_an_object_whose_number_is_none_is_of_no_deployment_of_the_history(api: Api, store: Store, number: str) -> None:
    api.put("seldondeployments", served_by("uptake", number=number))

    current = Cluster(store, "uptake").current()

    assert current is not None
    assert current.number is None


def served_by(
    name: str, *, number: str = "7", labels: Object | None = None, annotations: Object | None = None
) -> Object:
    """A SeldonDeployment of the model, whoever made it."""
    ours = kind.labels("uptake") if labels is None else labels
    annotated = {kind.DEPLOYMENT: number, kind.RELEASE: "before-7"}
    predictor = {"name": "default", "annotations": annotated, "componentSpecs": [{}]}
    metadata = {"name": name, "labels": ours, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"predictors": [predictor]}}


def test_what_happens_is_told_as_events_about_the_model_s_service(api: Api, store: Store) -> None:
    deploy(store, 1)
    with pytest.raises(DeploymentError):
        deploy(store, 2, fails)
    rollout.stop(Cluster(store, "uptake"))

    assert [(one["reason"], one["type"], one["message"]) for one in api.events] == [
        ("DeploymentBegun", "Normal", "Deployment 1, version 1, begun: version 1 to cluster by replace, for run run-1"),
        ("DeploymentStep", "Normal", "Deployment 1, version 1, step: answers: 3 rows as evaluated, p50 1.0 ms"),
        (
            "DeploymentStep",
            "Normal",
            "Deployment 1, version 1, step: route: all requests to http://uptake.team.svc:8000",
        ),
        (
            "DeploymentHeld",
            "Normal",
            "Deployment 1, version 1, held: http://uptake.team.svc:8000/api/v1.0/predictions",
        ),
        ("DeploymentBegun", "Normal", "Deployment 2, version 2, begun: version 2 to cluster by replace, for run run-2"),
        ("DeploymentUndone", "Warning", "Deployment 2, version 2, undone: it predicts something else"),
        ("DeploymentStopped", "Normal", "Deployment 1, version 1, stopped"),
    ]
    about = {"apiVersion": "v1", "kind": "Service", "name": "uptake", "namespace": "team"}
    assert all(about.items() <= one["involvedObject"].items() for one in api.events)
    assert [bool(one["involvedObject"].get("uid")) for one in api.events] == [False, *[True] * 6]
    assert len({one["metadata"]["name"] for one in api.events}) == 7


def test_who_may_write_no_events_deploys_all_the_same_and_is_told(
    api: Api, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.append(Fault("POST", "events", 403, times=9))

    deploy(store, 1)

    assert states(store) == ["held"]
    assert api.events == []
    assert "uptake: the cluster could not be told of deployment 1: " in caplog.text


def test_a_long_reason_fits_an_event(api: Api, store: Store) -> None:
    def says_much(_: Rollout) -> None:
        raise DeploymentError("x" * 5000)

    with pytest.raises(DeploymentError):
        deploy(store, 1, says_much)

    assert len(api.events[-1]["message"]) == 1024


def test_the_service_says_what_answers_and_from_which_run_and_data_and_who_approved_it(api: Api, store: Store) -> None:
    def described() -> dict[str, str]:
        annotations = api.service()["metadata"]["annotations"]
        return {key.removeprefix("cd4ml/"): text for key, text in annotations.items() if key != NOTE}

    dataset = DatasetReference("players", 0, "sha256:d")
    published = Version("uptake", 1, "sha256:1", "2026-01-01", "run", "", dataset)
    approvals.approve(store, published, by="Ada", reason="a=b")
    deploy(store, 1)
    first = {
        "version": "1",
        "digest": "sha256:1",
        "deployment": "1",
        "run": "run-1",
        "dataset": "players@0",
        "approved-by": "Ada: a=b",
    }
    assert described() == first
    assert api.objects["seldondeployments", "uptake-1"]["metadata"]["annotations"] == {
        f"cd4ml/{key}": text for key, text in first.items()
    }
    seen: list[dict[str, str]] = []

    with pytest.raises(DeploymentError):
        routed_first(store, 2, lambda now: (seen.append(described()), fails(now)))

    assert [(one["version"], one["run"], "approved-by" in one) for one in seen] == [("2", "run-2", False)]
    assert described() == first


def test_the_service_is_labelled_as_ours(api: Api, store: Store) -> None:
    deploy(store, 1)

    labels = {"app.kubernetes.io/part-of": "cd4ml", "cd4ml/model": "uptake", "cd4ml/target": "cluster"}
    assert api.service()["metadata"]["labels"] == labels
    service = stable.StableService(client.ApiClient(), "team", "uptake", target="cluster")
    assert service.url == "http://uptake.team.svc:8000"


def test_with_kserve_each_release_is_an_inference_service(api: Api, store: Store) -> None:
    seen: list[tuple[str, list[str], str]] = []

    def look(now: Rollout) -> None:
        seen.append((now.url, api.names("inferenceservices"), api.reached()))

    deploy(store, 1, look, where=KServe)
    deploy(store, 2, look, where=KServe)

    assert seen == [
        ("http://uptake-1-predictor.team.svc:80", ["uptake-1"], ""),
        ("http://uptake-2-predictor.team.svc:80", ["uptake-1", "uptake-2"], "uptake-1"),
    ]
    assert deployments.latest(store, "uptake").endpoint == "http://uptake.team.svc:8000/api/v1.0/predictions"
    assert (api.names("inferenceservices"), api.reached(), note(api)) == (["uptake-2"], "uptake-2", None)
    assert (KServe(store, "uptake").current().number, api.names("seldondeployments")) == (2, [])


def test_with_kserve_what_fails_is_never_reached_and_goes(api: Api, store: Store) -> None:
    deploy(store, 1, where=KServe)
    api.answered.clear()

    with pytest.raises(DeploymentError, match="uptake-1, which was served before, is served as before"):
        deploy(store, 2, fails, where=KServe)

    assert set(api.answered) == {"uptake-1"}
    assert (api.names("inferenceservices"), note(api), states(store)) == (["uptake-1"], None, ["held", "undone"])


def test_what_kserve_says_that_it_cannot_do_is_told(api: Api, store: Store) -> None:
    api.hidden.add("uptake-1")

    def act() -> None:
        until = time.monotonic() + 20
        while not api.names("inferenceservices") and time.monotonic() < until:
            time.sleep(0.01)
        conditions = [{"type": "PredictorReady", "status": "False", "message": "no such runtime"}]
        api.objects["inferenceservices", "uptake-1"]["status"] = {"conditions": conditions}

    acting = threading.Thread(target=act)
    acting.start()
    with pytest.raises(DeploymentError, match=r"waited for KServe's controller to act \(it says: no such runtime\)"):
        deploy(store, 1, seconds=0.5, where=KServe)
    acting.join()

    assert api.objects == {}


def test_a_cluster_without_kserve_is_told(api: Api, store: Store) -> None:
    api.seldon = False

    with pytest.raises(
        DeploymentError, match="KServe is not installed .*it knows no inferenceservices.serving.kserve.io"
    ):
        deploy(store, 1, where=KServe)


@pytest.mark.parametrize(("first", "second"), [(Cluster, KServe), (KServe, Cluster)])
def test_a_model_that_another_target_serves_is_left_alone(
    api: Api, store: Store, first: type[Cluster], second: type[Cluster]
) -> None:
    deploy(store, 1, where=first)

    with pytest.raises(DeploymentError, match=f"served in team by the target `{first.name}`: deploy it there, or end"):
        deploy(store, 2, where=second)

    assert api.reached() == "uptake-1"
    rollout.stop(first(store, "uptake"))
    deploy(store, 2, where=second)
    assert second(store, "uptake").current().number is not None


def test_a_service_of_before_without_its_target_is_seldons(api: Api, store: Store) -> None:
    deploy(store, 1)
    del api.service()["metadata"]["labels"]["cd4ml/target"]

    deploy(store, 2)

    assert api.reached() == "uptake-2"


def test_what_kserve_gets_is_the_pod_that_seldon_gets() -> None:
    about = {"namespace": "team", "model_uri": "s3://cd4ml/models/uptake/3/model", "version": 3, "digest": "abc"}
    about |= {"release": "run-1", "number": 1}
    ours, seldons = kserve.inference_service("uptake", **about), seldon.deployment("uptake", **about).manifest()

    pod = seldons["spec"]["predictors"][0]["componentSpecs"][0]["spec"]
    named = {"name": "kserve-container", "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}}}
    wanted = {**pod, "containers": [{**pod["containers"][0], **named}]}
    predictor = ours["spec"]["predictor"]
    assert {key: predictor[key] for key in wanted} == wanted
    assert predictor["labels"]["seldon-deployment-id"] == ours["metadata"]["name"] == "uptake-1"
    assert predictor["labels"]["app.kubernetes.io/managed-by"] == "kserve"
    assert ours["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
