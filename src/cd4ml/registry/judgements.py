"""Which candidates a test split has judged: `judgements/<name>/<test split>/<candidate>` in the store, by digest.

A test split that picks among many models is a validation split: the best of them is best by luck too.
"""

import contextlib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from cd4ml import model
from cd4ml.storage import AlreadyStoredError, open_store


def count(location: str, name: str, test: str, candidate_folder: str) -> int:
    """Notes that a test split judges a candidate, and counts the candidates that it has judged, with this one.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        test: The test split's file.
        candidate_folder: What training wrote.
    """
    store = open_store(location)
    with Path(test).open("rb") as stream:
        split = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = f"judgements/{name}/{split}"
    candidate = model.digest(candidate_folder).removeprefix("sha256:")
    with contextlib.suppress(AlreadyStoredError):  # the same candidate, evaluated again
        store.add(f"{folder}/{candidate}", datetime.now(UTC).isoformat(timespec="seconds") + "\n")
    return len(store.children(folder))
