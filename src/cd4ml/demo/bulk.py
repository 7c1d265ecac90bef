"""Requests of weeks that have passed, as a model server would have captured them (`cd4ml.contracts.captured`)."""

import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts.captured import REQUESTS
from cd4ml.contracts.model import Contract
from cd4ml.contracts.traffic import arm_of

LATENCY_MS = 3.0
"""The median that is made up, for nobody waited for these answers."""


def write(rows: pa.Table, predictions: pa.Array, *, capture: Path, contract: Contract, version: int, at: str) -> None:
    """Writes rows, each a request of its own, by the days on which they were asked for.

    Args:
        rows: With `request_id`, and the columns that the model takes.
        predictions: Of each row (list<double>).
        capture: The folder.
        contract: Of the model.
        version: Of the model.
        at: The column that says when a row was asked for.
    """
    count = len(rows)
    columns = {
        "at": rows[at],
        "request_id": rows["request_id"],
        "arm": pa.array([arm_of(str(version))] * count),
        "version": pa.array([str(version)] * count),
        "propensity": pa.array(np.ones(count)),
        "mirrored": pa.array(np.zeros(count, bool)),
        "unit": pa.nulls(count, pa.string()),
        "status": pa.array(np.full(count, 200, np.int16)),
        "latency_ms": pa.array(np.random.default_rng(count).lognormal(np.log(LATENCY_MS), 0.4, count)),
        "lookup_ms": pa.nulls(count, pa.float64()),
        "features": features(rows, contract),
        "outputs": pa.array([list(contract.names)] * count),
        "predictions": predictions,
    }
    table = pa.table(columns).cast(REQUESTS)
    days = pc.strftime(table["at"], "%Y-%m-%d")
    for day in pc.unique(days).to_pylist():
        folder = capture / "requests" / day
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pc.equal(days, day)), folder / f"day-{uuid.uuid4().hex}.parquet")


def features(rows: pa.Table, contract: Contract) -> pa.Array:
    """The features of each row, as JSON of a request with one row."""
    given = rows.select([one.name for one in contract.inputs]).to_pylist()
    return pa.array([json.dumps({name: [value] for name, value in row.items()}, default=str) for row in given])
