"""The kind of object that a release is made as on a cluster, whose operator makes pods of it, and its labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""As the cluster's API has it."""
OURS = ("app.kubernetes.io/part-of", "cd4ml")
"""The label of what we made."""
MODEL = "cd4ml/model"
"""The label with the model's name."""
POD = "seldon-deployment-id"
"""The label of pods with the name of the release's object, by which a model's Service selects them; Seldon gives it."""
RELEASE = "cd4ml/release"
"""The annotation that tells one rollout from another; the operator hands it on to the pods."""
VERSION = "cd4ml/version"
DEPLOYMENT = "cd4ml/deployment"
"""The annotation with the number of the deployment in the history."""


@dataclass(frozen=True)
class Kind:
    """What an operator acts on."""

    name: str
    group: str
    version: str
    plural: str
    product: str
    """What brings the kind."""
    install: str
    """What of it an admin has to install."""
    operator: str
    """Who acts, in words."""
    manifest: Callable[..., Object]
    """The object that serves a published version; takes what `cd4ml.deployment.targets.seldon.deployment` takes."""
    annotations: Callable[[Object], dict[str, str]]
    """Those that the operator hands on to the pods."""
    deployments: Callable[[Object], int]
    """How many Deployments the operator makes."""
    address: Callable[[Object], str]
    """The Service that the operator makes, `name.namespace.svc:port`: the release answers there, and it alone."""
    failure: Callable[[Object], str]
    """What the operator says that it cannot do; empty where it says nothing."""

    def annotation(self, content: Object, key: str) -> str:
        """One of the pods' annotations; empty where there is none."""
        return self.annotations(content).get(key, "")


def object_name(model: str, number: int) -> str:
    """What the object of a deployment is called."""
    return f"{model}-{number}"


def labels(model: str) -> dict[str, str]:
    """Of all that we make for a model."""
    return dict([OURS], **{MODEL: model})


def annotations(*, model_uri: str, version: int, digest: str, release: str, number: int) -> dict[str, str]:
    """What the pods of a release say of it; takes what `Kind.manifest` takes."""
    return {
        RELEASE: release,
        VERSION: str(version),
        DEPLOYMENT: str(number),
        "cd4ml/digest": digest,
        "cd4ml/model-uri": model_uri,
    }
