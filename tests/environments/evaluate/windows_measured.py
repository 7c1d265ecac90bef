"""Windows of models that were published, made up by chance with a seed, and a store that has both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import evaluation as evaluations
from cd4ml.contracts import model
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Check
from cd4ml.contracts.window import DOCUMENT, ROWS, TABLE, Window
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.evaluation import gate
from cd4ml.evaluation import limits as allowed
from cd4ml.monitoring import quality, window_table
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def publish(store: Path, evaluated: tuple[Any, Path], folder: Path, limits: Mapping[str, Any], **others: Any) -> None:
    """Publishes a model as `publish_model` does, as far as a window is measured by it.

    Args:
        store: The store.
        evaluated: What the fixtures `evaluated`, `prices` and `grades` give.
        folder: The model's.
        limits: That let it in.
        others: Further fields of its version.
    """
    evaluation = evaluated[1] / "evaluation"
    verdict = gate.check(evaluation, limits)
    number = others.pop("version", 1)
    version = Version(
        name="uptake",
        version=number,
        digest=model.digest(folder),
        published_at="2026-01-01T00:00:00+00:00",
        run="run-1",
        revision="",
        dataset=DatasetReference("players", 0, "sha256:d"),
        arguments={"model_limits": allowed.parse(limits).model_dump(mode="json", exclude_none=True)},
        **others,
    )
    contents = {"model": folder, evaluations.SUMMARY: evaluation / evaluations.SUMMARY, "verdict.json": verdict.text}
    FolderStore(store).add_folder(version.folder, {**contents, "version.json": version.text})


@dataclass(frozen=True)
class Rows:
    """What was asked, answered and came to be true, a row a request."""

    features: Mapping[str, Any]
    outputs: list[str]
    predictions: np.ndarray
    labels: list[str | None]
    arm: Any = "champion"
    version: Any = "1"
    propensity: Any = 1.0
    delay: timedelta = timedelta(hours=1)
    more: Mapping[str, Any] = field(default_factory=dict)

    def table(self, begin: datetime) -> pa.Table:
        """As a window has them."""
        count = len(self.labels)

        def whole(value: Any) -> np.ndarray:
            return np.broadcast_to(np.asarray(value), count)

        at = [begin + DAY * place / count for place in range(count)]
        labelled = [one + self.delay if label is not None else None for one, label in zip(at, self.labels, strict=True)]
        texts = {
            name: pa.array([None if one is None else str(one) for one in values])
            for name, values in self.features.items()
        }
        columns = {
            "at": at,
            "request_id": [f"{begin:%d}-{place}" for place in range(count)],
            "row": np.ones(count, np.int32),
            "arm": whole(self.arm),
            "version": whole(self.version),
            "propensity": whole(self.propensity),
            "mirrored": np.zeros(count, bool),
            "unit": pa.nulls(count, pa.string()),
            "outputs": [self.outputs] * count,
            "predictions": list(self.predictions.reshape(count, -1).astype(float)),
            "label": self.labels,
            "labelled_at": labelled,
            **self.more,
        }
        found = pa.table([pa.array(columns[name], ROWS.field(name).type) for name in ROWS.names], schema=ROWS)
        return found.append_column("features", pa.StructArray.from_arrays(list(texts.values()), list(texts)))


def collect(store: Path, rows: Rows | None, *, day: int = 0, looked: timedelta = 30 * DAY) -> Path:
    """A window of a day in the store, and the folder that `collect_window` hands on."""
    begin = BEGIN + day * DAY
    table = rows.table(begin) if rows else pa.table([pa.array([], one.type) for one in ROWS], schema=ROWS)
    about = Window(
        model="uptake",
        begin=begin.isoformat(),
        until=(begin + DAY).isoformat(),
        number=0,
        digest=window_table.digest(table),
        parts=(),
        apart={},
        repeated=0,
        at=(begin + DAY + looked).isoformat(),
    )
    if rows:
        about = window_table.commit(open_store(str(store)), about, table)
    folder = store.parent / f"window-{day}-{looked.total_seconds():.0f}"
    about.write(folder / DOCUMENT)
    pq.write_table(table, folder / TABLE)
    return folder


def measured(store: Path, rows: Rows | None, **others: Any) -> WindowQuality:
    """What is found of a window, read again from its file."""
    folder = collect(store, rows, **others)
    found = quality.measure(folder, store=str(store), output=folder / "quality.json")
    assert WindowQuality.read(folder / "quality.json") == found
    assert json.loads((folder / "quality.json").read_text())["kind"] == "cd4ml/WindowQuality"
    return found


def check(found: WindowQuality, name: str) -> Check:
    """That of a name."""
    return next(one for one in found.checks if one.name == name)
