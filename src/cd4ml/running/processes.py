"""The processes of a run's tasks: each begins before its inputs are there, and none outlives the run."""

import ast
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from cd4ml import supervisor

STOP_SECONDS = supervisor.STOP_SECONDS + 2 * supervisor.KILL_SECONDS
"""After which a supervisor that was asked to end a task is taken for dead."""
WAITING_BYTES = 10**9
"""What a process that has imported TensorFlow and waits takes, and as much again for those that work."""
LATE = {
    "cd4ml.training.task": ("cd4ml.training.report", "matplotlib.figure"),
    "cd4ml.evaluation.evaluate": ("cd4ml.evaluation.predict", "cd4ml.evaluation.tfma_run", "matplotlib.figure"),
}
"""By module: what it imports only when it computes."""


@dataclass(frozen=True)
class Program:
    """What a task runs, as far as it is known before its inputs are."""

    name: str
    environment: str
    """As `train`."""
    source: str
    """The component's."""
    variables: Mapping[str, str]
    folder: Path
    log: Path

    @property
    def interpreter(self) -> Path:
        """The Python of its environment: this interpreter's own lies beside it."""
        return Path(sys.prefix).parent / self.environment / "bin" / "python"

    @property
    def modules(self) -> list[str]:
        """What it imports, KFP's executor first."""
        imported = _imported(self.source)
        return ["kfp.dsl.executor_main", *imported, *(late for one in imported for late in LATE.get(one, ()))]


@dataclass
class _Started:
    process: subprocess.Popen[bytes]
    log: Path
    ready: int
    """The end of a pipe, readable once its modules are imported."""
    importing: bool = True
    ended: bool = False


class Processes:
    """The processes of one run; all are started by the thread that made this, for a process ends with that thread.

    Args:
        environment: The variables that each task finds, beside those of its program.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._before = psutil.Process().children()
        self._started: dict[str, _Started] = {}
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._family = threading.RLock()
        self.stopped = False
        """Whether all were ended before their time."""

    def __enter__(self) -> Self:
        """All processes of the run end with the context."""
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def prepare(self, programs: Sequence[Program], cores: int) -> None:
        """Starts those of the programs that do not run yet, in their order, as cores and memory allow."""
        for program in programs:
            importing = sum(self._imports(one) for one in self._started.values())
            if importing >= cores or psutil.virtual_memory().available < 2 * WAITING_BYTES:
                return
            if program.name not in self._started:
                self._start(program)

    def wait(self, seconds: float) -> None:
        """Starts what other threads have asked for, until one of them calls `wake` or the time is up."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._asked.get(timeout=seconds)()
                seconds = 0

    def wake(self) -> None:
        """Ends the wait of the thread that waits."""
        self._asked.put(lambda: None)

    def run(self, program: Program, arguments: list[str]) -> int:
        """Runs a program to its end, and ends all that it started; called from a thread of its own.

        Args:
            program: What to run.
            arguments: Those of KFP's executor.

        Returns:
            Its exit code as a shell has it: 128 and more for a signal.
        """
        started = self._asked_for(program)
        if started is None:
            return 128 + signal.SIGTERM
        started.log.replace(program.log)
        process = started.process
        process.communicate(json.dumps({"source": program.source, "arguments": arguments}).encode())
        code = process.returncode
        with self._family:
            started.ended = True
            if code != 0:
                supervisor.end_family(supervisor.STOP_SECONDS, but=self._others())  # where the supervisor was killed
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ends all that still run or wait, in the time that they need to undo what they began."""
        self.stopped = True
        running = [one for one in self._started.values() if one.process.poll() is None]
        for one in running:
            one.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for one in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.0, deadline - time.monotonic()))
        killed = [one for one in running if one.process.poll() is None]
        for one in killed:
            one.process.kill()
            one.process.wait()
        with self._family:
            supervisor.end_family(supervisor.STOP_SECONDS, but=self._before)
        for one in self._started.values():
            one.log.unlink(missing_ok=True)
            if one.importing:
                one.importing = False
                os.close(one.ready)

    def _asked_for(self, program: Program) -> _Started | None:
        """Has the first thread start a program where it has not yet; None where the run is stopped meanwhile."""
        there = threading.Event()

        def start() -> None:
            if program.name not in self._started:
                self._start(program)
            there.set()

        self._asked.put(start)
        while not there.wait(0.1):
            if self.stopped:
                return None
        return self._started[program.name]

    def _start(self, program: Program) -> None:
        ready, written = os.pipe()
        log = program.log.with_suffix(".starting")
        command = [program.interpreter, "-P", "-m", "cd4ml.running.task_process", written, program.folder]
        with self._family, log.open("wb") as output:
            output.write(f"{program.interpreter}\n".encode())
            output.flush()
            process = subprocess.Popen(  # noqa: S603 (our own program, without a shell)
                supervisor.command([*map(str, command), *program.modules]),
                env={
                    **os.environ,
                    "_KFP_RUNTIME": "true",
                    "PYTHONUNBUFFERED": "1",
                    "TF_CPP_MIN_LOG_LEVEL": "2",
                    **self._environment,
                    **program.variables,
                },
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(written,),
                start_new_session=True,  # so that Ctrl-C reaches it through its supervisor alone
            )
            self._started[program.name] = _Started(process, log, ready)
        os.close(written)

    def _imports(self, started: _Started) -> bool:
        if started.importing and (started.process.poll() is not None or select.select([started.ready], [], [], 0)[0]):
            started.importing = False
            os.close(started.ready)
        return started.importing

    def _others(self) -> list[psutil.Process]:
        """The children of this process that are to go on."""
        others = list(self._before)
        for one in self._started.values():
            if not one.ended:
                with contextlib.suppress(psutil.NoSuchProcess):
                    others.append(psutil.Process(one.process.pid))
        return others


def _imported(source: str) -> list[str]:
    """The modules that a program imports, also within its functions."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{one.name}" for one in node.names if one.name != "*")]
    return list(dict.fromkeys(found))
