"""Rollouts on a real cluster, where a thread plays the part of Seldon's operator."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import seldon_operator as operator_part
from conftest import Cluster
from seldon_operator import Operator

from cd4ml.deployment import cluster as target
from cd4ml.deployment import connection, seldon
from cd4ml.deployment.targets import Served
from cd4ml.errors import DeploymentError, StorageError
from cd4ml.images import TOOLS

SERVING = Path(__file__).parents[2] / "manifests/base/serving.yaml"
"""Has the PriorityClass that models run with."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SMALL = {"requests": {"cpu": "5m", "memory": "16Mi"}}
SHELL = {"image": TOOLS, "imagePullPolicy": "IfNotPresent", "resources": SMALL}
HEALTHY = {**SHELL, "command": ["sh", "-c", "trap exit TERM; sleep infinity & wait"]}
LINGERING = {**HEALTHY, "lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}
NEVER_READY = {**HEALTHY, "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}}
CRASHING = {**NEVER_READY, "command": ["python3", "--no-such-flag"]}
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
    made = operator_part.install(api)
    yield
    if made:
        operator_part.remove(api)


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    name = cluster.namespace(RESTRICTED)
    cluster.kubectl("--namespace", name, "apply", "--server-side", "--force-conflicts", "--filename", str(SERVING))
    return name


@pytest.fixture
def operator(namespace: str) -> Iterator[Operator]:
    with Operator(connection.connect(), namespace, HEALTHY).acting() as acting:
        yield acting


def test_a_first_rollout_serves_and_is_verified_when_its_context_ends(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    with rollout(namespace, 1, "first") as now:
        assert now.url == f"http://uptake-default.{namespace}.svc:8000"
        assert served(cluster, namespace) == ("first", False)

    assert served(cluster, namespace) == ("first", True)


def test_the_model_that_was_served_ends_before_the_new_one_is_verified(operator: Operator, namespace: str) -> None:
    operator.container = LINGERING
    serve(namespace, 1, "first")

    with rollout(namespace, 2, "second"):
        assert releases_that_run(namespace) == ["second"]


def test_a_stale_available_is_no_rollout(operator: Operator, cluster: Cluster, namespace: str) -> None:
    serve(namespace, 1, "first")
    operator_part.wait_until(lambda: state(namespace) == "Available", "the operator to see the pods")
    operator.hesitates.set()

    with pytest.raises(DeploymentError, match="was not rolled out in 2 s; it waited for Seldon's operator to act"):
        serve(namespace, 2, "second", seconds=2)

    assert state(namespace) == "Available"
    assert served(cluster, namespace) == ("first", True)


def test_a_state_that_flaps_to_available_is_no_rollout(operator: Operator, namespace: str) -> None:
    serve(namespace, 1, "first")
    operator.container = NEVER_READY
    operator.states.clear()

    with pytest.raises(DeploymentError, match="it waited for 1 new pods: 1 made, 0 ready, 1 old"):
        serve(namespace, 2, "second", seconds=6)

    assert "Available" in operator.states


def test_a_pod_that_never_gets_ready_is_told_and_the_model_before_serves_on(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve(namespace, 1, "first")
    pod = names_of_pods(namespace)
    operator.container = NEVER_READY

    with pytest.raises(DeploymentError) as raised:
        serve(namespace, 2, "second", seconds=6)

    assert "container model: runs, but is not ready" in str(raised.value)
    assert "event: Readiness probe failed: dial tcp" in str(raised.value)
    assert "release first, which was served before, was put back" in str(raised.value)
    assert served(cluster, namespace) == ("first", True)
    assert set(pod) <= set(names_of_pods(namespace))


def test_a_crash_is_told_with_the_end_of_its_log_before_the_time_is_up(operator: Operator, namespace: str) -> None:
    operator.container = CRASHING

    with pytest.raises(DeploymentError, match="container model: CrashLoopBackOff: ended with 2") as raised:
        serve(namespace, 1, "first", seconds=600)

    assert "its log ends:\n" in str(raised.value)
    assert "no-such-flag" in str(raised.value)


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

    assert not cluster.kubectl("get", "sdep", "-n", namespace, "-o", "name")


@pytest.mark.parametrize("failure", [DeploymentError("differs"), SystemExit(143), KeyboardInterrupt()])
def test_a_verification_that_does_not_end_well_puts_the_model_before_back(
    operator: Operator, cluster: Cluster, namespace: str, failure: BaseException
) -> None:
    serve(namespace, 1, "first")

    with pytest.raises(type(failure)), rollout(namespace, 2, "second"):
        raise failure

    assert served(cluster, namespace) == ("first", True)


def test_what_was_kept_and_cannot_be_recorded_is_put_back_too(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    serve(namespace, 1, "first")

    with pytest.raises(StorageError), rollout(namespace, 2, "second") as now:
        keep_without_record(now)

    assert served(cluster, namespace) == ("first", True)


def test_what_a_dead_process_left_is_never_put_back(
    operator: Operator, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(namespace, 1, "first")
    monkeypatch.setattr(target, "VERIFICATION_SECONDS", -10)
    killed = rollout(namespace, 2, "second", seconds=10)
    killed.__enter__()

    put_back = "release first, which was served before, was put back"
    with pytest.raises(DeploymentError, match=put_back), rollout(namespace, 3, "third"):
        raise DeploymentError("differs")

    assert served(cluster, namespace) == ("first", True)


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
    assert "meddled" in stored(cluster, namespace)["metadata"]["labels"]


def test_an_object_that_is_not_ours_is_left_alone(cluster: Cluster, namespace: str) -> None:
    manifest = seldon.deployment("uptake", namespace, "s3://cd4ml/models/uptake/1/model", 1, "abc", "x").manifest()
    manifest["metadata"]["labels"] = {}
    cluster.kubectl("create", "-f", "-", input=json.dumps(manifest))

    with pytest.raises(DeploymentError, match="was not made by cd4ml"):
        serve(namespace, 2, "second")

    assert releases(stored(cluster, namespace)) == ["x"]


def test_the_pods_keep_the_restricted_standard(cluster: Cluster, namespace: str) -> None:
    manifest = seldon.deployment("uptake", namespace, "s3://cd4ml/models/uptake/1/model", 1, "abc", "x").manifest()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "uptake", "namespace": namespace},
        "spec": manifest["spec"]["predictors"][0]["componentSpecs"][0]["spec"],
    }

    assert "created" in cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))


def test_missing_permissions_are_told_together_before_anything_is_changed(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_of_account(cluster, namespace, tmp_path)))

    with pytest.raises(DeploymentError) as raised:
        serve(namespace, 1, "first")

    assert str(raised.value) == (
        f"system:serviceaccount:{namespace}:default must not get seldondeployments, create seldondeployments, "
        "update seldondeployments, delete seldondeployments, list deployments, list pods, "
        f"get pods/log, list events in the namespace {namespace}: run the pipeline with the ServiceAccount `deployer` "
        "of that namespace, or ask its admin for that role"
    )


def test_a_role_for_the_namespace_is_enough(
    operator: Operator, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for resources, verbs in (
        ("seldondeployments.machinelearning.seldon.io", "get,create,update,delete"),
        ("deployments.apps,pods,events", "list"),
        ("pods/log", "get"),
    ):
        role = f"role-{verbs.replace(',', '-')}"
        cluster.kubectl("create", "role", role, "-n", namespace, f"--verb={verbs}", f"--resource={resources}")
        cluster.kubectl(
            "create", "rolebinding", role, "-n", namespace, f"--role={role}", f"--serviceaccount={namespace}:default"
        )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_of_account(cluster, namespace, tmp_path)))

    serve(namespace, 1, "first")

    assert served(cluster, namespace) == ("first", True)


