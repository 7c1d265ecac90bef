"""A model that sees dates, of classes that have an order: from a table to the predictions for another one."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from workplace import PORT, Outcome, Workplace

from cd4ml.contracts.model import read_contract

MOODS = ("low", "middle", "high")
ROWS = 1500
BEGIN = datetime(2025, 1, 1)
ARGUMENTS: dict[str, Any] = {
    "name": "moods",
    "source": "visits.parquet",
    "dataset": "visits",
    "key": "visit",
    "label": "mood",
    "classes": list(MOODS),
    "time_column": "asked_at",
    "store": "store",
    "split": {"by": "key", "eval": 0.2, "test": 0.2},
    "sensitive": ["region"],
    "baseline": {"model": "linear", "epochs": 2},
    "candidate": {"model": "linear", "epochs": 5, "dates": {"columns": ["joined_on"], "since": "asked_at"}},
    "model_limits": {"mean_class_error": {"max": 0.7, "baseline": {"max_change": -0.1}}},
    "port": PORT,
}


def make_visits(file: Path, rows: int = ROWS, seed: int = 1) -> pa.Table:
    """Who has joined long before the visit is in a better mood."""
    random = np.random.default_rng(seed)
    asked, days = random.integers(0, 400, rows), random.integers(0, 300, rows)
    mood = np.digitize(days + random.normal(0, 90, rows), [100, 200])
    table = pa.table(
        {
            "visit": np.arange(rows) + 10_000 * seed,
            "asked_at": [BEGIN + timedelta(days=int(one), hours=int(one) % 24) for one in asked],
            "joined_on": [(BEGIN + timedelta(days=int(one))).date() for one in asked - days],
            "spend": random.gamma(2, 10, rows).round(2),
            "region": random.choice(["north", "south"], rows),
            "mood": np.array(MOODS)[mood],
        }
    )
    pq.write_table(table, file)
    return table


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("visits"))


@pytest.fixture(scope="module")
def ran(place: Workplace) -> Outcome:
    make_visits(place.folder / "visits.parquet")
    (place.folder / "moods.yaml").write_text(yaml.safe_dump({"pipeline": "training", "arguments": ARGUMENTS}))
    return place.run("run", "moods.yaml")


def test_every_task_passes_and_the_model_knows_the_order_and_the_dates(ran: Outcome, place: Workplace) -> None:
    assert ran.code == 0, ran.output
    assert len(ran.states()) == 12
    assert set(ran.states().values()) == {"passed"}
    assert ran.summary["problem"] == "ordinal"
    assert ran.summary["deployment"]["max_difference"] <= 1e-5
    contract = read_contract(place.folder / "store" / "models" / "moods" / "1" / "model")
    assert contract.classes == MOODS
    assert [(one.name, one.kind) for one in contract.inputs if one.kind == "date"] == [
        ("asked_at", "date"),
        ("joined_on", "date"),
    ]


def test_its_pages_say_what_was_asked(ran: Outcome, place: Workplace) -> None:
    page = (ran.folder / "index.html").read_text()

    assert page.count("<iframe") == 5
    assert "mean class error: how many places the predicted class is from the true one" in page


def test_rows_of_another_table_are_predicted_by_the_version_that_was_published(ran: Outcome, place: Workplace) -> None:
    later = make_visits(place.folder / "later.parquet", rows=300, seed=2)

    done = place.run("predict", "moods@1", "later.parquet", "--key", "visit")

    assert done.code == 0, done.output
    table = deltalake.DeltaTable(place.folder / "store/predictions/moods/later").to_pyarrow_table()
    found = dict(zip(table["visit"].to_pylist(), table.to_pylist(), strict=True))
    asked = later.to_pylist()
    assert np.mean([found[one["visit"]]["predicted"] == one["mood"] for one in asked]) > 0.5
