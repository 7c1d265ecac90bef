"""What Seldon Core 1.17.1, as its chart installs it, makes of a SeldonDeployment that has no executor.

`seldon-core-1.17.1.yaml` holds what the real operator made of some, and a test compares.
"""

import copy
import hashlib
import json
from typing import Any

from operators import Object
from seldon_kind import KIND

NO_EXECUTOR = "seldon.io/no-engine"
METRICS_PATH = "/prometheus"
PORTS = {"metrics": 6000, "http": 9000, "grpc": 9500}
"""What the operator adds where a container has no port of that name."""
PODINFO = "seldon-podinfo"
TYPES = ("MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER")


def deployments(found: Object) -> list[Object]:
    """The Deployments that the operator wants."""
    return [
        _deployment(found, predictor, component, index)
        for predictor in found["spec"]["predictors"]
        for index, component in enumerate(predictor["componentSpecs"])
    ]


def services(found: Object) -> list[Object]:
    """The Services that the operator wants: of each predictor, and of each of its containers beside it."""
    made = []
    for predictor in found["spec"]["predictors"]:
        app, labels = _app(found, predictor), _of_all(found, predictor)
        for component in predictor["componentSpecs"]:
            for container in component["spec"]["containers"]:
                if container["name"] == predictor["graph"]["name"]:
                    own = _own_label(found, predictor, container)
                    ports = _ports(container)
                    made.append(_service(found, predictor, *own.values(), {**labels, **own}, own, ports))
                    made.append(_service(found, predictor, app, labels, {"seldon-app": app}, ports))
    return made


def name(*parts: str) -> str:
    """A name of these parts, or a hash of it where it is longer than the name of a Service can be."""
    whole = "-".join(parts)
    digest = hashlib.md5(whole.encode(), usedforsecurity=False).hexdigest()
    return whole if len(whole) <= 63 else f"seldon-{digest}"


def _deployment(found: Object, predictor: Object, component: Object, index: int) -> Object:
    pod, metadata = copy.deepcopy(component["spec"]), component.get("metadata", {})
    containers = metadata.get("name") or "-".join(one["name"] for one in pod["containers"])
    called = name(found["metadata"]["name"], predictor["name"], str(index), containers)
    selector = {"seldon-deployment-id": name(found["metadata"]["name"])}
    for container in pod["containers"]:
        if container["name"] == predictor["graph"]["name"]:
            _serve(found, predictor, container)
            selector |= {**_own_label(found, predictor, container), "seldon-app": _app(found, predictor)}
    pod.setdefault("securityContext", {"runAsUser": 8888})
    pod.setdefault("terminationGracePeriodSeconds", 20)
    pod["volumes"] = [*pod.get("volumes", []), _podinfo()]
    labels = {
        "app": called,
        "fluentd": "true",
        **_labels(predictor),
        **metadata.get("labels", {}),
        **_of_all(found, predictor),
        **selector,
    }
    annotations = {
        **found["spec"].get("annotations", {}),
        **predictor.get("annotations", {}),
        **metadata.get("annotations", {}),
    }
    scraped = {"prometheus.io/path": METRICS_PATH, "prometheus.io/scrape": "true"}
    return {
        "metadata": {
            "name": called,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": KIND.owner(found),
        },
        "spec": {
            "replicas": predictor.get("replicas", 1),
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": {"metadata": {"labels": labels, "annotations": {**scraped, **annotations}}, "spec": pod},
        },
    }


def _serve(found: Object, predictor: Object, container: Object) -> None:
    """Gives a container of the graph what the operator gives it."""
    ports = container["ports"] = _ports(container)
    number = {port["name"]: port["containerPort"] for port in ports}
    container["env"] = _environment(found, predictor, container, number)
    container["volumeMounts"] = [*container.get("volumeMounts", []), {"name": PODINFO, "mountPath": "/etc/podinfo"}]
    container.setdefault("imagePullPolicy", "IfNotPresent")
    container.setdefault("lifecycle", {"preStop": {"exec": {"command": ["/bin/sh", "-c", "/bin/sleep 10"]}}})
    asked = {"tcpSocket": {"port": number["http"]}, "periodSeconds": 5}
    container.setdefault("livenessProbe", {**asked, "initialDelaySeconds": 60})
    container.setdefault("readinessProbe", {**asked, "initialDelaySeconds": 20})


