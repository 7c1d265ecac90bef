"""Labels that were taken in bulk of a model (`cd4ml.contracts.late_labels`), as they lie in the store."""

import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts.late_labels import ABOUT, LABELS, TABLE, Labels
from cd4ml.storage import Store, check_name


def every(store: Store, model: str) -> list[Labels]:
    """What was taken of a model, the oldest first."""
    return sorted((about(store, folder) for folder in folders(store, model)), key=lambda one: one.taken_at)


def folders(store: Store, model: str) -> list[str]:
    """The names in the store of what was taken of a model, each at once."""
    folder = f"labels/{check_name(model)}"
    return [f"{folder}/{digest}" for digest in store.children(folder)]


def about(store: Store, folder: str) -> Labels:
    """What was taken at once.

    Args:
        store: The store.
        folder: Its name there (`Labels.folder`).
    """
    name = f"{folder}/{ABOUT}"
    return Labels.parse(store.read(name), store.uri(name))


def read(store: Store, labels: Labels) -> pa.Table:
    """The labels that were taken at once (`LABELS`)."""
    return pq.read_table(pa.BufferReader(store.read_bytes(f"{labels.folder}/{TABLE}")), schema=LABELS)
