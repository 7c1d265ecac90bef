"""Runs a compiled pipeline in pods, each task when those before it have ended, as KFP would.

What a task is told, and what its pod is, is what KFP's driver makes (`kfp_driver`); the launcher's part is played here.
Each task's command is run to the letter, in its image, as a restricted pod with a read-only root; its input artifacts
come from the bucket of KFP's artifacts, and its outputs go there. Only what the cluster of a test has none of is left
out: requests for as much processor and memory as the limits allow.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import kfp_driver
import yaml
from kfp_driver import Given, Object
from kubernetes import client

from cd4ml.images import TOOLS

ARTIFACTS = "mlpipeline"
ARTIFACTS_SECRET = "mlpipeline-minio-artifact"
POD_SECONDS = 300

COPY = """
import os, pathlib, sys
from minio import Minio
bucket, action, *keys = sys.argv[1:]
key_pair = os.environ["ACCESS_KEY"], os.environ["SECRET_KEY"]
store = Minio(os.environ["ENDPOINT"], *key_pair, secure=False, region="us-east-1")
root = pathlib.Path("/minio", bucket)
for key in keys:
    if action == "get":
        for one in store.list_objects(bucket, key, recursive=True):
            if one.object_name == key or one.object_name.startswith(key + "/"):
                store.fget_object(bucket, one.object_name, str(root / one.object_name))
    else:
        for path in [root / key, *(root / key).rglob("*")]:
            if path.is_file():
                store.fput_object(bucket, str(path.relative_to(root)), str(path))
if action == "put":
    print(pathlib.Path(os.environ["OUTPUT"]).read_text())
"""

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


@dataclass
class Task(Given):
    """A task that ended."""

    passed: bool = False
    log: str = ""
    seconds: float = 0.0


class TaskFailedError(AssertionError):
    """A task's container ended with an error; the message is its log."""


