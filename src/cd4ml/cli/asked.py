"""What a run is asked to do: a pipeline, and its arguments, checked before anything runs."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from cd4ml import revision
from cd4ml.running import arguments as run_arguments
from cd4ml.storage import local_path

RunFileArgument = Annotated[
    Path,
    typer.Argument(
        parser=local_path, metavar="FILE", help="YAML: `pipeline: NAME` and its `arguments:`.", show_default=False
    ),
]


@dataclass(frozen=True)
class Asked:
    """A pipeline and its arguments, which are what it takes."""

    name: str
    pipeline: Any
    """What `dsl.pipeline` made."""
    parameters: dict[str, run_arguments.Parameter]
    arguments: dict[str, Any]


def read(file: Path) -> Asked:
    """Reads and checks the file of a run; git's revision is filled in where the pipeline wants one and it names none.

    Raises:
        ArgumentsError: With every mistake.
    """
    said = run_arguments.read(file, pipelines())
    module = pipeline_module(said.pipeline)
    pipeline = getattr(module, said.pipeline)
    parameters = _parameters(pipeline, module.WHOLE_NUMBERS)
    run_arguments.check(said, parameters, module.CHECKS, module.check_together)
    arguments = dict(said.arguments) | {
        name: str(said.arguments[name]) for name in module.WHOLE_NUMBERS if name in said.arguments
    }
    if "revision" in parameters and not arguments.get("revision"):
        arguments["revision"] = revision.of_working_folder()
    return Asked(said.pipeline, pipeline, parameters, arguments)


def pipelines() -> list[str]:
    """The pipelines that there are."""
    import cd4ml.pipelines

    return sorted(module.name for module in pkgutil.iter_modules(cd4ml.pipelines.__path__) if module.ispkg)


def pipeline_module(name: str) -> ModuleType:
    """The module of a pipeline, imported without KFP's search for the source of every caller.

    KFP calls `inspect.stack` for each setting of each task, and reads of it the name of one function: that is half of
    the time of compiling.
    """
    stack = inspect.stack
    inspect.stack = _callers  # type: ignore[assignment]
    try:
        return importlib.import_module(f"cd4ml.pipelines.{name}.pipeline")
    finally:
        inspect.stack = stack


def _parameters(pipeline: Any, whole_numbers: Collection[str]) -> dict[str, run_arguments.Parameter]:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    kinds = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    by_type: dict[int, run_arguments.Kind] = {
        kinds.STRING: str,
        kinds.NUMBER_INTEGER: int,
        kinds.NUMBER_DOUBLE: float,
        kinds.BOOLEAN: bool,
        kinds.LIST: list,
        kinds.STRUCT: dict,
    }
    specs = pipeline.pipeline_spec.root.input_definitions.parameters
    parameters = {}
    for name, spec in specs.items():
        kind, default = by_type[spec.parameter_type], json_format.MessageToDict(spec.default_value)
        if name in whole_numbers:
            kind, default = int, int(default)
        parameters[name] = run_arguments.Parameter(kind, required=not spec.is_optional, default=default)
    return parameters


def _callers() -> list[tuple[Any, ...]]:
    """The first frames of `inspect.stack`, with their functions' names alone."""
    frame = sys._getframe(1)
    caller = frame.f_back or frame
    return [(one, one.f_code.co_filename, one.f_lineno, one.f_code.co_name) for one in (frame, caller)]