def test_a_cluster_without_seldon_is_told(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seldon, "GROUP", "unknown.example")

    with pytest.raises(DeploymentError, match="Seldon Core is not installed in this cluster"):
        serve(namespace, 1, "first")


def test_a_namespace_that_is_not_there_is_told() -> None:
    with pytest.raises(DeploymentError, match="there is no namespace no-such-place"):
        serve("no-such-place", 1, "first")


def test_a_token_that_is_not_known_is_told(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_with_token(cluster, "expired", tmp_path)))

    with pytest.raises(DeploymentError, match="has the token of your kubeconfig expired"):
        serve(namespace, 1, "first")


@contextmanager
def rollout(namespace: str, version: int, release: str, seconds: float = 60) -> Iterator[Served]:
    model = f"s3://cd4ml/models/uptake/{version}/model"
    with target.rollout("uptake", namespace, model, version, "abc", release, seconds=seconds) as now:
        yield now
        now.keep()


def keep_without_record(now: Served) -> None:
    now.keep()
    raise StorageError("the store does not answer")


def serve(namespace: str, version: int, release: str, seconds: float = 60) -> None:
    with rollout(namespace, version, release, seconds):
        pass


def served(cluster: Cluster, namespace: str) -> tuple[str, bool]:
    """The release that is applied, and whether it was verified."""
    content = stored(cluster, namespace)
    return releases(content)[0], target.UNVERIFIED not in content["metadata"].get("annotations", {})


def stored(cluster: Cluster, namespace: str) -> dict:
    return json.loads(cluster.kubectl("get", "sdep", "uptake", "-n", namespace, "-o", "json"))


def releases(found: dict) -> list[str]:
    return [predictor["annotations"]["cd4ml/release"] for predictor in found["spec"]["predictors"]]


def state(namespace: str) -> str:
    api = operator_part.client.CustomObjectsApi(connection.connect())
    kind = (operator_part.GROUP, operator_part.VERSION, namespace, operator_part.PLURAL)
    return api.get_namespaced_custom_object(*kind, "uptake")["status"]["state"]


def pods(namespace: str) -> list:
    return operator_part.client.CoreV1Api(connection.connect()).list_namespaced_pod(namespace).items


def names_of_pods(namespace: str) -> list[str]:
    return [pod.metadata.name for pod in pods(namespace)]


def releases_that_run(namespace: str) -> list[str]:
    return [pod.metadata.annotations["cd4ml/release"] for pod in pods(namespace) if pod.status.phase == "Running"]


def meddle(namespace: str, ended: threading.Event) -> None:
    api = operator_part.client.CustomObjectsApi(connection.connect())
    kind = (operator_part.GROUP, operator_part.VERSION, namespace, operator_part.PLURAL)
    count = 0
    while not ended.is_set():
        count += 1
        api.patch_namespaced_custom_object(*kind, "uptake", {"metadata": {"labels": {"meddled": str(count)}}})


def kubeconfig_of_account(cluster: Cluster, namespace: str, folder: Path) -> Path:
    token = cluster.kubectl("create", "token", "default", "-n", namespace).strip()
    return kubeconfig_with_token(cluster, token, folder)


def kubeconfig_with_token(cluster: Cluster, token: str, folder: Path) -> Path:
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file
