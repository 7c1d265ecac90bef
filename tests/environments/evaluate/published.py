"""A store with published models, made without training."""

from pathlib import Path

import deltalake
import pyarrow as pa
from tensorflow_metadata.proto.v0 import statistics_pb2

from cd4ml.contracts.model import digest
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.storage.folder import FolderStore

REGIONS = ("north", "south", "isle")


def publish(store: FolderStore, model: Path, number: int = 1, name: str = "uptake") -> Version:
    """Publishes a model that `evaluated_samples.make_model` made, as one that knows the regions."""
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
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    feature = statistics.datasets.add().features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    feature.path.step.append("region")
    for region in REGIONS:
        feature.string_stats.rank_histogram.buckets.add(label=region, sample_count=9)
    folder = model.with_name(f"{model.name}-statistics")
    folder.mkdir(exist_ok=True)
    (folder / "train.pb").write_bytes(statistics.SerializeToString())
    store.add_folder(version.folder, {"model": model, "statistics": folder, "version.json": version.text})
    return version


def read(uri: str) -> pa.Table:
    """The latest version of a Delta table, as anybody reads it."""
    return deltalake.DeltaTable(uri).to_pyarrow_table()
