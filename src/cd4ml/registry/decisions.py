"""What people decide of rollouts under way: `approvals/<name>/deployments/<number>/<1, 2, …>.json` in the store.

They lie with the approvals, for people alone write those: what a run does, a run cannot promote.
"""

from cd4ml.contracts.decision import Decision, What
from cd4ml.contracts.deployment import Begun
from cd4ml.errors import RegistryError
from cd4ml.registry import approvals, clock, deployments, numbers
from cd4ml.storage import Store


def decide(store: Store, name: str, number: int, *, what: What, by: str, reason: str) -> Decision:
    """Says what is to become of a rollout; whoever rolls out heeds it at the next look.

    Args:
        store: The store.
        name: The model's name.
        number: The deployment's.
        what: What is decided.
        by: Who says so.
        reason: Why.

    Raises:
        RegistryError: It is not under way any more, or who or why is missing, or too long.
    """
    series = deployments.read(store, name, number)
    if series.state != "begun":
        raise RegistryError(
            f"store {store.location}: deployment {number} of {name} is over ({series.state}); `cd4ml deployments "
            "rollback` puts an earlier version back"
        )
    decision = Decision(
        name=name,
        number=number,
        digest=series.begun.digest,
        what=what,
        by=approvals.who(by),
        reason=approvals.why(reason),
        at=clock.now(),
    )
    numbers.append(store, _folder(series.begun), decision.text)
    return decision


def of(store: Store, begun: Begun) -> list[Decision]:
    """What people have decided of a deployment, the oldest first."""
    found = (Decision.parse(text, place) for text, place in numbers.documents(store, _folder(begun)))
    return [one for one in found if one.digest == begun.digest]


def _folder(begun: Begun) -> str:
    return f"approvals/{begun.name}/deployments/{begun.number}"
