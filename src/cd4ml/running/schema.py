"""The arguments of a pipeline as a JSON Schema: for editors, and for the tables that people read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from cd4ml.running.arguments import Arguments

DIALECT = "https://json-schema.org/draft/2020-12/schema"
KEYWORDS = {"ge": "minimum", "le": "maximum"}
"""What pydantic calls by another name than JSON Schema, for numbers that it checks by functions."""
WORDS = {
    "string": "text",
    "integer": "whole number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


@dataclass(frozen=True)
class Row:
    """One setting, for people."""

    name: str
    kind: str
    """As `whole number, 0 to 64`; the name of a table where it has settings of its own."""
    default: str
    """As it is written in a run file; empty where it is left out, or must be written."""
    required: bool
    description: str


@dataclass(frozen=True)
class Table:
    """Settings that belong together."""

    name: str
    description: str
    rows: list[Row]


def of_run_file(pipeline: str, model: type[Arguments]) -> dict[str, Any]:
    """The JSON Schema of a file that runs a pipeline."""
    arguments = _schema(model)
    definitions = arguments.pop("$defs", {})
    return {
        "$schema": DIALECT,
        "title": f"A run of the pipeline {pipeline}",
        "type": "object",
        "properties": {"pipeline": {"const": pipeline}, "arguments": arguments},
        "required": ["pipeline", "arguments"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def tables(model: type[Arguments]) -> list[Table]:
    """What a pipeline takes: its arguments, then the settings that are within them, by alphabet."""
    schema = _schema(model)
    within = [one for one in schema["properties"].values() if "properties" in one]
    others = [*schema.get("$defs", {}).values(), *within]
    return [_table(one) for one in (schema, *sorted(others, key=lambda one: str(one["title"])))]


class _Written(GenerateJsonSchema):
    """The schema of what a person writes: null is no value, and a title that repeats a name says nothing."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if (key, value) != ("default", None)}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (a hook of pydantic)
        return False


def _schema(model: type[Arguments]) -> dict[str, Any]:
    found: dict[str, Any] = _with_keywords(model.model_json_schema(schema_generator=_Written))
    return found


def _with_keywords(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_keywords(one) for one in schema]
    if isinstance(schema, dict):
        return {KEYWORDS.get(key, key): _with_keywords(value) for key, value in schema.items()}
    return schema


def _table(schema: dict[str, Any]) -> Table:
    required = schema.get("required", [])
    rows = [_row(name, one, name in required) for name, one in schema["properties"].items()]
    return Table(schema["title"], schema.get("description", ""), rows)


def _row(name: str, schema: dict[str, Any], required: bool) -> Row:
    default = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else ""
    return Row(name, _kind(schema), default, required, schema.get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    """What a value is, in words."""
    several = schema.get("anyOf") or schema.get("oneOf") or schema.get("enum")
    if several:
        return " or ".join(_kind(one) if isinstance(one, dict) else f"`{one}`" for one in several)
    match schema:
        case {"$ref": place}:
            return str(place).rsplit("/", 1)[-1]
        case {"const": value}:
            return f"`{json.dumps(value)}`" if isinstance(value, bool) else f"`{value}`"
        case {"properties": _, "title": title}:
            return str(title)
        case {"type": "array", "items": items}:
            return f"list of ({_kind(items)})" if "anyOf" in items else f"list of {_kind(items)}"
        case {"type": "object", "additionalProperties": inner} if isinstance(inner, dict):
            return f"mapping to {_kind(inner)}"
    return ", ".join([WORDS.get(schema["type"], schema["type"]), *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        yield f"{low} to {high}"
    else:
        words = {"at least": low, "at most": high, "above": above, "below": below}
        yield from (f"{word} {bound}" for word, bound in words.items() if bound is not None)
