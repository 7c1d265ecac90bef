"""What the task's pod of `test_training_on_nodes` runs: it makes a small table, trains on it, and prints the losses.

It is given, as JSON in its only argument, fields of the request.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tensorflow_metadata.proto.v0 import statistics_pb2

from cd4ml.contracts import model
from cd4ml.training import task
from cd4ml.training.request import Request

FOLDER = Path("/tmp/made")
COLUMNS = ("age", "spend", "took")


def table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    age, spend = random.normal(size=(2, rows))
    took = random.random(rows) < 1 / (1 + np.exp(-(age - 0.5 * spend * age)))
    return pa.table(dict(zip(COLUMNS, (age, spend, took), strict=True)))


def statistics(made: pa.Table) -> bytes:
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = proto.datasets.add(num_examples=made.num_rows)
    for name in COLUMNS:
        values = made[name].to_numpy().astype(float)
        feature = dataset.features.add()
        feature.path.step.append(name)
        numbers = feature.num_stats
        numbers.min, numbers.max = values.min(), values.max()
        numbers.mean, numbers.std_dev = values.mean(), values.std()
        numbers.common_stats.num_non_missing = made.num_rows
    return proto.SerializeToString()


def main() -> None:
    (FOLDER / "statistics").mkdir(parents=True)
    made = table(4000, seed=1)
    pq.write_table(made, FOLDER / "train")
    pq.write_table(table(1000, seed=2), FOLDER / "eval")
    (FOLDER / "statistics/train.pb").write_bytes(statistics(made))
    (FOLDER / "schema").write_text("".join(f'feature {{ name: "{name}" }}\n' for name in COLUMNS))
    files = {name: str(FOLDER / name) for name in ("train", "eval", "statistics", "schema")}
    request = Request(**files, label="took", seed=7, gpus=0, **json.loads(sys.argv[1]))
    task.run(request, sweep={}, folder=FOLDER / "model", report=FOLDER / "report", logs=FOLDER / "logs")
    history = json.loads((FOLDER / "model" / model.HISTORY).read_text())
    losses = [[epoch["loss"], epoch["eval_loss"]] for epoch in history]
    print("LOSSES", json.dumps(losses), flush=True)  # noqa: T201 (what the test reads)


if __name__ == "__main__":
    main()
