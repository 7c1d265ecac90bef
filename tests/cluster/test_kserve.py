"""Rollouts by KServe on a real cluster, where a thread plays the part of its controller."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kserve_controller
import pytest
import yaml
from conftest import Cluster, ObjectStore
from kserve_controller import Controller
from kubernetes import client
from operators import wait_until
from test_deployment import (
    HEALTHY,
    LISTENING,
    RESTRICTED,
    SERVING,
    asking,
    bare,
    published,
)

from cd4ml.cluster import connection
from cd4ml.deployment import rollout as engine
from cd4ml.deployment.steps import Rollout
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.targets import cluster as target
from cd4ml.deployment.targets import stable
from cd4ml.deployment.targets.kserve import KServe
from cd4ml.storage import Store
from cd4ml.storage.bucket import S3Store

MADE = yaml.safe_load((Path(__file__).parent / "kserve-0.20.0.yaml").read_text())
TASKS = Path(__file__).parents[2] / "manifests/base/tasks.yaml"


@pytest.fixture(autouse=True)
def _kubeconfig(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    monkeypatch.setattr(target, "POLL_SECONDS", 0.2)


@pytest.fixture(scope="module", autouse=True)
def _kserve_kind(kubeconfig: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", kubeconfig)
        api = connection.connect()
    with kserve_controller.KIND.known(api):
        yield


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    name = cluster.namespace(RESTRICTED)
    cluster.kubectl("--namespace", name, "apply", "--server-side", "--force-conflicts", "--filename", str(SERVING))
    return name


@pytest.fixture
def store(bucket: ObjectStore) -> Store:
    return S3Store(bucket.uri)


@pytest.fixture
def controller(namespace: str) -> Iterator[Controller]:
    with Controller(connection.connect(), namespace, HEALTHY).acting() as acting:
        yield acting


@contextmanager
def raised(store: Store, namespace: str, version: int) -> Iterator[Rollout]:
    """A rollout whose release is up, and reached by nobody."""
    with engine.rolling_out(
        KServe(store, "uptake", namespace=namespace, seconds=60),
        "replace",
        version=published(version),
        run=f"run-{version}",
        port=0,
        log_file=Path("/no/such/log"),
    ) as now:
        yield now


def serve(store: Store, namespace: str, version: int) -> None:
    with raised(store, namespace, version) as now:
        Route().take(now)


def test_a_release_comes_up_beside_the_one_that_serves_which_goes_when_it_holds(
    controller: Controller, cluster: Cluster, store: Store, namespace: str
) -> None:
    serve(store, namespace, 1)

    with raised(store, namespace, 2) as now:
        assert now.url == f"http://uptake-2-predictor.{namespace}.svc:80"
        assert (objects(cluster, namespace), served(namespace)) == (["uptake-1", "uptake-2"], ("uptake-1", False))
        Route().take(now)
        assert now.endpoint == f"http://uptake.{namespace}.svc:8000"

    assert (objects(cluster, namespace), served(namespace)) == (["uptake-2"], ("uptake-2", True))


def test_no_request_fails(controller: Controller, store: Store, namespace: str) -> None:
    controller.container = LISTENING
    serve(store, namespace, 1)

    with asking(namespace) as answers:
        serve(store, namespace, 2)
        wait_until(lambda: "2" in answers, "the second to answer")

    assert set(answers) == {"1", "2"}


def test_what_is_stopped_is_removed(controller: Controller, cluster: Cluster, store: Store, namespace: str) -> None:
    serve(store, namespace, 1)

    engine.stop(KServe(store, "uptake", namespace=namespace))

    wait_until(lambda: not cluster.kubectl("get", "isvc,deploy,svc,pods", "-n", namespace).strip(), "all to go", 60)


def test_the_role_of_the_manifests_is_enough(
    controller: Controller,
    cluster: Cluster,
    store: Store,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roles = [one for one in yaml.safe_load_all(TASKS.read_text()) if one["kind"] == "Role"]
    [role] = [one for one in roles if one["metadata"]["name"] == "deployer"]
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(role))
    account = f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "rolebinding", "deployer", "-n", namespace, "--role=deployer", account)
    monkeypatch.setenv("KUBECONFIG", str(cluster.as_account(namespace, "default", tmp_path)))

    serve(store, namespace, 1)

    assert served(namespace) == ("uptake-1", True)


def test_the_pods_keep_the_restricted_standard_as_they_were_asked_for(
    cluster: Cluster, store: Store, namespace: str
) -> None:
    with Controller(connection.connect(), namespace, container=None).acting():
        content = KServe(store, "uptake", namespace=namespace)._manifest(published(1), release="first", number=1)
        cluster.kubectl("create", "-f", "-", input=json.dumps(content))
        wait_until(lambda: cluster.kubectl("get", "pods", "-n", namespace, "-o", "name").strip() != "", "a pod")


def test_the_stand_in_makes_what_the_real_controller_made(cluster: Cluster, namespace: str) -> None:
    with Controller(connection.connect(), namespace, container=None).acting():
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(MADE["given"]))
        wait_until(lambda: len(made_for(cluster, namespace)) == 2, "the stand-in to act")

    assert made_for(cluster, namespace) == MADE["made"]


def served(namespace: str) -> tuple[str, bool]:
    """The object that callers reach, and whether no rollout is under way."""
    found = client.CoreV1Api(connection.connect()).read_namespaced_service("uptake", namespace)
    return stable.selected(found), stable.note_of(found) is None


def objects(cluster: Cluster, namespace: str) -> list[str]:
    return cluster.kubectl("get", "isvc", "-n", namespace, "-o", "jsonpath={.items[*].metadata.name}").split()


def made_for(cluster: Cluster, namespace: str) -> list[dict]:
    found = json.loads(cluster.kubectl("get", "deployments,services", "-n", namespace, "-o", "json"))["items"]
    return [bare(one) for one in found]
