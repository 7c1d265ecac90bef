"""How fast a published model learns online: every row is predicted before it teaches.

    make bench NAME=prequential

A linear model is trained on 20,000 rows of 20 features (14 numbers, 6 texts of 5 values each), and learns on from
`BENCH_ROWS` rows (500,000 if not said) whose labels come with delays of an hour on average, so that rows teach in
another order than they are asked in. What is timed is the whole of it: rows read, encoded by the model's preprocessing,
predicted, taught, checkpoints, and the model written. Once with the batches of 32 rows that are the default, and once
with batches of one row. TensorFlow is imported before. River's logistic regression with a standard scaler, the peer, is
not in any environment of this project; where it is installed beside it, its rows a second are told too.
"""

import os
import tempfile
import time
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from closing import at_least, close
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from cd4ml.contracts import model
from cd4ml.contracts.learning import ABOUT, MODEL, MOMENT, MOMENTS, Lesson, TaughtBy
from cd4ml.contracts.learning import ROWS as TABLE
from cd4ml.monitoring.online import Pace, learn
from cd4ml.training.request import Request
from cd4ml.training.train import train

ROWS, REPEATS, PEER_ROWS = int(os.environ.get("BENCH_ROWS", 500_000)), 3, 50_000
TRAINED, NUMBERS, TEXTS = 20_000, 14, 6
GOAL = 50_000
SECOND = 1_000_000


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        publish(folder)
        lesson = teach(folder)
        found = {batch: fastest(lesson, folder, batch) for batch in (32, 1)}
        theirs = peer(pq.read_table(lesson / TABLE)) if find_spec("river") else None
    for batch, seconds in found.items():
        print(f"batches of {batch:<3} {seconds:.2f} s, {ROWS / seconds:,.0f} rows a second")  # noqa: T201
    print(f"River          {f'{theirs:,.0f} rows a second' if theirs else 'not installed'}")  # noqa: T201
    speed = ROWS / found[32]
    close(
        "prequential",
        ratio=round(speed / theirs, 2) if theirs else None,
        seconds=round(found[32], 2),
        rows=ROWS,
        rows_a_second=round(speed),
        rows_a_second_one_by_one=round(ROWS / found[1]),
        goals=[at_least("rows a second", speed, GOAL, digits=0)],
    )


def fastest(lesson: Path, folder: Path, batch: int) -> float:
    """Seconds, the fastest of some learnings from the beginning."""
    seconds = []
    for number in range(REPEATS):
        place = folder / f"{batch}-{number}"
        began = time.perf_counter()
        with redirect_stdout(StringIO()):
            learn(lesson, store=str(place / "store"), output=place / "learnt", pace=Pace(batch=batch))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def peer(table: pa.Table) -> float:
    """Rows a second of River, which takes rows as dictionaries; their texts as they are, of which it makes columns."""
    from river import compose, linear_model, preprocessing  # type: ignore[import-not-found] # of no environment here

    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    learner = (numbers + (compose.SelectType(str) | preprocessing.OneHotEncoder())) | linear_model.LogisticRegression()
    rows = table.slice(0, PEER_ROWS).to_pylist()
    labels = [one.pop("took") for one in rows]
    began = time.perf_counter()
    for row, label in zip(rows, labels, strict=True):
        learner.predict_proba_one(row)
        learner.learn_one(row, label)
    return len(rows) / (time.perf_counter() - began)


def table(rows: int, seed: int) -> pa.Table:
    """Features and a label that follows from some of them."""
    random = np.random.default_rng(seed)
    numbers, texts = random.normal(size=(rows, NUMBERS)), random.integers(0, 5, (rows, TEXTS))
    score = numbers[:, 0] - numbers[:, 1] + (texts[:, 0] == 2) + 0.5 * (texts[:, 1] - 2)
    columns = {f"n{place}": pa.array(numbers[:, place]) for place in range(NUMBERS)}
    names = np.array(["red", "green", "blue", "black", "white"])
    columns |= {f"t{place}": pa.array(names[texts[:, place]]) for place in range(TEXTS)}
    return pa.table({**columns, "took": random.random(rows) < 1 / (1 + np.exp(-score))})


def teach(folder: Path) -> Path:
    """Writes a lesson."""
    lesson, random = folder / "lesson", np.random.default_rng(2)
    asked = np.arange(ROWS) * SECOND
    known = asked + random.exponential(3600 * SECOND, ROWS).astype(np.int64)
    lesson.mkdir()
    (folder / MODEL).rename(lesson / MODEL)
    pq.write_table(table(ROWS, 3), lesson / TABLE)
    pq.write_table(pa.table({"asked": pa.array(asked, MOMENT), "known": pa.array(known, MOMENT)}), lesson / MOMENTS)
    Lesson(
        model="uptake",
        version=1,
        digest=model.digest(lesson / MODEL),
        windows=(TaughtBy("20260101T000000Z-20260107T000000Z", 1, "sha256:", ROWS),),
        passed_over={},
        ripe_after=3 * 3600.0,
    ).write(lesson / ABOUT)
    return lesson


def publish(folder: Path) -> None:
    """Trains the model."""
    trained = table(TRAINED, 1)
    pq.write_table(trained, folder / "train")
    pq.write_table(table(4000, 2), folder / "eval")
    (folder / "statistics").mkdir()
    (folder / "statistics/train.pb").write_bytes(statistics(trained).SerializeToString())
    schema = schema_pb2.Schema()
    for name in trained.column_names:
        schema.feature.add(name=name)
    (folder / "schema").write_text(text_format.MessageToString(schema))
    request = Request(
        train=str(folder / "train"),
        eval=str(folder / "eval"),
        statistics=str(folder / "statistics"),
        schema=str(folder / "schema"),
        label="took",
        exclude=(),
        spec={"model": "linear", "epochs": 3},
        seed=0,
    )
    with redirect_stdout(StringIO()):
        train(request, folder=folder / MODEL)


def statistics(trained: pa.Table) -> statistics_pb2.DatasetFeatureStatisticsList:
    """What TFDV would say of the table, as far as training reads it."""
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = proto.datasets.add(num_examples=len(trained))
    for name in trained.column_names:
        feature = dataset.features.add()
        feature.path.step.append(name)
        if name.startswith("t") and name != "took":
            feature.string_stats.common_stats.num_non_missing = len(trained)
            for one in trained[name].value_counts().to_pylist():
                feature.string_stats.rank_histogram.buckets.add(label=one["values"], sample_count=one["counts"])
            continue
        numbers = trained[name].cast(pa.float64()).to_numpy()
        stats = feature.num_stats
        stats.common_stats.num_non_missing = len(trained)
        stats.min, stats.max, stats.mean, stats.std_dev = numbers.min(), numbers.max(), numbers.mean(), numbers.std()
        edges = np.quantile(numbers, np.linspace(0, 1, 11))
        histogram = stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
        for low, high in pairwise(edges):
            histogram.buckets.add(low_value=low, high_value=high)
    return proto


if __name__ == "__main__":
    main()
