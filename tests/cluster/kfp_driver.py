"""What the driver of Kubeflow Pipelines 2.17.0 makes of a task: what the task is told, and what its pod is.

`kfp-2.17.0.yaml` and `kfp-2.17.0-placing.yaml` hold what the real driver made of some, and a test compares. What is not
played here is refused.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

TASK = ("cachingOptions", "componentRef", "dependentTasks", "inputs", "retryPolicy", "taskInfo")
CONTAINER = ("args", "command", "env", "image", "resources")
RESOURCES = {
    "limits": {"cpu": "resourceCpuLimit", "memory": "resourceMemoryLimit"},
    "requests": {"cpu": "resourceCpuRequest", "memory": "resourceMemoryRequest"},
}
OLD_RESOURCES = ("cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest")
"""What the driver reads only where the newer fields are empty."""
SETTINGS = (
    "activeDeadlineSeconds",
    "fieldPathAsEnv",
    "nodeSelector",
    "secretAsEnv",
    "secretAsVolume",
    "securityContext",
    "tolerations",
)
IDENTITY = ("runAsGroup", "runAsNonRoot", "runAsUser")
TOLERATION = ("effect", "key", "operator", "value")
RUN_NAME = "{{$.pipeline_job_name}}"
PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")


class NotPlayedError(AssertionError):
    """A pipeline uses what the real driver knows and this one does not."""


@dataclass
class Given:
    """What a task gave that ended."""

    parameters: Object = field(default_factory=dict)
    artifacts: dict[str, Object] = field(default_factory=dict)


def executor_input(
    task: Object, component: Object, *, values: Mapping[str, Any], ended: Mapping[str, Given], run: str, folder: str
) -> Object:
    """What a task is told.

    Args:
        task: Its entry in the pipeline's graph.
        component: Its component.
        values: The pipeline's parameters.
        ended: By task, what those before it gave.
        run: The run's name.
        folder: The URI of the folder for what it writes.
    """
    check("task", task, TASK)
    check("component", component, ("executorLabel", "inputDefinitions", "outputDefinitions"))
    inputs, outputs = task.get("inputs", {}), component.get("outputDefinitions", {})
    check("inputs", inputs, ("artifacts", "parameters"))
    parameters = {key: _value(one, values, ended, run) for key, one in inputs.get("parameters", {}).items()}
    artifacts = {key: {"artifacts": [_artifact(one, ended)]} for key, one in inputs.get("artifacts", {}).items()}
    files = {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in outputs.get("parameters", {})}
    made = {
        key: {"artifacts": [{"name": key, "type": one["artifactType"], "uri": f"{folder}/{key}"}]}
        for key, one in outputs.get("artifacts", {}).items()
    }
    output = f"{local(folder)}/output_metadata.json"
    told: Object = _whole(
        {
            "inputs": _filled({"parameterValues": parameters, "artifacts": artifacts}),
            "outputs": _filled({"parameters": files, "artifacts": made, "outputFile": output}),
        }
    )
    return told


def is_empty_loop(task: Object, ended: Mapping[str, Given]) -> bool:
    """Whether a task is a loop that has nothing to go through; another loop is refused, as what is not played."""
    if "parameterIterator" not in task:
        return False
    name = task["parameterIterator"]["items"]["inputParameter"]
    return _value(task["inputs"]["parameters"][name], {}, ended, "") == []


def pod(container: Object, settings: Object, *, inputs: Object, values: Mapping[str, Any]) -> Object:
    """What the driver changes in a task's pod, but for the launcher's own command.

    Args:
        container: The container of the task's executor.
        settings: What the pipeline says for Kubernetes of the executor.
        inputs: The parameters that the task is told.
        values: The pipeline's parameters.
    """
    check("container", container, CONTAINER)
    check("setting of Kubernetes", settings, SETTINGS)
    secrets = settings.get("secretAsVolume", [])
    main = {
        "name": "main",
        "image": container["image"],
        "args": [*container["command"], *container["args"]],
        "env": [*container.get("env", []), *_secret_variables(settings), *_field_variables(settings)],
        "resources": _resources(container["resources"], inputs),
        "securityContext": _security(settings["securityContext"]),
        "volumeMounts": [{"name": _secret_name(one), "mountPath": one["mountPath"]} for one in secrets],
    }
    return _filled(
        {
            "containers": [_filled(main)],
            "volumes": [_volume(one) for one in secrets],
            "activeDeadlineSeconds": int(settings["activeDeadlineSeconds"]),
            "tolerations": _tolerations(settings, values),
            "nodeSelector": _node_selector(settings, values),
        }
    )


def local(uri: str) -> str:
    """Where the launcher keeps a URI in the pod."""
    scheme, _, path = uri.partition("://")
    return f"/{scheme}/{path}"


def check(what: str, found: Collection[str], played: Collection[str]) -> None:
    """Refuses what is not played.

    Raises:
        NotPlayedError: `found` has more than `played`.
    """
    beyond = sorted(set(found).difference(played))
    if beyond:
        raise NotPlayedError(f"{what}: {', '.join(beyond)} is not played; see what the real driver makes of it")


def _filled(found: Object) -> Object:
    """Without what is empty, which the driver does not write."""
    return {key: one for key, one in found.items() if one}


def _whole(value: Any) -> Any:
    """A value as the driver writes it, which is Go: a number that is whole has no point."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _value(source: Object, values: Mapping[str, Any], ended: Mapping[str, Given], run: str) -> Any:
    check("input", source, ("componentInputParameter", "runtimeValue", "taskOutputParameter"))
    if "componentInputParameter" in source:
        return values[source["componentInputParameter"]]
    if "taskOutputParameter" in source:
        produced = source["taskOutputParameter"]
        return ended[produced["producerTask"]].parameters[produced["outputParameterKey"]]
    constant = source["runtimeValue"]["constant"]
    if isinstance(constant, str) and constant.startswith("{{$.") and not PLACEHOLDER.fullmatch(constant):
        check("placeholder", [constant], [RUN_NAME])
        return run
    return constant


