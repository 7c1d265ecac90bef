"""Which candidates a test split has judged: `judgements/<name>/<test split>/<candidate>` in the store.

A test split that picks among many models is a validation split: the best of them is best by luck too. A split by key
draws nearly the same rows from each version of a dataset, so that it is known by how it is drawn and not by its rows.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cd4ml.contracts import model
from cd4ml.storage import AlreadyStoredError, Store


def number(store: Store, name: str, candidate_folder: str, dataset: str, version: int, split: Mapping[str, Any]) -> int:
    """Notes that a test split judges a candidate, and gives its number among those that the split has judged.

    The same candidate keeps its number.

    Args:
        store: The store that holds the registry.
        name: The model's name.
        candidate_folder: What training wrote.
        dataset: The dataset's name.
        version: The dataset's version, which tells splits by time apart: the latest rows are others.
        split: How the dataset is split.
    """
    drawn = {"dataset": dataset, "split": dict(split), "version": version if split.get("by") == "time" else None}
    digest = hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()
    folder = f"judgements/{name}/{digest}"
    candidate = f"{folder}/{model.digest(candidate_folder).removeprefix('sha256:')}"
    with contextlib.suppress(AlreadyStoredError):
        store.add(candidate, f"{len(store.children(folder)) + 1}\n")
    return int(store.read(candidate))
