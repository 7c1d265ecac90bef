"""Runs a compiled pipeline in pods, one after the other, as KFP's driver and launcher would.

Each task's command is run to the letter, in its image, as a restricted pod with a read-only root; its input artifacts
come from the bucket of KFP's artifacts, and its outputs go there. Only what the cluster of a test has none of is left
out: GPUs, and requests for as much processor as the limits allow.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from kubernetes import client

from cd4ml.images import TOOLS

ARTIFACTS = "mlpipeline"
ARTIFACTS_SECRET = "mlpipeline-minio-artifact"
OUTPUT = "/tmp/kfp_outputs/output_metadata.json"
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
class Task:
    """A task that ended."""

    passed: bool
    log: str
    seconds: float
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)


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

    def run(self, compiled: str, arguments: Mapping[str, Any], run: str) -> Iterator[tuple[str, Task]]:
        """Runs the tasks in their order; each is given with its display name, and the first that fails is the last."""
        pipeline, platforms = yaml.safe_load_all(compiled)
        inputs = pipeline["root"]["inputDefinitions"]["parameters"]
        values = {name: one.get("defaultValue") for name, one in inputs.items()} | dict(arguments)
        ended: dict[str, Task] = {}
        for name, task in _in_order(pipeline["root"]["dag"]["tasks"]):
            ended[name] = self._run(name, task, pipeline, platforms, values, ended, run)
            yield task["taskInfo"]["name"], ended[name]
            if not ended[name].passed:
                return

    def _run(
        self,
        name: str,
        task: dict[str, Any],
        pipeline: dict[str, Any],
        platforms: dict[str, Any],
        values: Mapping[str, Any],
        ended: Mapping[str, Task],
        run: str,
    ) -> Task:
        component = pipeline["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = pipeline["deploymentSpec"]["executors"][label]["container"]
        settings = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"].get(label, {})
        executor_input = _executor_input(name, task, component, values, ended, run)
        pod = self._pod(run, name, container, settings, executor_input)
        started = time.monotonic()
        self.api.create_namespaced_pod(self.namespace, pod)
        passed = self._wait(pod["metadata"]["name"])
        seconds = time.monotonic() - started
        log = self._log(pod["metadata"]["name"], "task")
        if not passed:
            return Task(False, log, seconds)
        output = json.loads(self._log(pod["metadata"]["name"], "put"))
        artifacts = {key: one["artifacts"][0] for key, one in output.get("artifacts", {}).items()}
        declared = {key: one["artifacts"][0] for key, one in executor_input["outputs"]["artifacts"].items()}
        artifacts = {key: {**one, **artifacts.get(key, {})} for key, one in declared.items()}
        return Task(True, log, seconds, output.get("parameterValues", {}), artifacts)

    def _pod(
        self, run: str, task: str, container: dict[str, Any], settings: dict[str, Any], executor_input: dict[str, Any]
    ) -> dict[str, Any]:
        name = f"{run}-{task}"
        arguments = [json.dumps(_whole(executor_input)) if one == "{{$}}" else one for one in container["args"]]
        limits = container["resources"]
        step = {
            "name": "task",
            "image": container["image"],
            "command": [*container["command"], *arguments],
            "env": [*container.get("env", []), *_secrets(settings), *_fields(settings)],
            "resources": {
                "limits": {"cpu": limits["resourceCpuLimit"], "memory": limits["resourceMemoryLimit"]},
                "requests": {"cpu": "100m", "memory": "256Mi"},
            },
        }
        incoming = [one["artifacts"][0]["uri"] for one in executor_input["inputs"]["artifacts"].values()]
        outgoing = [one["artifacts"][0]["uri"] for one in executor_input["outputs"]["artifacts"].values()]
        containers = [self._copy("get", incoming), step, self._copy("put", outgoing)]
        for one in containers:
            one["securityContext"] = RESTRICTED
            one["imagePullPolicy"] = "IfNotPresent"
            one["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "artifacts", "mountPath": "/minio"}]
        security = settings["securityContext"]
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
                "restartPolicy": "Never",
                "serviceAccountName": self.service_account,
                "securityContext": {
                    "runAsNonRoot": security["runAsNonRoot"],
                    "runAsUser": int(security["runAsUser"]),
                    "runAsGroup": int(security["runAsGroup"]),
                    "fsGroup": int(security["runAsGroup"]),
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "artifacts", "emptyDir": {}}],
                "initContainers": containers[:2],
                "containers": containers[2:],
            },
        }

    def _copy(self, action: str, uris: list[str]) -> dict[str, Any]:
        keys = [uri.removeprefix(f"minio://{ARTIFACTS}/") for uri in uris]
        credentials = {"ACCESS_KEY": "accesskey", "SECRET_KEY": "secretkey"}
        return {
            "name": action,
            "image": TOOLS,
            "command": ["python3", "-c", COPY, ARTIFACTS, action, *keys],
            "env": [{"name": "ENDPOINT", "value": self.endpoint}, {"name": "OUTPUT", "value": OUTPUT}]
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


def _in_order(tasks: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    waiting, done = dict(tasks), set[str]()
    while waiting:
        name = next(name for name, task in waiting.items() if done.issuperset(task.get("dependentTasks", ())))
        done.add(name)
        yield name, waiting.pop(name)


def _executor_input(
    name: str,
    task: dict[str, Any],
    component: dict[str, Any],
    values: Mapping[str, Any],
    ended: Mapping[str, Task],
    run: str,
) -> dict[str, Any]:
    """What KFP's driver tells a task."""
    inputs, outputs = task.get("inputs", {}), component.get("outputDefinitions", {})
    defaults = component["inputDefinitions"].get("parameters", {})
    parameters = {key: one["defaultValue"] for key, one in defaults.items() if "defaultValue" in one}
    for key, one in inputs.get("parameters", {}).items():
        parameters[key] = _value(one, values, ended, run)
    artifacts = {
        key: {"artifacts": [_produced(one["taskOutputArtifact"], ended)]}
        for key, one in inputs.get("artifacts", {}).items()
    }
    folder = f"minio://{ARTIFACTS}/{run}/{name}"
    return {
        "inputs": {"parameterValues": parameters, "artifacts": artifacts},
        "outputs": {
            "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in outputs.get("parameters", {})},
            "artifacts": {
                key: {
                    "artifacts": [{"name": key, "type": one["artifactType"], "uri": f"{folder}/{key}", "metadata": {}}]
                }
                for key, one in outputs.get("artifacts", {}).items()
            },
            "outputFile": OUTPUT,
        },
    }


