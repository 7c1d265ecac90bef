"""The schema of a dataset, and what in a split does not keep it: TFDV's own, as text protos."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from scipy import special

from cd4ml.contracts.findings import Finding
from cd4ml.errors import DataError
from cd4ml.validation.quiet_tfdv import tfdv
from cd4ml.validation.statistics import Statistics

Schema: TypeAlias = Any
"""A `tensorflow_metadata.proto.v0.schema_pb2.Schema`."""
Anomalies: TypeAlias = Any
"""A `tensorflow_metadata.proto.v0.anomalies_pb2.Anomalies`."""

KNOWN_SHARE = 0.99
"""In an inferred schema, the share of a text column that must be values which the train split has."""
CHANCE = 0.001
"""What chance makes less often than this, where the splits do not differ, is an anomaly."""


def parse(text: str) -> Schema:
    """Reads a curated schema.

    Raises:
        DataError: The text is not a schema.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise DataError(
            f"curated_schema: not a TFDV schema as text proto ({error}); mend it, or leave it out to infer one"
        ) from error


def infer(measured: Mapping[str, Statistics], key: str) -> Schema:
    """Infers a schema from the train split.

    Beyond TFDV's inference: numbers must be finite, the key has no list of known values, a value that the train split
    lacks is an anomaly only where it is more than a stray, and what the other splits lack or have beyond it is none
    where chance explains it, as where a column has many rare values, or misses a few.

    Args:
        measured: The statistics of the train split, and of others.
        key: The column that tells rows apart; empty where it is not known.
    """
    schema = tfdv.infer_schema(measured["train"])
    found = {split: _features(content) for split, content in measured.items()}
    for feature in schema.feature:
        train, *others = [features[feature.name] for features in found.values() if feature.name in features]
        if feature.name == key:
            feature.ClearField("domain_info")
        elif feature.HasField("domain"):
            known = min([KNOWN_SHARE, *(_known_share(train, other) for other in others)])
            feature.distribution_constraints.min_domain_mass = known
        elif feature.type == feature.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_name["FLOAT"].number:
            feature.float_domain.disallow_inf = True
        if feature.presence.min_fraction == 1 and others:
            _let_strays_be_missing(feature, train, others)
    return schema


def _features(content: Statistics) -> dict[str, Any]:
    return {feature.path.step[0]: feature for feature in content.datasets[0].features}


def _known_share(train: Any, other: Any) -> float:
    """The share of a split's texts that the train split has; 1 where the others are more than chance makes.

    That of texts that the train split lacks is at most what its texts of one row let expect (Good and Turing).
    """
    counts = {one.label: one.sample_count for one in train.string_stats.rank_histogram.buckets}
    there = sum(one.sample_count for one in other.string_stats.rank_histogram.buckets if one.label in counts)
    rows = other.string_stats.common_stats.num_non_missing
    if there >= rows:
        return 1.0
    once = sum(count == 1 for count in counts.values())
    expected = min(1.0, special.chdtri(2 * (once + 1), CHANCE) / 2 / sum(counts.values()))
    is_chance = special.bdtrc(rows - there - 1, rows, expected) >= CHANCE
    return math.floor(there / rows * 1e6) / 1e6 if is_chance else 1.0


def _let_strays_be_missing(feature: Any, train: Any, others: Sequence[Any]) -> None:
    """Allows the missing values of the other splits, where so few may by chance be in none of the train split."""
    rows = [_present(one) + _missing(one) for one in (train, *others)]
    count = sum(map(_missing, others))
    if count and (1 - rows[0] / sum(rows)) ** count >= CHANCE:
        feature.ClearField("shape")
        feature.value_count.min = feature.value_count.max = 1
        lowest = min(_present(one) / size for one, size in zip(others, rows[1:], strict=True))
        feature.presence.min_fraction = math.floor(lowest * 1e6) / 1e6


def _present(feature: Any) -> int:
    return int(_counts(feature).num_non_missing)


def _missing(feature: Any) -> int:
    return int(_counts(feature).num_missing)


def _counts(feature: Any) -> Any:
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def text(schema: Schema) -> str:
    """A schema as a text proto."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(schema))


def anomalies(statistics: Statistics, schema: Schema) -> Anomalies:
    """What in a split does not keep the schema."""
    return tfdv.validate_statistics(statistics, schema)


def findings(split: str, found: Anomalies) -> list[Finding]:
    """The anomalies of a split as findings, one a column."""
    return [_finding(split, ".".join(one.path.step) or name, one) for name, one in found.anomaly_info.items()]


def write_schema(schema: Schema, path: str | Path) -> None:
    """Writes a schema, one file."""
    _write_text(schema, Path(path))


def write_anomalies(found: Mapping[str, Anomalies], folder: str | Path) -> None:
    """Writes the anomalies of the splits: `train.pbtxt`, `eval.pbtxt` and `test.pbtxt`."""
    for split, content in found.items():
        _write_text(content, Path(folder) / f"{split}.pbtxt")


def _finding(split: str, column: str, anomaly: Any) -> Finding:
    error = anomaly.severity == anomaly.ERROR
    message = (
        f"{split}: column {column!r}: {anomaly.short_description}: {anomaly.description.rstrip(' .')}; "
        "clean the source, or allow it in a curated_schema"
    )
    return Finding("anomaly", "error" if error else "warning", split, column, None, message)


def _write_text(proto: Any, file: Path) -> None:
    from google.protobuf import text_format

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text_format.MessageToString(proto), encoding="utf-8")
