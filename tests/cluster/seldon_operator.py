"""Seldon's operator as a test plays it: what Seldon Core 1.17.1 does about a SeldonDeployment, with its flaws.

It acts on the real API. It can run stand-ins for the pods: `pause`, say, in place of the model's server. Objects that
want an executor are not played.
"""

import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import seldon_objects
from kubernetes import client
from operators import Object, Player
from seldon_kind import KIND

LAST_APPLIED = "seldon.io/last-applied"
CONTROLLER = "seldon.io/controller-id"
"""The label of an object that is another operator's."""


@dataclass
class Operator(Player):
    """What acts on the SeldonDeployments of one namespace."""

    kind = KIND

    plays: dict[str, Object] = field(default_factory=dict)
    """Stand-ins of their own, by the container's name."""
    hesitates: threading.Event = field(default_factory=threading.Event)
    """While it is set, the operator sees nothing: what it said of the object before stays as it was."""
    states: list[str] = field(default_factory=list)
    """Every state that it has set."""

    def __post_init__(self) -> None:
        self._custom = client.CustomObjectsApi(self.api)
        self._apps = client.AppsV1Api(self.api)
        self._core = client.CoreV1Api(self.api)
        self._place = (KIND.group, KIND.version, self.namespace, KIND.plural)

    def reconcile(self, found: Object) -> None:
        """Makes what an object asks for, or tells it that this cannot be."""
        if self.hesitates.is_set() or found["metadata"].get("labels", {}).get(CONTROLLER):
            return
        try:
            self._make(found)
        except client.ApiException as error:
            if error.status not in (404, 409):  # it changed meanwhile: the next round sees it
                self._tell(found, "Failed", json.loads(error.body)["message"])

    def _make(self, found: Object) -> None:
        for service in seldon_objects.services(found):
            self._make_service(service)
        ready, progressing = True, True
        for deployment in seldon_objects.deployments(found):
            live = self._make_deployment(found, deployment)
            conditions = {one.type: one.status for one in live.status.conditions or []}
            progressing = progressing and conditions.get("Progressing") != "False"
            ready = ready and bool(live.status.ready_replicas) and not live.status.unavailable_replicas
        if ready:
            self._remove_others(found)
        if ready or progressing:
            self._tell(found, "Available" if ready else "Creating")
        else:
            self._tell(found, "Failed", "Deployment is no longer progressing and not available.")

    def _make_service(self, service: Object) -> None:
        name = service["metadata"]["name"]
        live = self._read(self._core.read_namespaced_service, name)
        if live is None:
            self._core.create_namespaced_service(self.namespace, service)
        elif live.metadata.annotations != service["metadata"]["annotations"]:
            self._core.patch_namespaced_service(name, self.namespace, service)

    def _make_deployment(self, found: Object, deployment: Object) -> Any:
        """Makes the Deployment, or makes it as it should be, and gives it as it was seen last."""
        name = deployment["metadata"]["name"]
        applied = json.dumps(deployment["spec"], sort_keys=True)
        content = self.with_stand_ins(deployment, applied)
        live = self._read(self._apps.read_namespaced_deployment, name)
        if live is None:
            self._warn_of_the_first_status(found)
            return self._apps.create_namespaced_deployment(self.namespace, content)
        if live.spec.selector.match_labels != deployment["spec"]["selector"]["matchLabels"]:
            self._apps.delete_namespaced_deployment(name, self.namespace, propagation_policy="Foreground")
            return self._apps.create_namespaced_deployment(self.namespace, content)  # too early; the next round does
        if live.metadata.annotations.get(LAST_APPLIED) != applied:
            self._apps.replace_namespaced_deployment(name, self.namespace, content)
            self._tell(found, "Creating")  # and then it looks before the Deployment's controller does
        return live

    def with_stand_ins(self, deployment: Object, applied: str) -> Object:
        """The Deployment with a stand-in for its containers, and a note of what was wanted."""
        content = json.loads(json.dumps(deployment))
        content["metadata"]["annotations"][LAST_APPLIED] = applied
        if self.container is not None:
            pod = content["spec"]["template"]["spec"]
            self.stand_in(pod, self.plays.get(pod["containers"][0]["name"], self.container))
        return content

    def _remove_others(self, found: Object) -> None:
        """Removes what was made for predictors that are gone, once all others are ready."""
        wanted = {one["metadata"]["name"] for one in seldon_objects.deployments(found)}
        wanted_services = {one["metadata"]["name"] for one in seldon_objects.services(found)}
        label = f"seldon-deployment-id={seldon_objects.name(found['metadata']['name'])}"
        for one in self._apps.list_namespaced_deployment(self.namespace, label_selector=label).items:
            if one.metadata.name not in wanted:
                self._apps.delete_namespaced_deployment(one.metadata.name, self.namespace)
        for one in self._core.list_namespaced_service(self.namespace, label_selector=label).items:
            if one.metadata.name not in wanted_services:
                self._core.delete_namespaced_service(one.metadata.name, self.namespace)

    def _read(self, read: Any, name: str) -> Any:
        try:
            return read(name, self.namespace)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise

    def _tell(self, found: Object, state: str, description: str = "") -> None:
        """Sets the state; `observedGeneration` it never sets."""
        name = found["metadata"]["name"]
        current = self._custom.get_namespaced_custom_object(*self._place, name)
        if current.get("status", {}).get("state") != state:
            self.states.append(state)
            content = {**current, "status": {"state": state, **({"description": description} if description else {})}}
            self._custom.replace_namespaced_custom_object_status(*self._place, name, content)

    def _warn_of_the_first_status(self, found: Object) -> None:
        """Says a thing that means nothing: it fails to write the first status, and writes it the next time."""
        name, now = found["metadata"]["name"], datetime.now(UTC)
        event = {
            "metadata": {"name": f"{name}.{uuid.uuid4().hex[:12]}"},
            "type": "Warning",
            "reason": "UpdateFailed",
            "message": f'Failed to update status for SeldonDeployment "{name}": Operation cannot be fulfilled on '
            f'{KIND.plural}.{KIND.group} "{name}": the object has been modified; please apply your changes to the '
            "latest version and try again",
            "involvedObject": {
                "apiVersion": f"{KIND.group}/{KIND.version}",
                "kind": KIND.name,
                "name": name,
                "namespace": self.namespace,
                "uid": found["metadata"]["uid"],
            },
            "source": {"component": "seldon-controller-manager"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._core.create_namespaced_event(self.namespace, event)
