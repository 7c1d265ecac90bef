"""Runs a pipeline on this machine through `kfp.local`, each component in the environment of its image.

KFP orders and executes the tasks; what it does otherwise than it must stands in `cd4ml.running.patches`.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import psutil
from kfp import dsl, local
from kfp.local import subprocess_task_handler
from kfp.pipeline_spec import pipeline_spec_pb2

import cd4ml
from cd4ml import images, supervisor
from cd4ml.errors import EnvironmentSetupError
from cd4ml.running import patches
from cd4ml.storage import scratch

STOP_SECONDS = supervisor.STOP_SECONDS + 2 * supervisor.KILL_SECONDS
"""After which a supervisor that was asked to end a task is taken for dead."""
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
    executors = spec.deployment_spec["executors"]
    ordered = reversed(patches.order(spec.root.dag.tasks))
    return [
        Task(
            name=name,
            display_name=spec.root.dag.tasks[name].task_info.name or name,
            component=_component(spec, name, executors),
            image=executors[_executor(spec, name)]["container"]["image"],
            log=folder / "logs" / f"{name}.log",
            folder=folder / name,
        )
        for name in ordered
    ]


def run(
    pipeline: Any,
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
        KeyboardInterrupt: The run was stopped; so is the task that was running.
    """
    by_name = {task.name: task for task in planned}
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
        patches.applied(
            run=folder.name,
            execute=lambda name, execute: _execute(by_name[name], execute, changed),
            start=lambda name, command, variables: _start(
                by_name[name], list(command), {**environment, "TMPDIR": str(workspace), **variables}
            ),
        ),
    ):
        warnings.simplefilter("ignore")  # KFP warns of resources, which have no effect on one machine
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(folder.parent),
            workspace_root=str(workspace),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(cache / code_digest(planned)),
        )
        try:
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


def _executor(spec: pipeline_spec_pb2.PipelineSpec, task: str) -> str:
    component = spec.components[spec.root.dag.tasks[task].component_ref.name]
    label: str = component.executor_label
    return label


def _component(spec: pipeline_spec_pb2.PipelineSpec, task: str, executors: Any) -> str:
    arguments = list(executors[_executor(spec, task)]["container"]["args"])
    name: str = arguments[arguments.index("--function_to_execute") + 1]
    return name


def _execute(
    task: Task, execute: Callable[[], tuple[dict[str, Any], bool]], changed: Callable[[Task], None]
) -> tuple[dict[str, Any], bool]:
    """Executes a task, and keeps it up to date."""
    task.state, task.cached, task.started = "running", True, time.monotonic()
    changed(task)
    try:
        task.outputs, passed = execute()
    except KeyboardInterrupt:
        task.state = "stopped"
        raise
    except Exception:
        task.state = "failed"
        raise
    finally:
        task.ended = time.monotonic()
    task.state = "passed" if passed else "failed"
    changed(task)
    return task.outputs, passed


def _start(task: Task, command: list[str], environment: Mapping[str, str]) -> bool:
    """Runs a task's process to its end, in the environment of its image and with its output in its log."""
    task.cached = False
    interpreter = environments() / task.environment / "bin" / "python"
    command = subprocess_task_handler.replace_python_executable(command, str(interpreter))
    with task.log.open("wb") as log:
        log.write(f"{interpreter}\n".encode())
        log.flush()
        code = _run(command, {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2", **environment}, log)
        task.signal = code - 128 if code - 128 in set(signal.valid_signals()) else None
        if task.signal:
            log.write(f"{task.death}\n".encode())
    return code == 0


def _run(command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> int:
    """Runs a command and ends all that it started; its exit code as a shell has it, 128 and more for a signal."""
    before = psutil.Process().children()
    process = subprocess.Popen(  # noqa: S603 (the component's own command)
        supervisor.command(command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that Ctrl-C reaches it through its supervisor alone
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one does not cut short what is undone
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        raise
    finally:
        if process.poll() is None:
            process.kill()
        if process.returncode != 0:
            supervisor.end_family(supervisor.STOP_SECONDS, but=before)  # also where the supervisor was killed
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _orphans_adopted() -> Iterator[None]:
    supervisor.adopt_orphans()
    try:
        yield
    finally:
        supervisor.adopt_orphans(False)
