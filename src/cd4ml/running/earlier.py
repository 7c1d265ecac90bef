"""A part of a pipeline, run with what an earlier run gave before it, whose folder is on this machine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from cd4ml.contracts.document import Document
from cd4ml.errors import ArgumentsError
from cd4ml.names import nearest
from cd4ml.running import begin, compiled
from cd4ml.running.cache import Cache
from cd4ml.running.walk import Part, with_defaults

OUTPUTS = "outputs"
"""The folder of a run with what each of its tasks and groups gave that passed."""
ARGUMENTS = "arguments.json"
"""The file of a run with its pipeline and its arguments, defaults included."""
GIVEN_BY: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {"check-arguments": begin.follows}
"""By task that checks more arguments than what it gives follows from: what that is, by output."""


@dataclass(frozen=True)
class Given(Document, kind="cd4ml/Given", remedy="name another run with --run, or remove the folder of this one"):
    """What a run on this machine was given."""

    pipeline: str
    arguments: Mapping[str, Any]
    """Defaults included."""


def keep_arguments(pipeline: Any, arguments: Mapping[str, Any], folder: Path) -> None:
    """Writes into the folder of a run what it was given."""
    spec: pb.PipelineSpec = pipeline.pipeline_spec
    Given(spec.pipeline_info.name, with_defaults(arguments, spec.root)).write(folder / ARGUMENTS)


def latest(runs: Path, pipeline: Any) -> Path:
    """The folder of the run of a pipeline that began last.

    Raises:
        ArgumentsError: There is none.
    """
    name = pipeline.pipeline_spec.pipeline_info.name
    found = [file for file in runs.glob(f"*/{ARGUMENTS}") if Given.read(file).pipeline == name]
    if not found:
        raise ArgumentsError(f"{runs}: there is no earlier run of {name}; run the whole pipeline first")
    return max(found, key=lambda file: (file.stat().st_mtime, file.parent.name)).parent


def outputs(run: Path, task: str) -> dict[str, Any]:
    """What a task of a run gave.

    Raises:
        ArgumentsError: It did not pass there, or its files have gone or changed.
    """
    found = Cache(str(run / OUTPUTS)).get(task)
    if found is None:
        raise ArgumentsError(
            f"run {run.name}: has nothing of {task}, which did not pass there, or whose files have gone or changed; "
            "name another run"
        )
    return found


def needing_nothing(pipeline: Any, task: str, *, alone: bool) -> Part | None:
    """A task with all that comes after it, or alone, where none of these waits for one before it; None else.

    Raises:
        ArgumentsError: There is no such task.
    """
    spec: pb.PipelineSpec = pipeline.pipeline_spec
    wanted, waits = chosen(spec, task, alone=alone), compiled.after(spec.root.dag.tasks)
    return Part("", frozenset(wanted), {}) if all(wanted.issuperset(waits[one]) for one in wanted) else None


def part(
    pipeline: Any,
    *,
    task: str,
    alone: bool,
    arguments: Mapping[str, Any],
    earlier: Path,
    may_differ: Collection[str] = (),
) -> Part:
    """A task with all that comes after it, or alone, and what an earlier run gave before it.

    Args:
        pipeline: What `dsl.pipeline` made.
        task: Its name, or the one that people see.
        alone: Whether nothing after it is to run.
        arguments: The pipeline's.
        earlier: The folder of the earlier run.
        may_differ: Arguments that need not be those of the earlier run.

    Raises:
        ArgumentsError: There is no such task, or the earlier run is not one to take something from.
    """
    spec: pb.PipelineSpec = pipeline.pipeline_spec
    waits = compiled.after(spec.root.dag.tasks)
    wanted = chosen(spec, task, alone=alone)
    before = [one for one in waits if one not in wanted and any(one in waits[other] for other in wanted)]
    now = {key: value for key, value in with_defaults(arguments, spec.root).items() if key not in may_differ}
    before_it = with_what_leads_to(before, waits)
    to = {*before_it, *wanted}
    leading = [one for one in before_it if waits[one] or _gives(spec, one, to)]
    _check_arguments(spec, leading, to=to, now=now, earlier=earlier)
    record = Cache(str(earlier / OUTPUTS))
    given = {one: record.get(one) for one in before}
    missing = [one for one, outputs in given.items() if outputs is None]
    if missing:
        raise ArgumentsError(
            f"run {earlier.name}: has nothing to take from {', '.join(missing)}, which did not pass there, or whose "
            f"files have gone or changed; name another run with --run, or begin with --from {missing[0]}"
        )
    return Part(
        earlier.name, frozenset(wanted), {one: outputs for one, outputs in given.items() if outputs is not None}
    )


def chosen(spec: pb.PipelineSpec, task: str, *, alone: bool = False) -> set[str]:
    """The names of a task and all that come after it, or of it alone.

    Raises:
        ArgumentsError: There is no such task.
    """
    name = _named(task, spec)
    return {name} if alone else _with_what_follows(name, compiled.after(spec.root.dag.tasks))


def with_what_leads_to(names: Collection[str], waits: Mapping[str, Sequence[str]]) -> list[str]:
    """Tasks and all that come before them, in order; `waits` is by task what it waits for, in order."""
    found = set(names)
    for one in reversed(list(waits)):
        if one in found:
            found.update(waits[one])
    return [one for one in waits if one in found]


def check_pipeline(spec: pb.PipelineSpec, *, run: str, pipeline: str) -> None:
    """Makes sure that a run is one of a pipeline.

    Raises:
        ArgumentsError: It is of another, `pipeline`.
    """
    if pipeline != spec.pipeline_info.name:
        raise ArgumentsError(f"run {run}: is of {pipeline}, not of {spec.pipeline_info.name}")


def _named(task: str, spec: pb.PipelineSpec) -> str:
    tasks = spec.root.dag.tasks
    names: dict[str, str] = {one.task_info.name: name for name, one in tasks.items()} | {name: name for name in tasks}
    if task in names:
        return names[task]
    groups = [name for name, one in tasks.items() if task in _within(spec, one)]
    if groups:
        raise ArgumentsError(f"{task}: is a part of {groups[0]}, which runs as a whole; name that")
    raise ArgumentsError(f"{task}: no such task; {nearest(task, compiled.after(tasks))}")


def _within(spec: pb.PipelineSpec, task: pb.PipelineTaskSpec) -> set[str]:
    """The names of what is in a group."""
    inner = spec.components[task.component_ref.name].dag.tasks
    return {*inner, *(one.task_info.name for one in inner.values())}.union(
        *(_within(spec, one) for one in inner.values())
    )


def _gives(spec: pb.PipelineSpec, task: str, to: Collection[str]) -> bool:
    """Whether what a task gives matters to some others; one that gives nothing looks at the arguments alone."""
    if task in GIVEN_BY:
        return bool(_taken(spec, task, to))
    outputs = spec.components[spec.root.dag.tasks[task].component_ref.name].output_definitions
    return bool(outputs.parameters or outputs.artifacts)


def _taken(spec: pb.PipelineSpec, task: str, to: Collection[str]) -> set[str]:
    """The values that some others take of what a task gives."""
    read = [one for other in to for one in spec.root.dag.tasks[other].inputs.parameters.values()]
    places = [one.task_output_parameter for one in read]
    return {place.output_parameter_key for place in places if place.producer_task == task}


def _with_what_follows(name: str, waits: Mapping[str, Sequence[str]]) -> set[str]:
    found = {name}
    for one, before in waits.items():
        if found.intersection(before):
            found.add(one)
    return found


def _check_arguments(
    spec: pb.PipelineSpec, before: Sequence[str], *, to: Collection[str], now: Mapping[str, Any], earlier: Path
) -> None:
    """Makes sure that what comes from an earlier run is what these arguments would give."""
    if not (earlier / ARGUMENTS).exists():
        raise ArgumentsError(
            f"{earlier}: has no {ARGUMENTS}, which every run writes; name another with --run, its folder with --runs"
        )
    given = Given.read(earlier / ARGUMENTS)
    check_pipeline(spec, run=earlier.name, pipeline=given.pipeline)
    then = with_defaults(given.arguments, spec.root)
    for task in before:
        if follows := GIVEN_BY.get(task):
            _check_values(_taken(spec, task, to), now=follows(now), then=follows(then), task=task, run=earlier.name)
            continue
        inputs = {one.component_input_parameter for one in spec.root.dag.tasks[task].inputs.parameters.values()}
        for name in sorted(inputs.intersection(now)):
            if now[name] != then.get(name):
                raise ArgumentsError(
                    f"run {earlier.name}: was given another {name}, on which {task} depends; "
                    f"begin with --from {task}, or name another run with --run"
                )


def _check_values(
    names: Collection[str], *, now: Mapping[str, Any], then: Mapping[str, Any], task: str, run: str
) -> None:
    for name in sorted(names):
        if now[name] != then[name]:
            raise ArgumentsError(
                f"run {run}: by these arguments {task} gives other {name}; begin with --from {task}, or name another "
                "run with --run"
            )
