"""KServe's controller as a test plays it: what KServe 0.20.0, in Standard mode, does about an InferenceService.

It acts on the real API, and can run stand-ins for the pods. `kserve-0.20.0.yaml` holds what the real one made of an
object, and a test compares.
"""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from seldon_kind import ANYTHING, wait_until

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
CRD = f"{PLURAL}.{GROUP}"
KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": CRD},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "InferenceService", "plural": PLURAL, "singular": "inferenceservice", "shortNames": ["isvc"]},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", **ANYTHING}},
            }
        ],
    },
}
OF_THE_POD = ("minReplicas", "maxReplicas", "labels", "annotations")
"""What a predictor has beside its pod."""

Object = dict[str, Any]


def install(api: client.ApiClient) -> bool:
    """Makes the kind known to the cluster; says whether it was not before."""
    if _is_known(api):
        return False
    client.ApiextensionsV1Api(api).create_custom_resource_definition(KIND)
    wait_until(lambda: _is_known(api), "the InferenceService kind")
    return True


def remove(api: client.ApiClient) -> None:
    """Makes the cluster forget it."""
    client.ApiextensionsV1Api(api).delete_custom_resource_definition(CRD)
    wait_until(lambda: not _is_known(api), "the InferenceService kind to go")


def made_of(found: Object) -> tuple[Object, Object]:
    """The Deployment and the Service that the controller wants."""
    name, predictor = found["metadata"]["name"], found["spec"]["predictor"]
    called = f"{name}-predictor"
    own = {"app": f"isvc.{called}", "component": "predictor", "serving.kserve.io/inferenceservice": name}
    metadata = {
        "name": called,
        "labels": {**found["metadata"].get("labels", {}), **predictor.get("labels", {}), **own},
        "annotations": {**found["metadata"].get("annotations", {}), **predictor.get("annotations", {})},
    }
    pod = copy.deepcopy({key: value for key, value in predictor.items() if key not in OF_THE_POD})
    container = pod["containers"][0]
    container["env"] = [*container.get("env", []), {"name": "INFERENCE_SERVICE_NAME", "value": name}]
    first, *others = container["ports"]
    ports = [
        {"name": first["name"], "port": 80, "targetPort": first["containerPort"]},
        *({"name": one["name"], "port": one["containerPort"], "targetPort": one["containerPort"]} for one in others),
    ]
    selector = {"app": own["app"]}
    owned = {**metadata, "ownerReferences": [_owner(found)]}
    template = {"metadata": metadata, "spec": pod}
    deployment = {
        "replicas": predictor["minReplicas"],
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": template,
    }
    return {"metadata": owned, "spec": deployment}, {"metadata": owned, "spec": {"selector": selector, "ports": ports}}


@dataclass
class Controller:
    """What acts on the InferenceServices of one namespace."""

    api: client.ApiClient
    namespace: str
    container: Object | None
    """Stands in for the containers that are to run; without it they run as they were asked for."""

    @contextmanager
    def acting(self) -> Iterator["Controller"]:
        """Acts while the context lasts."""
        ended = threading.Event()
        thread = threading.Thread(target=self._act, args=(ended,), daemon=True)
        thread.start()
        yield self
        ended.set()
        thread.join()

    def _act(self, ended: threading.Event) -> None:
        objects = client.CustomObjectsApi(self.api)
        while not ended.wait(0.2):
            for found in objects.list_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL)["items"]:
                if "deletionTimestamp" not in found["metadata"]:
                    self._make(*made_of(found))

    def _make(self, deployment: Object, service: Object) -> None:
        if self.container is not None:
            pod = deployment["spec"]["template"]["spec"]
            kept = {key: pod["containers"][0][key] for key in ("name", "ports", "env", "securityContext")}
            pod |= {"initContainers": [], "containers": [{**kept, **self.container}]}
        for make, content in (
            (client.CoreV1Api(self.api).create_namespaced_service, service),
            (client.AppsV1Api(self.api).create_namespaced_deployment, deployment),
        ):
            try:
                make(self.namespace, content)
            except client.ApiException as error:
                if error.status not in (404, 409):  # it is there, or its object is gone by now
                    raise


def _owner(found: Object) -> Object:
    owner = {key: found["metadata"][key] for key in ("name", "uid")}
    kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "InferenceService"}
    return {**kind, **owner, "controller": True, "blockOwnerDeletion": True}


def _is_known(api: client.ApiClient) -> bool:
    try:
        found = client.CustomObjectsApi(api).get_api_resources(GROUP, VERSION).resources
    except client.ApiException:
        return False
    return any(one.name == PLURAL for one in found)
