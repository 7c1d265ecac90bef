"""Why a pod does not come up, as a person reads it."""

from typing import Any

import pytest
from kubernetes import client

from cd4ml.cluster import pods


def pod(container: str, **state: Any) -> client.V1Pod:
    """A pod of an init container `fetch` of 1Gi and a container `model` of 2Gi, one of which is in a state."""
    limits = {"fetch": {"memory": "1Gi"}, "model": {"memory": "2Gi"}, "free": None}
    containers = {
        name: client.V1Container(name=name, resources=client.V1ResourceRequirements(limits=limit))
        for name, limit in limits.items()
    }
    status = client.V1ContainerStatus(
        name=container, image="", image_id="", ready=False, **{"restart_count": 0, "state": None, **state}
    )
    status.state = status.state or client.V1ContainerState()
    of_init = container == "fetch"
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name="uptake-4-x"),
        spec=client.V1PodSpec(
            init_containers=[containers["fetch"]], containers=[containers["model"], containers["free"]]
        ),
        status=client.V1PodStatus(
            init_container_statuses=[status] if of_init else [], container_statuses=[] if of_init else [status]
        ),
    )


def ended(reason: str, code: int) -> client.V1ContainerState:
    return client.V1ContainerState(terminated=client.V1ContainerStateTerminated(reason=reason, exit_code=code))


LOOPS = client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason="CrashLoopBackOff"))


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ("fetch", "its limit is 1Gi; raise `memory` among the limits of its container"),
        ("model", "its limit is 2Gi; raise `memory` among the limits of its container"),
        ("free", "which its node has no more of; its container has no limit"),
    ],
)
def test_a_container_that_is_killed_for_memory_says_so_and_its_limit(container: str, said: str) -> None:
    place, killed = f"pod uptake-4-x, container {container}", ended("OOMKilled", 137)

    [once] = pods.troubles([pod(container, state=killed)])
    [again] = pods.troubles([pod(container, state=LOOPS, last_state=killed, restart_count=3)])

    assert str(once) == f"{place}: OOMKilled: killed for memory: {said}".replace("memory: which", "memory, which")
    assert str(again) == (f"{place}: CrashLoopBackOff: killed for memory: {said} (OOMKilled), 3 restarts").replace(
        "memory: which", "memory, which"
    )
    assert (once.hopeless, again.hopeless) == (False, True)


def test_one_that_ends_otherwise_says_with_what() -> None:
    [once] = pods.troubles([pod("model", state=ended("Error", 137))])
    [again] = pods.troubles([pod("model", state=LOOPS, last_state=ended("Error", 1), restart_count=1)])

    assert str(once) == "pod uptake-4-x, container model: Error: ended with 137"
    assert str(again) == "pod uptake-4-x, container model: CrashLoopBackOff: ended with 1 (Error), 1 restarts"
    assert not again.hopeless
