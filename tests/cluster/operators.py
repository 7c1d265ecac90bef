"""An operator as tests play it on the real API: the kind that it brings, and what acts on objects of it."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from kubernetes import client

Object = dict[str, Any]
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}
KEPT = ("name", "image", "ports", "env", "securityContext", "volumeMounts")
"""What a stand-in has of the container that it stands in for."""


@dataclass(frozen=True)
class CustomKind:
    """A kind of objects, and its schema."""

    name: str
    group: str
    version: str
    plural: str
    short: str
    schema: Object

    @contextmanager
    def known(self, api: client.ApiClient) -> Iterator[bool]:
        """Makes the cluster know it while the context lasts; says whether it did not before."""
        made = not self._is_known(api)
        definitions = client.ApiextensionsV1Api(api)
        if made:
            definitions.create_custom_resource_definition(self._definition)
            wait_until(lambda: self._is_known(api), f"the {self.name} kind")
        yield made
        if made:
            definitions.delete_custom_resource_definition(self._definition["metadata"]["name"])
            wait_until(lambda: not self._is_known(api), f"the {self.name} kind to go")

    @property
    def _definition(self) -> Object:
        version = {
            "name": self.version,
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", **self.schema}},
        }
        names = {"kind": self.name, "plural": self.plural, "singular": self.name.lower(), "shortNames": [self.short]}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.plural}.{self.group}"},
            "spec": {"group": self.group, "scope": "Namespaced", "names": names, "versions": [version]},
        }

    def _is_known(self, api: client.ApiClient) -> bool:
        try:
            found = client.CustomObjectsApi(api).get_api_resources(self.group, self.version).resources
        except client.ApiException:
            return False
        return any(one.name == self.plural for one in found)

    def owner(self, found: Object) -> list[Object]:
        """By which all that is made of an object goes when it does."""
        owner = {key: found["metadata"][key] for key in ("name", "uid")}
        kind = {"apiVersion": f"{self.group}/{self.version}", "kind": self.name}
        return [{**kind, **owner, "controller": True, "blockOwnerDeletion": True}]


@dataclass
class Player(ABC):
    """What acts on the objects of one kind in one namespace."""

    kind: ClassVar[CustomKind]

    api: client.ApiClient
    namespace: str
    container: Object | None
    """Stands in for the containers that are to run; without it they run as they were asked for."""

    @contextmanager
    def acting(self) -> Iterator[Self]:
        """Acts while the context lasts."""
        ended = threading.Event()
        thread = threading.Thread(target=self._act, args=(ended,), daemon=True)
        thread.start()
        yield self
        ended.set()
        thread.join()

    def _act(self, ended: threading.Event) -> None:
        place = (self.kind.group, self.kind.version, self.namespace, self.kind.plural)
        while not ended.wait(0.2):
            for found in client.CustomObjectsApi(self.api).list_namespaced_custom_object(*place)["items"]:
                if "deletionTimestamp" not in found["metadata"]:
                    self.reconcile(found)

    @abstractmethod
    def reconcile(self, found: Object) -> None:
        """Makes what an object asks for."""

    def stand_in(self, pod: Object, plays: Object) -> None:
        """Has one container run in a pod, in place of all that it has."""
        kept = {key: value for key, value in pod["containers"][0].items() if key in KEPT}
        pod |= {"initContainers": [], "containers": [{**kept, **plays}]}


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Waits for something to come about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.1)
