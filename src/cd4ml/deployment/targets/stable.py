"""The Service of a model on a cluster that callers ask, whichever release answers.

It is ours, named as the model, and selects the pods of one release, or of the router before two: so routing is one
write to one object.
From the moment that a rollout begins until it holds or is undone, it bears a note (annotation `cd4ml/unverified`) of
what it selected before. While the note holds, another rollout of the model waits for its turn; where it was left by a
process that died, the next rollout knows what to put back and what to take away.

Every write is a compare-and-set by the resourceVersion that was read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from kubernetes import client

from cd4ml.deployment.targets import CLUSTER, kind, seldon
from cd4ml.errors import DeploymentError

OWN = "cd4ml/"
NOTE = f"{OWN}unverified"
TARGET = "cd4ml/target"
"""The label with the target that has made the Service; those of versions before have none, and are Seldon's."""


@dataclass(frozen=True)
class Note:
    """What the Service says of a rollout that is not over."""

    until: datetime
    """When others may take its process for dead."""
    release: str
    """Tells the rollout from every other, also from those of other stores."""
    number: int
    """Its deployment's, in the history."""
    before: str
    """The release that was selected when it began, by the name of its object; empty where none was."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Reads what `text` was."""
        content = json.loads(text)
        until = datetime.fromisoformat(content["until"]).astimezone(UTC)
        number, texts = content["number"], (content["release"], content["before"])
        if type(number) is not int or not all(isinstance(one, str) for one in texts):
            raise TypeError("not a number and two texts")
        return cls(until, release=texts[0], number=number, before=texts[1])

    @property
    def text(self) -> str:
        """As the annotation has it."""
        until = self.until.isoformat(timespec="seconds")
        return json.dumps({"until": until, "release": self.release, "number": self.number, "before": self.before})


class StableService:
    """The Service of a model."""

    def __init__(self, api: client.ApiClient, namespace: str, model: str, *, target: str) -> None:
        self._core = client.CoreV1Api(api)
        self._namespace, self._model, self._target = namespace, model, target

    @property
    def url(self) -> str:
        """The address that callers ask."""
        return f"http://{self._model}.{self._namespace}.svc:{seldon.PORT}"

    def read(self) -> Any:
        """The Service; None where there is none.

        Raises:
            DeploymentError: The one of that name is not ours, or another target's.
        """
        try:
            found = self._core.read_namespaced_service(self._model, self._namespace)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        key, value = kind.OURS
        if (found.metadata.labels or {}).get(key) != value:
            raise DeploymentError(
                f"the Service {self._model} in {self._namespace} was not made by cd4ml (it lacks the label "
                f"{key}={value}): remove it, or give the model another name"
            )
        made_for = found.metadata.labels.get(TARGET, CLUSTER)
        if made_for != self._target:
            raise DeploymentError(
                f"{self._model} is served in {self._namespace} by the target `{made_for}`: deploy it there, or end "
                f"that first (cd4ml stop {self._model} --target {made_for})"
            )
        return found

    def new(self, selected: str) -> Any:
        """The Service as it is made first.

        Args:
            selected: The object of the release whose pods answer; empty where none does.
        """
        labels = {**kind.labels(self._model), TARGET: self._target}
        port = client.V1ServicePort(name="http", port=seldon.PORT, target_port="http", app_protocol="http")
        service = client.V1Service(
            metadata=client.V1ObjectMeta(name=self._model, labels=labels), spec=client.V1ServiceSpec(ports=[port])
        )
        select(service, kind.POD, selected)
        return service

    def write(self, service: Any) -> bool:
        """Whether it was written; not when the Service has changed since it was read."""
        try:
            if service.metadata.resource_version:
                self._core.replace_namespaced_service(self._model, self._namespace, service)
            else:
                self._core.create_namespaced_service(self._namespace, service)
        except client.ApiException as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    def delete(self, service: Any) -> bool:
        """Whether it is gone; not when the Service has changed since it was read."""
        metadata = service.metadata
        only = {"preconditions": {"uid": metadata.uid, "resourceVersion": metadata.resource_version}}
        try:
            self._core.delete_namespaced_service(self._model, self._namespace, body=only)
        except client.ApiException as error:
            if error.status == 404:
                return True
            if error.status == 409:
                return False
            raise
        return True


def selected(service: Any) -> str:
    """The object of the release whose pods answer; empty where none does, or a router."""
    name: str = ((service and service.spec.selector) or {}).get(kind.POD, "")
    return name


def select(service: Any, label: str, name: str) -> None:
    """Has the pods answer that have a label with a name; none where it is empty."""
    service.spec.selector = {label: name} if name else None


def describe(service: Any, about: Mapping[str, str]) -> None:
    """Says on the Service, by annotations, what answers.

    Args:
        service: Is not written by this.
        about: The annotations of the object that answers; those of cd4ml come in the place of what was said before.
    """
    now = service.metadata.annotations or {}
    kept = {key: text for key, text in now.items() if key == NOTE or not key.startswith(OWN)}
    service.metadata.annotations = {**kept, **{key: text for key, text in about.items() if key.startswith(OWN)}}


def note_of(service: Any) -> Note | None:
    """What the Service says of a rollout that is not over; None where it says nothing.

    Raises:
        DeploymentError: What it says cannot be read.
    """
    text = ((service and service.metadata.annotations) or {}).get(NOTE)
    if not text:
        return None
    try:
        return Note.of(text)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DeploymentError(
            f"the Service {service.metadata.name}: its annotation {NOTE} is no note of what was served before "
            f"({error!r}); take the annotation away, and what is served now counts"
        ) from error


def write_note(service: Any, note: Note | None) -> None:
    """Puts a note on the Service, or takes it away."""
    kept = {key: value for key, value in (service.metadata.annotations or {}).items() if key != NOTE}
    service.metadata.annotations = {**kept, **({NOTE: note.text} if note else {})}
