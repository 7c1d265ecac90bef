"""How long an epoch of `dnn` takes, against the two pipelines of `tf.data` that a user would write over the same model.

    make bench NAME=training

A table of 11 features is trained on as `train_model` does, which measures the train and the eval split at the end of
each epoch; the seconds are those of `history.json`, the least of the epochs after the first. Once the encoded rows are
in memory, once they are streamed from the file. The steps alone are as many as an epoch has, of one batch again and
again, the least of three times. The pipelines train only, in Keras' `fit`, their faster epoch of two:
`from_tensor_slices(dict).shuffle(rows).batch(size)`, and TFRecord, shuffled, batched and read by
`tf.io.parse_example`, ahead of the model. Each side is a process of its own, whose peak of memory is told. What a
pipeline takes grows with its rows, so that it is asked for a part of them: `BENCH_PEER_ROWS`. `BENCH_ROWS` are ours.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from closing import at_least, at_most, close
from features import FLAGS, KINDS, NUMBERS, TEXTS, columns
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract, inputs
from cd4ml.training import examples, network, objective, statistics
from cd4ml.training.examples import Block, Examples
from cd4ml.training.request import Request
from cd4ml.training.steps import Steps
from cd4ml.training.train import train
from cd4ml.training.trainers import Dnn

ROWS = int(os.environ.get("BENCH_ROWS", 2_000_000))
PEER_ROWS = min(int(os.environ.get("BENCH_PEER_ROWS", 100_000)), ROWS)
EVAL_ROWS = ROWS // 8
GROUP_ROWS = 8192
"""Rows of a row group, as `split_dataset` writes them."""
EPOCHS, TIMES = 5, 3
BATCHES = 16
GOAL_SLICES, GOAL_TFRECORD, GOAL_SHARE, GOAL_MIB = 20, 10, 0.7, 3072
LABEL = "took"
QUANTILES = (0.0, 16.0, 24.7, 32.9, 41.3, 50.4, 60.7, 73.2, 89.8, 116.7, 600.0)
"""Of the numbers, each tenth."""
BATCH = 2048
SPEC = Dnn(epochs=EPOCHS, patience=EPOCHS, batch_size=BATCH)
CONTRACT = Contract(
    LABEL,
    ("false", "true"),
    inputs(KINDS),
    SPEC.model_dump(exclude_none=True),
)


def main() -> None:
    """Measures each side, prints what it took, and as the last line JSON."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder / "train", ROWS)
        write(folder / "eval", EVAL_ROWS)
        describe(folder)
        found = {side: run(side, folder) for side in SIDES}
    for side, one in found.items():
        each = one["seconds"] / one["rows"] * 1e6
        shown = f"{one['rows']:,} rows: {one['seconds']:.2f} s, {each:.2f} microseconds a row, {one['mib']:.0f} MiB"
        share = f", {one['steps'] / one['seconds']:.0%} of it in the steps" if "steps" in one else ""
        print(f"{side}, {shown}{share}")  # noqa: T201
    ours = found["in memory"]

    def times(peer: str, side: str) -> float:
        rates = [found[one]["seconds"] / found[one]["rows"] for one in (peer, side)]
        return float(rates[0] / rates[1])

    close(
        "training",
        ratio=round(times("slices", "in memory"), 1),
        seconds=round(ours["seconds"], 2),
        peer_seconds=round(found["slices"]["seconds"] / PEER_ROWS * ROWS, 1),
        peak_mib=round(found["streamed"]["mib"]),
        rows=ROWS,
        goals=[
            at_least("times as fast as from_tensor_slices", times("slices", "in memory"), GOAL_SLICES, digits=1),
            at_least("the same, streamed", times("slices", "streamed"), GOAL_SLICES, digits=1),
            at_least("times as fast as TFRecord", times("tfrecord", "in memory"), GOAL_TFRECORD, digits=1),
            at_least("share of the epoch in the steps", ours["steps"] / ours["seconds"], GOAL_SHARE),
            at_most("peak MiB, streamed", found["streamed"]["mib"], GOAL_MIB, digits=0),
        ],
    )


def in_memory(folder: Path) -> dict[str, Any]:
    """An epoch whose rows are kept, and the steps of one that does nothing else."""
    examples.CACHE_BYTES = 2**62
    return trained(folder) | {"steps": steps_alone(folder)}


def streamed(folder: Path) -> dict[str, Any]:
    """An epoch whose rows are read anew."""
    examples.CACHE_BYTES = 0
    return trained(folder)


