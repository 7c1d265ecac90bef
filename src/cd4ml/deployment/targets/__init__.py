"""Where a model can be served: `machine`, a process of this machine; `cluster`, Seldon in the namespace of the run."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from cd4ml.errors import DeploymentError
from cd4ml.names import nearest
from cd4ml.storage import S3

MACHINE = "machine"
CLUSTER = "cluster"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
"""A model's name that Seldon can make the names of a Deployment and a Service of."""


@dataclass(frozen=True)
class Served:
    """A model that a target serves, and takes back when it is not kept."""

    url: str
    """Where it answers."""
    keep: Callable[[], None]
    """Makes it the one that is served; what cannot fail after it is the record alone."""


def check(target: str) -> str:
    """Makes sure that there is such a target.

    Raises:
        DeploymentError: There is not.
    """
    if target not in (MACHINE, CLUSTER):
        known = (MACHINE, CLUSTER)
        raise DeploymentError(f"target {target!r}: no such place to serve a model; {nearest(target, known)}")
    return target


def check_together(target: str, store: str, name: str) -> None:
    """Makes sure that a target can serve this model from this store.

    Raises:
        DeploymentError: It cannot; says what to change.
    """
    in_bucket = store.startswith(S3)
    if target == MACHINE and in_bucket:
        raise DeploymentError(
            f"store {store}: the target `machine` serves from a folder; name one, or deploy to `cluster`"
        )
    if target == CLUSTER and not in_bucket:
        raise DeploymentError(f"store {store}: no pod of a cluster sees this folder; name a bucket as s3://bucket")
    if target == CLUSTER and not NAME.fullmatch(name):
        raise DeploymentError(
            f"name {name!r}: Seldon cannot serve a model of this name; use a-z, 0-9 and '-', a letter first, "
            "47 characters at most"
        )