def _environment(found: Object, predictor: Object, container: Object, number: dict[str, int]) -> list[Object]:
    """The environment: what the operator would set and finds there already empties it."""
    graph = predictor["graph"]
    checked = {
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": number["http"],
        "MLSERVER_HTTP_PORT": number["http"],
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": number["grpc"],
        "MLSERVER_GRPC_PORT": number["grpc"],
    }
    if graph.get("parameters"):
        parameters = [{key: one[key] for key in ("name", "value", "type")} for one in graph["parameters"]]
        checked["PREDICTIVE_UNIT_PARAMETERS"] = _compact(parameters)
    if graph.get("modelUri"):
        checked["MLSERVER_MODEL_URI"] = "/mnt/models"
    added = {
        "PREDICTIVE_UNIT_ID": container["name"],
        "MLSERVER_MODEL_NAME": container["name"],
        "PREDICTIVE_UNIT_IMAGE": container["image"],
        "PREDICTOR_ID": predictor["name"],
        "PREDICTOR_LABELS": _compact(dict(sorted(_labels(predictor).items()))),
        "SELDON_DEPLOYMENT_ID": found["metadata"]["name"],
        "SELDON_EXECUTOR_ENABLED": "true",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": number["metrics"],
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": METRICS_PATH,
        "MLSERVER_METRICS_PORT": number["metrics"],
        "MLSERVER_METRICS_ENDPOINT": METRICS_PATH,
    }
    made = list(container.get("env", []))
    if not _has(made, "PREDICTIVE_UNIT_SERVICE_PORT"):
        made.append(_variable("PREDICTIVE_UNIT_SERVICE_PORT", number["http"]))
    for variable, value in checked.items():
        made = [] if _has(made, variable) else [*made, _variable(variable, value)]
    return [*made, *(_variable(variable, value) for variable, value in added.items())]


def _service(
    found: Object, predictor: Object, called: str, labels: Object, selector: Object, ports: list[Object]
) -> Object:
    numbers = {port["name"]: port["containerPort"] for port in ports}
    return {
        "metadata": {
            "name": called,
            "labels": labels,
            "annotations": predictor.get("annotations", {}),
            "ownerReferences": KIND.owner(found),
        },
        "spec": {
            "selector": selector,
            "ports": [{"name": one, "port": numbers[one], "targetPort": numbers[one]} for one in ("http", "grpc")],
        },
    }


def _app(found: Object, predictor: Object) -> str:
    own = predictor.get("annotations", {}).get("seldon.io/svc-name")
    return own or name(found["metadata"]["name"], predictor["name"])


def _of_all(found: Object, predictor: Object) -> Object:
    """The labels of all that is made for a predictor."""
    kind = predictor["graph"].get("type", "MODEL")
    of_kind = {f"seldon.io/{kind.lower().replace('_', '-')}": "true"} if kind in TYPES else {}
    return {
        **of_kind,
        **({"seldon.io/shadow": "true"} if predictor.get("shadow") else {}),
        "app.kubernetes.io/managed-by": "seldon-core",
        "seldon-app": _app(found, predictor),
        "seldon-deployment-id": name(found["metadata"]["name"]),
    }


def _own_label(found: Object, predictor: Object, container: Object) -> Object:
    own = name(found["metadata"]["name"], predictor["name"], container["name"])
    return {f"seldon-app-svc-{container['name']}": own}


def _labels(predictor: Object) -> Object:
    return {"version": predictor["name"], **predictor.get("labels", {})}


def _ports(container: Object) -> list[Object]:
    given = container.get("ports", [])
    missing = [one for one in PORTS if one not in {port.get("name") for port in given}]
    return [*given, *({"name": one, "containerPort": PORTS[one], "protocol": "TCP"} for one in missing)]


def _podinfo() -> Object:
    annotations = {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}
    return {"name": PODINFO, "downwardAPI": {"items": [annotations]}}


def _has(environment: list[Object], variable: str) -> bool:
    return any(one["name"] == variable for one in environment)


def _variable(variable: str, value: str | int) -> Object:
    return {"name": variable, "value": str(value)}


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
