"""Which versions were copied from another environment: `promotions/<name>/<version>.json` in the store of the one.

Of many that promote one version at once, the first to write its record has promoted it.
"""

from cd4ml.contracts.promotion import Promotion
from cd4ml.storage import Store, check_name


def add(store: Store, made: Promotion) -> None:
    """Keeps that a version was promoted.

    Raises:
        AlreadyStoredError: Another has, meanwhile.
        StorageError: The store cannot be written.
    """
    store.add(_place(made.name, made.version), made.text)


def find(store: Store, name: str, version: int) -> Promotion | None:
    """How a version came into this store; None where it was published there.

    Raises:
        DocumentError: The record cannot be read.
    """
    place = _place(name, version)
    if f"{version}.json" not in store.children(f"promotions/{check_name(name)}"):
        return None
    return Promotion.parse(store.read(place), store.uri(place))


def _place(name: str, version: int) -> str:
    return f"promotions/{check_name(name)}/{version}.json"
