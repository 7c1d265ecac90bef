"""A deployment that waits until people let its version into production."""

import logging
import shlex
import time
from collections.abc import Callable
from datetime import timedelta

from cd4ml.contracts.approval import Approval
from cd4ml.contracts.release import Version
from cd4ml.errors import DeploymentError, StorageError
from cd4ml.registry import approvals
from cd4ml.storage import Store

log = logging.getLogger(__name__)

MOST = 10
"""How many people can be waited for."""
LONGEST = timedelta(hours=72)
"""The longest that a deployment waits."""
LOOK_SECONDS = 10.0
AWAY_SECONDS = 3600.0
"""How long the store may be away meanwhile."""


def wait(
    store: Store,
    version: Version,
    persons: int,
    *,
    within: timedelta,
    anew: bool = False,
    look: Callable[[], object] = lambda: None,
    otherwise: str = "",
) -> list[Approval]:
    """Waits until as many people as that have approved a version.

    Args:
        store: Holds the approvals.
        version: Which is to be deployed.
        persons: How many different ones; 0 waits for nobody.
        within: How long it waits.
        anew: Whether those alone count that are given from now on.
        look: Called again and again meanwhile; raises what ends the wait.
        otherwise: What else people may answer, for the end of a sentence.

    Returns:
        What they said.

    Raises:
        DeploymentError: They did not in time.
        StorageError: The store cannot be asked.
    """
    if persons == 0:
        return []
    again = "run this again, and approve it then" if anew else "approve it, and run this again"
    begun = looked = time.monotonic()
    after, known = approvals.count(store, version) if anew else 0, None
    standing = approvals.standing(store, version, after=after)
    while (missing := persons - len(standing)) > 0:
        if time.monotonic() > begun + within.total_seconds():
            raise DeploymentError(
                f"{version.name} version {version.version} was not approved in {within / timedelta(hours=1):g} hours: "
                f"{missing} of {persons} approvals are missing; {again}"
            )
        if missing != known:
            log.warning("%s%s", _question(store, version, missing=missing, persons=persons), otherwise)
        known = missing
        time.sleep(LOOK_SECONDS)
        look()
        try:
            standing, looked = approvals.standing(store, version, after=after), time.monotonic()
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
