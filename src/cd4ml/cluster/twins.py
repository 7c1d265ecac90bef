"""Pods like a task's own, which compute with it: what a cluster is told of them, whatever makes them.

They have the image, the resources, the place and the Secrets of the task's container, and nothing of what Argo and KFP
put into its pod: no account that may ask the cluster, no other container, no other command.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kubernetes import client

Object = dict[str, Any]
"""As the cluster's API has it."""
POD = "CD4ML_POD"
"""The environment variable by which a task knows its pod; without it, a task is in no cluster."""
CONTAINER = "node"
"""The container's name, which Kubeflow Trainer knows it by."""
COMPONENT = {"app.kubernetes.io/component": "training-worker"}
"""The label by which the manifests know them."""
OURS = {"app.kubernetes.io/part-of": "cd4ml"}
TEAM = "cd4ml/team"
"""The label of all that is made for one task, and of the pods."""
ATTEMPT = "cd4ml/attempt"
"""The label that tells those that were made at once from all others."""
INDEX = "batch.kubernetes.io/job-completion-index"
"""The annotation and label with a pod's place, which its Job gives; in its environment it is JOB_COMPLETION_INDEX."""
GRACE_SECONDS = 30

_OF_POD = (
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "tolerations",
    "topologySpreadConstraints",
)
_OF_CONTAINER = ("env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts")
_MAIN = "main"
"""What Argo calls the container that does a task's work."""
_NOT_OURS = ("ARGO_", "KFP_", "KUBERNETES_")
"""How the variables begin that Argo and KFP give a task's container for themselves."""
_NOT_MOUNTED = ("/argo", "/kfp-launcher", "/var/run/argo", "/var/run/secrets/kubernetes.io")
"""Where they mount what is theirs, and a cluster what asks its API."""
_TMP = "/tmp"  # noqa: S108 (a volume of the pod's own)


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Pods like a task's own that are to be made."""

    own: Object
    """The task's pod, as the API gives it."""
    team: str
    """Tells this task from every other, also of another run; a DNS label of at most 30 characters."""
    attempt: int
    """Which one of the task's this is, from 1."""
    count: int
    """How many pods."""
    command: Sequence[str]
    environment: Mapping[str, str]
    """What they are told beside what the task is."""
    port: int
    """On which they, and the task, hear each other."""

    @property
    def name(self) -> str:
        """What all that is made for the attempt is called; no other pod that does the same task has the same."""
        return f"{self.team}-{self.own['metadata']['uid'][:5]}-{self.attempt}"

    @property
    def namespace(self) -> str:
        """Where the task is, and they will be."""
        return str(self.own["metadata"]["namespace"])

    @property
    def address(self) -> str:
        """Of the task's own pod."""
        found = str(self.own["status"]["podIP"])
        return f"[{found}]:{self.port}" if ":" in found else f"{found}:{self.port}"

    @property
    def labels(self) -> dict[str, str]:
        """Of all that is made."""
        return {**OURS, **COMPONENT, TEAM: self.team, ATTEMPT: self.name}

    @property
    def pod_labels(self) -> dict[str, str]:
        """Of the pods: no mesh comes between them."""
        return {**self.labels, "sidecar.istio.io/inject": "false"}

    @property
    def selector(self) -> str:
        """Of these pods alone, and of what makes them."""
        return f"{ATTEMPT}={self.name}"

    @property
    def metadata(self) -> Object:
        """Of what is made but the pods: all of it goes, at the latest, when the task's pod does."""
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": self.own["metadata"]["name"],
            "uid": self.own["metadata"]["uid"],
        }
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels, "ownerReferences": [owner]}

    @property
    def container(self) -> Object:
        """Their only one."""
        found = main(self.own)
        taken = {key: found[key] for key in _OF_CONTAINER if found.get(key)}
        env = [one for one in taken.get("env", []) if not one["name"].startswith(_NOT_OURS) and one["name"] != POD]
        told = [{"name": name, "value": value} for name, value in self.environment.items()]
        env = [one for one in env if one["name"] not in self.environment] + told
        mounts = [one for one in taken.get("volumeMounts", []) if not one["mountPath"].startswith(_NOT_MOUNTED)]
        if not any(one["mountPath"] == _TMP for one in mounts):
            mounts.append({"name": "tmp", "mountPath": _TMP})
        ports = [{"name": "workers", "containerPort": self.port}]
        return {**taken, "name": CONTAINER, "command": [*self.command], "env": env, "ports": ports} | {
            "volumeMounts": mounts
        }

    @property
    def pod(self) -> Object:
        """The spec of each."""
        spec = self.own["spec"]
        mounted = {one["name"] for one in self.container["volumeMounts"]}
        volumes = [one for one in spec.get("volumes", []) if one["name"] in mounted]
        if "tmp" not in {one["name"] for one in volumes} and "tmp" in mounted:
            volumes.append({"name": "tmp", "emptyDir": {}})
        return {
            **{key: spec[key] for key in _OF_POD if spec.get(key)},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [self.container],
            "volumes": volumes,
        }


class Maker(Protocol):
    """What makes such pods; a module each."""

    NAME: str
    """The kind of object that it makes."""

    def addresses(self, twins: Twins) -> list[str]:
        """Where each pod answers, in the order of their places; known before there are any."""

    def make(self, api: "client.ApiClient", twins: Twins) -> None:
        """Makes them, but does not wait for them to run."""

    def told_by(self, twins: Twins) -> str:
        """Whose events say why there are no pods."""


def main(pod: Object) -> Object:
    """The container of a task's pod that does its work."""
    containers: list[Object] = pod["spec"]["containers"]
    return next((one for one in containers if one["name"] == _MAIN), containers[0])


def take_away(delete: Callable[..., Any], *place: str) -> None:
    """Removes an object with what belongs to it, where it is there.

    Args:
        delete: The API's verb for objects of its kind.
        place: Its name, and what else the verb wants to know.

    Raises:
        ApiException: The cluster refuses.
    """
    from kubernetes import client

    try:
        delete(*place, propagation_policy="Background")
    except client.ApiException as error:
        if error.status != 404:
            raise
