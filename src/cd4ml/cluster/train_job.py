"""Pods like a task's own by Kubeflow Trainer: a TrainJob of the runtime that `manifests/components/trainer` has."""

from kubernetes import client

from cd4ml.cluster.twins import CONTAINER, TEAM, Object, Twins, take_away

NAME = "TrainJob"
GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = "cd4ml-training"
"""The TrainingRuntime of the namespace; without it Trainer is not asked."""
REPLICATED = "node"
"""What the runtime calls the Job of its pods."""
_PATCHED = (
    "affinity",
    "imagePullSecrets",
    "nodeSelector",
    "securityContext",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
)
"""What of a pod a TrainJob can say, beside its container."""


def is_served(api: client.ApiClient, namespace: str) -> bool:
    """Whether Trainer is installed, with our runtime in the namespace, and may be asked for it."""
    try:
        client.CustomObjectsApi(api).get_namespaced_custom_object(
            GROUP, VERSION, namespace, "trainingruntimes", RUNTIME
        )
    except client.ApiException as error:
        if error.status not in (403, 404):
            raise
        return False
    return True


def addresses(twins: Twins) -> list[str]:
    """Where each pod answers, in the order of their places; JobSet, of which Trainer is made, gives them names."""
    name, jobs = twins.name, told_by(twins)
    return [f"{jobs}-{place}.{name}.{twins.namespace}.svc:{twins.port}" for place in range(twins.count)]


def make(api: client.ApiClient, twins: Twins) -> None:
    """Makes them, but does not wait for them to run.

    Raises:
        ApiException: The cluster refuses; 400 where its Trainer is of another version, which knows no such TrainJob.
    """
    client.CustomObjectsApi(api).create_namespaced_custom_object(
        GROUP, VERSION, twins.namespace, PLURAL, train_job(twins), field_validation="Strict"
    )


def remove(api: client.ApiClient, namespace: str, team: str) -> None:
    """Removes all that was made for a task, where there is any.

    Raises:
        ApiException: The cluster refuses.
    """
    custom = client.CustomObjectsApi(api)
    found = custom.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, label_selector=f"{TEAM}={team}")
    for one in found["items"]:
        place = (GROUP, VERSION, namespace, PLURAL, one["metadata"]["name"])
        take_away(custom.delete_namespaced_custom_object, *place)


def told_by(twins: Twins) -> str:
    """Whose events say why there are no pods."""
    return f"{twins.name}-{REPLICATED}-0"


def train_job(twins: Twins) -> Object:
    """The pods, as Trainer 2.2 and later take them."""
    pod, container = twins.pod, twins.container
    patch = {key: pod[key] for key in _PATCHED if pod.get(key)}
    own = {key: container[key] for key in ("securityContext", "volumeMounts") if container.get(key)}
    patch["containers"] = [{"name": CONTAINER, **own}]
    template = {"metadata": {"labels": twins.pod_labels}, "spec": patch}
    replicated = {"name": REPLICATED, "template": {"spec": {"template": template}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": NAME,
        "metadata": twins.metadata,
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
            "trainer": {
                "image": container["image"],
                "command": container["command"],
                "env": container["env"],
                "numNodes": twins.count,
                "resourcesPerNode": container.get("resources", {}),
            },
            "runtimePatches": [
                {
                    "manager": "cd4ml.io/training",
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [replicated]}}},
                }
            ],
        },
    }
