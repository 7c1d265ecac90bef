"""The numbers that the registry gives, from 1: folders and files of the store are called by them."""

from cd4ml.storage import NUMBER, Store


def numbers(store: Store, folder: str, suffix: str = "") -> list[int]:
    """The numbers that are given in a folder of the store, in order; other names there mean nothing.

    Args:
        store: Holds the registry.
        folder: Its name in the store.
        suffix: What follows the number, such as `.json`.
    """
    names = (child.removesuffix(suffix) for child in store.children(folder) if child.endswith(suffix))
    return sorted(int(name) for name in names if NUMBER.fullmatch(name))
