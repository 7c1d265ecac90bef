"""The file of a run: which pipeline, with which arguments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cd4ml.errors import ArgumentsError
from cd4ml.names import nearest
from cd4ml.running import yaml_file
from cd4ml.running.yaml_file import Place


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
