"""The columns of a dataset as a report shows them, read from TFDV's statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from cd4ml.contracts.findings import day, number
from cd4ml.validation import outliers
from cd4ml.validation.on_disk import Table
from cd4ml.validation.outliers import Outliers
from cd4ml.validation.statistics import Statistics

Kind = Literal["integer", "number", "text", "boolean", "time"]

IN_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Column:
    """One column: figures of the train split, shares and histogram of all."""

    name: str
    kind: Kind
    roles: tuple[str, ...]
    """What it is in the pipeline: `key`, `label`, `sensitive`, `slice`; none for a plain feature.

    Of one that is `personal` no value is told.
    """
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
    shares: Mapping[str, Mapping[str, float]]
    """Of text and booleans: by split the share of each value, of text the most frequent ones first."""
    outliers: tuple[Outliers, ...]
    """Of numbers and moments in all splits."""

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
    statistics: Mapping[str, Statistics], tables: Mapping[str, Table], roles: Mapping[str, Sequence[str]]
) -> list[Column]:
    """Describes every column.

    Args:
        statistics: By split.
        tables: The splits that they are of.
        roles: The columns that have one, by role.
    """
    features = {
        split: {feature.path.step[0]: feature for feature in content.datasets[0].features}
        for split, content in statistics.items()
    }
    return [
        _unseen(field, tables["train"].column(field.name), roles)
        if field.name in roles.get("personal", ())
        else _column(
            field,
            features={split: of_split[field.name] for split, of_split in features.items()},
            tables=tables,
            roles=roles,
        )
        for field in tables["train"].schema
    ]


def kind_of(type_: pa.DataType) -> Kind:
    """What a column of this type holds."""
    if pa.types.is_string(type_) or pa.types.is_null(type_):
        return "text"
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_timestamp(type_):
        return "time"
    return "integer" if pa.types.is_integer(type_) else "number"


def is_named(type_: pa.DataType) -> bool:
    """Whether a column of this type holds values that are told one by one."""
    return kind_of(type_) in ("text", "boolean")


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """What is there of a column, moments as seconds since 1970; float64 [values]."""
    there = column.drop_null()
    if pa.types.is_timestamp(column.type):
        return np.asarray(there.cast(pa.int64()).to_numpy() / IN_A_SECOND[column.type.unit])
    return np.asarray(there.to_numpy(), np.float64)


def _unseen(field: pa.Field, values: pa.ChunkedArray, roles: Mapping[str, Sequence[str]]) -> Column:
    """A column of which no value is told."""
    return Column(
        name=field.name,
        kind=kind_of(field.type),
        roles=_roles(field.name, roles),
        missing=values.null_count / max(len(values), 1),
        values=len(values) - values.null_count,
        distinct=None,
        mean=None,
        std=None,
        low=None,
        high=None,
        shares={},
        outliers=(),
    )


def _roles(name: str, roles: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(role for role, names in roles.items() if name in names)


def _column(
    field: pa.Field,
    *,
    features: Mapping[str, Statistics],
    tables: Mapping[str, Table],
    roles: Mapping[str, Sequence[str]],
) -> Column:
    kind = kind_of(field.type)
    train = features["train"]
    text, measured = kind == "text", train.num_stats
    common = (train.string_stats if text else measured).common_stats
    rows = common.num_non_missing + common.num_missing
    there = bool(common.num_non_missing) and not text
    named = is_named(field.type)
    return Column(
        name=field.name,
        kind=kind,
        roles=_roles(field.name, roles),
        missing=common.num_missing / rows,
        values=common.num_non_missing,
        distinct=train.string_stats.unique if text else None,
        mean=measured.mean if there else None,
        std=measured.std_dev if there else None,
        low=measured.min if there else None,
        high=measured.max if there else None,
        shares={split: _shares(kind, feature) for split, feature in features.items()} if named else {},
        outliers=() if named else outliers.find(_numbers_of_all(field.name, tables), kind),
    )


def _numbers_of_all(name: str, tables: Mapping[str, Table]) -> np.ndarray:
    return np.concatenate([numbers(table.column(name)) for table in tables.values()])


def _shown(value: float | None, kind: Kind) -> str:
    if value is None:
        return "–"
    return day(value) if kind == "time" else number(value, 3)


def _shares(kind: Kind, feature: Statistics) -> dict[str, float]:
    if kind == "boolean":
        numbers = feature.num_stats
        return {"false": 1 - numbers.mean, "true": numbers.mean} if numbers.common_stats.num_non_missing else {}
    there = feature.string_stats.common_stats.num_non_missing
    return {bucket.label: bucket.sample_count / there for bucket in feature.string_stats.rank_histogram.buckets}
