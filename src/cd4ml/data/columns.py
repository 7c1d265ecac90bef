"""The columns of a dataset as a report shows them, read from TFDV's statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from cd4ml.data.statistics import Statistics

Kind = Literal["integer", "number", "text", "boolean", "time"]


@dataclass(frozen=True)
class Distribution:
    """How the values of a column lie in one split, the missing ones aside."""

    shares: Mapping[str, float]
    """Of text, the most frequent first, and of booleans: the share of each value."""
    edges: np.ndarray
    """Of numbers and times: the edges of the histogram's buckets, float64 [buckets + 1]."""
    below: np.ndarray
    """Of numbers and times: the share of the values below each edge, float64 [buckets + 1]."""


@dataclass(frozen=True)
class Column:
    """One column: figures of the train split, distributions of all."""

    name: str
    kind: Kind
    roles: tuple[str, ...]
    """What it is in the pipeline: `key`, `label`, `sensitive`, `slice`; none for a plain feature."""
    missing: float
    """Share of the rows."""
    values: int
    """Rows where it is not missing."""
    distinct: int | None
    """Different values, of text; an estimate."""
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    distributions: Mapping[str, Distribution]
    """By split."""

    @property
    def shown(self) -> list[tuple[float | str, str]]:
        """Mean, standard deviation, least and most: each to sort by, and for people."""
        spread = None if self.kind == "time" else self.std
        return [
            ("" if value is None else value, _shown(value, self.kind))
            for value in (self.mean, spread, self.low, self.high)
        ]

    @property
    def unique(self) -> bool:
        """Whether most rows have a text of their own, so that there is no distribution to see."""
        return self.distinct is not None and self.distinct > self.values / 2


def describe(
    statistics: Mapping[str, Statistics], schema: pa.Schema, roles: Mapping[str, Sequence[str]]
) -> list[Column]:
    """Describes every column.

    Args:
        statistics: By split.
        schema: The types of the columns.
        roles: The columns that have one, by role.
    """
    features = {
        split: {feature.path.step[0]: feature for feature in content.datasets[0].features}
        for split, content in statistics.items()
    }
    return [
        _column(field, {split: of_split[field.name] for split, of_split in features.items()}, roles) for field in schema
    ]


def _column(field: pa.Field, features: Mapping[str, Statistics], roles: Mapping[str, Sequence[str]]) -> Column:
    kind = _kind(field.type)
    train = features["train"]
    text, numbers = kind == "text", train.num_stats
    common = (train.string_stats if text else numbers).common_stats
    rows = common.num_non_missing + common.num_missing
    there = bool(common.num_non_missing) and not text
    return Column(
        name=field.name,
        kind=kind,
        roles=tuple(role for role, names in roles.items() if field.name in names),
        missing=common.num_missing / rows,
        values=common.num_non_missing,
        distinct=train.string_stats.unique if text else None,
        mean=numbers.mean if there else None,
        std=numbers.std_dev if there else None,
        low=numbers.min if there else None,
        high=numbers.max if there else None,
        distributions={split: _distribution(kind, feature) for split, feature in features.items()},
    )


def _shown(value: float | None, kind: Kind) -> str:
    if value is None or not np.isfinite(value):
        return "–" if value is None else "infinite"
    if kind == "time":
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _kind(type_: pa.DataType) -> Kind:
    if pa.types.is_string(type_) or pa.types.is_null(type_):
        return "text"
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_timestamp(type_):
        return "time"
    return "integer" if pa.types.is_integer(type_) else "number"


def _distribution(kind: Kind, feature: Statistics) -> Distribution:
    none = np.zeros(0)
    if kind == "text":
        there = feature.string_stats.common_stats.num_non_missing
        buckets = feature.string_stats.rank_histogram.buckets
        return Distribution({bucket.label: bucket.sample_count / there for bucket in buckets}, none, none)
    numbers = feature.num_stats
    if kind == "boolean":
        return Distribution({"false": 1 - numbers.mean, "true": numbers.mean}, none, none)
    buckets = [
        bucket
        for histogram in numbers.histograms[:1]
        for bucket in histogram.buckets
        if np.isfinite([bucket.low_value, bucket.high_value]).all() and bucket.high_value > bucket.low_value
    ]
    if not buckets:
        return Distribution({}, none, none)
    edges = np.array([bucket.low_value for bucket in buckets] + [buckets[-1].high_value])
    below = np.cumsum([0.0] + [bucket.sample_count for bucket in buckets])
    return Distribution({}, edges, below / below[-1])
