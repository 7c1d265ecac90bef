"""A rollout heeds what people decide of it while it waits."""

import logging
import shlex

from cd4ml.contracts.decision import Decision
from cd4ml.contracts.deployment import Begun
from cd4ml.errors import Cd4mlError, DeploymentError
from cd4ml.registry import decisions
from cd4ml.storage import Store

log = logging.getLogger(__name__)


class Promoted(Exception):  # noqa: N818 (no error: it ends a step that waits)
    """The release is to get all requests now; says who decided it, and why."""


def heed(store: Store, begun: Begun, persons: int) -> None:
    """Ends the waiting for which people have decided so; goes on where they cannot be asked.

    Args:
        store: Holds their decisions.
        begun: The deployment.
        persons: How many it takes to promote it; one is enough to abort it.

    Raises:
        Promoted: The release is to get all requests.
        DeploymentError: The rollout is to be undone.
    """
    promoting = {one.by.casefold(): one for one in _not_aborting(store, begun) if one.what == "promoted"}
    if len(promoting) >= max(1, persons):
        raise Promoted("promoted by " + "; ".join(one.headline for one in promoting.values()))


def heed_abort(store: Store, begun: Begun) -> None:
    """Ends a rollout that people have aborted while a step passed, that one may be the last.

    Args:
        store: Holds their decisions.
        begun: The deployment.

    Raises:
        DeploymentError: The rollout is to be undone.
    """
    _not_aborting(store, begun)


def _not_aborting(store: Store, begun: Begun) -> list[Decision]:
    """What people have decided, where nobody has aborted it; nothing where they cannot be asked."""
    try:
        found = decisions.of(store, begun)
    except Cd4mlError as error:
        log.warning("%s; it is asked again", error)
        return []
    aborting = next((one for one in found if one.what == "aborted"), None)
    if aborting:
        raise DeploymentError(f"aborted by {aborting.headline}")
    return found


def how(store: Store, begun: Begun) -> str:
    """By which commands a person decides."""
    promote, abort = (
        shlex.join(["cd4ml", "deployments", what, begun.name, str(begun.number), "--store", store.location])
        for what in ("promote", "abort")
    )
    return f"to give it all requests at once: {promote} --reason WHY; to have it undone: {abort} --reason WHY"
