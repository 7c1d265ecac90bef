"""A published version as people name it: `NAME@VERSION`, or `NAME`, the champion."""

from cd4ml.contracts.release import Version
from cd4ml.errors import RegistryError
from cd4ml.names import shown
from cd4ml.registry import deployments, models
from cd4ml.storage import NUMBER, Store, check_name


def parts(model: str) -> tuple[str, int | None]:
    """The name of a model and the number of its version; None where that is the champion's.

    Raises:
        RegistryError: It is written otherwise.
        StorageError: No model can have this name.
    """
    name, at, number = model.partition("@")
    if at and not NUMBER.fullmatch(number):
        raise RegistryError(f"{shown(model)}: {shown(number)} is no version; write NAME@NUMBER, or NAME: the champion")
    return check_name(name), int(number) if at else None


def find(store: Store, model: str) -> Version:
    """The published version that is meant.

    Args:
        store: Holds the registry.
        model: `NAME@VERSION`, or `NAME`: the version of the last deployment that counts.

    Raises:
        RegistryError: There is none.
    """
    name, number = parts(model)
    if number is None:
        number = _champion(store, name)
    return models.read(store, name, number)


def _champion(store: Store, name: str) -> int:
    champion = deployments.latest(store, name)
    if champion:
        return champion.version
    published = models.versions(store, name)
    which = f"name a version, as {name}@{published[-1].version}" if published else "and no version of it is published"
    raise RegistryError(f"store {store.location}: {name} has no champion, for no deployment of it counts; {which}")
