"""Runs a pipeline on this machine through `kfp.local`, each component in the environment of its image.

KFP orders and executes the tasks; what it does otherwise than it must stands in `cd4ml.running.patches`.
"""

import contextlib
import hashlib
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from google.protobuf import json_format
from kfp import dsl, local
from kfp.pipeline_spec import pipeline_spec_pb2

import cd4ml
from cd4ml import images, supervisor
from cd4ml.errors import EnvironmentSetupError
from cd4ml.running import patches
from cd4ml.running.processes import Processes, Program
from cd4ml.running.schedule import Needs, Schedule
from cd4ml.storage import scratch

WORKSPACE = "cd4ml-run-"
"""The temporary folder of a run; those of runs that were killed are known by this prefix."""

State = Literal["waiting", "running", "passed", "failed", "stopped", "skipped"]


@dataclass
class Task:
    """One task of a run, as far as it is."""

    name: str
    """Its name in the pipeline, as `train-model-2`."""
    display_name: str
    component: str
    """The component's name, as `train_model`."""
    image: str
    log: Path
    folder: Path
    """Takes the task's outputs, one file or folder each."""
    state: State = "waiting"
    cached: bool = False
    started: float | None = None
    """`time.monotonic()` when it started."""
    ended: float | None = None
    signal: int | None = None
    """The signal that ended its process."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """By name: a value, or a `dsl.Artifact`."""

    @property
    def seconds(self) -> float:
        """How long it has run."""
        if self.started is None:
            return 0.0
        return (self.ended or time.monotonic()) - self.started

    @property
    def death(self) -> str:
        """What is known of a process that was ended by a signal."""
        if self.signal is None:
            return ""
        return f"ended by signal {self.signal}" + (": out of memory?" if self.signal == signal.SIGKILL else "")

    @property
    def environment(self) -> str:
        """The environment it runs in, as `tools`."""
        return images.environment(self.image)

    @property
    def headline(self) -> str:
        """The one figure that its component says matters."""
        for output in self.outputs.values():
            if isinstance(output, dsl.Artifact) and "headline" in output.metadata:
                return str(output.metadata["headline"])
        return ""


def tasks(pipeline: Any, folder: Path) -> list[Task]:
    """The tasks of a pipeline, in the order in which they will run.

    Args:
        pipeline: What `dsl.pipeline` made.
        folder: The run's folder.
    """
    spec: pipeline_spec_pb2.PipelineSpec = pipeline.pipeline_spec
    ordered = reversed(patches.order(spec.root.dag.tasks))
    return [
        Task(
            name=name,
            display_name=spec.root.dag.tasks[name].task_info.name or name,
            component=_component(_container(spec, name)),
            image=_container(spec, name)["image"],
            log=folder / "logs" / f"{name}.log",
            folder=folder / name,
        )
        for name in ordered
    ]


def run(
    pipeline: Any,
    *,
    arguments: Mapping[str, Any],
    planned: list[Task],
    folder: Path,
    cache: Path,
    changed: Callable[[Task], None],
    environment: Mapping[str, str],
) -> bool:
    """Runs a pipeline.

    Args:
        pipeline: What `dsl.pipeline` made.
        arguments: The pipeline's arguments.
        planned: What `tasks` gave; kept up to date while the pipeline runs.
        folder: The run's folder; its name is the name of the run.
        cache: The folder of KFP's cache.
        changed: Called when a task starts and when it ends.
        environment: What tasks find in theirs beside this process's own.

    Returns:
        Whether every task passed.

    Raises:
        KeyboardInterrupt: The run was stopped; so are the tasks that were running.
    """
    by_name = {task.name: task for task in planned}
    programs = {task.name: _program(pipeline.pipeline_spec, task) for task in planned}
    results = cache / code_digest(planned)
    missed: set[str] = set() if any(results.glob("*.json")) else set(by_name)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.gettempdir())
    scratch.clean(temporary, WORKSPACE)
    with (
        # Beside the other temporary folders, not in the run's: the path of a socket may have 108 characters.
        scratch.folder(temporary, WORKSPACE) as workspace,
        (folder / "logs" / "kfp.log").open("w") as log,
        contextlib.redirect_stdout(log),
        _orphans_adopted(),
        warnings.catch_warnings(),
        Processes({**environment, "TMPDIR": str(workspace)}) as processes,
    ):
        schedule = Schedule(
            processes,
            programs=programs,
            needs=_needs(pipeline.pipeline_spec),
            needed=lambda: _needed(pipeline.pipeline_spec, missed),
        )

        def start(name: str, command: Sequence[str], _: Mapping[str, str]) -> bool:
            missed.add(name)
            arguments = command[command.index("--executor_input") :]
            return _start(by_name[name], program=programs[name], arguments=list(arguments), processes=processes)

        warnings.simplefilter("ignore")  # KFP warns of resources, which have no effect on one machine
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(folder.parent),
            workspace_root=str(workspace),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(results),
        )
        try:
            with patches.applied(
                run=folder.name,
                schedule=schedule.run,
                execute=lambda name, execute: _execute(
                    by_name[name], execute=execute, changed=changed, processes=processes
                ),
                start=start,
            ):
                pipeline(**arguments)
        finally:
            for task in planned:
                task.state = "skipped" if task.state == "waiting" else task.state
    return all(task.state == "passed" for task in planned)


def check_environments(pipeline: Any) -> None:
    """Makes sure that each task of a pipeline has its environment.

    Raises:
        EnvironmentSetupError: One is not there, half made, or not what its lock names.
    """
    executors = pipeline.pipeline_spec.deployment_spec["executors"].values()
    wanted = sorted({images.environment(executor["container"]["image"]) for executor in executors})
    missing = [name for name in wanted if not (environments() / name / "ready").exists()]
    if missing:
        raise EnvironmentSetupError(
            f"{environments()}: no environment for {', '.join(missing)}; make it with `make setup`"
        )
    old = [name for name in wanted if not _is_of_its_lock(name)]
    if old:
        raise EnvironmentSetupError(
            f"{environments()}: the lock of {', '.join(old)} has changed; make the environment again with `make setup`"
        )


def _is_of_its_lock(name: str) -> bool:
    """Whether an environment holds what its lock names, where this is a checkout that has the locks."""
    lock = environments().parent / "images" / name / "requirements.txt"
    return not lock.exists() or lock.read_bytes() == (environments() / name / "ready").read_bytes()


def environments() -> Path:
    """The folder of the environments: this interpreter's own lies in it."""
    return Path(sys.prefix).parent


