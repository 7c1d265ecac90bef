"""The kind of object that a release is made as on a cluster, whose operator makes pods of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""As the cluster's API has it."""


@dataclass(frozen=True)
class Kind:
    """What an operator acts on."""

    name: str
    group: str
    version: str
    plural: str
    product: str
    """What brings the kind."""
    install: str
    """What of it an admin has to install."""
    operator: str
    """Who acts, in words."""
    manifest: Callable[..., Object]
    """The object that serves a published version; takes what `cd4ml.deployment.targets.seldon.deployment` takes."""
    annotations: Callable[[Object], dict[str, str]]
    """Those that the operator hands on to the pods."""
    deployments: Callable[[Object], int]
    """How many Deployments the operator makes."""
    address: Callable[[Object], str]
    """The Service that the operator makes, `name.namespace.svc:port`: the release answers there, and it alone."""
    failure: Callable[[Object], str]
    """What the operator says that it cannot do; empty where it says nothing."""

    def annotation(self, content: Object, key: str) -> str:
        """One of the pods' annotations; empty where there is none."""
        return self.annotations(content).get(key, "")
