"""Splits with their statistics and schema, as the data stage writes them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from cd4ml.contracts import model
from cd4ml.training.request import Request


@dataclass(frozen=True)
class Inputs:
    """What training takes but for the specification."""

    train_split: Path
    eval_split: Path
    statistics_folder: Path
    schema: Path
    label: str = "took"
    exclude: tuple[str, ...] = ("key",)

    def but(self, **changes: Any) -> "Inputs":
        return replace(self, **changes)


def players(rows: int, seed: int) -> pa.Table:
    """Every kind of column; the label follows from them with some noise."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 70, rows)
    spend = random.gamma(0.3, 40.0, rows)
    region = random.choice(["north", "east", "south"], rows)
    subscribed = random.random(rows) < 0.3
    score = 0.06 * (age - 44) + 1.2 * np.log1p(spend) - 1.5 * (region == "south") + 1.0 * subscribed - 1.5
    return pa.table(
        {
            "key": [f"p{number}" for number in range(rows)],
            "offered at": pa.array(np.arange(rows), pa.timestamp("s")),
            "age": pa.array(age, mask=random.random(rows) < 0.05),
            "spend_90d": pa.array(spend),
            "region": pa.array(region, mask=random.random(rows) < 0.05),
            "city": pa.array([f"c{number}" for number in random.integers(0, 50, rows)]),
            "subscribed": pa.array(subscribed, mask=random.random(rows) < 0.05),
            "took": random.random(rows) < 1 / (1 + np.exp(-score)),
        }
    )


def predictions_of(folder: Path, table: pa.Table, loaded: Any = None) -> np.ndarray:
    """What a model gives for the rows of a table, by its signature; `loaded` where it is."""
    contract = model.read_contract(folder)
    signature = (loaded or tf.saved_model.load(str(folder / "saved_model"))).signatures["serving_default"]
    found = signature(**{name: tf.constant(values) for name, values in model.features(table, contract).items()})
    return found[contract.output].numpy()


def statistics_of(table: pa.Table) -> statistics_pb2.DatasetFeatureStatisticsList:
    """What TFDV says of a table whose booleans and times were given to it as integers."""
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = proto.datasets.add(num_examples=table.num_rows)
    for name in table.column_names:
        column = table.column(name)
        feature = dataset.features.add()
        feature.path.step.append(name)
        if pa.types.is_string(column.type):
            counted = sorted(column.drop_null().value_counts().to_pylist(), key=lambda one: -one["counts"])
            stats = feature.string_stats
            for one in counted:
                stats.rank_histogram.buckets.add(label=one["values"], sample_count=one["counts"])
                stats.top_values.add(value=one["values"], frequency=one["counts"])
        else:
            if pa.types.is_timestamp(column.type):
                column = column.cast(pa.timestamp("s", column.type.tz), safe=False).cast(pa.int64())
            numbers = pc.cast(column, pa.float64())
            stats = feature.num_stats
            if numbers.null_count < len(numbers):
                stats.min, stats.max = pc.min_max(numbers).as_py().values()
                stats.mean = pc.mean(numbers).as_py()
                stats.std_dev = pc.stddev(numbers).as_py()
                edges = np.quantile(numbers.drop_null(), np.linspace(0, 1, 11), method="inverted_cdf")
                histogram = stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
                for low, high in itertools.pairwise(edges):
                    histogram.buckets.add(low_value=low, high_value=high)
        stats.common_stats.num_missing = column.null_count
        stats.common_stats.num_non_missing = len(column) - column.null_count
    return proto


def schema_of(table: pa.Table) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in table.column_names:
        schema.feature.add(name=name)
    return schema


@pytest.fixture(scope="session")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Inputs]:
    """Makes what training takes, from a train and an eval table."""

    def write(train: pa.Table, evaluation: pa.Table, **changes: Any) -> Inputs:
        folder = tmp_path_factory.mktemp("data")
        inputs = Inputs(folder / "train", folder / "eval", folder / "statistics", folder / "schema")
        pq.write_table(train, inputs.train_split)
        pq.write_table(evaluation, inputs.eval_split)
        inputs.statistics_folder.mkdir()
        (inputs.statistics_folder / "train.pb").write_bytes(statistics_of(train).SerializeToString())
        inputs.schema.write_text(text_format.MessageToString(schema_of(train), as_utf8=True))
        return inputs.but(**changes)

    return write


@pytest.fixture(scope="session")
def inputs(prepare: Callable[..., Inputs]) -> Inputs:
    return prepare(players(4000, seed=1), players(1000, seed=2))


def requested(inputs: Inputs, **settings: Any) -> Request:
    """A request of what is trained on these inputs."""
    files = {
        "train": inputs.train_split,
        "eval": inputs.eval_split,
        "statistics": inputs.statistics_folder,
        "schema": inputs.schema,
    }
    given = {"seed": 0, "label": inputs.label, "exclude": inputs.exclude, **files, **settings}
    return Request(**{name: str(value) if isinstance(value, Path) else value for name, value in given.items()})
