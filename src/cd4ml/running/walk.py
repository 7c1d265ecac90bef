"""The way through a compiled pipeline: which of its tasks may begin, with which inputs.

What KFP's backend does with groups is done here with the same words of the compiled pipeline: a loop is opened once its
items are known, a condition is held against the inputs of its group, and what gets its input from a group gets what
the group's tasks gave.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kfp import dsl
from kfp.local import executor_output_utils, placeholder_utils
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from cd4ml.contracts.task_tree import ENDED, Artifact, Group, State, Task
from cd4ml.errors import ArgumentsError
from cd4ml.names import shown
from cd4ml.running import compiled, conditions
from cd4ml.running.processes import Program

Values = dict[str, Any]
"""By name: a value as JSON has it, a `dsl.Artifact`, or a list of them."""
_FIELD = re.compile(r'parseJson\(string_value\)\["(?P<key>[^"]+)"\]')
_CHANNEL = re.compile(r"inputs\.parameter_values\['(pipelinechannel--)?(?P<name>[^']+)'\]")
_STATUS = {"passed": "SUCCEEDED", "failed": "FAILED", "stopped": "CANCELLED"}


@dataclass
class Step:
    """A task or group of a graph that is open."""

    pipeline: pb.PipelineSpec
    spec: pb.PipelineTaskSpec
    component: pb.ComponentSpec
    node: Task | Group
    after: Sequence[str]
    always: bool
    """Whether it runs also where something before it failed."""
    inputs: Values | None = None
    """None until all that it waits for has ended."""
    outputs: Values = field(default_factory=dict)
    scopes: "list[_Scope]" = field(default_factory=list)
    """Of a group that is open: itself, or each iteration."""

    @property
    def task(self) -> Task:
        """What it is, where it is no group."""
        assert isinstance(self.node, Task)
        return self.node

    @cached_property
    def container(self) -> compiled.Container:
        """What a task runs in a cluster."""
        return compiled.container(self.pipeline, self.component)

    @cached_property
    def program(self) -> Program:
        """What a task runs on this machine."""
        return compiled.program(self.task, self.container)

    @cached_property
    def needs(self) -> compiled.Needs:
        """What a task takes of the machine."""
        return compiled.needs(self.container, self.inputs or {})


@dataclass(frozen=True)
class Part:
    """What of a pipeline is to run, by the names of its tasks and groups, none of which is within another."""

    run: str
    """The name of the run in which the whole of it ran; empty where nothing is taken from one."""
    chosen: frozenset[str]
    given: Mapping[str, Values]
    """What those gave in that run on which the chosen ones wait; all others are skipped."""


@dataclass
class _Scope:
    """A graph that is open: the pipeline, a group, or an iteration of a loop."""

    graph: pb.DagSpec
    group: Group
    inputs: Values
    steps: dict[str, Step]


class Walk:
    """The run of one pipeline.

    Args:
        spec: The pipeline.
        tree: Its tasks, whose states say how far the run is; iterations are added as loops open.
        arguments: The pipeline's.
        run: The run's name.
        changed: Called with each group that is not chosen, and what fails as its inputs are not there.
        keep: Called with the name of each task and group that is within no other, and what it gives.
        part: What of the pipeline is to run; all of it where None.

    Raises:
        ArgumentsError: An argument is missing.
    """

    def __init__(
        self,
        spec: pb.PipelineSpec,
        *,
        tree: Group,
        arguments: Mapping[str, Any],
        run: str,
        changed: Callable[[Task | Group], None] = lambda _: None,
        keep: Callable[[str, Values], object] = lambda *_: None,
        part: Part | None = None,
    ) -> None:
        self._spec = spec
        self._run = run
        self._changed = changed
        self._keep = keep
        self.tree = tree
        inputs = with_defaults(arguments, spec.root)
        missing = [name for name in spec.root.input_definitions.parameters if name not in inputs]
        if missing:
            raise ArgumentsError(f"pipeline {spec.pipeline_info.name}: no value for {', '.join(missing)}")
        self._root = self._scope(spec.root.dag, tree, inputs, always=False)
        if part:
            self._take(part)

    @property
    def failed(self) -> bool:
        """Whether a task or group has failed, after which none begins but those that always run."""
        return any(node.state == "failed" for _, node in self.tree.rows())

    def ready(self) -> list[Step]:
        """The tasks that may begin, in order, once all is opened that can be."""
        failed = self.failed
        steps = list(self._advance(self._root, failed))
        return steps if self.failed == failed else self.ready()

    def give(self, step: Step, outputs: Values) -> None:
        """Takes what a task or group gives; it has passed."""
        step.outputs = outputs
        if isinstance(step.node, Task):
            step.node.outputs = _plain(outputs)
        if "." not in step.node.name:
            self._keep(step.node.name, outputs)
        step.node.state = "passed"

    def waiting(self) -> Iterator[tuple[Step, set[str]]]:
        """The tasks that wait and whose turn may come next, each with the names of those whose files it reads."""
        for scope in self._open(self._root, most=os.cpu_count()):
            for step in scope.steps.values():
                if isinstance(step.node, Task) and step.node.state == "waiting":
                    yield step, {scope.steps[name].node.name for name in compiled.artifacts_of(step.spec)}

    def before(self) -> dict[str, list[str]]:
        """By the name of each task and group in what is open: those that it waits for, or waited for."""
        return {
            step.node.name: [scope.steps[name].node.name for name in step.after]
            for scope in self._open(self._root, ended=True)
            for step in scope.steps.values()
        }

    def _take(self, part: Part) -> None:
        for name, step in self._root.steps.items():
            group = step.node if isinstance(step.node, Group) else None
            if name in part.given:
                self.give(step, part.given[name])
                if isinstance(step.node, Task):
                    step.node.cached = True
            elif name not in part.chosen:
                step.node.state = "skipped"
            if group and name not in part.chosen:
                group.nodes.clear()
                group.headline = f"as in {part.run}" if name in part.given else ""

    def _scope(self, graph: pb.DagSpec, group: Group, inputs: Values, *, always: bool) -> _Scope:
        completed = pb.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED
        steps = {}
        for (name, after), node in zip(compiled.after(graph.tasks).items(), group.nodes, strict=True):
            spec = graph.tasks[name]
            steps[name] = Step(
                pipeline=self._spec,
                spec=spec,
                component=self._spec.components[spec.component_ref.name],
                node=node,
                after=after,
                always=always or spec.trigger_policy.strategy == completed,
            )
        return _Scope(graph, group, inputs, steps)

    def _open(self, scope: _Scope, *, most: int | None = None, ended: bool = False) -> Iterator[_Scope]:
        """A scope and those in it; of a loop so many, and those that have ended only where that is wanted."""
        yield scope
        for step in scope.steps.values():
            going_on = [one for one in step.scopes if ended or one.group.state not in ENDED]
            for inner in going_on[: step.spec.iterator_policy.parallelism_limit or most]:
                yield from self._open(inner, most=most, ended=ended)

    def _advance(self, scope: _Scope, failed: bool) -> Iterator[Step]:
        for step in scope.steps.values():
            may_begin = step.always or not failed
            if step.inputs is None and may_begin and step.node.state == "waiting":
                self._begin(scope, step, failed)
            if step.inputs is None or step.node.state in ENDED:
                continue
            if isinstance(step.node, Group):
                yield from self._within(step, failed)
            elif step.node.state == "waiting" and may_begin:
                yield step

    def _within(self, step: Step, failed: bool) -> Iterator[Step]:
        limit, going_on = step.spec.iterator_policy.parallelism_limit, 0
        for inner in step.scopes:
            if limit and going_on >= limit:
                return
            yield from self._advance(inner, failed)
            if all(_over(one, failed) for one in inner.steps.values()):
                inner.group.state = _together([one.node for one in inner.steps.values()])
            else:
                inner.group.state = step.node.state = "running"
                going_on += 1
        if not going_on:
            step.node.state = _together([inner.group for inner in step.scopes])
            if step.node.state == "passed":
                self.give(step, _outputs(step))

    def _begin(self, scope: _Scope, step: Step, failed: bool) -> None:
        """Gives a step its inputs, and opens a group, once all that it waits for has ended."""
        before = [scope.steps[name] for name in step.after]
        if not all(_over(one, failed) for one in before):
            return
        if not step.always and any(one.node.state != "passed" for one in before):
            self._skip(step)
            return
        try:
            inputs = self._inputs(scope, step)
            condition = step.spec.trigger_policy.condition
            if condition and not conditions.holds(condition, inputs.get):
                self._skip(step, f"not taken: {_CHANNEL.sub(lambda one: one['name'], condition)}")
                return
            step.inputs = inputs
            if isinstance(step.node, Group):
                step.scopes = self._scopes(step, step.node, inputs)
        except ArgumentsError as error:
            self._fail(step, str(error))

    def _scopes(self, step: Step, group: Group, inputs: Values) -> list[_Scope]:
        graph = step.component.dag
        kind = step.spec.WhichOneof("iterator")
        if not kind:
            return [self._scope(graph, group, inputs, always=step.always)]
        items = _items(step, inputs)
        item_input = getattr(step.spec, kind).item_input
        group.headline = f"{len(items)} item{'s' * (len(items) != 1)}"
        scopes = []
        for iteration, item in zip(group.iterations(len(items)), items, strict=True):
            iteration.headline = shown(item) if kind == "parameter_iterator" else ""
            within = self._without_placeholders({**inputs, item_input: item}, iteration.name)
            scopes.append(self._scope(graph, iteration, within, always=step.always))
        return scopes

    def _inputs(self, scope: _Scope, step: Step) -> Values:
        inputs = {}
        for name, wanted in step.spec.inputs.parameters.items():
            value = self._parameter(scope, step, wanted)
            if value is not _NOTHING:
                inputs[name] = value
        for name, wanted in step.spec.inputs.artifacts.items():
            kind = wanted.WhichOneof("kind")
            if kind == "task_output_artifact":
                place = wanted.task_output_artifact
                value = self._output(scope.steps[place.producer_task], step, place.output_artifact_key)
            else:
                value = scope.inputs.get(wanted.component_input_artifact, _NOTHING)
            if value is not _NOTHING:
                inputs[name] = value
        _check_finite(step.node.name, inputs)
        if isinstance(step.node, Group):
            inputs = self._without_placeholders(with_defaults(inputs, step.component), step.node.name)
        return inputs

    def _parameter(self, scope: _Scope, step: Step, wanted: pb.TaskInputsSpec.InputParameterSpec) -> Any:
        match wanted.WhichOneof("kind"):
            case "runtime_value":
                value = executor_output_utils.pb2_value_to_python(wanted.runtime_value.constant)
            case "task_output_parameter":
                place = wanted.task_output_parameter
                value = self._output(scope.steps[place.producer_task], step, place.output_parameter_key)
            case "component_input_parameter":
                value = scope.inputs.get(wanted.component_input_parameter, _NOTHING)
            case _:
                value = _final_status(scope.steps[wanted.task_final_status.producer_task].node, self._run)
        selector = wanted.parameter_expression_selector
        return _selected(value, selector) if selector else value

    def _output(self, before: Step, step: Step, key: str) -> Any:
        if key in before.outputs:
            return before.outputs[key]
        if step.always:
            return _NOTHING  # its component has a default, which KFP's compiler makes sure of
        raise ArgumentsError(f"{step.node.name}: {before.node.name} gave no {key.removeprefix('pipelinechannel--')}")

    def _without_placeholders(self, inputs: Values, name: str) -> Values:
        """Texts with the values of other inputs in them; those of a task are filled in with its command."""
        if not any(isinstance(value, str) and "{{$" in value for value in inputs.values()):
            return inputs
        plain = {key: value for key, value in inputs.items() if value == _plain(value)}
        found = placeholder_utils.resolve_self_references_in_executor_input(
            {"inputs": {"parameterValues": plain}, "outputs": {"outputFile": ""}},
            pipeline_resource_name=self._run,
            task_resource_name=name,
            pipeline_root="",
            pipeline_job_id=self._run,
            pipeline_task_id=name,
        )
        resolved: Values = found["inputs"]["parameterValues"]
        return inputs | resolved

    def _skip(self, step: Step, why: str = "") -> None:
        step.node.state = "skipped"
        if isinstance(step.node, Group):
            step.node.end()
            step.node.headline = why
            if why:
                self._changed(step.node)

    def _fail(self, step: Step, why: str) -> None:
        step.node.state = "failed"
        if isinstance(step.node, Group):
            step.node.headline = why
        else:
            step.node.failure = why
        self._changed(step.node)


_NOTHING = object()
"""In place of an input that is left out."""


def _check_finite(name: str, inputs: Values) -> None:
    """Makes sure that what a task or group is given can be handed on, which JSON and protobuf do with numbers alone."""
    for key, value in inputs.items():
        try:
            json.dumps(value, allow_nan=False, default=str)  # an artifact has no numbers
        except ValueError as error:
            raise ArgumentsError(
                f"{name}: its input {key.removeprefix('pipelinechannel--')} is {shown(value)}, and KFP hands on finite "
                "numbers alone; have the task before it give another"
            ) from error


def _over(step: Step, failed: bool) -> bool:
    """Whether a step has ended, or will not begin or go on as something else failed."""
    if step.node.state in ENDED:
        return True
    if not failed or step.always or (isinstance(step.node, Task) and step.node.state == "running"):
        return False
    return all(_over(one, failed) for inner in step.scopes for one in inner.steps.values())


def _together(nodes: "Sequence[Task | Group]") -> State:
    """How a group ended; it waits where nothing in it has begun or will."""
    states = {node.state for node in nodes}
    for worst in ("failed", "stopped"):
        if worst in states:
            return worst
    if "waiting" in states:
        return "stopped" if "passed" in states else "waiting"
    return "passed"


def _outputs(step: Step) -> Values:
    """What a group gives: what its tasks gave, or of a loop the list of what each iteration gave."""
    found = [_given(scope) for scope in step.scopes]
    if not step.spec.WhichOneof("iterator"):
        return found[0]
    graph = step.component.dag.outputs
    return {key: [one[key] for one in found if key in one] for key in (*graph.parameters, *graph.artifacts)}


def _given(scope: _Scope) -> Values:
    outputs = scope.graph.outputs
    chosen = {}
    for name, parameter in outputs.parameters.items():
        one = parameter.WhichOneof("kind") == "value_from_parameter"
        places = [parameter.value_from_parameter] if one else parameter.value_from_oneof.parameter_selectors
        chosen[name] = [(place.producer_subtask, place.output_parameter_key) for place in places]
    for name, artifact in outputs.artifacts.items():
        chosen[name] = [(place.producer_subtask, place.output_artifact_key) for place in artifact.artifact_selectors]
    return {
        name: scope.steps[task].outputs[key]
        for name, places in chosen.items()
        for task, key in places
        if key in scope.steps[task].outputs
    }


def _plain(value: Any) -> Any:
    """Outputs without KFP's classes."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return Artifact(value.uri, value.metadata) if isinstance(value, dsl.Artifact) else value


