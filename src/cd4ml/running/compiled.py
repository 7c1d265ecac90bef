"""A pipeline as KFP compiled it: the tree of its tasks, and what each of them runs and needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, TypeAlias

from kfp.local import utils
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from kubernetes.utils.quantity import parse_quantity

from cd4ml import images
from cd4ml.contracts.task_tree import Group, Task
from cd4ml.errors import ArgumentsError
from cd4ml.running.processes import Program

Container: TypeAlias = pb.PipelineDeploymentConfig.PipelineContainerSpec
_FUNCTION = "--function_to_execute"
_WORKERS = "workers"
"""The parameter of a task that says of how many processes, each with the same needs, it consists on one machine."""
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")


@dataclass(frozen=True)
class Needs:
    """What a task takes of the machine, as its pipeline says."""

    cores: float
    memory_bytes: float


def tree(pipeline: Any, folder: Path) -> Group:
    """The tasks of a pipeline, in the order in which they may run; the items of its loops are not known yet.

    Args:
        pipeline: What `dsl.pipeline` made.
        folder: The run's folder.
    """
    spec: pb.PipelineSpec = pipeline.pipeline_spec
    return _Builder(spec, folder).group(spec.root.dag, "", spec.pipeline_info.name)


def after(tasks: Mapping[str, pb.PipelineTaskSpec]) -> dict[str, list[str]]:
    """What each task of a graph waits for, in an order that keeps it; always the same order."""
    waits = {name: sorted(_after(tasks[name])) for name in sorted(tasks)}
    return {name: waits[name] for name in TopologicalSorter(waits).static_order()}


def artifacts_of(task: pb.PipelineTaskSpec) -> set[str]:
    """The tasks whose files a task reads."""
    inputs = task.inputs.artifacts.values()
    return {one.task_output_artifact.producer_task for one in inputs if one.HasField("task_output_artifact")}


def environments(pipeline: Any) -> list[str]:
    """The environments in which the tasks of a pipeline run."""
    executors = pipeline.pipeline_spec.deployment_spec["executors"].values()
    return sorted({images.environment(executor["container"]["image"]) for executor in executors})


def check_lightweight(pipeline: Any) -> None:
    """Makes sure that this machine can run each component of a pipeline.

    Raises:
        ArgumentsError: One is no lightweight Python component.
    """
    spec: pb.PipelineSpec = pipeline.pipeline_spec
    for name, component in spec.components.items():
        if component.executor_label and _FUNCTION not in container(spec, component).args:
            raise ArgumentsError(
                f"pipeline {spec.pipeline_info.name}: {name.removeprefix('comp-')} is no Python function "
                "(`@dsl.component`), and nothing else runs on one machine; run it with `cd4ml submit`"
            )


def container(spec: pb.PipelineSpec, component: pb.ComponentSpec) -> Container:
    """What a component runs in a cluster; empty where it imports an artifact."""
    executor = spec.deployment_spec["executors"][component.executor_label]
    return utils.struct_to_executor_spec(executor).container


def program(task: Task, runs: Container) -> Program:
    """What a task runs on this machine."""
    return Program(
        name=task.name,
        environment=task.environment,
        source=runs.command[-1],
        variables={one.name: one.value for one in runs.env},
        folder=task.folder,
        log=task.log,
    )


def needs(runs: Container, inputs: Mapping[str, Any]) -> Needs:
    """What it takes of the machine: a core where it does not say, and all of it once for each of its workers.

    Args:
        runs: What it runs.
        inputs: Its parameters, of which a quantity may be one, and how many workers it has.
    """
    asked, given = runs.resources, str(inputs.get(_WORKERS, "1"))
    workers = int(given) if given.isdecimal() else 1  # what is no number the task itself refuses
    return Needs(
        cores=workers * (_quantity(asked.resource_cpu_request, inputs) or 1.0),
        memory_bytes=workers * _quantity(asked.resource_memory_request, inputs),
    )


def _quantity(text: str, inputs: Mapping[str, Any]) -> float:
    """A quantity of Kubernetes, or the one that an input is; 0 where there is none."""
    placeholder = _PLACEHOLDER.fullmatch(text)
    found = inputs[placeholder[1]] if placeholder else text
    return float(parse_quantity(found)) if found else 0.0


def _after(task: pb.PipelineTaskSpec) -> set[str]:
    parameters = task.inputs.parameters.values()
    values = {one.task_output_parameter.producer_task for one in parameters if one.HasField("task_output_parameter")}
    return {*task.dependent_tasks, *values, *artifacts_of(task)}


class _Builder:
    def __init__(self, spec: pb.PipelineSpec, folder: Path) -> None:
        self._spec = spec
        self._folder = folder

    def group(self, graph: pb.DagSpec, name: str, display_name: str) -> Group:
        within = f"{name}." if name else ""
        nodes = [self._node(graph.tasks[one], within + one) for one in after(graph.tasks)]
        return Group(name, display_name, nodes)

    def _node(self, task: pb.PipelineTaskSpec, name: str) -> Task | Group:
        component = self._spec.components[task.component_ref.name]
        shown = task.task_info.name
        if not component.HasField("dag"):
            return self._task(task, component, name)
        if not task.WhichOneof("iterator"):
            return self.group(component.dag, name, shown)
        return Group(
            name,
            shown,
            iteration=lambda index: self.group(component.dag, f"{name}.{index}", f"{shown}.{index}"),
        )

    def _task(self, task: pb.PipelineTaskSpec, component: pb.ComponentSpec, name: str) -> Task:
        runs = container(self._spec, component)
        words = list(runs.args)
        own = words[words.index(_FUNCTION) + 1] if _FUNCTION in words else task.component_ref.name
        return Task(
            name=name,
            display_name=task.task_info.name,
            component=own.removeprefix("comp-"),
            image=runs.image,
            log=self._folder / "logs" / f"{name}.log",
            folder=self._folder / name,
        )
