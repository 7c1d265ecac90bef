"""The rows that a published version was trained on, as the version keeps them for later ones to be held against."""

from pathlib import Path

from cd4ml.data import pinned
from cd4ml.errors import RegistryError
from cd4ml.registry import models
from cd4ml.storage import local_copy, open_store


def last(location: str, *, name: str, dataset_digest: str) -> tuple[str, str]:
    """The reference of the last version that was published on other data.

    A version on these very data counts as none, so that a run that repeats another asks the same question.

    Args:
        location: The store that holds the registry.
        name: The model's name; empty where none is trained.
        dataset_digest: Of the data that are to be compared with it.

    Returns:
        Where it lies, and the digest of its content; both empty where there is none, or where that version keeps none.
    """
    store = open_store(location)
    if not name:
        return "", ""
    others = [one for one in models.versions(store, name) if one.dataset.digest != dataset_digest]
    if not others or models.REFERENCE not in store.children(others[-1].folder):
        return "", ""
    file = f"{others[-1].folder}/{models.REFERENCE}"
    return store.uri(file), pinned.digest(store.read_bytes(file))


def copy(uri: str, expected: str, target: str | Path) -> None:
    """Writes a reference for later tasks; an empty file where there is none.

    Args:
        uri: Where it lies; empty where there is none.
        expected: The digest of its content.
        target: The file to write.

    Raises:
        RegistryError: It is another by now.
        StorageError: It cannot be read.
    """
    content = b""
    if uri:
        with local_copy(uri) as file:
            content = file.read_bytes()
    changed = RegistryError(f"{uri}: has changed since this run began; start it again")
    pinned.hand_on(content, target, expected=expected, changed=changed)
