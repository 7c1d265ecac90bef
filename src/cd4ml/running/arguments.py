"""The file of a run: which pipeline, with which arguments; checked before anything runs."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cd4ml.errors import ArgumentsError, Cd4mlError
from cd4ml.names import nearest, shown
from cd4ml.running import yaml_file
from cd4ml.running.yaml_file import Place

Kind = type[str] | type[int] | type[float] | type[bool] | type[list[Any]] | type[dict[str, Any]]

MAX_BYTES = 100_000
"""Of all arguments as JSON: a task gets its own on the command line, which Linux ends at 131,072 bytes a word."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pipeline."""

    kind: Kind
    required: bool
    default: Any = None


@dataclass(frozen=True)
class RunFile:
    """What a run is asked to do."""

    path: Path
    pipeline: str
    arguments: Mapping[str, Any]
    written: Mapping[Place, str] = field(default_factory=dict)
    """The numbers, truth values and nulls of the arguments, as they stand in the file."""
    mistakes: Mapping[Place, str] = field(default_factory=dict)
    """Places of the arguments that can be read in more than one way."""


def read(path: Path, pipelines: Iterable[str]) -> RunFile:
    """Reads a file of the form `pipeline: NAME` and `arguments: {...}`.

    Args:
        path: A YAML file.
        pipelines: The pipelines that there are.

    Raises:
        ArgumentsError: The file is missing, is not YAML of this form, or names no pipeline.
    """
    found = yaml_file.read(path)
    content = found.value
    if not isinstance(content, dict) or set(content) != {"pipeline", "arguments"}:
        raise ArgumentsError(f"{path}: must have the two keys `pipeline` and `arguments`, and no other")
    outside = [f"{'.'.join(place)}: {said}" for place, said in found.mistakes.items() if len(place) == 1]
    if outside:
        raise ArgumentsError(f"{path}: " + "\n  ".join(outside))
    if content["pipeline"] not in pipelines:
        raise ArgumentsError(f"{path}: pipeline: unknown; {nearest(str(content['pipeline']), pipelines)}")
    if not isinstance(content["arguments"], dict):
        raise ArgumentsError(f"{path}: arguments: must be a mapping of names to values")
    return RunFile(
        path,
        content["pipeline"],
        content["arguments"],
        {place[1:]: text for place, text in found.written.items()},
        {place[1:]: said for place, said in found.mistakes.items()},
    )


def check(
    file: RunFile,
    parameters: Mapping[str, Parameter],
    checks: Mapping[str, Callable[[Any], Any]],
    together: Callable[[Mapping[str, Any]], None],
) -> None:
    """Makes sure that the arguments are what the pipeline takes.

    Args:
        file: The arguments.
        parameters: The pipeline's parameters.
        checks: By parameter: what raises a `Cd4mlError` when the value is not good.
        together: The same for all arguments, defaults included, once each is good by itself.

    Raises:
        ArgumentsError: With every mistake, one a line.
    """
    mistakes = [f"{name}: missing" for name, one in parameters.items() if one.required and name not in file.arguments]
    mistakes += [f"{'.'.join(place)}: {said}" for place, said in file.mistakes.items()]
    told = {place[0] for place in file.mistakes}
    for name, value in file.arguments.items():
        if name in told:
            continue
        if name not in parameters:
            mistakes.append(f"{name}: unknown; {nearest(name, parameters)}")
        elif not _is_a(value, parameters[name].kind):
            mistakes.append(f"{name}: {_another_kind(value, parameters[name].kind, file.written.get((name,)))}")
        elif value == "" and parameters[name].required:
            mistakes.append(f"{name}: is empty; write a text")
        elif name in checks:
            mistakes += _told(checks[name], value, f"{name}: ")
    mistakes += _too_long(file.arguments)
    if not mistakes:
        defaults = {name: one.default for name, one in parameters.items()}
        mistakes += _told(together, {**defaults, **file.arguments})
    if mistakes:
        raise ArgumentsError(
            f"{file.path}: the arguments are not what {file.pipeline} takes:\n  " + "\n  ".join(mistakes)
        )


def whole_number(lowest: int, highest: int) -> Callable[[int], int]:
    """A check of an argument that is a whole number within these bounds."""

    def check_bounds(value: int) -> int:
        if not lowest <= value <= highest:
            raise ArgumentsError(f"{value} is out of range; write a whole number from {lowest} to {highest}")
        return value

    return check_bounds


_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


def _is_a(value: Any, kind: Kind) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _another_kind(value: Any, kind: Kind, written: str | None) -> str:
    """What was given in place of a value of this kind, and what to write."""
    if value is None:
        return f"null is not {_WORDS[kind]}; write a value, or leave it out"
    given = shown(value) if written is None else written
    remedy = f"; write it in quotes: {json.dumps(given)}" if kind is str and written is not None else ""
    return f"{given} is not {_WORDS[kind]}{remedy}"


def _told(check_value: Callable[[Any], Any], value: Any, before: str = "") -> list[str]:
    try:
        check_value(value)
    except Cd4mlError as error:
        return [f"{before}{error}"]
    return []


def _too_long(arguments: Mapping[str, Any]) -> list[str]:
    sizes = {name: len(json.dumps(value)) for name, value in arguments.items()}
    if sum(sizes.values()) <= MAX_BYTES:
        return []
    longest = max(sizes, key=lambda name: sizes[name])
    return [
        f"{longest}: has {sizes[longest]:,} bytes as JSON, and all arguments together may have {MAX_BYTES:,}, for a "
        "task gets them on its command line; shorten it"
    ]
