"""The file of a run: which pipeline, with which arguments; checked before anything runs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cd4ml.errors import ArgumentsError, Cd4mlError
from cd4ml.names import nearest

Kind = type[str] | type[int] | type[float] | type[bool] | type[list[Any]] | type[dict[str, Any]]


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


def read(path: Path, pipelines: Iterable[str]) -> RunFile:
    """Reads a file of the form `pipeline: NAME` and `arguments: {...}`.

    Args:
        path: A YAML file.
        pipelines: The pipelines that there are.

    Raises:
        ArgumentsError: The file is missing, is not YAML of this form, or names no pipeline.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentsError(f"{path}: {error.strerror}; name a YAML file with a pipeline's arguments") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentsError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict) or set(content) != {"pipeline", "arguments"}:
        raise ArgumentsError(f"{path}: must have the two keys `pipeline` and `arguments`, and no other")
    if content["pipeline"] not in pipelines:
        raise ArgumentsError(f"{path}: pipeline: unknown; {nearest(str(content['pipeline']), pipelines)}")
    if not isinstance(content["arguments"], dict):
        raise ArgumentsError(f"{path}: arguments: must be a mapping of names to values")
    return RunFile(path, content["pipeline"], content["arguments"])


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
    for name, value in file.arguments.items():
        if name not in parameters:
            mistakes.append(f"{name}: unknown; {nearest(name, parameters)}")
        elif not _is_a(value, parameters[name].kind):
            mistakes.append(f"{name}: {value!r} is not {_WORDS[parameters[name].kind]}")
        elif name in checks:
            try:
                checks[name](value)
            except Cd4mlError as error:
                mistakes.append(f"{name}: {error}")
    if not mistakes:
        defaults = {name: one.default for name, one in parameters.items()}
        try:
            together({**defaults, **file.arguments})
        except Cd4mlError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ArgumentsError(
            f"{file.path}: the arguments are not what {file.pipeline} takes:\n  " + "\n  ".join(mistakes)
        )


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
