"""What people say of versions and their deployments: `approvals/<name>/<version>/<1, 2, …>.json` in the store.

They are written by people, and by no task: what a run does, a run can neither approve nor promote.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from cd4ml.contracts.approval import Approval, What
from cd4ml.contracts.deployment import Begun, Held, Undone
from cd4ml.contracts.release import Deployment, Version
from cd4ml.errors import RegistryError
from cd4ml.registry import clock, deployments, numbers
from cd4ml.registry.deployments import Series
from cd4ml.storage import Store

VALID = timedelta(days=7)
"""How long an approval stands."""
LONGEST = 200


def approve(
    store: Store, version: Version, *, by: str, reason: str, valid: timedelta = VALID, despite_freeze: bool = False
) -> Approval:
    """Says that a version may be deployed.

    Args:
        store: The store.
        version: Which.
        by: Who says so.
        reason: Why.
        valid: How long it stands.
        despite_freeze: Whether also while nothing else may.

    Raises:
        RegistryError: Who or why is missing, or too long.
    """
    return _say(store, version, by=by, reason=reason, valid=valid, despite_freeze=despite_freeze)


def decide(store: Store, name: str, number: int, *, what: What, by: str, reason: str) -> Approval:
    """Says what is to become of a rollout; whoever rolls out heeds it at the next look.

    Args:
        store: The store.
        name: The model's name.
        number: The deployment's.
        what: `promoted` or `aborted`.
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
    return _say(store, series.begun, by=by, reason=reason, what=what, deployment=number)


def by_person(said: Iterable[Approval]) -> dict[str, Approval]:
    """The last word of each person: four eyes are those of two who are not written alike, whatever the case."""
    return {one.by.casefold(): one for one in said}


def who(by: str) -> str:
    """A person as they say themselves.

    Raises:
        RegistryError: It is missing, or too long.
    """
    return " ".join(_line("who says so (--by)", by).split())


def why(reason: str) -> str:
    """A person's reason.

    Raises:
        RegistryError: It is missing, or too long.
    """
    return _line("the reason", reason).strip()


def every(store: Store, name: str, version: int) -> list[Approval]:
    """All that was said of a version and its rollouts, whether it stands or not, the oldest first."""
    return [Approval.parse(text, place) for text, place in numbers.documents(store, _folder(name, version))]


def count(store: Store, version: Version) -> int:
    """How often something was said of a version, whether it stands or not."""
    return len(every(store, version.name, version.version))


def standing(store: Store, version: Version, *, after: int = 0, despite_freeze: bool = False) -> dict[str, Approval]:
    """By person the last approval of this very model that has not expired.

    One from before a newer version came into production does not stand: whoever gave it let this version replace an
    older one, and not a newer one.

    Args:
        store: The store.
        version: Which.
        after: How many of the first do not count.
        despite_freeze: Whether those alone count that say so.
    """
    now, newer = clock.moment(), newer_in_production(store, version)
    return by_person(
        one
        for one in every(store, version.name, version.version)[after:]
        if one.what == "approved"
        and one.stands(version.digest, now)
        and (newer is None or one.at > newer.deployed_at)
        and (one.despite_freeze or not despite_freeze)
    )


def newer_in_production(store: Store, version: Version) -> Deployment | None:
    """What a version would take the place of, where that is a newer one."""
    current = deployments.latest(store, version.name)
    return current if current and current.version > version.version else None


def decisions(store: Store, begun: Begun) -> list[Approval]:
    """What people have decided of a deployment, the oldest first."""
    return [one for one in every(store, begun.name, begun.version) if one.deployment == begun.number]


def of(store: Store, series: Series, among: Sequence[Series]) -> list[Approval]:
    """What people said of a deployment, and of its version: what stood as it began, and came until it had ended.

    Args:
        store: The store.
        series: The deployment.
        among: All of the model.
    """
    begun = series.begun
    end = next((event.at for event in series.events if isinstance(event, Held | Undone)), clock.now())
    newer = max((at for at in _newer(begun, among) if at <= begun.at), default="")
    return [
        one
        for one in every(store, begun.name, begun.version)
        if one.digest == begun.digest
        and (one.deployment == begun.number if one.deployment else one.at > newer and _lets_in(one, begun, end))
    ]


def _newer(begun: Begun, among: Sequence[Series]) -> Iterator[str]:
    """When newer versions came into production."""
    for series in among:
        if series.begun.version > begun.version and (held := series.last(Held)):
            yield held.at


def _lets_in(one: Approval, begun: Begun, end: str) -> bool:
    return one.stands(begun.digest, datetime.fromisoformat(begun.at)) or begun.at < one.at <= end


def _line(what: str, said: str) -> str:
    if not said.strip() or len(said) > LONGEST or not said.isprintable():
        raise RegistryError(f"{what}: write one line of 1 to {LONGEST} characters")
    return said


def _say(
    store: Store, about: Version | Begun, *, by: str, reason: str, valid: timedelta = VALID, **said: Any
) -> Approval:
    now = clock.moment()
    made = Approval(
        name=about.name,
        version=about.version,
        digest=about.digest,
        by=who(by),
        reason=why(reason),
        at=clock.written(now),
        until=clock.written(now + valid),
        **said,
    )
    numbers.append(store, _folder(made.name, made.version), made.text)
    return made


def _folder(name: str, version: int) -> str:
    return f"approvals/{name}/{version}"
