"""What is patched in `kfp.local` while a pipeline runs.

| KFP's own | in its place |
| --- | --- |
| names the run by its own clock | the name of the run's folder |
| orders tasks that could run at the same time by chance | always the same order |
| tells nobody how far a task is, and repeats one that failed | a function that is told, and no retries |
| starts every component with one interpreter | a function that is given its command |
| runs one task after another | a function that may run them side by side |
| changes the logging and `print` of the whole process for each task | no change |
| reuses a result whose files are still there | only while they are what the task wrote, to the byte |
| runs a condition with the outputs in it as Python (GHSA-rhjm-6347-5x33), and takes one that fails for false | \
`cd4ml.running.conditions` |
"""

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.local import cache as kfp_cache
from kfp.local import executor_input_utils, graph_utils, io, logging_utils, status, subprocess_task_handler
from kfp.local.orchestrator import dag_orchestrator, enhanced_dag_orchestrator, orchestrator_utils, task_executor
from kfp.pipeline_spec import pipeline_spec_pb2

from cd4ml.contracts import document
from cd4ml.errors import ArgumentsError
from cd4ml.running import conditions

Schedule = Callable[[Mapping[str, Collection[str]], Callable[[str], bool]], bool]
"""Given by each task's name those that it waits for, and what executes a task: whether all passed."""
Execute = Callable[[str, Callable[[], tuple[dict[str, Any], bool]]], tuple[dict[str, Any], bool]]
"""Given a task's name, and what executes it: its outputs, and whether it passed."""
Start = Callable[[str, Sequence[str], Mapping[str, str]], bool]
"""Given a task's name, its command and its variables: runs it to its end; whether it passed."""


@contextlib.contextmanager
def applied(*, run: str, schedule: Schedule, execute: Execute, start: Start) -> Iterator[None]:
    """Patches `kfp.local` until the context ends.

    Args:
        run: The name of the run, and of the folder below the pipeline root that takes its outputs.
        schedule: Called with the tasks of a pipeline, to execute them in an order that keeps what each waits for.
        execute: Called for each task in place of what executes it.
        start: Called for each task that is not reused.
    """
    executing = threading.local()

    def watched(**keywords: Any) -> tuple[dict[str, Any], status.Status]:
        # A retry is for a pod that was lost; on one machine it would only repeat a mistake.
        keywords["task_spec"].ClearField("retry_policy")
        executing.task = keywords["task_name"]

        def plain() -> tuple[dict[str, Any], bool]:
            outputs, outcome = original(**keywords)
            return outputs, outcome == status.Status.SUCCESS

        outputs, passed = execute(executing.task, plain)
        return outputs, _status(passed)

    class Process(subprocess_task_handler.SubprocessTaskHandler):  # type: ignore[misc]
        def validate_image(self, image: str) -> None:
            """Every image of cd4ml is known."""

        def run(self) -> status.Status:
            return _status(start(executing.task, self.full_command, self.env_vars))

    original = task_executor.execute_single_task
    with (
        logging_utils.local_logger_context(),
        _replaced(logging_utils, "local_logger_context", contextlib.nullcontext),
        _replaced(logging_utils, "indented_print", contextlib.nullcontext),
        _replaced(dag_orchestrator, "run_dag", functools.partial(_run_dag, schedule)),
        _replaced(executor_input_utils, "get_local_pipeline_resource_name", lambda _: run),
        _replaced(graph_utils, "topological_sort_tasks", order),
        _replaced(task_executor, "execute_single_task", watched),
        _replaced(subprocess_task_handler, "SubprocessTaskHandler", Process),
        _replaced(kfp_cache, "LocalCache", Cache),
        _replaced(enhanced_dag_orchestrator.ConditionEvaluator, "evaluate_condition", staticmethod(_holds)),
    ):
        yield


_kfp_order = graph_utils.topological_sort_tasks


def order(tasks: Mapping[str, pipeline_spec_pb2.PipelineTaskSpec]) -> list[str]:
    """KFP's order, last task first; always the same, though protobuf gives the tasks in any."""
    ordered: list[str] = _kfp_order(dict(sorted(tasks.items())))
    return ordered


def _run_dag(
    schedule: Schedule,
    *,
    dag_component_spec: pipeline_spec_pb2.ComponentSpec,
    dag_arguments: Mapping[str, Any],
    fail_stack: list[str],
    **keywords: Any,
) -> tuple[dict[str, Any], status.Status]:
    """KFP's function that runs a pipeline, but for the order."""
    known = orchestrator_utils.OrchestratorUtils
    io_store = io.IOStore()
    inputs = known.join_user_inputs_and_defaults(dag_arguments, dag_component_spec.input_definitions)
    for name, value in inputs.items():
        io_store.put_parent_input(name, value)
    tasks = dag_component_spec.dag.tasks

    def execute(name: str) -> bool:
        outputs, outcome = task_executor.execute_single_task(
            task_name=name, task_spec=tasks[name], io_store=io_store, fail_stack=fail_stack, **keywords
        )
        if outcome != status.Status.SUCCESS:
            fail_stack.append(name)
            return False
        for key, value in outputs.items():
            io_store.put_task_output(name, key, value)
        return True

    if not schedule({name: list(tasks[name].dependent_tasks) for name in reversed(order(tasks))}, execute):
        return {}, status.Status.FAILURE
    return known.get_dag_outputs(dag_component_spec.dag.outputs, io_store), status.Status.SUCCESS


class Cache(kfp_cache.LocalCache):  # type: ignore[misc]
    """KFP's cache of results, which reuses one only as long as its files are what the task wrote."""

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Keeps the outputs of a task, with the digests of their files."""
        _write_metrics(outputs)
        super().put(key, outputs)
        document.write(self._digests(key), _digests(outputs))

    def get(self, key: str) -> dict[str, Any] | None:
        """The outputs of a task; None where there are none, or where a file has gone or is another."""
        outputs: dict[str, Any] | None = super().get(key)
        try:
            known = json.loads(self._digests(key).read_text())
        except (FileNotFoundError, ValueError):  # a value error: of a file that was cut short
            return None
        return outputs if outputs is not None and known == _digests(outputs) else None

    def _digests(self, key: str) -> Path:
        return Path(self.cache_root) / f"{key}.digests.json"


def _write_metrics(outputs: Mapping[str, Any]) -> None:
    """Gives metrics a file: they are metadata alone, and KFP's cache takes an artifact without a file for lost."""
    for artifact in outputs.values():
        if isinstance(artifact, dsl.Metrics | dsl.ClassificationMetrics) and not Path(artifact.path).exists():
            document.write(artifact.path, artifact.metadata)


def _digests(outputs: Mapping[str, Any]) -> dict[str, str]:
    """By output: over the names and bytes of its files; one without a file has none, and is never reused."""
    paths = {name: Path(one.path) for name, one in outputs.items() if isinstance(one, dsl.Artifact)}
    return {name: document.digest(path) for name, path in paths.items() if path.exists()}


_find = enhanced_dag_orchestrator.ConditionEvaluator._resolve_pipeline_channel


def _holds(condition: str, io_store: Any) -> bool:
    def value(name: str) -> Any:
        found = _find(name, io_store)
        if found is None:
            raise ArgumentsError(f"condition {condition}: the value {name} was not found")
        return found

    return conditions.holds(condition, value)


def _status(passed: bool) -> status.Status:
    return status.Status.SUCCESS if passed else status.Status.FAILURE


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
