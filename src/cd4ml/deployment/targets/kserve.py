"""A model on a cluster by KServe: each release is an InferenceService of its own, and all else is as with Seldon.

KServe 0.20 in its Standard mode, which wants neither Knative nor a mesh, makes one Deployment of it, whose only
container is ours, and one Service. It hands on all labels and annotations of the predictor, so the pods bear the label
by which a model's Service, and the policies of the manifests, select Seldon's.

It is up when that Deployment is, as with Seldon. KServe's own canary is not used: in this mode `canaryTrafficPercent`
is taken and heeded by nobody.
"""

from typing import Any, ClassVar

from cd4ml import settings
from cd4ml.deployment.targets import KSERVE, kind, seldon
from cd4ml.deployment.targets.cluster import Cluster
from cd4ml.deployment.targets.kind import Kind, Object
from cd4ml.deployment.targets.seldon import Pod
from cd4ml.errors import DeploymentError

CONTAINER = "kserve-container"
"""What KServe wants the model's container to be called."""
STANDARD = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
"""Neither Knative, whatever the cluster's default is, nor an autoscaler that pods are added by."""
MANAGED_BY = "app.kubernetes.io/managed-by"
"""The label by which Istio's policies know the pods; Seldon's operator sets it."""
LEAVES = {"preStop": {"exec": {"command": ["sleep", "10"]}}}
"""A pod that is about to end answers on until the nodes lead nobody to it any more; Seldon's operator adds the same."""


def inference_service(
    name: str,
    *,
    namespace: str,
    model_uri: str,
    version: int,
    digest: str,
    release: str,
    number: int,
    capture: str = "",
) -> Object:
    """The object that serves a published version for a deployment; takes what `seldon.deployment` takes.

    Raises:
        DeploymentError: It cannot be; names every mistake.
    """
    labels = kind.labels(name)
    annotations = kind.annotations(model_uri=model_uri, version=version, digest=digest, release=release, number=number)
    content = seldon.pod(name, model_uri=model_uri, version=version, digest=digest, capture=capture)
    parsed = settings.parse(Pod, content=content, name=f"the pod of {name}", error=DeploymentError)
    pod = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)
    pod["containers"][0] |= {"name": CONTAINER, "lifecycle": LEAVES}
    called = kind.object_name(name, number)
    return {
        "apiVersion": f"{KIND.group}/{KIND.version}",
        "kind": KIND.name,
        "metadata": {"name": called, "namespace": namespace, "labels": labels, "annotations": STANDARD},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "labels": {**labels, MANAGED_BY: "kserve", "version": str(version), kind.POD: called},
                "annotations": annotations,
                **pod,
            }
        },
    }


def _annotations(content: Object) -> dict[str, str]:
    found: dict[str, str] = content["spec"]["predictor"].get("annotations", {})
    return found


def _address(content: Object) -> str:
    metadata = content["metadata"]
    return f"{metadata['name']}-predictor.{metadata['namespace']}.svc:80"


def _failure(content: Object) -> str:
    conditions: list[dict[str, Any]] = content.get("status", {}).get("conditions", [])
    said = [
        one.get("message", "") for one in conditions if one["type"] == "PredictorReady" and one["status"] == "False"
    ]
    return said[0] if said else ""


KIND = Kind(
    name="InferenceService",
    group="serving.kserve.io",
    version="v1beta1",
    plural="inferenceservices",
    product="KServe",
    install="KServe 0.20",
    operator="KServe's controller",
    manifest=inference_service,
    annotations=_annotations,
    deployments=lambda _: 1,
    address=_address,
    failure=_failure,
)


class KServe(Cluster):
    """KServe, in a namespace of a cluster."""

    name = KSERVE
    kind: ClassVar[Kind] = KIND
