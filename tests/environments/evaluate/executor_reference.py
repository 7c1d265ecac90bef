"""TFMA's own pipeline beside the executor: what differs between the files of the two."""

import math
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

from cd4ml.columnar import run, run_on_beam

TIGHT = 1e-9
RECORDS = {
    "metrics": writer.load_and_deserialize_metrics,
    "plots": writer.load_and_deserialize_plots,
    "attributions": writer.load_and_deserialize_attributions,
}


def differences(config: config_pb2.EvalConfig, columns: Any, seed: int | None = None, **close: float) -> list[str]:
    """Every number of metrics, plots, differences, intervals and validations that is not TFMA's; empty when all are."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        run(config, columns, ours, seed=seed)
        run_on_beam(config, columns, theirs)
        return compared(ours, theirs, **close)


def compared(ours: Path, theirs: Path, relative: float = TIGHT, absolute: float = 1e-13) -> list[str]:
    """What differs between two folders of TFMA's files."""
    found, expected = numbers(ours), numbers(theirs)
    problems = [f"{path}: only in ours" for path in sorted(found.keys() - expected.keys())]
    problems += [f"{path}: only in TFMA's, {expected[path]}" for path in sorted(expected.keys() - found.keys())]
    for path in sorted(found.keys() & expected.keys()):
        if not _same(found[path], expected[path], relative, absolute):
            problems.append(f"{path}: {found[path]}, TFMA has {expected[path]}")
    return problems


def numbers(folder: Path) -> dict[str, Any]:
    """Every number and text of TFMA's files, by where it is."""
    values: dict[str, Any] = {}
    for name, load in RECORDS.items():
        for record in load(str(folder)):
            proto = json_format.MessageToDict(record)
            key = proto.pop("sliceKey", None) or proto.pop("crossSliceKey", None)
            values[f"{name} {key}"] = "a slice"
            values.update(_flat(f"{name} {key}", _by_key(proto)))
    validation = json_format.MessageToDict(writer.load_and_deserialize_validation_result(str(folder)))
    slices = validation.pop("metricValidationsPerSlice", [])
    for one in slices:
        values.update(_flat(f"failures of {one.pop('sliceKey', None)} {one.pop('crossSliceKey', None)}", one))
    details = validation.get("validationDetails", {})
    details["slicingDetails"] = sorted(details.get("slicingDetails", []), key=str)
    values.update(_flat("validation", validation))
    return values


def _by_key(proto: Any) -> Any:
    """Lists of keys with values as dictionaries."""
    return {
        name: {str(one.pop("key", None)): one for one in value} if name.endswith("KeysAndValues") else value
        for name, value in proto.items()
    }


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path} / {name}", inner)
    elif isinstance(value, list):
        yield f"{path} / length", len(value)
        for place, inner in enumerate(value):
            yield from _flat(f"{path} / {place}", inner)
    else:
        yield path, value


def _same(one: Any, other: Any, relative: float, absolute: float) -> bool:
    if one == other:
        return True
    try:
        first, second = float(one), float(other)
    except (TypeError, ValueError):
        return isinstance(one, str) and _without_addresses(one) == _without_addresses(other)
    both_nan = math.isnan(first) and math.isnan(second)
    return both_nan or math.isclose(first, second, rel_tol=relative, abs_tol=absolute)


def _without_addresses(text: Any) -> str:
    return re.sub(r"0x[0-9a-f]+", "", str(text))
