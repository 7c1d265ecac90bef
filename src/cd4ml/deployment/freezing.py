"""A deployment that comes while nothing is to be deployed."""

import shlex

from cd4ml.contracts.release import Version
from cd4ml.errors import DeploymentError
from cd4ml.registry import approvals, clock, deployments, freezes
from cd4ml.storage import Store


def check(store: Store, version: Version, persons: int) -> str:
    """Makes sure that a version may be deployed now.

    Args:
        store: Holds the freezes.
        version: Which is to be deployed.
        persons: How many people it takes to let it in; one takes a freeze where nobody is asked else.

    Returns:
        What lets it although something is frozen, for the history; empty where nothing is.

    Raises:
        DeploymentError: It may not; says until when, and how a person lets it all the same.
    """
    frozen = freezes.now(store)
    if frozen is None:
        return ""
    if deployments.is_way_back(deployments.every(store, version.name), version):
        return f"{frozen.headline}; it was in production before, and a way back is never frozen"
    since = clock.written(frozen.since)
    letting = [one for one in approvals.standing(store, version, despite_freeze=True).values() if one.at >= since]
    wanted = max(1, persons)
    if len(letting) >= wanted:
        return f"{frozen.headline}; let in all the same by {'; '.join(one.headline for one in letting)}"
    command = ["cd4ml", "deployments", "approve", version.name, str(version.version), "--despite-freeze"]
    takes = f", which takes {wanted} people, of whom {wanted - len(letting)} are missing" if wanted > 1 else ""
    raise DeploymentError(
        f"{version.name} version {version.version}: {frozen.headline}; run this again then, or let it in all the same"
        f"{takes}: {shlex.join([*command, '--store', store.location])} --reason WHY"
    )
