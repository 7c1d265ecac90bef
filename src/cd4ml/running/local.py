"""Runs a pipeline on this machine, each component in the environment of its image."""

import contextlib
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kfp import local

import cd4ml
from cd4ml import plugins, supervisor
from cd4ml.contracts.task_tree import Group, Task
from cd4ml.errors import EnvironmentSetupError
from cd4ml.running import compiled, earlier, execution
from cd4ml.running.cache import Cache
from cd4ml.running.processes import Processes, Program
from cd4ml.running.schedule import Schedule
from cd4ml.running.walk import Part, Step, Values, Walk
from cd4ml.storage import scratch

WORKSPACE = "cd4ml-run-"
"""The temporary folder of a run; those of runs that were killed are known by this prefix."""

Changed = Callable[[Task | Group], None]


def run(
    pipeline: Any,
    *,
    arguments: Mapping[str, Any],
    tree: Group,
    folder: Path,
    cache: Path,
    changed: Changed,
    environment: Mapping[str, str],
    part: Part | None = None,
) -> bool:
    """Runs a pipeline.

    Args:
        pipeline: What `dsl.pipeline` made.
        arguments: The pipeline's arguments.
        tree: Its tasks, as `compiled.tree` gives them; kept up to date while the pipeline runs.
        folder: The run's folder; its name is the name of the run.
        cache: The folder of the results that can be reused.
        changed: Called when a task starts and when it ends, and with each group that is not chosen.
        environment: What tasks find in theirs beside this process's own.
        part: What of the pipeline is to run, with nothing reused; all of it where None.

    Returns:
        Whether no task failed.

    Raises:
        ArgumentsError: An argument is missing.
        KeyboardInterrupt: The run was stopped; so are the tasks that were running.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    earlier.keep_arguments(pipeline, arguments, folder)
    record = Cache(str(folder / earlier.OUTPUTS))
    walk = Walk(
        pipeline.pipeline_spec,
        tree=tree,
        arguments=arguments,
        run=folder.name,
        changed=changed,
        keep=record.put,
        part=part,
    )
    results = Cache(str(cache / code_digest(pipeline, arguments)))
    temporary = Path(tempfile.gettempdir())
    scratch.clean(temporary, WORKSPACE)
    with (
        # Beside the other temporary folders, not in the run's: the path of a socket may have 108 characters.
        scratch.folder(temporary, WORKSPACE) as workspace,
        _orphans_adopted(),
        Processes({**environment, "TMPDIR": str(workspace)}) as processes,
    ):
        local.init(local.SubprocessRunner(use_venv=False), workspace_root=str(workspace))  # told to tasks that want one
        tasks = _Tasks(walk, results=results, anew=bool(part), processes=processes, changed=changed)
        try:
            Schedule(processes, walk=walk, needed=tasks.needed).run(tasks.execute)
        finally:
            tree.end()
    return not walk.failed


class _Tasks:
    """Executes the tasks of a run: reuses the result of one, or runs its process."""

    def __init__(self, walk: Walk, *, results: Cache, anew: bool, processes: Processes, changed: Changed) -> None:
        self._walk = walk
        self._results = results
        self._anew = anew or not any(Path(results.cache_root).glob("*.json"))
        self._processes = processes
        self._changed = changed
        self._missed = set[str]()

    def execute(self, step: Step) -> None:
        """Executes a task, and keeps it up to date."""
        task, outputs = step.task, None
        task.cached, task.started = True, time.monotonic()
        self._changed(task)
        try:
            outputs = self._outputs(step)
        finally:
            task.ended = time.monotonic()
            if outputs is None:
                task.state = "stopped" if self._processes.stopped else "failed"
            else:
                self._walk.give(step, outputs)
            self._changed(task)

    def needed(self) -> list[Program]:
        """What the waiting tasks run that are known to run: those never reused, and those that read what is new."""
        new, found = set(self._missed), []
        for step, read in self._walk.waiting():
            is_new = any(name == one or name.startswith(f"{one}.") for one in read for name in new)
            if is_new or self._anew or not step.spec.caching_options.enable_cache:
                new.add(step.task.name)
                found.append(step.program)
        return found

    def _outputs(self, step: Step) -> Values | None:
        """What a task gives; None where it failed."""
        kept = step.spec.caching_options.enable_cache
        key = execution.key(step, self._results)
        found = self._results.get(key) if kept and not self._anew else None
        if found is not None:
            return found
        step.task.cached = False
        self._missed.add(step.task.name)
        given = execution.executor_input(step)
        if not self._run(step, execution.arguments(step, given)):
            return None
        outputs = execution.outputs(step, given)
        if kept:
            self._results.put(key, outputs)
        return outputs

    def _run(self, step: Step, arguments: list[str]) -> bool:
        """Runs a task's process to its end. A retry is for a pod that was lost; here it would only repeat a mistake."""
        task = step.task
        code = self._processes.run(step.program, arguments)
        ended_by = code - 128 if code - 128 in set(signal.valid_signals()) else None
        task.signal = ended_by if not self._processes.stopped else None
        if task.signal:
            with task.log.open("a") as log:
                log.write(f"{task.death}\n")
        return code == 0


def check_environments(pipeline: Any) -> None:
    """Makes sure that this machine can run each task of a pipeline, and has its environment.

    Raises:
        ArgumentsError: A component is no Python function.
        EnvironmentSetupError: One is not there, half made, or not what its lock names.
    """
    compiled.check_lightweight(pipeline)
    check_made(compiled.environments(pipeline))


def check_made(wanted: Iterable[str]) -> None:
    """Makes sure that environments are on this machine.

    Raises:
        EnvironmentSetupError: One is not there, half made, or not what its lock names.
    """
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


def code_digest(pipeline: Any, arguments: Mapping[str, Any]) -> str:
    """Tells one state of the library, its environments and what is added to them from another.

    Results are reused within one alone.

    Args:
        pipeline: What `dsl.pipeline` made.
        arguments: The pipeline's, which may name functions of installed packages.
    """
    package = Path(cd4ml.__file__).parent
    used = [environments() / name for name in compiled.environments(pipeline)]
    folders = [folder for environment in used for folder in sorted(environment.glob("lib/python*/site-packages"))]
    named = [
        one["function"]
        for one in arguments.values()
        if isinstance(one, Mapping) and "function" in one and "source" not in one
    ]
    modules = {str(one).partition(":")[0].partition(".")[0] for one in named}
    beside = map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    added = plugins.files([*folders, *beside], modules)
    locks = [environment / "ready" for environment in used]
    digest = hashlib.sha256()
    for file in [*sorted(package.rglob("*.py")), *sorted(package.rglob("*.j2")), *locks, *sorted(set(added))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _orphans_adopted() -> Iterator[None]:
    supervisor.adopt_orphans()
    try:
        yield
    finally:
        supervisor.adopt_orphans(False)
