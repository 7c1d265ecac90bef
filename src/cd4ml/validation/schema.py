"""The schema of a dataset, and what in a split does not keep it: TFDV's own, as text protos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

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


def infer(train: Statistics, key: str) -> Schema:
    """Infers a schema from the train split.

    Beyond TFDV's inference: numbers must be finite, the key has no list of known values, and a value that the train
    split lacks is an anomaly only where it is more than a stray.
    """
    schema = tfdv.infer_schema(train)
    for feature in schema.feature:
        if feature.name == key:
            feature.ClearField("domain_info")
        elif feature.HasField("domain"):
            feature.distribution_constraints.min_domain_mass = KNOWN_SHARE
        elif feature.type == feature.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_name["FLOAT"].number:
            feature.float_domain.disallow_inf = True
    return schema


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
