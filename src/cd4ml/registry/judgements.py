"""Which candidates a test split has judged: `judgements/<name>/<test split>/<number>` in the store, with the candidate.

A test split that picks among many models is a validation split: the best of them is best by luck too. A split by key
draws nearly the same rows from each version of a dataset, so that it is known by how it is drawn and not by its rows.
Stores of before have `judgements/<name>/<test split>/<candidate>`, with the number.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cd4ml.contracts import model
from cd4ml.errors import RegistryError
from cd4ml.names import shown
from cd4ml.registry.numbers import numbers
from cd4ml.storage import NUMBER, AlreadyStoredError, Store


def claim(
    store: Store, *, name: str, candidate_folder: str, dataset: str, version: int, split: Mapping[str, Any]
) -> int:
    """Claims for a candidate the next number among those that a test split has judged; it keeps the one it has.

    Args:
        store: The store that holds the registry.
        name: The model's name.
        candidate_folder: What training wrote.
        dataset: The dataset's name.
        version: The dataset's version, which tells splits by time apart: the latest rows are others.
        split: How the dataset is split, as `split_dataset` hands it on.
    """
    drawn = {"dataset": dataset, "split": dict(split), "version": version if split.get("by") == "time" else None}
    digest = hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()
    folder, candidate = f"judgements/{name}/{digest}", model.digest(candidate_folder).removeprefix("sha256:")
    if candidate in store.children(folder):
        return _number(store, f"{folder}/{candidate}")
    while True:
        given = numbers(store, folder)
        own = next((number for number in given if store.read(f"{folder}/{number}") == candidate), None)
        if own:
            return own
        of_before = len(store.children(folder)) - len(given)
        with contextlib.suppress(AlreadyStoredError):  # another candidate took this number; take the next
            store.add(f"{folder}/{max([of_before, *given]) + 1}", candidate)


def _number(store: Store, file: str) -> int:
    text = store.read(file).strip()
    if not NUMBER.fullmatch(text):
        raise RegistryError(f"{store.uri(file)}: is {shown(text)}, not the number of a candidate; remove the file")
    return int(text)
