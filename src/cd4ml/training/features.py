"""Which columns a model is trained on, and what each is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from cd4ml.contracts.model import Input, Kind, inputs, kind_of
from cd4ml.errors import TrainingError
from cd4ml.names import nearest
from cd4ml.training.statistics import Column, Date, Number, Text

LARGEST = 1e18
"""Larger numbers, and their squares, lose their meaning in the float32 of a model."""


def select(
    columns: pa.Schema,
    *,
    schema: Path,
    statistics: Mapping[str, Column],
    label: str,
    exclude: Sequence[str],
    texts: Sequence[str] = (),
) -> tuple[Input, ...]:
    """Names the features: the schema's columns but the label, the excluded ones and those that say nothing.

    Args:
        columns: Of the train split.
        schema: A TFDV schema as text proto; a column that it does not list is no feature.
        statistics: Of the train split; a column without values is no feature, and one of times is one where it is a
            `Date` there (`cd4ml.training.dates`).
        label: The column to predict.
        exclude: Columns that are no features.
        texts: Columns of text that are known by their words.

    Returns:
        The inputs in the order of the schema. Columns of lists are no features.

    Raises:
        TrainingError: A column that was named is not in the data, or no feature is left.
    """
    for name in (label, *exclude):
        if name not in columns.names:
            raise TrainingError(f"column {name!r} is not in the train split; {nearest(name, columns.names)}")
    listed = _listed(schema)
    absent = [name for name in listed if name not in columns.names]
    if absent:
        raise TrainingError(f"column {absent[0]!r} is in the schema {schema}, but not in the train split; correct one")
    kinds: dict[str, Kind] = {}
    able = set(listed) - {label, *exclude}
    dates = [name for name, column in statistics.items() if isinstance(column, Date)]
    for argument, names in (("texts", texts), ("dates", dates)):
        _check_named(argument, names, able)
    for name in texts:
        _check_text(name, columns, statistics)
    for name in listed:
        kind = "date" if name in dates else "text" if name in texts else kind_of(columns.field(name).type)
        if name in (label, *exclude) or kind is None or not _is_told(statistics.get(name), kind):
            continue
        _check(name, kind, statistics[name])
        kinds[name] = kind
    if not any(_says_something(statistics[name]) for name in kinds):
        raise TrainingError(
            f"no feature is left of the columns {', '.join(columns.names)}: a feature is listed in the schema, is a "
            "number, a text that occurs more than once, a boolean, or a date that is named in `dates`, and is neither "
            "the label nor excluded"
        )
    return tuple(_seen(one, statistics[one.name]) for one in inputs(kinds))


def _check_named(argument: str, names: Sequence[str], features: Collection[str]) -> None:
    for name in names:
        if name not in features:
            raise TrainingError(
                f"{argument}: column {name!r} is no feature; {nearest(name, features)}, or leave it out of exclude"
            )


def _check_text(name: str, columns: pa.Schema, statistics: Mapping[str, Column]) -> None:
    """Makes sure that a column can be known by its words."""
    if kind_of(columns.field(name).type) != "category":
        raise TrainingError(
            f"texts: column {name!r} holds {columns.field(name).type}, which has no words; leave it out"
        )
    if name not in statistics:
        raise TrainingError(
            f"texts: the statistics have no values of column {name!r}: it is empty or holds personal data; leave it "
            "out, or waive the finding personal_data (docs/audit.md)"
        )


def _is_told(column: Column | None, kind: Kind) -> bool:
    """Whether the statistics have of a column what a feature of that kind needs."""
    return column is not None and (kind != "category" or not isinstance(column, Text) or bool(column.values))


def _says_something(column: Column) -> bool:
    """A date that others are measured against alone is no feature."""
    return not isinstance(column, Date) or column.age is not None or bool(column.cycles)


def _seen(one: Input, column: Column) -> Input:
    """An input with the values that training saw."""
    if isinstance(column, Date):
        return replace(one, range=(column.earliest, column.latest), since=column.since, cycles=column.cycles)
    if isinstance(column, Text):
        return replace(one, vocabulary=column.values) if one.kind != "text" else one
    return replace(one, range=(column.minimum, column.maximum)) if one.kind == "number" else one


def _listed(schema: Path) -> list[str]:
    try:
        proto = text_format.Parse(schema.read_text(encoding="utf-8"), schema_pb2.Schema())
    except (OSError, ValueError, text_format.ParseError) as error:
        raise TrainingError(f"{schema}: not a TFDV schema as text proto ({error}); mend it, or infer one") from error
    return [feature.name for feature in proto.feature]


def _check(name: str, kind: Kind, column: Column) -> None:
    if isinstance(column, Number) and not max(abs(column.mean), column.deviation) < LARGEST:
        raise TrainingError(
            f"column {name!r} holds infinite numbers, or some beyond {LARGEST:g}; "
            "clean the source, or exclude the column"
        )
    if kind != "boolean" and isinstance(column, Text) != (kind in ("category", "text")):
        raise TrainingError(
            f"column {name!r} is a {kind} in the train split, but not in the statistics; "
            "give the statistics of this split"
        )
