"""Why a pod does not come up, in its own words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from cd4ml.cluster import logs

HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Why a container waits that does not come up by waiting longer."""
CRASHES = 2
"""After so many restarts, a container that crashes is taken to crash again."""
LOG_LINES = 500
"""How far back the error is looked for."""


@dataclass(frozen=True)
class Trouble:
    """What keeps a pod from serving."""

    pod: str
    container: str
    """Empty where it is not about one."""
    reason: str
    message: str
    hopeless: bool
    """Whether it makes no sense to wait for it to pass."""
    restarts: int = 0

    def __str__(self) -> str:
        place = f"pod {self.pod}" + (f", container {self.container}" if self.container else "")
        return f"{place}: {self.reason}" + (f": {self.message}" if self.message else "")


def is_ready(pod: Any) -> bool:
    """Whether a pod takes requests."""
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])


def troubles(pods: Iterable[Any]) -> list[Trouble]:
    """What keeps pods from serving, the hopeless first.

    Args:
        pods: As the API gives them.
    """
    found = [trouble for pod in pods for trouble in _of_pod(pod)]
    return sorted(found, key=lambda trouble: not trouble.hopeless)


def words(core: client.CoreV1Api, namespace: str, trouble: Trouble) -> str:
    """A trouble with the cluster's last word, and what the container's log says of its error."""
    lines = [str(trouble)]
    event = last_warning(core, namespace, trouble.pod)
    if event and event not in trouble.message:
        lines.append(f"  event: {event}")
    log = _log(core, namespace, trouble) if trouble.container else []
    if log:
        lines += ["  its log says:", *(f"    {line}" for line in log)]
    return "\n".join(lines)


def last_warning(core: client.CoreV1Api, namespace: str, name: str) -> str:
    """The cluster's last word on what is wrong with a pod or another object; empty where it has, or tells, none."""
    try:
        events = core.list_namespaced_event(namespace, field_selector=f"involvedObject.name={name},type=Warning").items
    except client.ApiException:
        return ""
    last = max(events, key=lambda event: event.metadata.resource_version.zfill(20), default=None)
    return last.message if last else ""


def _of_pod(pod: Any) -> Iterator[Trouble]:
    name = pod.metadata.name
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield Trouble(name, "", condition.reason or "not scheduled", condition.message or "", hopeless=False)
    limits = _memory_limits(pod)
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        trouble = _of_container(name, status, limits.get(status.name, ""))
        if trouble:
            yield trouble


def _memory_limits(pod: Any) -> dict[str, str]:
    """How much memory each container may have; none where nothing but its node limits it."""
    containers = [*(pod.spec.init_containers or []), *pod.spec.containers]
    limited = {one.name: one.resources.limits or {} for one in containers if one.resources}
    return {name: limits.get("memory", "") for name, limits in limited.items()}


def _of_container(pod: str, status: Any, memory: str) -> Trouble | None:
    waiting, ended = status.state.waiting, status.state.terminated
    crashed = status.last_state.terminated if status.last_state else None
    restarts = status.restart_count
    if waiting and waiting.reason == "CrashLoopBackOff":
        message = f"{_how_ended(crashed, memory)} ({crashed.reason}), {restarts} restarts" if crashed else ""
        return Trouble(pod, status.name, waiting.reason, message, restarts >= CRASHES, restarts)
    if waiting and waiting.reason not in ("PodInitializing", "ContainerCreating"):
        hopeless = waiting.reason in HOPELESS
        return Trouble(pod, status.name, waiting.reason or "waits", waiting.message or "", hopeless, restarts)
    if ended and ended.exit_code:
        return Trouble(pod, status.name, ended.reason or "ended", _how_ended(ended, memory), False, restarts)
    if status.state.running and not status.ready:
        return Trouble(pod, status.name, "runs, but is not ready", "", False, restarts)
    return None


def _how_ended(ended: Any, memory: str) -> str:
    if ended.reason != "OOMKilled":
        return f"ended with {ended.exit_code}"
    if not memory:
        return "killed for memory, which its node has no more of; its container has no limit"
    return f"killed for memory: its limit is {memory}; raise `memory` among the limits of its container"


def _log(core: client.CoreV1Api, namespace: str, trouble: Trouble) -> list[str]:
    for previous in (trouble.restarts > 0, False):
        try:
            text = core.read_namespaced_pod_log(
                trouble.pod, namespace, container=trouble.container, tail_lines=LOG_LINES, previous=previous
            )
        except client.ApiException:
            continue  # it never ran, or that log is gone
        return logs.excerpt(str(text))
    return []
