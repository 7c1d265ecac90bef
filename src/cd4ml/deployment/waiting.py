"""A deployment that waits until people let its version into production."""

import logging
import shlex
import time

from cd4ml.contracts.approval import Approval
from cd4ml.contracts.release import Version
from cd4ml.errors import DeploymentError, StorageError
from cd4ml.registry import approvals
from cd4ml.storage import Store

log = logging.getLogger(__name__)

MOST = 10
"""How many people can be waited for."""
HOURS = 72
"""How long a deployment waits."""
LOOK_SECONDS = 10.0
AWAY_SECONDS = 3600.0
"""How long the store may be away meanwhile."""


def wait(store: Store, version: Version, persons: int) -> list[Approval]:
    """Waits until as many people as that have approved a version.

    Args:
        store: Holds the approvals.
        version: Which is to be deployed.
        persons: How many different ones; 0 waits for nobody.

    Returns:
        What they said.

    Raises:
        DeploymentError: They did not in time.
        StorageError: The store cannot be asked.
    """
    if persons == 0:
        return []
    begun = looked = time.monotonic()
    standing, known = approvals.standing(store, version), None
    while (missing := persons - len(standing)) > 0:
        if time.monotonic() > begun + HOURS * 3600:
            raise DeploymentError(
                f"{version.name} version {version.version} was not approved in {HOURS:g} hours: {missing} of {persons} "
                "approvals are missing; approve it, and run this again"
            )
        if missing != known:
            log.warning("%s", _question(store, version, missing=missing, persons=persons))
        known = missing
        time.sleep(LOOK_SECONDS)
        try:
            standing, looked = approvals.standing(store, version), time.monotonic()
        except StorageError as error:
            if time.monotonic() > looked + AWAY_SECONDS:
                raise
            log.warning("%s; it is asked again", error)
    return list(standing.values())[:persons]


def check(store: Store, version: Version, persons: int) -> None:
    """Makes sure that the approvals that were waited for still stand, once a rollout has its turn.

    Raises:
        DeploymentError: They do not: meanwhile a newer version came into production, or some have expired.
    """
    missing = persons - len(approvals.standing(store, version)) if persons else 0
    if missing > 0:
        newer = approvals.newer_in_production(store, version)
        why = f"version {newer.version} has come into production since" if newer else "they have expired"
        raise DeploymentError(
            f"{version.name} version {version.version}: {missing} of {persons} approvals do not stand any more, for "
            f"{why}; if it is still to be deployed, approve it again, and run this again"
        )


def _question(store: Store, version: Version, *, missing: int, persons: int) -> str:
    command = ["cd4ml", "deployments", "approve", version.name, str(version.version), "--store", store.location]
    return (
        f"{version.name} version {version.version} ({version.digest}) waits for {missing} of {persons} approvals; "
        f"to approve it: {shlex.join(command)} --reason WHY"
    )
