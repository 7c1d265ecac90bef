"""A training in several pods learns what one process does, whatever becomes of them, and leaves nothing."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_driver
import numpy as np
import overlays
import pytest
import yaml
from backend import RESTRICTED
from conftest import Cluster, ObjectStore
from kubernetes import client
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.cluster import connection, twins
from cd4ml.errors import TrainingError
from cd4ml.images import TOOLS
from cd4ml.training import cluster_workers
from cd4ml.training.cluster_workers import ClusterWorkers
from cd4ml.training.request import Request

SCRIPT = (Path(__file__).parent / "trained_in_a_pod.py").read_text()
SECONDS = 420
SHORT = {"model": "dnn", "hidden": [16], "epochs": 6, "patience": 50, "batch_size": 200}
LONG = {**SHORT, "epochs": 200}


@dataclass(frozen=True)
class Trainings:
    """A namespace that an admin has set up, in which tasks train as KFP would have them do."""

    core: client.CoreV1Api
    namespace: str
    made: Mapping[str, Any]
    """The pod of the task that trains the candidate, as KFP's driver makes it of the compiled pipeline."""

    def begin(self, spec: Mapping[str, Any], workers: int, **asked: Any) -> str:
        """Starts a task; the name of its pod."""
        name = f"train-{uuid.uuid4().hex[:8]}"
        request = {"spec": spec, "workers": workers, "store": "s3://cd4ml", **asked}
        [main] = self.made["containers"]
        main = {key: one for key, one in main.items() if key != "args"} | {
            "command": ["python3", "-c", SCRIPT, json.dumps(request)],
            "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "3Gi"}},
            "securityContext": RESTRICTED,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        identity = {"runAsUser": 10001, "runAsGroup": 10001, "runAsNonRoot": True, "fsGroup": 10001}
        spec = {
            **self.made,
            "containers": [main],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "restartPolicy": "Never",
            "serviceAccountName": "pipeline-runner",
            "securityContext": {**identity, "seccompProfile": {"type": "RuntimeDefault"}},
        }
        labels = {"workflows.argoproj.io/workflow": name, "pipeline/runid": name}
        self.core.create_namespaced_pod(self.namespace, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        return name

    def losses(self, pod: str) -> np.ndarray:
        """Of both splits by epoch, once the task has ended well."""
        wait_until(lambda: self.phase(pod) in ("Succeeded", "Failed"), lambda: self.log(pod))
        assert self.phase(pod) == "Succeeded", self.log(pod)
        [told] = [line for line in self.log(pod).splitlines() if line.startswith("LOSSES ")]
        return np.array(json.loads(told.removeprefix("LOSSES ")))

    def phase(self, pod: str) -> str:
        return str(self.core.read_namespaced_pod(pod, self.namespace).status.phase)

    def log(self, pod: str) -> str:
        try:
            return str(self.core.read_namespaced_pod_log(pod, self.namespace))
        except client.ApiException as error:
            return str(error)

    def workers(self) -> list[str]:
        """The pods beside those of tasks."""
        found = self.core.list_namespaced_pod(self.namespace, label_selector=twins.TEAM).items
        return [one.metadata.name for one in found]

    def left(self) -> list[str]:
        """What is there that was made for a training."""
        batch = client.BatchV1Api(self.core.api_client)
        jobs = batch.list_namespaced_job(self.namespace, label_selector=twins.TEAM).items
        services = self.core.list_namespaced_service(self.namespace, label_selector=twins.TEAM).items
        return [*self.workers(), *(one.metadata.name for one in [*jobs, *services])]


@pytest.fixture(scope="module")
def trainings(
    shared_cluster: Cluster, kubeconfig: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trainings]:
    compiled = tmp_path_factory.mktemp("compiled")
    assert CliRunner().invoke(app, ["compile", "--output", str(compiled)]).exit_code == 0
    namespace = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--server-side", "-f", "-", input=overlays.render("standalone", namespace))
    shared_cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/minio-setup", "--timeout=300s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", kubeconfig)
        core = client.CoreV1Api(connection.connect())
        yield Trainings(core, namespace, pod_of_the_candidate((compiled / "training.yaml").read_text()))


def pod_of_the_candidate(compiled: str) -> dict[str, Any]:
    pipeline, platforms = yaml.safe_load_all(compiled)
    [task] = [one for one in pipeline["root"]["dag"]["tasks"].values() if one["taskInfo"]["name"] == "Train candidate"]
    label = pipeline["components"][task["componentRef"]["name"]]["executorLabel"]
    inputs = pipeline["root"]["inputDefinitions"]["parameters"]
    values = {name: one.get("defaultValue") for name, one in inputs.items()}
    found: dict[str, Any] = kfp_driver.pod(
        pipeline["deploymentSpec"]["executors"][label]["container"],
        platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label],
        inputs={f"pipelinechannel--{name}": value for name, value in values.items()},
        values=values,
    )
    return found


@pytest.fixture(scope="module")
def alone(trainings: Trainings) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """What one process learns."""
    return lambda spec: trainings.losses(trainings.begin(spec, workers=1))


def wait_until(holds: Callable[[], bool], said: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, said()
        time.sleep(0.3)


def test_two_pods_learn_what_one_process_does_and_leave_nothing(
    trainings: Trainings, alone: Callable[[Mapping[str, Any]], np.ndarray]
) -> None:
    task = trainings.begin(SHORT, workers=2)
    together = trainings.losses(task)

    np.testing.assert_allclose(together, alone(SHORT), rtol=0, atol=1e-5)
    assert "1 further worker: pods of the Indexed Job" in trainings.log(task)
    wait_until(lambda: not trainings.left())


def test_a_worker_that_is_lost_is_made_again_and_all_go_on_from_the_checkpoint(
    trainings: Trainings, alone: Callable[[Mapping[str, Any]], np.ndarray]
) -> None:
    task = trainings.begin(LONG, workers=2, checkpoint_seconds=1)
    wait_until(
        lambda: "epoch 20" in trainings.log(task) or trainings.phase(task) == "Failed", lambda: trainings.log(task)
    )
    [lost] = trainings.workers()
    trainings.core.delete_namespaced_pod(lost, trainings.namespace, grace_period_seconds=0)
    together = trainings.losses(task)

    np.testing.assert_allclose(together, alone(LONG), rtol=0, atol=1e-5)
    assert "goes on" in trainings.log(task)
    wait_until(lambda: not trainings.left())


def test_a_task_that_is_deleted_takes_its_workers_with_it(trainings: Trainings) -> None:
    task = trainings.begin(LONG, workers=2)
    wait_until(lambda: bool(trainings.workers()), lambda: trainings.log(task))

    trainings.core.delete_namespaced_pod(task, trainings.namespace, grace_period_seconds=0)

    wait_until(lambda: not trainings.left())


def test_an_image_that_is_not_there_is_told_within_a_minute(
    cluster: Cluster, kubeconfig: str, bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    namespace = cluster.namespace()
    api = connection.connect()
    core = client.CoreV1Api(api)
    waits = {"name": "main", "image": TOOLS, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"]}
    task = {"metadata": {"name": "task"}, "spec": {"containers": [waits], "terminationGracePeriodSeconds": 0}}
    core.create_namespaced_pod(namespace, task)
    wait_until(lambda: core.read_namespaced_pod("task", namespace).status.phase == "Running")
    own = json.loads(core.read_namespaced_pod("task", namespace, _preload_content=False).data)
    own["spec"]["containers"][0]["image"] = "localhost/absent:1"
    workers = ClusterWorkers(request(bucket.uri, tmp_path), api, own)

    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"container node: (ErrImagePull|ImagePullBackOff): .*localhost/absent:1"):
        workers.begin()
    workers.end()

    assert time.monotonic() - began < 60 < cluster_workers.START_SECONDS


def request(store: str, folder: Path) -> Request:
    (folder / "statistics").mkdir()
    for name in ("train", "eval", "schema", "statistics/train.pb"):
        (folder / name).write_bytes(b"content")
    files = {name: str(folder / name) for name in ("train", "eval", "schema", "statistics")}
    return Request(**files, label="took", spec=SHORT, seed=0, store=store, workers=2)