def _value(source: dict[str, Any], values: Mapping[str, Any], ended: Mapping[str, Task], run: str) -> Any:
    if "componentInputParameter" in source:
        return values[source["componentInputParameter"]]
    if "taskOutputParameter" in source:
        produced = source["taskOutputParameter"]
        return ended[produced["producerTask"]].parameters[produced["outputParameterKey"]]
    constant = source["runtimeValue"]["constant"]
    return constant.replace("{{$.pipeline_job_name}}", run) if isinstance(constant, str) else constant


def _produced(source: dict[str, Any], ended: Mapping[str, Task]) -> dict[str, Any]:
    return ended[source["producerTask"]].artifacts[source["outputArtifactKey"]]


def _whole(value: Any) -> Any:
    """A value as KFP's driver writes it, which is Go: a number that is whole has no point."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _fields(settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": one["name"], "valueFrom": {"fieldRef": {"fieldPath": one["fieldPath"]}}}
        for one in settings.get("fieldPathAsEnv", [])
    ]


def _secrets(settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": one["envVar"],
            "valueFrom": {
                "secretKeyRef": {"name": secret["secretName"], "key": one["secretKey"], "optional": secret["optional"]}
            },
        }
        for secret in settings.get("secretAsEnv", [])
        for one in secret["keyToEnv"]
    ]
