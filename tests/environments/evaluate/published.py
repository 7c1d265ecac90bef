"""A store with published models, made without training."""

from pathlib import Path

import deltalake
import pyarrow as pa

from cd4ml.contracts.model import digest
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.storage.folder import FolderStore


def publish(store: FolderStore, model: Path, number: int = 1, name: str = "uptake") -> Version:
    """Publishes a model that `evaluated_samples.make_model` made."""
    version = Version(
        name=name,
        version=number,
        digest=digest(model),
        published_at="2026-11-29T12:00:00+00:00",
        run="run-1",
        revision="",
        dataset=DatasetReference("players", 0, "rows:1"),
        arguments={"thresholds": [0.35, 0.5]},
    )
    store.add_folder(version.folder, {"model": model, "version.json": version.text})
    return version


def read(uri: str) -> pa.Table:
    """The latest version of a Delta table, as anybody reads it."""
    return deltalake.DeltaTable(uri).to_pyarrow_table()
