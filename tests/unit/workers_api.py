"""As much of a cluster's API as a training on several nodes asks, in memory; it plays the controllers of Jobs and of
Kubeflow Trainer, and the kubelet.
"""

from collections.abc import Callable
from typing import Any

from kubernetes_api import Api, Object, RefusedError

from cd4ml.cluster import train_job, twins

TRAINER = f"/apis/{train_job.GROUP}/{train_job.VERSION}/namespaces/team/"
RUNNING: Object = {"phase": "Running"}


def own_pod() -> Object:
    """A task's pod, as KFP's driver and Argo make it."""
    kfp = {"name": "kfp-launcher", "mountPath": "/kfp-launcher"}
    argo = {"name": "var-run-argo", "mountPath": "/var/run/argo"}
    token = {
        "name": "kube-api-access-x",
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        "readOnly": True,
    }
    secret = {"secretKeyRef": {"name": "cd4ml-trainer", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}}
    main = {
        "name": "main",
        "image": "cd4ml/train:1",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/var/run/argo/argoexec", "emissary", "--", "/kfp-launcher/launch"],
        "env": [
            {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ARGO_TEMPLATE", "value": "{}"},
            {"name": "CD4ML_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CD4ML_PIPELINE", "value": "training"},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": secret},
        ],
        "resources": {"limits": {"cpu": "2", "memory": "8G", "nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}},
        "securityContext": {"runAsUser": 10001, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [argo, kfp, {"name": "ca", "mountPath": "/etc/ca", "readOnly": True}, token],
    }
    return {
        "metadata": {"name": "run-1-train", "namespace": "team", "uid": "7d3a9c00"},
        "spec": {
            "initContainers": [{"name": "init", "image": "argoexec"}],
            "containers": [{"name": "wait", "image": "argoexec"}, main],
            "volumes": [
                {"name": "var-run-argo", "emptyDir": {}},
                {"name": "kfp-launcher", "emptyDir": {}},
                {"name": "ca", "configMap": {"name": "ca"}},
                {"name": "kube-api-access-x", "projected": {"sources": []}},
            ],
            "serviceAccountName": "pipeline-runner",
            "nodeName": "node-1",
            "nodeSelector": {"example.com/accelerator": "h200"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "imagePullSecrets": [{"name": "registry"}],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "restartPolicy": "Never",
        },
        "status": {"phase": "Running", "podIP": "10.0.0.7"},
    }


class WorkersApi(Api):
    """One namespace with a task's pod in it."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime = False
        """Whether Trainer is there with our runtime."""
        self.knows_patches = True
        """Whether Trainer knows all that a TrainJob of ours says."""
        self.full = ""
        """Why no pod is made."""
        self.status: Callable[[int], Object | None] = lambda _: RUNNING
        """What becomes of the pod of a place; None where it is gone."""
        self.log = ""
        """What each pod prints."""
        self.asked: list[tuple[str, str]] = []
        """What was made and removed, in turn: the verb, and the kind with the name."""

    def made(self, kind: str) -> Object:
        """The only object of a kind that is there."""
        [found] = [one for (of, _), one in self.objects.items() if of == kind]
        return found

    def ask(self, method: str, path: str, query: dict[str, list[str]], body: Object) -> Object:
        """Answers a request."""
        kind, _, name = path.split("/namespaces/team/")[-1].partition("/")
        if path.startswith(TRAINER) and not self.runtime:
            raise RefusedError(404, "the server could not find the requested resource")
        if kind == "trainingruntimes":
            return {"metadata": {"name": name}}
        if path.endswith("/pods/run-1-train"):
            return own_pod()
        if path.endswith("/log"):
            return self.log  # type: ignore[return-value]  # the only answer that is a text
        if kind == "events":
            return {"items": self._events(query["fieldSelector"][0])}
        if kind == "pods":
            return {"items": self._made_pods(query["labelSelector"][0])}
        if method == "GET":
            return {"items": self._chosen(kind, query.get("labelSelector", [""])[0])}
        if method == "POST":
            name = body["metadata"]["name"]
            if kind == train_job.PLURAL and not self.knows_patches:
                raise RefusedError(400, 'unknown field "spec.runtimePatches"')
            self.put(kind, body)
        elif self.objects.pop((kind, name), None) is None:
            raise RefusedError(404, f"{kind} {name} not found")
        self.asked.append((method, f"{kind}/{name}"))
        return body

    def _chosen(self, kind: str, selector: str) -> list[Object]:
        label, _, value = selector.partition("=")
        there = [one for (of, _), one in self.objects.items() if of == kind]
        return [one for one in there if one["metadata"]["labels"][label] == value]

    def _made_pods(self, selector: str) -> list[Object]:
        if self.full:
            return []
        found = []
        for job in self._chosen("jobs", selector) + self._chosen(train_job.PLURAL, selector):
            count = job["spec"].get("completions") or job["spec"]["trainer"]["numNodes"]
            for place in range(count):
                status = self.status(place)
                if status is not None:
                    metadata = {"name": f"pod-{place}", "annotations": {twins.INDEX: str(place)}}
                    found.append({"metadata": metadata, "spec": {"containers": [{"name": "node"}]}, "status": status})
        return found

    def _events(self, selector: str) -> list[Object]:
        about = dict(part.split("=", 1) for part in selector.split(","))["involvedObject.name"]
        if not self.full or about.startswith("pod-"):
            return []
        meta: dict[str, Any] = {"name": "e", "resourceVersion": "1"}
        return [{"metadata": meta, "involvedObject": {"name": about}, "message": self.full}]
