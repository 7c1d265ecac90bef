"""Who lets which version into production: `approvals/<name>/<version>/<1, 2, …>.json` in the store.

They are written by people, and by no task: what a run does, a run cannot approve.
"""

from datetime import datetime, timedelta

from cd4ml.contracts.approval import Approval
from cd4ml.contracts.deployment import Held, Undone
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
    by, reason = who(by), why(reason)
    now = clock.moment()
    approval = Approval(
        name=version.name,
        version=version.version,
        digest=version.digest,
        by=by,
        reason=reason,
        at=clock.written(now),
        until=clock.written(now + valid),
        despite_freeze=despite_freeze,
    )
    numbers.append(store, _folder(version), approval.text)
    return approval


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


def count(store: Store, version: Version) -> int:
    """How many approvals there are of a version, whether they stand or not."""
    return len(_read(store, _folder(version)))


def standing(store: Store, version: Version, *, after: int = 0) -> dict[str, Approval]:
    """By person the last approval of this very model that has not expired.

    One from before a newer version came into production does not stand: whoever gave it let this version replace an
    older one, and not a newer one.

    Args:
        store: The store.
        version: Which.
        after: How many of the first do not count.
    """
    now, newer = clock.moment(), newer_in_production(store, version)
    return {
        one.by.casefold(): one
        for one in _read(store, _folder(version))[after:]
        if one.stands(version.digest, now) and (newer is None or one.at > newer.deployed_at)
    }


def newer_in_production(store: Store, version: Version) -> Deployment | None:
    """What a version would take the place of, where that is a newer one."""
    current = deployments.latest(store, version.name)
    return current if current and current.version > version.version else None


def of(store: Store, series: Series) -> list[Approval]:
    """The approvals that stood when a deployment began, and those that were given until it held or was undone."""
    begun = series.begun
    end = next((event.at for event in series.events if isinstance(event, Held | Undone)), clock.now())
    found = _read(store, f"approvals/{begun.name}/{begun.version}")
    return [
        one
        for one in found
        if one.stands(begun.digest, datetime.fromisoformat(begun.at))
        or (one.digest == begun.digest and begun.at < one.at <= end)
    ]


def _line(what: str, said: str) -> str:
    if not said.strip() or len(said) > LONGEST or not said.isprintable():
        raise RegistryError(f"{what}: write one line of 1 to {LONGEST} characters")
    return said


def _read(store: Store, folder: str) -> list[Approval]:
    return [Approval.parse(text, place) for text, place in numbers.documents(store, folder)]


def _folder(version: Version) -> str:
    return f"approvals/{version.name}/{version.version}"
