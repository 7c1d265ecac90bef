"""A published model and windows of what it was asked, made up by chance with a seed."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import model, predictions
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.dataset import Origin
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.window import ROWS as SCHEMA
from cd4ml.contracts.window import Part, Window
from cd4ml.validation.drift import reference

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
REGIONS = ("north", "south", "west", "")
INPUTS = (
    Input("age", "number", range=(16.0, 90.0)),
    Input("spent", "number", range=(0.0, 1e9)),
    Input("region", "category", vocabulary=REGIONS),
    Input("member", "boolean"),
    Input("offered", "date"),
)
CLASSES = {"binary": ("false", "true"), "multiclass": ("book", "film", "game")}


def people(random: np.random.Generator, rows: int) -> dict[str, pa.Array]:
    """Rows that training and production have alike, and the answers of the model to them, `probabilities`."""
    return {
        "age": pa.array(np.round(random.uniform(18, 80, rows))),
        "spent": pa.array(np.round(random.lognormal(3, 1, rows)).astype(np.int64), mask=random.random(rows) < 0.1),
        "region": pa.array(random.choice(["north", "south", "west"], rows, p=[0.6, 0.3, 0.1])),
        "member": pa.array(random.random(rows) < 0.3),
        "offered": moments(-86_400 * 30 * random.random(rows)),
    }


def moments(seconds: np.ndarray) -> pa.Array:
    """Since the beginning of the window."""
    return pa.array(((BEGIN.timestamp() + seconds) * 1e6).astype(np.int64), pa.timestamp("us", "UTC"))


def answers(random: np.random.Generator, rows: int, classes: int = 2) -> np.ndarray:
    """What the model gives, float32 [rows], or [rows, classes]."""
    if classes == 2:
        return random.beta(2, 5, rows).astype(np.float32)
    return random.dirichlet(np.arange(1, classes + 1), rows).astype(np.float32)


def publish(
    store: Path, version: int = 1, *, rows: int = 4000, seed: int = 0, problem: str = "binary", keeps: bool = True
) -> None:
    """Publishes a version of `uptake` that was trained on so many rows.

    Args:
        store: The folder of the store.
        version: Its number.
        rows: It was trained on.
        seed: Of chance.
        problem: What it predicts.
        keeps: Whether it keeps what windows are held against.
    """
    random, folder = np.random.default_rng((seed, version)), store / "models/uptake" / str(version)
    data = DatasetReference("players", 3, "sha256:d")
    classes = CLASSES[problem]
    model.write_contract(
        Contract("took", classes, INPUTS, {}, problem=MULTICLASS if problem == "multiclass" else BINARY),
        folder / "model",
    )
    Version("uptake", version, f"sha256:{version}", "2026-01-01", "run", "", data).write(folder / "version.json")
    if keeps:
        origin, table = Origin(data.name, data.version, data.digest), pa.table(people(random, rows))
        reference.write(reference.take(table, origin=origin, split="train", without={}), folder / "reference.parquet")
        given = answers(random, rows, len(classes))
        predictions.write_outputs("probability", given, most=20_000, file=folder / "outputs.parquet")


def keep(store: Path, name: str, values: np.ndarray) -> None:
    """Changes a feature of the rows that version 1 keeps, and what its model knows of it."""
    folder = store / "models/uptake/1"
    before = reference.read(folder / "reference.parquet")
    reference.write(
        before.set_column(before.column_names.index(name), name, pa.array(values)), folder / "reference.parquet"
    )
    contract = model.read_contract(folder / "model")
    inputs = tuple(replace(one, vocabulary=tuple(set(values))) if one.name == name else one for one in contract.inputs)
    model.write_contract(replace(contract, inputs=inputs), folder / "model")


@dataclass
class Asked:
    """Rows that one version was asked about."""

    features: dict[str, pa.Array]
    given: np.ndarray
    version: str = "1"
    units: list[str] | None = None
    statuses: dict[str, int] = field(default_factory=dict)

    @classmethod
    def quietly(cls, random: np.random.Generator, rows: int, version: str = "1", classes: int = 2) -> "Asked":
        """As in training."""
        return cls(people(random, rows), answers(random, rows, classes), version)

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.given)


def repeated(asked: Asked, times: int) -> Asked:
    """Each row sent so many times by a caller of its own."""
    places = np.repeat(np.arange(asked.rows), times)
    features = {name: one.take(pa.array(places)) for name, one in asked.features.items()}
    return replace(asked, features=features, given=asked.given[places], units=[f"caller-{one}" for one in places])


def as_text(values: pa.Array) -> pa.Array:
    """A feature as it is captured."""
    if not pa.types.is_timestamp(values.type):
        return values.cast(pa.string())
    return pc.strftime(values, format="%Y-%m-%dT%H:%M:%SZ")


def window(folder: Path, *several: Asked, hours: int = 24, outputs: tuple[str, ...] = ("probability",)) -> Path:
    """Writes a window as the task that collects hands it on."""
    parts, tables, captured = [], [], dict[str, None]()
    names = dict.fromkeys(name for one in several for name in one.features)
    for asked in several:
        rows = asked.rows
        captured |= dict.fromkeys(asked.features)
        texts = [
            as_text(asked.features[name]) if name in asked.features else pa.nulls(rows, pa.string()) for name in names
        ]
        lists = asked.given.reshape(rows, -1 if rows else 1).astype(np.float64).tolist()
        columns = {
            "at": moments(np.linspace(0, 3600 * hours, rows, endpoint=False)),
            "request_id": [f"{asked.version}-{place}" for place in range(rows)],
            "version": [asked.version] * rows,
            "unit": pa.array(asked.units or [None] * rows, pa.string()),
            "outputs": pa.array([list(outputs)] * rows, pa.list_(pa.string())),
            "predictions": pa.array(lists, pa.list_(pa.float64())),
        }
        if texts:
            columns["features"] = pa.StructArray.from_arrays(texts, names=[*names])
        tables.append(pa.table(columns))
        statuses = asked.statuses or {"200": rows}
        requests = sum(statuses.values())
        parts.append(Part("blue", asked.version, False, requests, "", "", statuses, {"p50": 2.0, "p95": 5.0}, rows, 0))
    about = Window(
        model="uptake",
        begin=BEGIN.isoformat(),
        until=(BEGIN + timedelta(hours=hours)).isoformat(),
        number=2,
        digest="sha256:w",
        parts=tuple(part for part in parts if part.requests),
        apart={},
        repeated=0,
        features=tuple(sorted(captured)),
    )
    about.write(folder / "window.json")
    pq.write_table(pa.concat_tables(tables or [SCHEMA.empty_table()]), folder / "rows.parquet")
    return folder
