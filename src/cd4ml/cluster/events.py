"""What happens to an object of ours, as an Event of the cluster: `kubectl describe` and dashboards show it."""

import uuid
from datetime import UTC, datetime

from kubernetes import client

LONGEST = 1024
"""Characters of a message, as the API takes it."""
SECONDS = 5
"""How long the API may take: whoever tells has other things to do."""


def write(
    core: client.CoreV1Api, about: client.V1ObjectReference, *, reason: str, message: str, warning: bool = False
) -> None:
    """Writes an Event.

    Args:
        core: The API.
        about: The object.
        reason: One word in CamelCase, by which Events are filtered.
        message: A sentence.
        warning: Whether it is one that a person should look at.

    Raises:
        ApiException: The API refuses it.
        HTTPError: It does not answer.
    """
    now = datetime.now(UTC)
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(name=f"{about.name}.{uuid.uuid4().hex[:16]}", namespace=about.namespace),
        involved_object=about,
        reason=reason,
        message=message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…",
        type="Warning" if warning else "Normal",
        first_timestamp=now,
        last_timestamp=now,
        count=1,
        source=client.V1EventSource(component="cd4ml"),
    )
    core.create_namespaced_event(about.namespace, event, _request_timeout=SECONDS)
