"""A rollout heeds what people decide of it while it waits."""

import logging
import shlex
import time

from cd4ml.contracts.approval import Approval, What
from cd4ml.contracts.deployment import Begun, Undone
from cd4ml.errors import Cd4mlError, DeploymentError
from cd4ml.registry import approvals, deployments
from cd4ml.storage import Store

TOLD_SECONDS = 20.0
"""How long whoever decides waits to be told what came of it."""
ASK_SECONDS = 0.5

log = logging.getLogger(__name__)


class Promoted(Exception):  # noqa: N818 (no error: it ends a step that waits)
    """The release is to get all requests now; says who decided it, and why."""


def heed(store: Store, begun: Begun) -> None:
    """Ends the waiting for which people have decided so; goes on where they cannot be asked.

    Args:
        store: Holds their decisions.
        begun: The deployment; as many as had to let it in have to promote it, and one is enough to abort it.

    Raises:
        Promoted: The release is to get all requests.
        DeploymentError: The rollout is to be undone.
    """
    promoting = approvals.by_person(one for one in _not_aborting(store, begun) if one.what == "promoted")
    if len(promoting) >= max(1, begun.persons):
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


def _not_aborting(store: Store, begun: Begun) -> list[Approval]:
    """What people have decided, where nobody has aborted it; nothing where they cannot be asked."""
    try:
        found = approvals.decisions(store, begun)
    except Cd4mlError as error:
        log.warning("%s; it is asked again", error)
        return []
    aborting = next((one for one in found if one.what == "aborted"), None)
    if aborting:
        raise DeploymentError(f"aborted by {aborting.headline}")
    return found


def became(store: Store, name: str, number: int, *, what: What) -> str:
    """Waits a little for what comes of a decision; what that is, for whoever made it.

    A rollout that has told the history that it holds looks once more, and whoever has it aborted looks after they said
    so: one of both sees the other.

    Args:
        store: Holds it.
        name: The model's name.
        number: The deployment's.
        what: What was decided.

    Raises:
        DeploymentError: The rollout has ended otherwise.
    """
    end, wanted = time.monotonic() + TOLD_SECONDS, "held" if what == "promoted" else "undone"
    series = deployments.read(store, name, number)
    while series.state in ("begun", "held") and series.state != wanted and time.monotonic() < end:
        time.sleep(ASK_SECONDS)
        series = deployments.read(store, name, number)
    about = f"deployment {number} of {name}"
    if series.state == "begun":
        several = series.begun.persons > 1 and what == "promoted"
        takes = f", once {series.begun.persons} people have promoted it" if several else ""
        return (
            f"{about} is under way, and heeds it when it looks{takes}; `cd4ml deployments show {name} {number}` says "
            "more"
        )
    if series.state == "held" != wanted:
        raise DeploymentError(
            f"{about} held before it could be {what}; `cd4ml deployments rollback {name}` puts back what was in "
            "production before"
        )
    ended = series.last(Undone)
    said = f"{about} is {series.state}" + (f": {ended.reason}" if ended else "")
    if series.state != wanted:
        raise DeploymentError(said)
    return said


def how(store: Store, begun: Begun) -> str:
    """By which commands a person decides."""
    promote, abort = (
        shlex.join(["cd4ml", "deployments", what, begun.name, str(begun.number), "--store", store.location])
        for what in ("promote", "abort")
    )
    return f"to give it all requests at once: {promote} --reason WHY; to have it undone: {abort} --reason WHY"
