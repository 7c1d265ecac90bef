"""What a run is asked to do: a pipeline, and its arguments, checked before anything runs."""

import getpass
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cd4ml import revision
from cd4ml.errors import ArgumentsError
from cd4ml.storage import local_path, open_store

if TYPE_CHECKING:
    from cd4ml.running.arguments import Arguments
    from cd4ml.running.run_file import RunFile
    from cd4ml.running.walk import Part

RunFileArgument = Annotated[
    Path,
    typer.Argument(
        parser=local_path,
        metavar="FILE",
        help="YAML: `pipeline: NAME` and its `arguments:`; `cd4ml arguments NAME` lists them.",
    ),
]


RunsOption = Annotated[Path, typer.Option(parser=local_path, metavar="FOLDER", help="The folder that takes the runs.")]
RUNS = Path("runs")
StoreOption = Annotated[
    str, typer.Option("--store", metavar="STORE", help="The store: a folder, or s3://bucket/prefix.")
]
STORE = "store"
"""The store of `cd4ml run` as its examples have it."""
FromTask = Annotated[
    str | None,
    typer.Option("--from", metavar="TASK", help="Run this task and all after it."),
]
OnlyTask = Annotated[str | None, typer.Option("--only", metavar="TASK", help="Run this task alone.")]
EarlierRun = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="The run that gave what comes before: one in RUNS, or, by its id or name, one that noted it in the store; "
        "the latest in RUNS of the pipeline if not said.",
    ),
]


@dataclass(frozen=True)
class Asked:
    """A pipeline and its arguments, which are what it takes."""

    name: str
    arguments: dict[str, Any]
    """Those that were given, as KFP takes them."""
    values: "Arguments"
    """All of them, defaults included."""
    store: str | None
    """Where datasets, published models and deployments lie, where the pipeline has such an argument."""
    model: str | None
    """The name of the model that is published or served."""
    port: int | None
    """Where this machine serves the model."""
    target: str | None
    """Where the model is served."""

    @property
    def recorded(self) -> dict[str, Any]:
        """The arguments as the record of a run has them."""
        return self.values.model_dump(mode="json", exclude_none=True)

    @cached_property
    def pipeline(self) -> Any:
        """What `dsl.pipeline` made."""
        return pipeline(self.name)


def read(file: Path, *, in_a_cluster: bool = False, instead: Mapping[str, Any] = MappingProxyType({})) -> Asked:
    """Reads and checks the file of a run, with the modules beside it that its models name.

    Git's revision is filled in where the pipeline wants one and the file names none.

    Args:
        file: The file.
        in_a_cluster: Whether a cluster is to run it, which sees no folder of this machine.
        instead: Arguments that take the place of those of the file.

    Raises:
        ArgumentsError: With every mistake.
    """
    from cd4ml.running import run_file

    said = _with_code(run_file.read(file, pipelines()))
    return checked(replace(said, arguments={**said.arguments, **instead}), in_a_cluster=in_a_cluster)


def _with_code(said: "RunFile") -> "RunFile":
    """With the source of each function of a model that lies beside the file, for it goes with the run."""
    from cd4ml.running.arguments import Means, model_of
    from cd4ml.training import trainers

    arguments = dict(said.arguments)
    for name in model_of(said.pipeline).named(Means.SPECIFICATION):
        if name in arguments:
            arguments[name] = trainers.with_code(arguments[name], said.path.parent)
    return replace(said, arguments=arguments)


def checked(said: "RunFile", *, in_a_cluster: bool = False) -> Asked:
    """Checks what a run is asked to do, as `read` does where it stands in a file.

    Raises:
        ArgumentsError: With every mistake.
    """
    # These take their time, and a file that is not there is told without them.
    from cd4ml.running.arguments import Means, check, model_of

    values = check(said, model_of(said.pipeline), in_a_cluster=in_a_cluster)
    unsaid = [name for name in values.named(Means.REVISION) if not getattr(values, name)]
    return Asked(
        said.pipeline,
        values.in_kfp(said.arguments) | {name: revision.of_working_folder() for name in unsaid},
        values,
        store=values.value(Means.STORE),
        model=values.value(Means.MODEL),
        port=values.value(Means.PORT),
        target=values.value(Means.TARGET),
    )


def part(wanted: Asked, runs: Path, *, from_task: str | None, only: str | None, run: str | None) -> "Part | None":
    """The part of a pipeline that is to run; None where that is all of it.

    Raises:
        ArgumentsError: The options do not go together, or the earlier run is not one to take something from.
    """
    task = only if from_task is None else from_task
    if from_task is not None and only is not None:
        raise ArgumentsError("--from and --only: name one of them; --only TASK runs nothing after it")
    if task is None:
        if run is not None:
            raise ArgumentsError(
                "--run: says where to take what comes before a task; name the task with --from or --only"
            )
        return None
    if run == "":
        raise ArgumentsError("--run: is empty; write the name of a run, or leave it out for the latest")
    from cd4ml.running import earlier, elsewhere
    from cd4ml.running.arguments import Means

    first = None if run else earlier.needing_nothing(wanted.pipeline, task, alone=only is not None)
    if first:
        return first
    folder = local_path(runs / run) if run else earlier.latest(runs, wanted.pipeline)
    arguments = wanted.arguments
    if run and wanted.store and not folder.is_dir():
        store = open_store(wanted.store)
        folder = elsewhere.bring(wanted.pipeline, task=task, alone=only is not None, store=store, run=run, runs=runs)
        arguments = wanted.recorded
    return earlier.part(
        wanted.pipeline,
        task=task,
        alone=only is not None,
        arguments=arguments,
        earlier=folder.resolve(),
        may_differ=wanted.values.named(Means.REVISION),
    )


def pipelines() -> list[str]:
    """The pipelines that there are."""
    import cd4ml.pipelines

    return sorted(module.name for module in pkgutil.iter_modules(cd4ml.pipelines.__path__) if module.ispkg)


def pipeline(name: str) -> Any:
    """What `dsl.pipeline` made, imported without KFP's search for the source of every caller.

    KFP calls `inspect.stack` for each setting of each task, and reads of it the name of one function: that is half of
    the time of compiling.
    """
    stack = inspect.stack
    inspect.stack = _callers  # type: ignore[assignment]
    try:
        return getattr(importlib.import_module(f"cd4ml.pipelines.{name}.pipeline"), name)
    finally:
        inspect.stack = stack


def _callers() -> list[tuple[Any, ...]]:
    """The first frames of `inspect.stack`, with their functions' names alone."""
    frame = sys._getframe(1)
    caller = frame.f_back or frame
    return [(one, one.f_code.co_filename, one.f_lineno, one.f_code.co_name) for one in (frame, caller)]


def whoever() -> str:
    """Who is logged in here; empty where nobody knows."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return ""
