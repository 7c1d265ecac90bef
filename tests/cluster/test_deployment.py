"""Rollouts on a real cluster, where a thread plays the part of Seldon's operator."""

import copy
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import forked
import pytest
import seldon_kind
import seldon_objects
import yaml
from conftest import Cluster, ObjectStore
from kubernetes import client
from operators import wait_until
from seldon_operator import LAST_APPLIED, Operator

from cd4ml.cluster import connection
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import rollout as engine
from cd4ml.deployment.steps import Rollout
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.targets import cluster as target
from cd4ml.deployment.targets import seldon, stable
from cd4ml.errors import DeploymentError, StorageError
from cd4ml.images import TOOLS
from cd4ml.registry import deployments
from cd4ml.storage import Content
from cd4ml.storage.bucket import S3Store

SERVING = Path(__file__).parents[2] / "manifests/base/serving.yaml"
"""Has the PriorityClass that models run with."""
MADE = yaml.safe_load((Path(__file__).parent / "seldon-core-1.17.1.yaml").read_text())
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SMALL = {"requests": {"cpu": "5m", "memory": "16Mi"}}
SHELL = {"image": TOOLS, "imagePullPolicy": "IfNotPresent", "resources": SMALL}
HEALTHY = {**SHELL, "command": ["sh", "-c", "trap exit TERM; sleep infinity & wait"]}
LINGERING = {**HEALTHY, "lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}
NEVER_READY = {**HEALTHY, "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}}
CRASHING = {**NEVER_READY, "command": ["python3", "-c", "print('INFO: so far so good')\nopen('/no/such/model')"]}
SERVER = """
import http.server, os
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MODEL_VERSION"].encode())
port = int(os.environ.get("PORT", 9000))
http.server.HTTPServer(("", port), Answers).serve_forever()
"""
"""Takes its port as the model server does."""
LISTENING = {
    **SHELL,
    "command": ["python3", "-c", SERVER],
    "readinessProbe": {"httpGet": {"path": "/health/status", "port": "http"}, "periodSeconds": 1},
}
WITHOUT_IMAGE = {**HEALTHY, "image": "cd4ml/no-such-image:1", "imagePullPolicy": "Never"}
TOO_FREE = {**HEALTHY, "securityContext": {"allowPrivilegeEscalation": True}}


@pytest.fixture(autouse=True)
def _kubeconfig(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    monkeypatch.setattr(target, "POLL_SECONDS", 0.2)


@pytest.fixture(scope="module", autouse=True)
def _seldon_kind(kubeconfig: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", kubeconfig)
        api = connection.connect()
    with seldon_kind.known(api):
        yield


class Recorded(S3Store):
    """A store that can fail to be written."""

    fails = False

    def add(self, name: str, content: Content) -> None:
        if self.fails:
            raise StorageError("the store does not answer")
        super().add(name, content)


STORES: dict[str, Recorded] = {}
"""The history of what is deployed, by namespace."""


@pytest.fixture
def namespace(cluster: Cluster, bucket: ObjectStore) -> str:
    name = cluster.namespace(RESTRICTED)
    STORES[name] = Recorded(bucket.uri)
    cluster.kubectl("--namespace", name, "apply", "--server-side", "--force-conflicts", "--filename", str(SERVING))
    return name


@pytest.fixture
def operator(namespace: str) -> Iterator[Operator]:
    with Operator(connection.connect(), namespace, HEALTHY).acting() as acting:
        yield acting


def test_a_first_rollout_is_reached_by_callers_when_it_is_routed_and_verified_when_its_context_ends(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    with raised(namespace, 1, "first") as now:
        assert now.url == f"http://uptake-1-p.{namespace}.svc:8000"
        assert served(cluster, namespace) == ("", False)
        Route().take(now)
        assert now.endpoint == f"http://uptake.{namespace}.svc:8000"
        assert served(cluster, namespace) == ("first", False)

    assert served(cluster, namespace) == ("first", True)


def test_a_release_comes_up_beside_the_one_that_serves_which_goes_when_it_holds(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve(namespace, 1, "first")

    with raised(namespace, 2, "second") as now:
        assert sorted(releases_that_run(namespace)) == ["first", "second"]
        assert served(cluster, namespace) == ("first", False)
        Route().take(now)
        assert sorted(releases_that_run(namespace)) == ["first", "second"]

    assert served(cluster, namespace) == ("second", True)
    assert objects(cluster, namespace) == ["uptake-2"]
    wait_until(lambda: releases_that_run(namespace) == ["second"], "the first to go")


def test_no_request_fails_and_none_is_answered_by_an_unverified_release(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    operator.container = LISTENING
    serve(namespace, 1, "first")

    with asking(namespace) as answers:
        with pytest.raises(DeploymentError), raised(namespace, 2, "wrong"):
            raise DeploymentError("differs")
        undone = len(answers)
        serve(namespace, 3, "third")
        time.sleep(1)

    assert undone > 5
    assert set(answers[:undone]) == {"1"}
    assert set(answers[undone:]) == {"1", "3"}
    assert answers[-1] == "3"


def test_a_model_that_a_version_before_served_is_replaced_and_no_request_fails(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    operator.container = LISTENING
    serve_as_before(operator, cluster, namespace)
    where = target.Cluster(STORES[namespace], "uptake", namespace=namespace)
    assert where.current().url == f"http://uptake-default.{namespace}.svc:8000"

    with raised(namespace, 2, "second") as now, asking(namespace) as answers:
        time.sleep(1)
        Route().take(now)
        time.sleep(1)

    assert set(answers) == {"1", "2"}
    assert objects(cluster, namespace) == ["uptake-1"]
    assert served(cluster, namespace) == ("second", True)


def test_a_model_that_a_version_before_served_stays_where_its_replacement_fails(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve_as_before(operator, cluster, namespace)

    put_back = "uptake, which was served before, was put back"
    with pytest.raises(DeploymentError, match=put_back), rollout(namespace, 2, "second"):
        raise DeploymentError("differs")

    assert objects(cluster, namespace) == ["uptake"]
    assert served(cluster, namespace) == ("before", True)


def test_a_rollout_that_a_version_before_has_not_ended_is_told(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve_as_before(operator, cluster, namespace)
    cluster.kubectl("annotate", "sdep", "uptake", "-n", namespace, f"{stable.NOTE}=x")

    with pytest.raises(DeploymentError, match="annotation cd4ml/unverified says that a rollout of an earlier version"):
        serve(namespace, 2, "second")


def test_the_model_server_listens_and_knows_its_version_by_what_the_operator_leaves_of_the_pod(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    operator.container = LISTENING

    serve(namespace, 3, "first", seconds=30)

    [pod] = names_of_pods(namespace)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{seldon.PORT}/proxy/api/v1.0/health/status"
    assert cluster.kubectl("get", "--raw", path) == "3"


def test_what_is_stored_is_what_was_sent(operator: Operator, cluster: Cluster, namespace: str) -> None:
    serve(namespace, 1, "first")

    sent = seldon.deployment(
        "uptake",
        namespace=namespace,
        model_uri=f"{STORES[namespace].location}/models/uptake/1/model",
        version=1,
        digest="abc",
        release="first-1",
        number=1,
        capture=f"{STORES[namespace].location}/captures/uptake",
    )
    assert stored(cluster, namespace, "uptake-1")["spec"] == sent.manifest()["spec"]


def test_a_release_that_the_operator_does_not_see_is_told(operator: Operator, cluster: Cluster, namespace: str) -> None:
    serve(namespace, 1, "first")
    operator.hesitates.set()

    with pytest.raises(DeploymentError, match="did not come up in 2 s; it waited for Seldon's operator to act"):
        serve(namespace, 2, "second", seconds=2)

    assert served(cluster, namespace) == ("first", True)
    assert objects(cluster, namespace) == ["uptake-1"]


def test_a_release_is_up_when_every_deployment_of_its_object_is(
    operator: Operator, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = seldon.SeldonDeployment.manifest

    def with_another(one: seldon.SeldonDeployment) -> dict:
        content = made(one)
        components = content["spec"]["predictors"][0]["componentSpecs"]
        container = {**components[0]["spec"]["containers"][0], "name": "other"}
        pod = {**components[0]["spec"], "containers": [container]}
        components.append({"metadata": {"name": "other"}, "spec": pod})
        return content

    monkeypatch.setattr(seldon.SeldonDeployment, "manifest", with_another)
    operator.plays = {"other": NEVER_READY}

    with pytest.raises(DeploymentError, match="did not come up in 8 s; it waited for 1 new pods: 2 made, 1 ready"):
        serve(namespace, 1, "first", seconds=8)


def test_a_pod_that_never_gets_ready_is_told_and_the_model_before_serves_on(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve(namespace, 1, "first")
    pod = names_of_pods(namespace)
    operator.container = NEVER_READY

    with pytest.raises(DeploymentError) as told:
        serve(namespace, 2, "second", seconds=6)

    assert "container model: runs, but is not ready" in str(told.value)
    assert "event: Readiness probe failed: dial tcp" in str(told.value)
    assert "uptake-1, which was served before, is served as before" in str(told.value)
    assert served(cluster, namespace) == ("first", True)
    assert set(pod) <= set(names_of_pods(namespace))


def test_a_crash_is_told_with_its_exception_before_the_time_is_up(operator: Operator, namespace: str) -> None:
    operator.container = CRASHING

    with pytest.raises(DeploymentError, match="container model: CrashLoopBackOff: ended with 1") as told:
        serve(namespace, 1, "first", seconds=600)

    assert "its log says:\n" in str(told.value)
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/model'" in str(told.value)
    assert "so far so good" not in str(told.value)


def test_an_image_that_is_not_there_is_told_before_the_time_is_up(operator: Operator, namespace: str) -> None:
    operator.container = WITHOUT_IMAGE

    with pytest.raises(DeploymentError, match="container model: ErrImageNeverPull: .*cd4ml/no-such-image:1"):
        serve(namespace, 1, "first", seconds=600)


def test_pods_that_the_namespace_forbids_are_told_before_the_time_is_up(operator: Operator, namespace: str) -> None:
    operator.container = TOO_FREE

    with pytest.raises(DeploymentError, match="refuses the pods of uptake: .*violates PodSecurity"):
        serve(namespace, 1, "first", seconds=600)


def test_a_first_rollout_that_fails_leaves_nothing(operator: Operator, cluster: Cluster, namespace: str) -> None:
    operator.container = WITHOUT_IMAGE

    with pytest.raises(DeploymentError, match="uptake was not served before and was removed again"):
        serve(namespace, 1, "first")

    assert not cluster.kubectl("get", "sdep,service", "-n", namespace, "-o", "name")


@pytest.mark.parametrize("failure", [DeploymentError("differs"), SystemExit(143), KeyboardInterrupt()])
def test_a_verification_that_does_not_end_well_puts_the_model_before_back(
    operator: Operator, cluster: Cluster, namespace: str, failure: BaseException
) -> None:
    serve(namespace, 1, "first")

    with pytest.raises(type(failure)), rollout(namespace, 2, "second"):
        raise failure

    assert served(cluster, namespace) == ("first", True)


def test_what_holds_and_cannot_be_recorded_is_put_back_too(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve(namespace, 1, "first")

    with pytest.raises(StorageError), rollout(namespace, 2, "second"):
        STORES[namespace].fails = True

    assert served(cluster, namespace) == ("first", True)


def test_what_a_dead_process_left_is_undone_by_the_next_also_in_the_history(
    operator: Operator,
    cluster: Cluster,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    serve(namespace, 1, "first")
    monkeypatch.setattr(target, "DEAD_SECONDS", -1)
    killed = rollout(namespace, 2, "second", seconds=10)
    killed.__enter__()
    assert (served(cluster, namespace), states(namespace)) == (("second", False), ["held", "begun"])

    with raised(namespace, 3, "third") as now:
        seen = [served(cluster, namespace), objects(cluster, namespace)]
        Route().take(now)

    assert seen == [("first", False), ["uptake-1", "uptake-3"]]
    assert "uptake-1, which was served before, was put back" in caplog.text
    assert objects(cluster, namespace) == ["uptake-3"]
    assert states(namespace) == ["held", "undone", "held"]


@pytest.mark.parametrize("act", range(1, 9))
def test_wherever_the_process_is_killed_the_next_finds_one_release_that_serves(
    operator: Operator, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, act: int
) -> None:
    serve(namespace, 1, "first")
    monkeypatch.setattr(target, "DEAD_SECONDS", -1)

    def work() -> None:
        forked.dies_before(act, monkeypatch, CHANGING)
        serve(namespace, 2, "second", seconds=30)

    status = forked.status_of(work)
    assert (os.WIFSIGNALED(status), os.WEXITSTATUS(status)) == (act <= ACTS, 0)

    where = target.Cluster(STORES[namespace], "uptake", namespace=namespace)
    with where.turn():
        engine.put_right(where)

    holds = act > HELD
    last = ("second", 2) if holds else ("first", 1)
    assert served(cluster, namespace) == (last[0], True)
    assert objects(cluster, namespace) == [f"uptake-{last[1]}"]
    assert deployments.latest(STORES[namespace], "uptake").number == where.current().number == last[1]
    serve(namespace, 3, "third")
    assert objects(cluster, namespace) == [f"uptake-{where.current().number}"]


ACTS, HELD = 7, 5
"""How many changes a rollout makes, and which of them is the event that it holds."""


CHANGING = (
    (S3Store, "add"),
    (stable.StableService, "write"),
    (stable.StableService, "delete"),
    (client.CustomObjectsApi, "create_namespaced_custom_object"),
    (client.CustomObjectsApi, "delete_namespaced_custom_object"),
)
"""By what it makes them."""


def test_what_another_store_left_is_undone_by_the_next(
    operator: Operator, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(namespace, 1, "first")
    here = STORES[namespace]
    STORES[namespace] = Recorded(f"{here.location}/other")
    deployments.begin(STORES[namespace], published(1), run="x", target="cluster", strategy="replace")
    monkeypatch.setattr(target, "DEAD_SECONDS", -1)
    killed = rollout(namespace, 2, "others", seconds=10)
    killed.__enter__()
    STORES[namespace] = here
    assert objects(cluster, namespace) == ["uptake-1", "uptake-2"]

    serve(namespace, 3, "third")

    assert objects(cluster, namespace) == ["uptake-2"]
    assert served(cluster, namespace) == ("third", True)


def test_a_deployment_that_holds_is_neither_waited_for_nor_undone_where_its_note_was_left(
    operator: Operator, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(namespace, 1, "first")
    with monkeypatch.context() as killed:
        killed.setattr(target.Cluster, "keep", lambda _: None)
        serve(namespace, 2, "second")
    assert served(cluster, namespace) == ("second", False)

    put_back = "uptake-2, which was served before, was put back"
    with pytest.raises(DeploymentError, match=put_back), rollout(namespace, 3, "third"):
        raise DeploymentError("differs")

    assert served(cluster, namespace) == ("second", True)
    assert objects(cluster, namespace) == ["uptake-2"]
    assert states(namespace) == ["held", "held", "undone"]


def test_what_is_stopped_is_removed_and_counts_no_more(operator: Operator, cluster: Cluster, namespace: str) -> None:
    serve(namespace, 1, "first")

    ended = engine.stop(target.Cluster(STORES[namespace], "uptake", namespace=namespace))

    assert ended.served.url == f"http://uptake.{namespace}.svc:8000"
    assert not objects(cluster, namespace)
    assert "service/uptake" not in cluster.kubectl("get", "service", "-n", namespace, "-o", "name").split()
    assert states(namespace) == ["stopped"]


def test_who_may_not_remove_what_is_served_does_not_stop_it_in_the_history_either(
    operator: Operator, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(namespace, 1, "first")
    kind, account = "seldondeployments.machinelearning.seldon.io,services", f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "role", "looking", "-n", namespace, "--verb=get", f"--resource={kind}")
    cluster.kubectl("create", "rolebinding", "looking", "-n", namespace, "--role=looking", account)
    monkeypatch.setenv("KUBECONFIG", str(cluster.as_account(namespace, "default", tmp_path)))

    with pytest.raises(DeploymentError, match="must not .*delete seldondeployments"):
        engine.stop(target.Cluster(STORES[namespace], "uptake", namespace=namespace))

    assert served(cluster, namespace) == ("first", True)
    assert states(namespace) == ["held"]


def test_two_at_once_take_turns(operator: Operator, cluster: Cluster, namespace: str) -> None:
    times = []

    def roll_out(version: int) -> None:
        with rollout(namespace, version, f"release-{version}"):
            began = time.monotonic()
            time.sleep(1)
            times.append((began, time.monotonic()))

    with ThreadPoolExecutor() as pool:
        list(pool.map(roll_out, (1, 2)))

    (_, first_ended), (second_began, _) = sorted(times)
    assert first_ended < second_began
    assert served(cluster, namespace)[1]


def test_a_rollout_goes_on_while_others_write_to_its_object(
    operator: Operator, namespace: str, cluster: Cluster
) -> None:
    serve(namespace, 1, "first")
    ended = threading.Event()
    meddler = threading.Thread(target=meddle, args=(namespace, ended))
    meddler.start()
    try:
        serve(namespace, 2, "second")
    finally:
        ended.set()
        meddler.join()

    assert served(cluster, namespace) == ("second", True)
    assert "meddled" in service(namespace).metadata.labels


def test_an_object_that_is_not_ours_is_left_alone(operator: Operator, cluster: Cluster, namespace: str) -> None:
    manifest = manifest_of(namespace)
    manifest["metadata"]["labels"] = {}
    cluster.kubectl("create", "-f", "-", input=json.dumps(manifest))

    with pytest.raises(DeploymentError, match="the SeldonDeployment uptake-1 is in .* already, .*: deploy again"):
        serve(namespace, 2, "second")
    serve(namespace, 2, "second")

    assert objects(cluster, namespace) == ["uptake-1", "uptake-2"]
    assert served(cluster, namespace) == ("second", True)


def test_a_service_that_is_not_ours_is_left_alone(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "service", "clusterip", "uptake", "--tcp=80", "-n", namespace)

    with pytest.raises(DeploymentError, match="the Service uptake in .* was not made by cd4ml .*: remove it, or give"):
        serve(namespace, 1, "first")

    assert service(namespace).spec.ports[0].port == 80
    assert not objects(cluster, namespace)
    assert states(namespace) == []


def test_models_whose_names_meet_those_of_objects_do_not_meet(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve(namespace, 1, "first")

    other = target.Cluster(STORES[namespace], "uptake-1", namespace=namespace)
    assert other.current() is None
    with engine.rolling_out(
        other, "replace", version=published(1, "uptake-1"), run="other", port=0, log_file=Path("/no/such/log")
    ) as now:
        Route().take(now)

    assert objects(cluster, namespace) == ["uptake-1", "uptake-1-1"]
    assert served(cluster, namespace) == ("first", True)


def test_the_pods_keep_the_restricted_standard(cluster: Cluster, namespace: str) -> None:
    manifest = seldon.deployment(
        "uptake",
        namespace=namespace,
        model_uri="s3://cd4ml/models/uptake/1/model",
        version=1,
        digest="abc",
        release="x-1",
        number=1,
    ).manifest()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "uptake", "namespace": namespace},
        "spec": manifest["spec"]["predictors"][0]["componentSpecs"][0]["spec"],
    }

    assert "created" in cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))


@pytest.mark.parametrize("recorded", MADE, ids=lambda one: one["what"].replace(" ", "-"))
def test_the_stand_in_makes_what_the_real_operator_made(cluster: Cluster, namespace: str, recorded: dict) -> None:
    with Operator(connection.connect(), namespace, container=None).acting():
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(recorded["given"]))
        wait_until(lambda: len(made_for(cluster, namespace)) == 3, "the stand-in to act")

    assert made_for(cluster, namespace) == recorded["made"]


def test_all_goes_with_the_object(operator: Operator, cluster: Cluster, namespace: str) -> None:
    serve(namespace, 1, "first")

    cluster.kubectl("delete", "sdep", "uptake-1", "-n", namespace)

    wait_until(lambda: not made_for(cluster, namespace) and not pods(namespace), "all to go", seconds=60)


def test_the_webhook_refuses_and_takes_what_the_real_one_does(namespace: str) -> None:
    assert {what: refusal(namespace, change) for what, (change, _) in REFUSED.items()} == {
        what: Containing(words) for what, (_, words) in REFUSED.items()
    }
    assert {what: refusal(namespace, change) for what, change in TAKEN.items()} == dict.fromkeys(TAKEN, "")


def test_what_the_kind_does_not_know_is_dropped_without_a_word(namespace: str) -> None:
    content = manifest_of(namespace)
    container = content["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}

    answered = seldon_deployments().create_namespaced_custom_object(*kind_in(namespace), content, dry_run="All")

    [kept] = answered["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    assert kept["lifecycle"] == {"preStop": {}}


def test_a_deployment_whose_selector_changes_is_made_again(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    """So one of the same name must not change from without an executor to with one: nothing answers meanwhile."""
    apps = client.AppsV1Api(connection.connect())
    operator.hesitates.set()
    wanted = seldon_objects.deployments({**manifest_of(namespace), "metadata": {"name": "uptake-1", "uid": "1"}})[0]
    del wanted["metadata"]["ownerReferences"]
    for labels in (wanted["spec"]["selector"]["matchLabels"], wanted["spec"]["template"]["metadata"]["labels"]):
        labels["seldon-app"] = "another"
    before = apps.create_namespaced_deployment(namespace, operator.with_stand_ins(wanted, ""))
    operator.hesitates.clear()

    serve(namespace, 1, "first")

    [after] = apps.list_namespaced_deployment(namespace).items
    assert after.metadata.name == before.metadata.name
    assert after.metadata.uid != before.metadata.uid


def test_missing_permissions_are_told_together_before_anything_is_changed(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.as_account(namespace, "default", tmp_path)))

    with pytest.raises(DeploymentError) as told:
        serve(namespace, 1, "first")

    assert str(told.value) == (
        f"system:serviceaccount:{namespace}:default must not get seldondeployments, create seldondeployments, "
        "delete seldondeployments, get services, create services, update services, delete services, "
        "list endpointslices, list deployments, create deployments, delete deployments, list pods, "
        f"get pods/log, list events in the namespace {namespace}: run the pipeline with the ServiceAccount `deployer` "
        "of that namespace, or ask its admin for that role (manifests/base/tasks.yaml has it)"
    )


def test_a_role_for_the_namespace_is_enough(
    operator: Operator, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for resources, verbs in (
        ("seldondeployments.machinelearning.seldon.io", "get,create,delete"),
        ("services", "get,create,update,delete"),
        ("deployments.apps", "list,create,delete"),
        ("endpointslices.discovery.k8s.io,pods,events", "list"),
        ("pods/log", "get"),
    ):
        role = f"role-{verbs.replace(',', '-')}"
        cluster.kubectl("create", "role", role, "-n", namespace, f"--verb={verbs}", f"--resource={resources}")
        cluster.kubectl(
            "create", "rolebinding", role, "-n", namespace, f"--role={role}", f"--serviceaccount={namespace}:default"
        )
    monkeypatch.setenv("KUBECONFIG", str(cluster.as_account(namespace, "default", tmp_path)))

    serve(namespace, 1, "first")

    assert served(cluster, namespace) == ("first", True)


def test_a_cluster_without_seldon_is_told(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.Cluster, "kind", replace(seldon.KIND, group="unknown.example"))

    with pytest.raises(DeploymentError, match="Seldon Core is not installed in this cluster"):
        serve(namespace, 1, "first")


def test_a_namespace_that_is_not_there_is_told() -> None:
    with pytest.raises(DeploymentError, match="there is no namespace no-such-place"):
        serve("no-such-place", 1, "first")


def test_a_token_that_is_not_known_is_told(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.with_token("expired", tmp_path)))

    with pytest.raises(DeploymentError, match="has the token of your kubeconfig expired"):
        serve(namespace, 1, "first")


def beside(**other: object):
    """A change of the object: a second predictor beside the first."""

    def change(predictors: list[dict]) -> None:
        first = predictors[0]
        predictors.append({**copy.deepcopy(first), "name": "other", **other})

    return change


def of_the_first(**changed: object):
    """A change of the object: its one predictor has other fields."""
    return lambda predictors: predictors[0].update(changed)


def both(*changes):
    return lambda predictors: [change(predictors) for change in changes]


def without_predictors(predictors: list[dict]) -> None:
    predictors.clear()


def two_ports_of_one_number(predictors: list[dict]) -> None:
    predictors[0]["componentSpecs"][0]["spec"]["containers"][0]["ports"].append({"name": "x", "containerPort": 8000})


GRAPH = {"name": "model", "type": "MODEL"}
PARENT = {**GRAPH, "children": [{"name": "child", "type": "MODEL"}]}
ANNOTATED = {"cd4ml/release": "x", "seldon.io/svc-name": "x"}
REFUSED = {
    "no predictor": (without_predictors, "Graph contains no predictors"),
    "one with 1": (of_the_first(traffic=1), "Traffic must sum be 100 for a single predictor when set"),
    "one with 99": (of_the_first(traffic=99), "Traffic must sum be 100 for a single predictor when set"),
    "50 and 49": (both(of_the_first(traffic=50), beside(traffic=49)), "Traffic must sum to 100 for multiple"),
    "equal names": (
        both(of_the_first(traffic=50), beside(traffic=50, name=seldon.PREDICTOR)),
        "Duplicate predictor name",
    ),
    "two shadows": (both(beside(shadow=True), beside(shadow=True, name="third")), "Multiple shadows are not allowed"),
    "only a shadow": (of_the_first(shadow=True), "Shadow can not exist as only predictor"),
    "several nodes": (of_the_first(graph=PARENT), "Running without engine only valid for single element graphs"),
    "several nodes and a no to no executor": (
        of_the_first(graph=PARENT, annotations={"seldon.io/no-engine": "false"}),
        "Running without engine only valid for single element graphs",
    ),
    "a router without container": (
        of_the_first(graph={"name": "router", "type": "ROUTER"}),
        "Can't find container for Predictive Unit",
    ),
    "one Service for two": (
        both(of_the_first(traffic=50, annotations=ANNOTATED), beside(traffic=50, annotations=ANNOTATED)),
        "Found duplicate service name in seldon.io/svc-name",
    ),
    "two ports of one number": (two_ports_of_one_number, "Duplicate value"),
}
"""Changes of our object that the real webhook, or the real schema, refused, and with which words."""
TAKEN = {
    "nothing": both(),
    "one with 150": of_the_first(traffic=150),
    "100 and 0": beside(traffic=0),
    "150 and -50": both(of_the_first(traffic=150), beside(traffic=-50)),
    "a shadow": beside(shadow=True, traffic=0),
    "a misspelt type": of_the_first(graph={"name": "model", "type": "MODLE"}),
    "minus one replica": of_the_first(replicas=-1),
    "a ratio that is none": of_the_first(
        graph={**PARENT, "implementation": "RANDOM_ABTEST", "parameters": [{"name": "ratioA", "value": "much"}]},
        annotations={},
    ),
}
"""And what the real webhook took."""


class Containing:
    """Equals any text with these words in it."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __eq__(self, text: object) -> bool:
        return self._words in str(text)

    def __repr__(self) -> str:
        return f"... {self._words} ..."


def refusal(namespace: str, change) -> str:
    """What the API server says no with to our object, changed; empty where it takes it."""
    content = manifest_of(namespace)
    change(content["spec"]["predictors"])
    try:
        seldon_deployments().create_namespaced_custom_object(*kind_in(namespace), content, dry_run="All")
    except client.ApiException as error:
        return json.loads(error.body)["message"]
    return ""


def manifest_of(namespace: str) -> dict:
    return seldon.deployment(
        "uptake",
        namespace=namespace,
        model_uri="s3://cd4ml/models/uptake/3/model",
        version=3,
        digest="abc",
        release="x-1",
        number=1,
    ).manifest()


def seldon_deployments() -> client.CustomObjectsApi:
    return client.CustomObjectsApi(connection.connect())


def kind_in(namespace: str) -> tuple[str, str, str, str]:
    kind = seldon_kind.KIND
    return (kind.group, kind.version, namespace, kind.plural)


def made_for(cluster: Cluster, namespace: str) -> list[dict]:
    """The Deployments and Services of a namespace, without what the API gives to each."""
    found = json.loads(cluster.kubectl("get", "deployments,services", "-n", namespace, "-o", "json"))["items"]
    return [bare(one) for one in found if one["metadata"].get("ownerReferences")]


def bare(made: dict) -> dict:
    metadata, spec = made["metadata"], made["spec"]
    annotations = metadata.get("annotations", {})
    for given in (LAST_APPLIED, "deployment.kubernetes.io/revision"):
        annotations.pop(given, None)
    for owner in metadata["ownerReferences"]:
        owner.pop("uid")
    for given in ("clusterIP", "clusterIPs"):
        spec.pop(given, None)
    spec.get("template", {}).get("metadata", {}).pop("creationTimestamp", None)
    kept = {key: metadata[key] for key in ("name", "labels", "ownerReferences")}
    return {"kind": made["kind"], "metadata": {**kept, "annotations": annotations}, "spec": spec}


@contextmanager
def raised(namespace: str, version: int, release: str, seconds: float = 60) -> Iterator[Rollout]:
    """A rollout whose release is up, and reached by nobody."""
    where = target.Cluster(
        STORES.get(namespace, Recorded("s3://cd4ml")), "uptake", namespace=namespace, seconds=seconds
    )
    with engine.rolling_out(
        where, "replace", version=published(version), run=release, port=0, log_file=Path("/no/such/log")
    ) as now:
        yield now


@contextmanager
def rollout(namespace: str, version: int, release: str, seconds: float = 60) -> Iterator[Rollout]:
    """A rollout whose release gets all requests."""
    with raised(namespace, version, release, seconds) as now:
        Route().take(now)
        yield now


def published(version: int, model: str = "uptake") -> Version:
    dataset = DatasetReference("players", 0, "sha256:d")
    return Version(model, version, "abc", "2026-01-01", run="run", revision="", dataset=dataset)


def serve(namespace: str, version: int, release: str, seconds: float = 60) -> None:
    with raised(namespace, version, release, seconds) as now:
        Route().take(now)


def serve_as_before(operator: Operator, cluster: Cluster, namespace: str) -> None:
    """The object by which a version before served a model, with its pod ready."""
    content = manifest_of(namespace)
    content["metadata"]["name"] = "uptake"
    [predictor] = content["spec"]["predictors"]
    predictor["name"] = "default"
    predictor["annotations"]["cd4ml/release"] = "before-1"
    [container] = predictor["componentSpecs"][0]["spec"]["containers"]
    container["env"] = [one for one in container["env"] if one["name"] in ("PORT", "METRICS_PORT")]
    container["env"].append({"name": "MODEL_VERSION", "value": "1"})
    cluster.kubectl("create", "-f", "-", input=json.dumps(content))
    wait_until(
        lambda: stored(cluster, namespace, "uptake").get("status", {}).get("state") == "Available", "the one before"
    )


@contextmanager
def asking(namespace: str) -> Iterator[list[str]]:
    """What the Service of the model answers while the context lasts; a request that fails is answered so."""
    core, answers, ended = client.CoreV1Api(connection.connect()), list[str](), threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            try:
                answers.append(core.connect_get_namespaced_service_proxy("uptake:http", namespace))
            except client.ApiException as error:
                answers.append(f"failed: {error.status} {error.body}")

    asker = threading.Thread(target=ask)
    asker.start()
    yield answers
    ended.set()
    asker.join()


def served(cluster: Cluster, namespace: str) -> tuple[str, bool]:
    """The release that callers reach, and whether no rollout is under way."""
    found = service(namespace)
    name = stable.selected(found)
    return releases(stored(cluster, namespace, name))[0] if name else "", stable.note_of(found) is None


def service(namespace: str):
    return client.CoreV1Api(connection.connect()).read_namespaced_service("uptake", namespace)


def objects(cluster: Cluster, namespace: str) -> list[str]:
    found = cluster.kubectl("get", "sdep", "-n", namespace, "-o", "jsonpath={.items[*].metadata.name}")
    return sorted(found.split())


def states(namespace: str) -> list[str]:
    """What became of each deployment, the oldest first."""
    found = deployments.newest_first(STORES[namespace], "uptake")
    return [series.state for series in reversed(list(found))]


def stored(cluster: Cluster, namespace: str, name: str) -> dict:
    return json.loads(cluster.kubectl("get", "sdep", name, "-n", namespace, "-o", "json"))


def releases(found: dict) -> list[str]:
    return [run_of(predictor["annotations"]["cd4ml/release"]) for predictor in found["spec"]["predictors"]]


def run_of(release: str) -> str:
    return release.rpartition("-")[0]


def pods(namespace: str) -> list:
    return client.CoreV1Api(connection.connect()).list_namespaced_pod(namespace).items


def names_of_pods(namespace: str) -> list[str]:
    return [pod.metadata.name for pod in pods(namespace)]


def releases_that_run(namespace: str) -> list[str]:
    running = [pod for pod in pods(namespace) if pod.status.phase == "Running"]
    return [run_of(pod.metadata.annotations["cd4ml/release"]) for pod in running]


def meddle(namespace: str, ended: threading.Event) -> None:
    core = client.CoreV1Api(connection.connect())
    count = 0
    while not ended.is_set():
        count += 1
        core.patch_namespaced_service("uptake", namespace, {"metadata": {"labels": {"meddled": str(count)}}})
