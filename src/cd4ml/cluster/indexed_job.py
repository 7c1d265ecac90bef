"""Pods like a task's own by what every cluster has: an Indexed Job, and a Service by which they have names."""

from kubernetes import client

from cd4ml.cluster.twins import TEAM, Object, Twins, take_away

NAME = "Indexed Job"
NEEDED = (
    *((verb, "batch", "jobs") for verb in ("list", "create", "delete")),
    *((verb, "", "services") for verb in ("list", "create", "delete")),
    *(("list", "", resource) for resource in ("pods", "events")),
    ("get", "", "pods/log"),
)
"""What a task must be allowed to: verb, group, resource."""
KEPT_SECONDS = 3600
"""How long pods that have ended can be looked at, where the task has ended without removing them."""


def addresses(twins: Twins) -> list[str]:
    """Where each pod answers, in the order of their places; known before there are any."""
    name = twins.name
    return [f"{name}-{place}.{name}.{twins.namespace}.svc:{twins.port}" for place in range(twins.count)]


def make(api: client.ApiClient, twins: Twins) -> None:
    """Makes them, but does not wait for them to run.

    Raises:
        ApiException: The cluster refuses.
    """
    client.CoreV1Api(api).create_namespaced_service(twins.namespace, service(twins))
    client.BatchV1Api(api).create_namespaced_job(twins.namespace, job(twins))


def remove(api: client.ApiClient, namespace: str, team: str) -> None:
    """Removes all that was made for a task, where there is any.

    Raises:
        ApiException: The cluster refuses.
    """
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)
    for job in batch.list_namespaced_job(namespace, label_selector=f"{TEAM}={team}").items:
        take_away(batch.delete_namespaced_job, job.metadata.name, namespace)
    for service in core.list_namespaced_service(namespace, label_selector=f"{TEAM}={team}").items:
        take_away(core.delete_namespaced_service, service.metadata.name, namespace)


def told_by(twins: Twins) -> str:
    """Whose events say why there are no pods."""
    return twins.name


def service(twins: Twins) -> Object:
    """What gives each pod a name, also before it is ready: it has none to say so."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": twins.metadata,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": twins.labels,
            "ports": [{"name": "workers", "port": twins.port}],
        },
    }


def job(twins: Twins) -> Object:
    """The pods, none of which is made a second time: whoever began them begins all anew, from the last checkpoint."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": twins.metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": twins.count,
            "parallelism": twins.count,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": twins.pod_labels}, "spec": {**twins.pod, "subdomain": twins.name}},
        },
    }