def _artifact(source: Object, ended: Mapping[str, Given]) -> Object:
    """As ML Metadata knows an artifact: its name is the number of its record, and its type is lost."""
    check("input artifact", source, ("taskOutputArtifact",))
    produced = source["taskOutputArtifact"]
    key = produced["outputArtifactKey"]
    artifact = ended[produced["producerTask"]].artifacts[key]
    return {
        "name": "1",
        "type": {"instanceSchema": ""},
        "uri": artifact["uri"],
        "metadata": {**artifact.get("metadata", {}), "display_name": key},
    }


def _resources(wanted: Object, inputs: Object) -> Object:
    named = [key for keys in RESOURCES.values() for key in keys.values()]
    check("resource", wanted, (*named, *OLD_RESOURCES, "accelerator"))
    made = {kind: {name: _text(wanted[key], inputs) for name, key in keys.items()} for kind, keys in RESOURCES.items()}
    assert all(all(one.values()) for one in made.values()), "the driver cannot read a quantity"
    accelerator = wanted.get("accelerator", {})
    check("accelerator", accelerator, ("resourceCount", "resourceType", "type"))
    if accelerator:
        kind, count = (_text(accelerator[key], inputs) for key in ("resourceType", "resourceCount"))
        made["limits"] |= {kind: count} if kind and count else {}
    return made


def _text(value: str, inputs: Object) -> str:
    """A text, or the one that an input is; an input of another type has none."""
    placeholder = PLACEHOLDER.fullmatch(value)
    found = inputs[placeholder[1]] if placeholder else value
    return found if isinstance(found, str) else ""


def _security(wanted: Object) -> Object:
    check("securityContext", wanted, IDENTITY)
    numbers = {key: int(wanted[key]) for key in ("runAsUser", "runAsGroup") if key in wanted}
    return {**wanted, **numbers, "capabilities": {"drop": ["ALL"]}}


def _tolerations(settings: Object, values: Mapping[str, Any]) -> list[Object]:
    """Those of the pipeline, and those of its parameters, which are an object or a list."""
    made = []
    for one in settings.get("tolerations", []):
        if "tolerationJson" not in one:
            check("toleration", one, TOLERATION)
            made.append(one)
            continue
        check("toleration", one, ("tolerationJson",))
        found = _parameter(one["tolerationJson"], values)
        made += found if isinstance(found, list) else filter(None, [found])
    return _whole(made)  # type: ignore[no-any-return]


def _node_selector(settings: Object, values: Mapping[str, Any]) -> Object:
    wanted = settings.get("nodeSelector", {})
    check("nodeSelector", wanted, ("nodeSelectorJson",))
    found: Object = _parameter(wanted["nodeSelectorJson"], values) if wanted else {}
    assert all(isinstance(one, str) for one in found.values()), "the driver cannot read a label that is no text"
    return found


def _parameter(source: Object, values: Mapping[str, Any]) -> Any:
    check("parameter", source, ("componentInputParameter",))
    return values[source["componentInputParameter"]]


def _volume(secret: Object) -> Object:
    check("secretAsVolume", secret, ("mountPath", "optional", "secretName", "secretNameParameter"))
    name = _secret_name(secret)
    return {"name": name, "secret": {"secretName": name, "optional": secret.get("optional", False)}}


def _secret_variables(settings: Object) -> list[Object]:
    made = []
    for secret in settings.get("secretAsEnv", []):
        check("secretAsEnv", secret, ("keyToEnv", "optional", "secretName", "secretNameParameter"))
        optional = {"optional": secret["optional"]} if "optional" in secret else {}
        for one in secret["keyToEnv"]:
            reference = {"name": _secret_name(secret), "key": one["secretKey"], **optional}
            made.append({"name": one["envVar"], "valueFrom": {"secretKeyRef": reference}})
    return made


def _secret_name(secret: Object) -> str:
    """The driver takes the parameter, where there is one, before the name beside it."""
    parameter = secret["secretNameParameter"]
    check("secretNameParameter", parameter, ("runtimeValue",))
    name: str = parameter["runtimeValue"]["constant"]
    return name


def _field_variables(settings: Object) -> list[Object]:
    return [
        {"name": one["name"], "valueFrom": {"fieldRef": {"fieldPath": one["fieldPath"]}}}
        for one in settings.get("fieldPathAsEnv", [])
    ]
