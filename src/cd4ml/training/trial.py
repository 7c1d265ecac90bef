"""Tries a function on few rows before anybody waits for it: its model is trained, written, loaded and asked.

    python -m cd4ml.training.trial FOLDER

FOLDER holds `asked.json`: the specification of a function, and of the rows in `rows.parquet` the label, what is no
feature, and what a run says of the question. Without that file the rows are made up, of every kind of column, of which
the date is a feature too unless the specification says of `dates` what it likes. What was found is printed as JSON, in
the last line.
"""

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from cd4ml.contracts import model, moments, question
from cd4ml.contracts.columns import is_text
from cd4ml.contracts.model import SAVED_MODEL
from cd4ml.errors import TrainingError
from cd4ml.replies import reply
from cd4ml.training import split, statistics
from cd4ml.training.request import Request
from cd4ml.training.train import train

ASKED, ROWS = "asked.json", "rows.parquet"
MADE_UP, DATE = 768, "date"
MOST_PRINTED = 2**16
"""Characters that a function may print while it trains on so few rows."""
ASKED_TIMES = 20


def main(folder: Path) -> dict[str, str]:
    """Tries a function; what was found, by a word for each.

    Args:
        folder: As above; takes what is written.

    Raises:
        Cd4mlError: It cannot be used, or what it gives cannot.
    """
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    if (folder / ROWS).exists():
        table = pq.read_table(folder / ROWS)
    else:
        table, spec = made_up(MADE_UP), {"dates": [DATE], **asked["spec"]}
        asked = {**asked, "spec": spec, "label": "label", "exclude": []}
    splits = _splits(table, folder)
    (folder / "schema.pbtxt").write_text(_schema(table), encoding="utf-8")
    (folder / statistics.TRAIN).write_bytes(_statistics(pq.read_table(splits[0])))
    request = Request(
        train=str(splits[0]),
        eval=str(splits[1]),
        statistics=str(folder),
        schema=str(folder / "schema.pbtxt"),
        label=asked["label"],
        exclude=asked["exclude"],
        spec=asked["spec"],
        seed=0,
        problem=asked.get("problem", question.AUTO),
        positive=asked.get("positive", ""),
        classes=asked.get("classes", ()),
    )
    said, start = io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        trained = train(request, folder=folder / "model")
    seconds = time.monotonic() - start
    printed = len(said.getvalue())
    if printed > MOST_PRINTED:
        raise TrainingError(
            f"{asked['spec']['function']}: prints {printed:,} characters while it is trained on {trained.rows:,} rows, "
            f"and {MOST_PRINTED:,} are enough; print less (`verbose=0`), or say it by job.report"
        )
    return {
        "trained": f"on {trained.rows:,} rows, {trained.features} features, in {seconds:.1f} s",
        **_answers(folder / "model", splits[1]),
    }


def made_up(rows: int) -> pa.Table:
    """A table with every kind of column, with missing values, and a label that follows from them."""
    random = np.random.default_rng(0)
    number, amount = random.normal(40, 12, rows), random.gamma(0.3, 40.0, rows)
    text, boolean = random.choice(["north", "east", "south"], rows), random.random(rows) < 0.3
    days = random.uniform(0, 800, rows)
    score = 0.08 * (number - 40) + 0.5 * np.log1p(amount) - 1.5 * (text == "south") + boolean - days / 400
    missing = random.random((5, rows)) < 0.05
    return pa.table(
        {
            "number": pa.array(number, mask=missing[0]),
            "amount": pa.array(amount, mask=missing[1]),
            "text": pa.array(text, mask=missing[2]),
            "text_of_many_values": pa.array([f"t{one}" for one in random.integers(0, 50, rows)]),
            "boolean": pa.array(boolean, mask=missing[3]),
            DATE: pa.array((days * statistics.DAY).astype(np.int64), pa.timestamp("us"), mask=missing[4]),
            "label": random.random(rows) < 1 / (1 + np.exp(-score)),
        }
    )


def _splits(table: pa.Table, folder: Path) -> tuple[Path, Path]:
    train_split, eval_split = folder / "train", folder / "eval"
    for part, file in zip(split.for_trial(table), (train_split, eval_split), strict=True):
        pq.write_table(part, file)
    return train_split, eval_split


def _schema(table: pa.Table) -> str:
    schema = schema_pb2.Schema()
    for name in table.column_names:
        schema.feature.add(name=name)
    return str(text_format.MessageToString(schema, as_utf8=True))


def _statistics(table: pa.Table) -> bytes:
    """What training reads of TFDV's statistics; TFDV itself is of another environment."""
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = proto.datasets.add(num_examples=table.num_rows)
    for name in table.column_names:
        column = table.column(name)
        feature = dataset.features.add()
        feature.path.step.append(name)
        if is_text(column.type):
            stats = feature.string_stats
            for one in pc.value_counts(column.combine_chunks().drop_null()).to_pylist():
                stats.rank_histogram.buckets.add(label=one["values"], sample_count=one["counts"])
        elif moments.is_moment(column.type):
            stats = feature.num_stats
        elif model.kind_of(column.type):
            stats = feature.num_stats
            values = column.cast(pa.float64(), safe=False).drop_null().to_numpy()
            if len(values):
                stats.min, stats.max = values.min(), values.max()
                stats.mean, stats.std_dev = values.mean(), values.std()
        else:
            continue
        stats.common_stats.num_missing = column.null_count
        stats.common_stats.num_non_missing = len(column) - column.null_count
    return bytes(proto.SerializeToString())


def _answers(folder: Path, split: Path) -> dict[str, str]:
    """Asks the model that was written, as a server does."""
    contract = model.read_contract(folder)
    signature = tf.saved_model.load(str(folder / SAVED_MODEL)).signatures["serving_default"]
    raw = {name: tf.constant(values) for name, values in model.features(pq.read_table(split), contract).items()}
    one_row = {name: values[:1] for name, values in raw.items()}
    found = signature(**raw)[contract.output].numpy()
    size = sum(file.stat().st_size for file in folder.rglob("*"))
    return {
        "gives": f"{contract.output}, {found.dtype} {list(found.shape)}, from {found.min():.4g} to {found.max():.4g}",
        "saved": f"{size / 2**10:,.0f} KiB; loaded, it predicts the same",
        "answers": f"one row in {_milliseconds(signature, one_row):.2f} ms, {len(found)} rows in "
        f"{_milliseconds(signature, raw):.2f} ms",
    }


def _milliseconds(signature: Any, raw: dict[str, tf.Tensor]) -> float:
    """The median of some times."""
    times = []
    for _ in range(ASKED_TIMES):
        start = time.perf_counter()
        signature(**raw)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


if __name__ == "__main__":
    sys.exit(reply(lambda: main(Path(sys.argv[1]))))