def trained(folder: Path) -> dict[str, Any]:
    """What `train_model` does."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        request = Request(
            train=str(folder / "train"),
            eval=str(folder / "eval"),
            statistics=str(folder),
            schema=str(folder / "schema"),
            label=LABEL,
            spec=CONTRACT.model,
            seed=0,
        )
        train(request, folder=Path(made) / "model")
        history = json.loads((Path(made) / "model" / model.HISTORY).read_text())
    return {"seconds": min(one["seconds"] for one in history[1:]), "rows": ROWS}


def steps_alone(folder: Path) -> float:
    """Seconds of an epoch's steps, each on the same batch."""
    encoded, head = networks(folder)
    split = Examples(folder / "eval", contract=CONTRACT, encoded=encoded)
    batch = next(split.blocks(batch=BATCH, batches=1, seed=0, epoch=1))
    repeated = Block([np.concatenate([one] * BATCHES) for one in batch.inputs], np.tile(batch.labels, BATCHES), None)
    learnt = objective.of(CONTRACT, split.labels)
    optimizer = keras.optimizers.Adam(SPEC.learning_rate)
    steps = Steps(head, exact=head, objective=learnt, optimizer=optimizer, batch=BATCH)
    steps.take(repeated)
    count = max(1, ROWS // len(repeated.labels))
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        for _ in range(count):
            steps.take(repeated)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * ROWS / (count * len(repeated.labels))


def slices(folder: Path) -> dict[str, Any]:
    """The table as tensors."""
    columns, labels = raw(folder)
    return fitted(folder, lambda: tf.data.Dataset.from_tensor_slices((columns, labels)).shuffle(PEER_ROWS).batch(BATCH))


def tfrecord(folder: Path) -> dict[str, Any]:
    """A file of `tf.train.Example`."""
    columns, labels = raw(folder)
    file = str(folder / "train.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for record in records(columns, labels):
            writer.write(record)
    features = {one.name: tf.io.FixedLenFeature([], one.dtype) for one in CONTRACT.inputs}
    features[LABEL] = tf.io.FixedLenFeature([], tf.float32)

    def parsed(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        found = tf.io.parse_example(serialized, features)
        return found, found.pop(LABEL)

    def dataset() -> tf.data.Dataset:
        read = tf.data.TFRecordDataset(file).shuffle(PEER_ROWS).batch(BATCH)
        return read.map(parsed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return fitted(folder, dataset)


def fitted(folder: Path, dataset: Callable[[], tf.data.Dataset]) -> dict[str, Any]:
    """What Keras' `fit` takes for an epoch of a dataset, after one in which all is compiled."""
    encoded, head = networks(folder)
    given = {one.name: keras.Input((), dtype=one.dtype, name=one.name) for one in CONTRACT.inputs}
    whole = keras.Model(given, head(encoded(list(given.values()))))
    optimizer = keras.optimizers.Adam(SPEC.learning_rate)
    whole.compile(optimizer=optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    data = dataset()
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        whole.fit(data, epochs=1, verbose=0)
        seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds[1:]), "rows": PEER_ROWS}


def raw(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The first rows of the table as the model takes them, and their labels."""
    table = pq.read_table(folder / "train").slice(0, PEER_ROWS)
    return model.features(table, CONTRACT), CONTRACT.labels(table)


def records(columns: dict[str, np.ndarray], labels: np.ndarray) -> Iterator[bytes]:
    """Each row as an Example."""
    rows = zip(*(one.tolist() for one in columns.values()), labels.tolist(), strict=True)
    for row in rows:
        features = {name: feature(value) for name, value in zip([*columns, LABEL], row, strict=True)}
        yield tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def feature(value: str | float) -> tf.train.Feature:
    """A value of an Example."""
    if isinstance(value, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def networks(folder: Path) -> tuple[keras.Model, keras.Model]:
    """The encoder and what is trained."""
    known = statistics.read(folder)
    keras.utils.set_random_seed(0)
    encoded = network.encoder(CONTRACT, known)
    return encoded, network.head(CONTRACT, statistics=known, encoded=encoded, spec=SPEC)


def write(file: Path, rows: int) -> None:
    """Writes features, and a label that follows from them."""
    random = np.random.default_rng(rows)
    writer = None
    for start in range(0, rows, 500_000):
        count = min(500_000, rows - start)
        found = columns(random, count, np.float32)
        score = (found["age"].fill_null(60).to_numpy() - 60) / 42 + 2 * found["subscribed"] - 1.5
        table = pa.table({**found, LABEL: random.random(count) < 1 / (1 + np.exp(-score))})
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table, row_group_size=GROUP_ROWS)
    assert writer
    writer.close()


def describe(folder: Path) -> None:
    """Writes the statistics and the schema of such rows, as `validate_dataset` does."""
    told = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = told.datasets.add(num_examples=ROWS)
    for values in TEXTS.values():
        text = dataset.features.add().string_stats
        text.common_stats.num_missing, text.common_stats.num_non_missing = 1, 1
        for value in values:
            text.rank_histogram.buckets.add(label=value, sample_count=2)
    for name in (*NUMBERS, *FLAGS):
        scale = (0.0, 1.0, 0.3, 0.46) if name in FLAGS else (0.0, 600.0, 60.0, 42.4)
        numbers = dataset.features.add().num_stats
        numbers.min, numbers.max, numbers.mean, numbers.std_dev = scale
        numbers.common_stats.num_missing, numbers.common_stats.num_non_missing = int(name in NUMBERS), 1
        quantiles = numbers.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
        for low, high in pairwise((0, 1) if name in FLAGS else QUANTILES):
            quantiles.buckets.add(low_value=low, high_value=high)
    schema = schema_pb2.Schema()
    for described, one in zip(dataset.features, CONTRACT.inputs, strict=True):
        described.path.step.append(one.name)
        schema.feature.add(name=one.name)
    (folder / statistics.TRAIN).write_bytes(told.SerializeToString())
    (folder / "schema").write_text(text_format.MessageToString(schema))


SIDES = {"in memory": in_memory, "streamed": streamed, "slices": slices, "tfrecord": tfrecord}


def run(side: str, folder: Path) -> dict[str, Any]:
    """What a process of its own measured."""
    told = subprocess.check_output([sys.executable, __file__, side, folder], stderr=subprocess.DEVNULL)  # noqa: S603
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        measured = SIDES[sys.argv[1]](Path(sys.argv[2]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(measured | {"mib": peak}))  # noqa: T201
