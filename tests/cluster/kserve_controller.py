"""KServe's controller as a test plays it: what KServe 0.20.0, in Standard mode, does about an InferenceService.

It acts on the real API, and can run stand-ins for the pods. `kserve-0.20.0.yaml` holds what the real one made of an
object, and a test compares.
"""

import copy
from dataclasses import dataclass

from kubernetes import client
from operators import ANYTHING, CustomKind, Object, Player

KIND = CustomKind(
    name="InferenceService",
    group="serving.kserve.io",
    version="v1beta1",
    plural="inferenceservices",
    short="isvc",
    schema=ANYTHING,
)
OF_THE_POD = ("minReplicas", "maxReplicas", "labels", "annotations")
"""What a predictor has beside its pod."""


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
    owned = {**metadata, "ownerReferences": KIND.owner(found)}
    template = {"metadata": metadata, "spec": pod}
    deployment = {
        "replicas": predictor["minReplicas"],
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": template,
    }
    return {"metadata": owned, "spec": deployment}, {"metadata": owned, "spec": {"selector": selector, "ports": ports}}


@dataclass
class Controller(Player):
    """What acts on the InferenceServices of one namespace."""

    kind = KIND

    def reconcile(self, found: Object) -> None:
        """Makes what an object asks for."""
        deployment, service = made_of(found)
        if self.container is not None:
            self.stand_in(deployment["spec"]["template"]["spec"], self.container)
        for make, content in (
            (client.CoreV1Api(self.api).create_namespaced_service, service),
            (client.AppsV1Api(self.api).create_namespaced_deployment, deployment),
        ):
            try:
                make(self.namespace, content)
            except client.ApiException as error:
                if error.status not in (404, 409):  # it is there, or its object is gone by now
                    raise
