"""The numbers that the registry gives, from 1: folders and files of the store are called by them."""

from collections.abc import Iterator

from cd4ml.storage import NUMBER, AlreadyStoredError, Store


def numbers(store: Store, folder: str, suffix: str = "") -> list[int]:
    """The numbers that are given in a folder of the store, in order; other names there mean nothing.

    Args:
        store: Holds the registry.
        folder: Its name in the store.
        suffix: What follows the number, such as `.json`.
    """
    names = (child.removesuffix(suffix) for child in store.children(folder) if child.endswith(suffix))
    return sorted(int(name) for name in names if NUMBER.fullmatch(name))


def append(store: Store, folder: str, text: str) -> int:
    """Stores a JSON document behind those of a folder; of many that do so at once, each has a number of its own.

    Args:
        store: Holds the registry.
        folder: Its name in the store.
        text: The document.

    Returns:
        Its number.
    """
    number = max(numbers(store, folder, ".json"), default=0)
    while True:
        number += 1
        try:
            store.add(f"{folder}/{number}.json", text)
        except AlreadyStoredError:
            continue  # another took this number
        return number


def documents(store: Store, folder: str) -> Iterator[tuple[str, str]]:
    """The JSON documents of a folder in the order of their numbers: the text of each, and where it lies."""
    for number in numbers(store, folder, ".json"):
        file = f"{folder}/{number}.json"
        yield store.read(file), store.uri(file)
