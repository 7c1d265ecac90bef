"""Further workers of a training as pods: what a cluster is told of them, what it says of them, and that none stays."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client
from kubernetes_api import Fault
from workers_api import RUNNING, WorkersApi, own_pod

from cd4ml.cluster import connection, indexed_job, twins
from cd4ml.errors import TrainingError
from cd4ml.registry import notes, records
from cd4ml.storage import arrow
from cd4ml.training import cluster_workers, node, passing
from cd4ml.training.cluster_workers import ClusterWorkers
from cd4ml.training.request import Request
from cd4ml.training.workers import LOST, MEET_SECONDS

OOM = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


def container(**state: Any) -> dict[str, Any]:
    """The status of a pod whose container is in a state."""
    one = {"name": "node", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    phase = "Failed" if "terminated" in state else "Pending"
    return {"phase": phase, "containerStatuses": [one]}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkersApi]:
    folders = arrow.folder
    with WorkersApi() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setenv(twins.POD, "run-1-train")
        for variable, value in ((records.PIPELINE, "training"), (records.RUN, "run-1"), (notes.TASK, "train-model")):
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr(cluster_workers, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(urllib3.Retry, "get_backoff_time", lambda _: 0)
        monkeypatch.setattr(arrow, "folder", lambda place: folders(tmp_path / str(place).removeprefix("s3://")))
        yield server
        server.shutdown()


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return asked(tmp_path, store="s3://store", workers=3)


def asked(folder: Path, **more: Any) -> Request:
    """A training on files that are none."""
    (folder / "statistics").mkdir(exist_ok=True)
    for name in ("train", "eval", "schema", "statistics/train.pb"):
        (folder / name).write_bytes(f"of {name}".encode())
    files = {name: str(folder / name) for name in ("train", "eval", "schema", "statistics")}
    return Request(**files, label="took", spec={"model": "dnn"}, seed=0, **more)


@pytest.fixture
def workers(api: WorkersApi, request_: Request) -> ClusterWorkers:
    return cluster_workers.of(request_)


def impatient(request: Request) -> ClusterWorkers:
    return ClusterWorkers(request, connection.connect(), own_pod(), start_seconds=0.05)


def test_without_trainer_the_pods_are_those_of_an_indexed_job_which_a_service_gives_names(
    workers: ClusterWorkers, api: WorkersApi, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses = workers.begin()
    job, service = api.made("jobs"), api.made("services")

    name = job["metadata"]["name"]
    assert addresses == ["10.0.0.7:2222", f"{name}-0.{name}.team.svc:2222", f"{name}-1.{name}.team.svc:2222"]
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == ("Indexed", 2, 2)
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"] == name
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert f"2 further workers: pods of the Indexed Job {name}" in capsys.readouterr().out


def test_with_trainer_and_our_runtime_they_are_those_of_a_train_job(
    workers: ClusterWorkers, api: WorkersApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.runtime = True

    addresses = workers.begin()
    made = api.made("trainjobs")

    name = made["metadata"]["name"]
    assert addresses == ["10.0.0.7:2222", *(f"{name}-node-0-{place}.{name}.team.svc:2222" for place in (0, 1))]
    assert made["spec"]["runtimeRef"]["name"] == "cd4ml-training"
    trainer = made["spec"]["trainer"]
    assert (trainer["image"], trainer["numNodes"]) == ("cd4ml/train:1", 2)
    assert trainer["resourcesPerNode"] == own_pod()["spec"]["containers"][1]["resources"]
    [patch] = made["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]
    assert pod["spec"]["nodeSelector"] == {"example.com/accelerator": "h200"}
    assert [one["name"] for one in pod["spec"]["volumes"]] == ["ca", "tmp"]
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "training-worker"
    assert f"pods of the TrainJob {name}" in capsys.readouterr().out


def test_where_trainer_does_not_know_what_we_say_a_job_is_made(
    workers: ClusterWorkers, api: WorkersApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.runtime, api.knows_patches = True, False

    workers.begin()

    assert api.names("trainjobs") == []
    assert len(api.names("jobs")) == 1
    assert "runtimePatches" in capsys.readouterr().out


def test_a_pod_is_like_the_task_s_but_for_what_argo_and_kfp_put_there(workers: ClusterWorkers, api: WorkersApi) -> None:
    workers.begin()
    pod = api.made("jobs")["spec"]["template"]["spec"]
    [one] = pod["containers"]
    own = own_pod()["spec"]
    main = own["containers"][1]

    assert {key: pod[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets", "securityContext")} == {
        key: own[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets", "securityContext")
    }
    assert {key: one[key] for key in ("image", "imagePullPolicy", "resources", "securityContext")} == {
        key: main[key] for key in ("image", "imagePullPolicy", "resources", "securityContext")
    }
    assert not {"serviceAccountName", "nodeName", "initContainers"} & pod.keys()
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    assert [mount["mountPath"] for mount in one["volumeMounts"]] == ["/etc/ca", "/tmp"]
    assert [volume["name"] for volume in pod["volumes"]] == ["ca", "tmp"]
    assert one["command"] == ["python3", "-m", "cd4ml.training.node"]
    names = [variable["name"] for variable in one["env"]]
    assert names == ["CD4ML_PIPELINE", "AWS_SECRET_ACCESS_KEY", "CD4ML_PASSED", "CD4ML_WORKERS"]
    assert one["env"][1] == main["env"][-1]


def test_a_volume_of_the_task_at_tmp_is_theirs_too(workers: ClusterWorkers) -> None:
    own = own_pod()
    own["spec"]["containers"][1]["volumeMounts"].append({"name": "scratch", "mountPath": "/tmp"})
    own["spec"]["volumes"].append({"name": "scratch", "emptyDir": {"sizeLimit": "9Gi"}})

    made = twins.Twins(own=own, team="t", attempt=1, count=1, command=(), environment={}, port=1).pod

    assert made["volumes"] == [{"name": "ca", "configMap": {"name": "ca"}}, own["spec"]["volumes"][-1]]


def test_all_that_is_made_goes_with_the_task_s_pod(workers: ClusterWorkers, api: WorkersApi) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "run-1-train", "uid": "7d3a9c00"}
    workers.begin()
    made = [api.made("jobs"), api.made("services")]
    api.runtime = True
    workers.begin()

    assert [one["metadata"]["ownerReferences"] for one in [*made, api.made("trainjobs")]] == [[owner]] * 3


def test_beginning_again_removes_what_was_there_and_takes_other_names(workers: ClusterWorkers, api: WorkersApi) -> None:
    first = workers.begin()
    again = workers.begin()

    assert len(api.names("jobs")) == len(api.names("services")) == 1
    assert not set(first[1:]) & set(again[1:])


def test_a_task_that_is_tried_again_removes_what_the_pod_before_it_left(
    workers: ClusterWorkers, api: WorkersApi, request_: Request
) -> None:
    workers.begin()
    retried = own_pod()
    retried["metadata"] |= {"name": "run-1-train-retry", "uid": "0c5f1e22"}

    ClusterWorkers(request_, connection.connect(), retried).begin()

    [owner] = api.made("jobs")["metadata"]["ownerReferences"]
    assert owner["uid"] == "0c5f1e22"


def test_two_runs_at_once_do_not_meet(
    workers: ClusterWorkers, api: WorkersApi, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = workers.begin()
    monkeypatch.setenv(records.RUN, "run-2")
    other = ClusterWorkers(request_, connection.connect(), own_pod())
    second = other.begin()
    other.end()

    assert not set(first[1:]) & set(second[1:])
    assert len(api.names("jobs")) == len(api.names("services")) == 1


def test_ending_leaves_nothing_and_none_of_what_was_passed_on(
    workers: ClusterWorkers, api: WorkersApi, tmp_path: Path
) -> None:
    workers.begin()
    passed = list((tmp_path / "store/workers").rglob("*"))
    workers.end()
    workers.end()

    assert passed
    assert not api.objects
    assert not [one for one in (tmp_path / "store/workers").rglob("*") if one.is_file()]


def test_the_cluster_s_refusal_is_told_and_ending_needs_no_cluster(
    workers: ClusterWorkers, api: WorkersApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise client.ApiException(status=403, reason="Forbidden")

    monkeypatch.setattr("cd4ml.cluster.indexed_job.make", refuse)

    with pytest.raises(TrainingError, match="workers: the cluster refuses: Forbidden"):
        workers.begin()
    monkeypatch.setattr("cd4ml.cluster.indexed_job.remove", refuse)
    workers.end()
    assert "is left" in capsys.readouterr().out


def test_an_image_that_is_not_there_is_told_at_once(workers: ClusterWorkers, api: WorkersApi) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image cd4ml/train:2"}
    api.status = lambda place: container(waiting=waiting) if place else RUNNING

    with pytest.raises(TrainingError, match="pod pod-1, container node: ImagePullBackOff: Back-off pulling"):
        workers.begin()


def test_a_pod_that_no_node_takes_is_told_when_its_time_is_up(api: WorkersApi, request_: Request) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}
    api.status = lambda _: {"phase": "Pending", "conditions": [condition]}

    with pytest.raises(TrainingError, match=r"do not run after 0 s; .*Unschedulable: Insufficient cpu"):
        impatient(request_).begin()


def test_a_quota_that_lets_no_pod_be_made_is_told(api: WorkersApi, request_: Request) -> None:
    api.full = "exceeded quota: cd4ml, requested: requests.cpu=1"

    with pytest.raises(TrainingError, match=r"2 pods to run: 0 made, 0 running \(exceeded quota: cd4ml"):
        impatient(request_).begin()


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (container(terminated={"exitCode": 1, "reason": "Error"}), 1, "the loss is not finite"),
        (container(terminated={"exitCode": 75, "reason": "Error"}), 75, "ended with 75"),
        (container(terminated=OOM["terminated"]), 1, "killed for memory"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, 75, "Evicted: low on memory"),
        (None, 75, "its pod is gone"),
    ],
)
def test_a_worker_that_ended_says_how(
    workers: ClusterWorkers, api: WorkersApi, status: dict[str, Any] | None, code: int, said: str
) -> None:
    workers.begin()
    assert workers.ended() == []
    api.log = "cd4ml.errors.TrainingError: the loss is not finite"
    api.status = lambda place: status if place else RUNNING

    [ended] = workers.ended()

    assert (ended.number, ended.code) == (2, code)
    assert said in ended.said


def test_a_cluster_that_does_not_answer_ends_no_training(
    workers: ClusterWorkers, api: WorkersApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise urllib3.exceptions.HTTPError("connection refused")

    workers.begin()
    monkeypatch.setattr(client.CoreV1Api, "list_namespaced_pod", away)

    assert workers.ended() == workers.ended() == []
    assert capsys.readouterr().out.count("training goes on") == 1


@pytest.mark.parametrize(
    ("method", "kind", "status"), [("POST", "services", 503), ("POST", "jobs", 0), ("GET", "pods?", 429)]
)
def test_a_cluster_that_answers_again_in_time_has_workers_begin(
    workers: ClusterWorkers,
    api: WorkersApi,
    capsys: pytest.CaptureFixture[str],
    method: str,
    kind: str,
    status: int,
) -> None:
    api.faults.append(Fault(method, kind.rstrip("?"), status, times=15, does=kind == "jobs"))

    addresses = workers.begin()

    assert len(api.names("jobs")) == len(api.names("services")) == 1
    assert api.made("jobs")["metadata"]["name"] in addresses[1]
    assert "which is tried again" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer_in_time_ends_the_training(api: WorkersApi, request_: Request) -> None:
    api.faults.append(Fault("POST", "jobs", 503, times=10_000))

    with pytest.raises(TrainingError, match="workers: the cluster refuses: not now"):
        impatient(request_).begin()


def test_a_store_that_answers_again_in_time_is_given_what_workers_read(
    workers: ClusterWorkers, api: WorkersApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, faults = arrow.copy, [OSError("AWS Error SLOW_DOWN")] * 2

    def busy(*place: Any) -> None:
        if faults:
            raise faults.pop()
        copy(*place)

    monkeypatch.setattr(arrow, "copy", busy)
    workers.begin()

    assert len(api.names("jobs")) == 1
    assert "SLOW_DOWN" in capsys.readouterr().out


def test_a_store_that_lets_nothing_be_written_ends_the_training_at_once(
    workers: ClusterWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("AWS Error ACCESS_DENIED during PutObject operation")

    monkeypatch.setattr(arrow, "copy", refuse)
    with pytest.raises(TrainingError, match="ACCESS_DENIED"):
        workers.begin()


@pytest.mark.parametrize("code", [75, 137, 143])
def test_a_worker_that_is_lost_before_all_run_is_told_as_one_that_is_lost_later(
    workers: ClusterWorkers, api: WorkersApi, code: int
) -> None:
    api.status = lambda place: (
        container(waiting={"reason": "ContainerCreating"})
        if place
        else container(terminated={"exitCode": code, "reason": "Error"})
    )

    workers.begin()

    [lost] = workers.ended()
    assert (lost.number, lost.code, lost.was_lost) == (1, code, True)


def test_a_worker_that_fails_before_all_run_ends_the_training(workers: ClusterWorkers, api: WorkersApi) -> None:
    api.status = lambda place: RUNNING if place else container(terminated={"exitCode": 1, "reason": "Error"})

    with pytest.raises(TrainingError, match="does not run"):
        workers.begin()


def test_a_store_that_other_pods_do_not_see_is_refused(api: WorkersApi, tmp_path: Path) -> None:
    here = asked(tmp_path, store="/data/store", workers=2)

    with pytest.raises(TrainingError, match="other pods see no folder of this one"):
        impatient(here).begin()


def test_what_a_worker_reads_comes_to_it_whole(workers: ClusterWorkers, api: WorkersApi, tmp_path: Path) -> None:
    workers.begin()
    environment = {
        one["name"]: one.get("value") for one in api.made("jobs")["spec"]["template"]["spec"]["containers"][0]["env"]
    }

    passing.fetch(environment["CD4ML_PASSED"], tmp_path / "node")

    there = Request.read(tmp_path / "node/request.json").within(tmp_path / "node")
    assert (there.workers, there.label, there.start) == (3, "took", None)
    for name, file in there.files.items():
        assert file.is_relative_to(tmp_path / "node")
        assert file.read_bytes() == f"of {name}".encode()


def test_the_model_that_a_training_begins_with_comes_along(tmp_path: Path) -> None:
    (tmp_path / "champion/saved_model").mkdir(parents=True)
    (tmp_path / "champion/saved_model/weights").write_text("w")
    request = asked(tmp_path, store=str(tmp_path), start=str(tmp_path / "champion"))

    passing.fetch(passing.put(request.files, store=str(tmp_path), task="task"), tmp_path / "node")

    there = request.within(tmp_path / "node")
    assert (Path(str(there.start)) / "saved_model/weights").read_text() == "w"


def test_what_is_not_what_was_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train").write_bytes(b"rows")
    place = passing.put({"train": tmp_path / "train"}, store=str(tmp_path), task="task")
    for stored in (tmp_path / "workers/task").iterdir():
        if stored.read_bytes() == b"rows":
            stored.write_bytes(b"rowz")

    with pytest.raises(TrainingError, match="has other bytes than were written"):
        passing.fetch(place, tmp_path / "node")
    assert became(place, monkeypatch) == 1


def test_a_pod_waits_longer_for_the_first_worker_than_that_one_for_pods() -> None:
    assert cluster_workers.START_SECONDS < MEET_SECONDS < indexed_job.KEPT_SECONDS


def test_a_worker_whose_store_does_not_answer_is_one_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert became(f"{tmp_path}/workers/task/{'0' * 64}", monkeypatch) == LOST
    assert "not passed on by" in capsys.readouterr().err


def became(place: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """With what code a pod ends that is to read what lies at a place."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for variable, value in ((node.PASSED, place), (node.WORKERS, "a:1,b:1"), (node.INDEX, "0")):
        monkeypatch.setenv(variable, value)
    return node.main()
