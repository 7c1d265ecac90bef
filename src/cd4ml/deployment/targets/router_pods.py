"""The router of a rollout on a cluster: pods of ours, which callers reach while requests are divided or copied.

It is a Deployment that belongs to the object of the release, and goes when that does. The store has what it
follows (`traffic/`), and takes what it keeps (`captures/`). Its key can do no more than that, and it has none of the
cluster's API.
"""

from typing import Any

from kubernetes import client

from cd4ml import images
from cd4ml.cluster import accounts
from cd4ml.contracts.traffic import Traffic
from cd4ml.deployment.targets import kind, router, seldon
from cd4ml.storage import Store

ROUTER = "cd4ml/router"
"""The label of the pods, with the name of the release's object."""
COMPONENT = {"app.kubernetes.io/component": "router"}
"""The label by which the manifests know them."""
REPLICAS = 2
"""So that callers do not wait where a node is drained."""
LEAVING_SECONDS = 10
"""How long a pod that is about to end answers on: the cluster's nodes may still lead callers to it."""
END_SECONDS = 30
"""How long it has in all, to answer what has come and write what it kept."""


class RouterPods:
    """The routers of a model, each by the name of its release's object."""

    def __init__(self, store: Store, api: client.ApiClient, *, namespace: str, model: str) -> None:
        self._store, self._namespace, self._model = store, namespace, model
        self._apps = client.AppsV1Api(api)

    @property
    def capture(self) -> str:
        """Where all of them, and the servers of the model, keep requests and feedback."""
        return self._store.uri(f"captures/{self._model}")

    def write(self, number: int, traffic: Traffic) -> None:
        """Has the router of a deployment follow it, soon.

        Raises:
            StorageError: It cannot be written.
        """
        self._store.replace(_traffic_of(self._model, number), traffic.text)

    def find(self, name: str) -> Any:
        """The Deployment; None where there is none."""
        found = self._apps.list_namespaced_deployment(self._namespace, label_selector=selector(name)).items
        return found[0] if found else None

    def create(self, owner: dict[str, Any], number: int) -> None:
        """Makes it, where it is not there."""
        content = manifest(
            owner,
            model=self._model,
            traffic=self._store.uri(_traffic_of(self._model, number)),
            capture=self.capture,
        )
        try:
            self._apps.create_namespaced_deployment(self._namespace, content)
        except client.ApiException as error:
            if error.status != 409:  # made before, and the answer was lost: nobody else makes one of this name
                raise

    def delete(self, name: str) -> None:
        """Deletes it, where it is there; its pods answer on until those who are connected to them have gone."""
        found = self.find(name)
        if found is None:
            return
        try:
            self._apps.delete_namespaced_deployment(found.metadata.name, self._namespace)
        except client.ApiException as error:
            if error.status != 404:
                raise

    def strays(self, pods: list[Any], traffic: Traffic) -> str:
        """Which of its pods does not divide requests so, or cannot reach who is to answer; empty where all do."""
        for pod in pods:
            if not pod.status.pod_ip:
                return f"the router's pod {pod.metadata.name}: it has no address yet"
            watched, asked = _address(pod, seldon.METRICS_PORT), _address(pod, seldon.PORT)
            said = router.missing(watched, traffic) or router.not_ready(asked)
            if said:
                return f"the router's pod {pod.metadata.name}: {said}"
        return ""


def selector(name: str) -> str:
    """Of the pods of a router."""
    return f"{ROUTER}={name}"


def manifest(owner: dict[str, Any], *, model: str, traffic: str, capture: str) -> dict[str, Any]:
    """The Deployment of a router.

    Args:
        owner: The object of the release.
        model: The model's name.
        traffic: The URI of what it follows.
        capture: The URI below which it keeps requests and feedback.
    """
    name = owner["metadata"]["name"]
    labels = {**kind.labels(model), **COMPONENT, ROUTER: name}
    belongs_to = {key: owner[key] for key in ("apiVersion", "kind")} | {
        key: owner["metadata"][key] for key in ("name", "uid")
    }
    return {
        "metadata": {"name": f"{name}-router", "labels": labels, "ownerReferences": [belongs_to]},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {ROUTER: name}},
            "template": {"metadata": {"labels": labels}, "spec": _pod(traffic=traffic, capture=capture)},
        },
    }


def _pod(*, traffic: str, capture: str) -> dict[str, Any]:
    environment = {
        "TRAFFIC_FILE": traffic,
        "CAPTURE_FOLDER": capture,
        "PORT": str(seldon.PORT),
        "METRICS_PORT": str(seldon.METRICS_PORT),
    }
    lives = {"httpGet": {"path": "/health/ping", "port": "http"}, "timeoutSeconds": 10}
    container = {
        "name": "router",
        "image": images.SERVE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "cd4ml.serving.router"],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "envFrom": [
            {"secretRef": {"name": accounts.ROUTER_SECRET}},
            {"secretRef": {"name": accounts.CAPTURE_SECRET, "optional": True}},
        ],
        "ports": [
            {"name": "http", "containerPort": seldon.PORT},
            {"name": "metrics", "containerPort": seldon.METRICS_PORT},
        ],
        "startupProbe": {**lives, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**lives, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**lives, "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVING_SECONDS)]}}},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": seldon.ContainerSecurity().model_dump(mode="json", by_alias=True),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 (a volume of the pod's own)
    }
    return {
        "automountServiceAccountToken": False,
        "priorityClassName": seldon.PRIORITY,
        "terminationGracePeriodSeconds": END_SECONDS,
        "securityContext": seldon.PodSecurity().model_dump(mode="json", by_alias=True),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _traffic_of(model: str, number: int) -> str:
    return f"traffic/{model}/{number}.json"


def _address(pod: Any, port: int) -> str:
    host = pod.status.pod_ip
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
