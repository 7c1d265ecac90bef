"""Seldon's operator as a test plays it: what Seldon Core 1.17.1 makes of a SeldonDeployment, with its flaws.

It acts on the real API. It can run stand-ins for the pods: `pause`, say, in place of the model's server.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client

GROUP, VERSION, PLURAL = "machinelearning.seldon.io", "v1", "seldondeployments"
CRD = f"{PLURAL}.{GROUP}"
KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": CRD},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "SeldonDeployment", "plural": PLURAL, "singular": "seldondeployment", "shortNames": ["sdep"]},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@dataclass
class Operator:
    """What acts on the SeldonDeployments of one namespace."""

    api: client.ApiClient
    namespace: str
    container: dict[str, Any] | None
    """Stands in for the containers that are to run; without it they run as they were asked for."""
    hesitates: threading.Event = field(default_factory=threading.Event)
    """While it is set, the operator sees nothing: what it said of the object before stays as it was."""
    states: list[str] = field(default_factory=list)
    """Every state that it has set."""

    def __post_init__(self) -> None:
        self._custom = client.CustomObjectsApi(self.api)
        self._apps = client.AppsV1Api(self.api)
        self._core = client.CoreV1Api(self.api)
        self._kind = (GROUP, VERSION, self.namespace, PLURAL)

    @contextmanager
    def acting(self) -> Iterator["Operator"]:
        """Acts while the context lasts."""
        ended = threading.Event()
        thread = threading.Thread(target=self._act, args=(ended,), daemon=True)
        thread.start()
        yield self
        ended.set()
        thread.join()

    def _act(self, ended: threading.Event) -> None:
        while not ended.wait(0.2):
            if self.hesitates.is_set():
                continue
            for found in self._custom.list_namespaced_custom_object(*self._kind)["items"]:
                try:
                    self._reconcile(found)
                except client.ApiException as error:
                    if error.status not in (404, 409):  # it changed meanwhile: the next round sees it
                        raise

    def _reconcile(self, found: dict[str, Any]) -> None:
        deployment = self._deployment(found)
        name = deployment["metadata"]["name"]
        self._make(self._core.create_namespaced_service, self._service(found))
        self._make(self._apps.create_namespaced_deployment, deployment)
        live = self._apps.read_namespaced_deployment(name, self.namespace)
        wanted = deployment["spec"]["template"]["metadata"]["annotations"]
        if not wanted.items() <= live.spec.template.metadata.annotations.items():
            self._apps.replace_namespaced_deployment(name, self.namespace, deployment)
            self._tell(found, "Creating")
            self._tell(found, "Available")  # it looks before the Deployment's controller does
            live = self._apps.read_namespaced_deployment(name, self.namespace)
        ready = live.status.ready_replicas and not live.status.unavailable_replicas
        self._tell(found, "Available" if ready else "Creating")

    def _make(self, create: Any, content: dict[str, Any]) -> None:
        try:
            create(self.namespace, content)
        except client.ApiException as error:
            if error.status != 409:
                raise

    def _tell(self, found: dict[str, Any], state: str) -> None:
        """Sets the state; `observedGeneration` it never sets."""
        name = found["metadata"]["name"]
        current = self._custom.get_namespaced_custom_object(*self._kind, name)
        if current.get("status", {}).get("state") != state:
            self.states.append(state)
            content = {**current, "status": {"state": state}}
            self._custom.replace_namespaced_custom_object_status(*self._kind, name, content)

    def _service(self, found: dict[str, Any]) -> dict[str, Any]:
        predictor = found["spec"]["predictors"][0]
        service = f"{found['metadata']['name']}-{predictor['name']}"
        return {
            "metadata": {
                "name": service,
                "labels": {"seldon-app": service, "seldon-deployment-id": found["metadata"]["name"]},
                "annotations": predictor["annotations"],
                "ownerReferences": _owner(found),
            },
            "spec": {
                "selector": {"seldon-app": service},
                "ports": [{"name": "http", "port": 8000}, {"name": "grpc", "port": 9500}],
            },
        }

    def _deployment(self, found: dict[str, Any]) -> dict[str, Any]:
        predictor = found["spec"]["predictors"][0]
        pod = predictor["componentSpecs"][0]["spec"]
        app = f"{found['metadata']['name']}-{predictor['name']}"
        name = "-".join([app, "0", *(container["name"] for container in pod["containers"])])
        labels = {
            **predictor["labels"],
            "app": name,
            "seldon-app": app,
            "seldon-app-svc-model": f"{app}-model",
            "seldon-deployment-id": found["metadata"]["name"],
        }
        selector = {key: value for key, value in labels.items() if key.startswith("seldon-")}
        return {
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": predictor["annotations"],
                "ownerReferences": _owner(found),
            },
            "spec": {
                "replicas": predictor["replicas"],
                "selector": {"matchLabels": selector},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
                "template": {
                    "metadata": {"labels": labels, "annotations": predictor["annotations"]},
                    "spec": {"terminationGracePeriodSeconds": 5, **pod, **self._stand_ins(pod)},
                },
            },
        }

    def _stand_ins(self, pod: dict[str, Any]) -> dict[str, Any]:
        if self.container is None:
            return {}
        as_asked = {key: pod["containers"][0][key] for key in ("name", "ports", "securityContext", "volumeMounts")}
        return {"initContainers": [], "containers": [{**as_asked, **self.container}]}


def install(api: client.ApiClient) -> bool:
    """Makes the kind known to the cluster, and waits until it is; says whether it was not before."""
    if _is_known(api):
        return False
    client.ApiextensionsV1Api(api).create_custom_resource_definition(KIND)
    wait_until(lambda: _is_known(api), "the SeldonDeployment kind")
    return True


def remove(api: client.ApiClient) -> None:
    """Makes the cluster forget the kind."""
    client.ApiextensionsV1Api(api).delete_custom_resource_definition(CRD)
    wait_until(lambda: not _is_known(api), "the SeldonDeployment kind to go")


def _is_known(api: client.ApiClient) -> bool:
    try:
        found = client.CustomObjectsApi(api).get_api_resources(GROUP, VERSION).resources
    except client.ApiException:
        return False
    return any(one.name == PLURAL for one in found)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Waits for something to come about."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.1)


def _owner(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "SeldonDeployment",
            "name": found["metadata"]["name"],
            "uid": found["metadata"]["uid"],
            "controller": True,
        }
    ]
