"""What a run would do, found out without running anything."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from cd4ml.contracts.document import Document
from cd4ml.contracts.task_tree import Group, State, Task
from cd4ml.errors import ArgumentsError
from cd4ml.running import compiled, earlier, execution
from cd4ml.running.cache import Cache
from cd4ml.running.local import code_digest
from cd4ml.running.walk import Part, Step, Values, Walk

RECENT = 5
"""So many earlier runs of a task tell how long it takes."""

Outcome = Literal["runs", "depends", "reused", "given", "skipped", "fails"]
_OUTCOMES: dict[State, Outcome] = {
    "running": "runs",
    "waiting": "depends",
    "passed": "reused",
    "skipped": "skipped",
    "failed": "fails",
}


@dataclass(frozen=True)
class Planned:
    """What would become of a task, or of a loop whose items are not known yet."""

    name: str
    """As people see it, and in which group it is."""
    component: str
    outcome: Outcome
    why: str
    """On what it depends, from which run it is given, whether it is reused in any case, or why it fails."""
    seconds: float | None
    """What it took in earlier runs of this machine, where it may run; None where it never did."""


@dataclass(frozen=True)
class _TaskEnded:
    name: str
    state: str
    cached: bool
    seconds: float


@dataclass(frozen=True)
class _Ended(Document, kind="cd4ml/LocalRun", remedy="remove the folder of this run"):
    """What the summary of a run on this machine says of its tasks."""

    pipeline: str
    started_at: str
    tasks: tuple[_TaskEnded, ...]


def plan(pipeline: Any, *, arguments: Mapping[str, Any], runs: Path, part: Part | None = None) -> list[Planned]:
    """What would become of each task of a pipeline, in order.

    Args:
        pipeline: What `dsl.pipeline` made.
        arguments: The pipeline's.
        runs: The folder of the earlier runs, and of the results that can be reused.
        part: What of the pipeline is to run; all of it where None.

    Raises:
        ArgumentsError: An argument is missing.
    """
    tree = compiled.tree(pipeline, runs)
    walk = Walk(_without_limits(pipeline.pipeline_spec), tree=tree, arguments=arguments, run="", part=part)
    folder = runs / ".cache" / code_digest(pipeline, arguments)
    results = Cache(str(folder)) if folder.exists() and not part else None
    supposed = set[str]()
    while steps := walk.ready():
        for step in steps:
            found = _kept(step, results)
            step.task.cached = found is not None
            if found is None and results and not step.spec.caching_options.enable_cache:
                found = _latest(step, pipeline, runs)
                supposed |= {step.task.name} if found is not None else set()
            if found is None:
                step.task.state = "running"
            else:
                walk.give(step, found)
    return list(_planned(walk, supposed=supposed, seconds=_seconds(runs, tree.display_name), given=part))


def _kept(step: Step, results: Cache | None) -> Values | None:
    """The result of a task, where it can be reused."""
    if results is None or not step.spec.caching_options.enable_cache:
        return None
    return results.get(execution.key(step, results))


def _latest(step: Step, pipeline: Any, runs: Path) -> Values | None:
    """What a task that is never reused gave in the latest run: it may give the same again."""
    try:
        run = earlier.latest(runs, pipeline)
    except ArgumentsError:
        return None
    return Cache(str(run / earlier.OUTPUTS)).get(step.task.name)


def _planned(walk: Walk, *, supposed: set[str], seconds: Mapping[str, float], given: Part | None) -> Iterator[Planned]:
    before = walk.before()
    nodes = {node.name: node for _, node in walk.tree.rows()}

    @cache
    def leading_to(name: str) -> set[str]:
        """All that is before a task or group."""
        direct = {one for own in _outward(name) for one in before.get(own, ())}
        within = {inner for inner in nodes for one in direct if inner.startswith(f"{one}.")}
        return direct.union(within, *map(leading_to, direct))

    for name, node in nodes.items():
        outcome: Outcome = "runs" if name in supposed else _OUTCOMES[node.state]
        if isinstance(node, Group) and (node.nodes or outcome not in ("fails", "depends")):
            continue
        why = ""
        if outcome == "fails":
            why = node.headline if isinstance(node, Group) else node.failure
        elif outcome == "reused" and given:
            outcome, why = "given", given.run
        elif outcome == "depends":
            waits = next((before[own] for own in _outward(name) if before.get(own)), [])
            why = ", ".join(nodes[one].display_name for one in waits if nodes[one].state != "passed")
        elif outcome in ("reused", "skipped") and (changing := leading_to(name) & supposed):
            names = sorted(nodes[one].display_name for one in changing)
            why = f"if {', '.join(names)} {'gives' if len(names) == 1 else 'give'} the same again"
        within = name.rpartition(".")[0]
        yield Planned(
            f"{node.display_name} ({within})" if within else node.display_name,
            component=node.component if isinstance(node, Task) else "",
            outcome=outcome,
            why=why,
            seconds=seconds.get(_anywhere(name)) if outcome in ("runs", "depends") else None,
        )


def _without_limits(spec: pb.PipelineSpec) -> pb.PipelineSpec:
    """A pipeline whose iterations do not wait for each other."""
    found = pb.PipelineSpec()
    found.CopyFrom(spec)
    for component in [found.root, *found.components.values()]:
        for task in component.dag.tasks.values():
            task.ClearField("iterator_policy")
    return found


def _outward(name: str) -> list[str]:
    """The names of a task and of the groups that it is in, the innermost first."""
    parts = name.split(".")
    return [".".join(parts[:number]) for number in range(len(parts), 0, -1)]


def _seconds(runs: Path, pipeline: str) -> dict[str, float]:
    """By task, what it took where it ran: the median of the latest runs."""
    took: dict[str, list[float]] = {}
    ended = [_Ended.read(file) for file in runs.glob("*/summary.json")]
    for one in sorted(ended, key=lambda one: one.started_at):
        for task in one.tasks if one.pipeline == pipeline else ():
            if task.state == "passed" and not task.cached:
                took.setdefault(_anywhere(task.name), []).append(task.seconds)
    return {name: statistics.median(some[-RECENT:]) for name, some in took.items()}


def _anywhere(name: str) -> str:
    """The name of a task in any iteration of its loop."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