@dataclass(frozen=True)
class Backend:
    """What runs pipelines in a namespace."""

    api: client.CoreV1Api
    namespace: str
    service_account: str
    endpoint: str
    """MinIO's, as pods reach it: host and port."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the container of every task has besides."""

    def run(self, compiled: str, arguments: Mapping[str, Any], run: str) -> Iterator[tuple[str, Task]]:
        """Runs the tasks; each is given with its display name when it ends, and after one that fails none begins."""
        pipeline, platforms = yaml.safe_load_all(compiled)
        kfp_driver.check("pipeline", pipeline["root"]["dag"], ("tasks",))
        inputs = pipeline["root"]["inputDefinitions"]["parameters"]
        values = {name: one.get("defaultValue") for name, one in inputs.items()} | dict(arguments)
        waiting, ended, passed_over = dict(pipeline["root"]["dag"]["tasks"]), dict[str, Task](), set[str]()
        going: dict[Future[Task], str] = {}
        with ThreadPoolExecutor() as pool:
            while waiting or going:
                for name in _ready(waiting, passed_over.union(ended)):
                    task = waiting.pop(name)
                    if kfp_driver.is_empty_loop(task, ended):
                        passed_over.add(name)
                    else:
                        begun = pool.submit(self._run, name, task, pipeline, platforms, values, dict(ended), run)
                        going[begun] = name
                for one in wait(going, return_when=FIRST_COMPLETED).done:
                    name = going.pop(one)
                    ended[name] = one.result()
                    yield pipeline["root"]["dag"]["tasks"][name]["taskInfo"]["name"], ended[name]
                if not all(one.passed for one in ended.values()):
                    return

    def _run(
        self,
        name: str,
        task: Object,
        pipeline: Object,
        platforms: Object,
        values: Mapping[str, Any],
        ended: Mapping[str, Task],
        run: str,
    ) -> Task:
        component = pipeline["components"][task["componentRef"]["name"]]
        told = kfp_driver.executor_input(
            task, component, values=values, ended=ended, run=run, folder=f"minio://{ARTIFACTS}/{run}/{name}"
        )
        label = component["executorLabel"]
        executor = pipeline["deploymentSpec"]["executors"][label]
        kfp_driver.check("executor", executor, ("container",))
        settings = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"].get(label, {})
        made = kfp_driver.pod(
            executor["container"], settings, inputs=told["inputs"].get("parameterValues", {}), values=values
        )
        pod = self._pod(run, name, made, told)
        started = time.monotonic()
        self.api.create_namespaced_pod(self.namespace, pod)
        passed = self._wait(pod["metadata"]["name"])
        seconds = time.monotonic() - started
        log = self._log(pod["metadata"]["name"], "main")
        if not passed:
            return Task(passed=False, log=log, seconds=seconds)
        output = json.loads(self._log(pod["metadata"]["name"], "put"))
        artifacts = {key: one["artifacts"][0] for key, one in output.get("artifacts", {}).items()}
        declared = {key: one["artifacts"][0] for key, one in told["outputs"].get("artifacts", {}).items()}
        artifacts = {key: {**one, **artifacts.get(key, {})} for key, one in declared.items()}
        return Task(output.get("parameterValues", {}), artifacts, passed=True, log=log, seconds=seconds)

    def _pod(self, run: str, task: str, made: Object, told: Object) -> Object:
        name = f"{run}-{task}"
        [step] = made["containers"]
        step["command"] = [json.dumps(told) if one == "{{$}}" else one for one in step.pop("args")]
        step["env"] = [*step.get("env", []), *({"name": key, "value": one} for key, one in self.environment.items())]
        step["resources"]["requests"] = {"cpu": "100m", "memory": "256Mi"}
        identity = {key: one for key, one in step["securityContext"].items() if key != "capabilities"}
        incoming = [one["artifacts"][0]["uri"] for one in told["inputs"].get("artifacts", {}).values()]
        outgoing = [one["artifacts"][0]["uri"] for one in told["outputs"].get("artifacts", {}).values()]
        output = told["outputs"]["outputFile"]
        containers = [self._copy("get", incoming, output), step, self._copy("put", outgoing, output)]
        for one in containers:
            one["securityContext"] = RESTRICTED
            one["imagePullPolicy"] = "IfNotPresent"
            one["volumeMounts"] = [
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "artifacts", "mountPath": "/minio"},
                *one.get("volumeMounts", []),
            ]
        return {
            "metadata": {
                "name": name,
                "labels": {
                    "pipelines.kubeflow.org/v2_component": "true",
                    "workflows.argoproj.io/workflow": name,
                    "pipeline/runid": run,
                },
            },
            "spec": {
                **made,
                "restartPolicy": "Never",
                "serviceAccountName": self.service_account,
                "securityContext": {
                    **identity,
                    "fsGroup": identity["runAsGroup"],
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumes": [
                    {"name": "tmp", "emptyDir": {}},
                    {"name": "artifacts", "emptyDir": {}},
                    *made.get("volumes", []),
                ],
                "initContainers": containers[:2],
                "containers": containers[2:],
            },
        }

    def _copy(self, action: str, uris: list[str], output: str) -> Object:
        keys = [uri.removeprefix(f"minio://{ARTIFACTS}/") for uri in uris]
        credentials = {"ACCESS_KEY": "accesskey", "SECRET_KEY": "secretkey"}
        return {
            "name": action,
            "image": TOOLS,
            "command": ["python3", "-c", COPY, ARTIFACTS, action, *keys],
            "env": [{"name": "ENDPOINT", "value": self.endpoint}, {"name": "OUTPUT", "value": output}]
            + [
                {"name": variable, "valueFrom": {"secretKeyRef": {"name": ARTIFACTS_SECRET, "key": key}}}
                for variable, key in credentials.items()
            ],
            "resources": {
                "limits": {"cpu": "1", "memory": "512Mi"},
                "requests": {"cpu": "50m", "memory": "128Mi"},
            },
        }

    def _wait(self, pod: str) -> bool:
        deadline = time.monotonic() + POD_SECONDS
        while time.monotonic() < deadline:
            status = self.api.read_namespaced_pod(pod, self.namespace).status
            if status.phase in ("Succeeded", "Failed"):
                return bool(status.phase == "Succeeded")
            time.sleep(0.3)
        raise TaskFailedError(f"{pod} is {status.phase} after {POD_SECONDS} s: {status.init_container_statuses}")

    def _log(self, pod: str, container: str) -> str:
        answer = self.api.read_namespaced_pod_log(pod, self.namespace, container=container, _preload_content=False)
        return bytes(answer.data).decode()


def _ready(waiting: Mapping[str, Object], done: Collection[str]) -> list[str]:
    """The tasks that wait for no other."""
    return [name for name, task in waiting.items() if all(one in done for one in task.get("dependentTasks", ()))]
