"""What new data would change in a schema that people keep.

    python -m cd4ml.validation.schema_changes STATISTICS KEY [SCHEMA]

prints a `Proposal` as JSON, or `{"error": ...}` with exit code 1: the command line has no TFDV of its own.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from cd4ml.errors import DataError
from cd4ml.replies import reply
from cd4ml.validation import schema as schemas
from cd4ml.validation.quiet_tfdv import tfdv
from cd4ml.validation.schema import Schema
from cd4ml.validation.statistics import Statistics

SPLITS = ("train", "eval", "test")
SHOWN_VALUES = 5
DOMAINS = ("string_domain", "bool_domain", "int_domain", "float_domain")
TYPES = {"BYTES": "text", "INT": "whole number", "FLOAT": "number", "STRUCT": "struct", "TYPE_UNKNOWN": "unknown"}


@dataclass(frozen=True)
class Change:
    """What the data would change about one column."""

    column: str
    what: str
    """`new column`, `gone`, `type`, `presence`, `values` or `other rules`."""
    words: str
    compatible: bool
    """Whether what was made by the schema before, such as a model, can take the new data."""


@dataclass(frozen=True)
class Proposal:
    """A schema that the data keeps."""

    schema: str
    """Its text proto."""
    changes: tuple[Change, ...]
    """What is not as in the schema that people keep; none where they keep none."""


def propose(folder: str | Path, *, key: str, curated: str) -> Proposal:
    """Proposes a schema.

    Args:
        folder: The statistics of the splits that there are (layout: `cd4ml.validation.statistics`).
        key: The column that tells rows apart; empty where it is not known.
        curated: The schema that people keep, a text proto; empty infers one from the train split.

    Raises:
        DataError: The statistics cannot be read, or the schema is none.
    """
    statistics = _read(Path(folder))
    inferred = schemas.infer(statistics, key)
    if not curated:
        return Proposal(schemas.text(inferred), ())
    before = schemas.parse(curated)
    after = _updated(before, statistics, inferred)
    return Proposal(schemas.text(after), tuple(_changes(before, after)))


def _read(folder: Path) -> dict[str, Statistics]:
    files = {split: folder / f"{split}.pb" for split in SPLITS}
    if not files["train"].is_file():
        raise DataError(f"{folder}: holds no train.pb; name the statistics that validate_dataset wrote")
    try:
        return {split: tfdv.load_stats_binary(str(file)) for split, file in files.items() if file.is_file()}
    except DecodeError as error:
        raise DataError(f"{folder}: cannot be read as statistics ({error}); run validate_dataset again") from error


def _updated(before: Schema, statistics: Mapping[str, Statistics], inferred: Schema) -> Schema:
    """TFDV's update by each split; where it gives a column up whose type has changed, the column as it is now."""
    after = before
    for content in statistics.values():
        after = tfdv.update_schema(after, content)
    known, now = _features(before), _features(inferred)
    for name, feature in _features(after).items():
        if name in now and (name not in known or (_deprecated(feature) and not _deprecated(known[name]))):
            _replace(after, name, inferred)
    return after


def _replace(schema: Schema, name: str, inferred: Schema) -> None:
    _features(schema)[name].CopyFrom(_features(inferred)[name])
    for domain in [one for one in schema.string_domain if one.name == name]:
        schema.string_domain.remove(domain)
    schema.string_domain.extend(one for one in inferred.string_domain if one.name == name)


def _features(schema: Schema) -> dict[str, Any]:
    return {feature.name: feature for feature in schema.feature}


def _deprecated(feature: Any) -> bool:
    return bool(
        feature.lifecycle_stage
        == feature.DESCRIPTOR.file.enum_types_by_name["LifecycleStage"].values_by_name["DEPRECATED"].number
    )


def _changes(before: Schema, after: Schema) -> Iterator[Change]:
    known = _features(before)
    for name, feature in _features(after).items():
        if name not in known:
            yield Change(name, "new column", f"{_type(feature)}, {_presence(feature)}", compatible=True)
        elif _deprecated(feature) and not _deprecated(known[name]):
            words = f"there is none; was {_type(known[name])}, is kept as deprecated"
            yield Change(name, "gone", words, compatible=False)
        else:
            yield from _of_column(known[name], feature, _domains(before, after, name))


def _of_column(before: Any, after: Any, domains: tuple[Any, Any]) -> Iterator[Change]:
    name, found = after.name, []
    if before.type != after.type:
        found.append(("type", f"was {_type(before)}, is {_type(after)}"))
    elif domains[0] != domains[1]:
        found.append(("values", _values(*domains)))
    if _presence(before) != _presence(after):
        found.append(("presence", f"was {_presence(before)}, is {_presence(after)}"))
    if not found and before != after:
        found.append(("other rules", f"{', '.join(_differing(before, after))} would change"))
    yield from (Change(name, what, words, compatible=False) for what, words in found)


def _differing(before: Any, after: Any) -> list[str]:
    return [
        field.name for field in after.DESCRIPTOR.fields if getattr(before, field.name) != getattr(after, field.name)
    ]


def _type(feature: Any) -> str:
    field = feature.DESCRIPTOR.fields_by_name["type"]
    if feature.HasField("bool_domain"):
        return "true or false"
    return TYPES[field.enum_type.values_by_number[feature.type].name]


def _presence(feature: Any) -> str:
    if not feature.HasField("presence"):
        return "sometimes there"
    share = feature.presence.min_fraction
    return "always there" if share == 1 else f"there in at least {100 * share:.3g} % of the rows"


def _domains(before: Schema, after: Schema, name: str) -> tuple[Any, Any]:
    return _domain(before, name), _domain(after, name)


def _domain(schema: Schema, name: str) -> Any:
    """What the values of a column are held to; None for nothing."""
    feature = _features(schema)[name]
    if feature.HasField("domain"):
        return next((one for one in schema.string_domain if one.name == feature.domain), None)
    held = next((one for one in DOMAINS if feature.HasField(one)), None)
    return getattr(feature, held) if held else None


def _values(before: Any, after: Any) -> str:
    if type(before) is type(after) and hasattr(after, "value"):
        new = [value for value in after.value if value not in before.value]
        more = f" and {len(new) - SHOWN_VALUES} more" if len(new) > SHOWN_VALUES else ""
        return f"{len(new)} new: {', '.join(map(repr, new[:SHOWN_VALUES]))}{more}"
    return f"were {_held(before)}, are {_held(after)}"


def _held(domain: Any) -> str:
    """What a domain allows, in words."""
    if domain is None:
        return "any"
    if domain.DESCRIPTOR.name == "BoolDomain":
        return "true or false"
    if hasattr(domain, "value"):
        return f"{len(domain.value)} known ones"
    low = f"from {domain.min:g}" if domain.HasField("min") else ""
    high = f"to {domain.max:g}" if domain.HasField("max") else ""
    bounds = f"{low} {high}".strip()
    if domain.DESCRIPTOR.name == "FloatDomain" and domain.disallow_inf:
        return f"finite {bounds}".strip()
    return bounds or "any"


def main(folder: str, key: str, schema: str = "") -> int:
    """Prints what is proposed; the exit status."""

    def proposal() -> dict[str, Any]:
        curated = Path(schema).read_text(encoding="utf-8") if schema else ""
        return asdict(propose(folder, key=key, curated=curated))

    return reply(proposal, OSError, UnicodeDecodeError)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