def _items(step: Step, inputs: Values) -> list[Any]:
    if step.spec.HasField("artifact_iterator"):
        items = inputs.get(step.spec.artifact_iterator.items.input_artifact)
    else:
        wanted = step.spec.parameter_iterator.items
        items = wanted.raw or inputs.get(wanted.input_parameter)
    with contextlib.suppress(ValueError):
        items = json.loads(items) if isinstance(items, str) else items
    if not isinstance(items, list):
        raise ArgumentsError(f"{step.node.name}: {shown(items)} is no list, whose items a loop could go through")
    return items


def _selected(value: Any, selector: str) -> Any:
    """A field of a value, by the only expression that KFP's compiler writes."""
    found = _FIELD.fullmatch(selector)
    fields = json.loads(value) if isinstance(value, str) else value
    if not found or not isinstance(fields, dict) or found["key"] not in fields:
        raise ArgumentsError(f"{selector}: {shown(value)} has no such field")
    return fields[found["key"]]


def _final_status(node: Task | Group, run: str) -> Values:
    """How a task ended, as KFP tells it to the task of an exit handler."""
    state = _STATUS.get(node.state, "SKIPPED")
    error = {"code": 1, "message": f"{node.name} failed"} if state == "FAILED" else {}
    return {"state": state, "pipeline_job_resource_name": run, "pipeline_task_name": node.name, "error": error}


def with_defaults(inputs: Mapping[str, Any], component: pb.ComponentSpec) -> Values:
    """Inputs with the defaults of those that are left out; an optional one without a default is null."""
    return {
        name: executor_output_utils.pb2_value_to_python(one.default_value) if one.HasField("default_value") else None
        for name, one in component.input_definitions.parameters.items()
        if name not in inputs and (one.HasField("default_value") or one.is_optional)
    } | dict(inputs)