def code_digest(planned: list[Task]) -> str:
    """Tells one state of the library and its environments from another: results are reused within one alone."""
    package = Path(cd4ml.__file__).parent
    locks = [environments() / name / "ready" for name in sorted({task.environment for task in planned})]
    digest = hashlib.sha256()
    for file in [*sorted(package.rglob("*.py")), *sorted(package.rglob("*.j2")), *locks]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _container(spec: pipeline_spec_pb2.PipelineSpec, task: str) -> dict[str, Any]:
    component = spec.components[spec.root.dag.tasks[task].component_ref.name]
    executor = json_format.MessageToDict(spec.deployment_spec["executors"][component.executor_label])
    container: dict[str, Any] = executor["container"]
    return container


def _component(container: Mapping[str, Any]) -> str:
    arguments = container["args"]
    name: str = arguments[arguments.index("--function_to_execute") + 1]
    return name


def _program(spec: pipeline_spec_pb2.PipelineSpec, task: Task) -> Program:
    container = _container(spec, task.name)
    return Program(
        name=task.name,
        environment=task.environment,
        source=container["command"][-1],
        variables={one["name"]: one["value"] for one in container.get("env", [])},
        folder=task.folder,
        log=task.log,
    )


def _needs(spec: pipeline_spec_pb2.PipelineSpec) -> dict[str, Needs]:
    found = {}
    for name in spec.root.dag.tasks:
        asked = _container(spec, name).get("resources", {})
        found[name] = Needs(asked.get("cpuRequest", 1.0), asked.get("memoryRequest", 0.0) * 10**9)
    return found


def _needed(spec: pipeline_spec_pb2.PipelineSpec, missed: Collection[str]) -> set[str]:
    """The tasks that are known to run: those that are never reused, and those of which an input is another one.

    Args:
        spec: The pipeline's.
        missed: The tasks whose results could not be reused.
    """
    tasks = spec.root.dag.tasks
    other = {name for name in missed if tasks[name].caching_options.enable_cache}
    for name in reversed(patches.order(tasks)):
        inputs = tasks[name].inputs.artifacts.values()
        if any(one.task_output_artifact.producer_task in other for one in inputs):
            other.add(name)
    return other | {name for name, task in tasks.items() if not task.caching_options.enable_cache}


def _execute(
    task: Task,
    *,
    execute: Callable[[], tuple[dict[str, Any], bool]],
    changed: Callable[[Task], None],
    processes: Processes,
) -> tuple[dict[str, Any], bool]:
    """Executes a task, and keeps it up to date."""
    task.state, task.cached, task.started = "running", True, time.monotonic()
    changed(task)
    passed = False
    try:
        task.outputs, passed = execute()
    finally:
        task.ended = time.monotonic()
        task.state = "passed" if passed else "stopped" if processes.stopped else "failed"
        changed(task)
    return task.outputs, passed


def _start(task: Task, *, program: Program, arguments: list[str], processes: Processes) -> bool:
    """Runs a task's process to its end."""
    task.cached = False
    code = processes.run(program, arguments)
    task.signal = code - 128 if code - 128 in set(signal.valid_signals()) and not processes.stopped else None
    if task.signal:
        with task.log.open("a") as log:
            log.write(f"{task.death}\n")
    return code == 0


@contextlib.contextmanager
def _orphans_adopted() -> Iterator[None]:
    supervisor.adopt_orphans()
    try:
        yield
    finally:
        supervisor.adopt_orphans(False)
