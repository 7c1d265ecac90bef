"""Runs the tasks of a pipeline side by side, where cores and memory allow, each once its inputs are there."""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import psutil

from cd4ml.running.processes import Processes, Program
from cd4ml.running.walk import Step, Walk

WAIT_SECONDS = 0.1
"""After which a process is started for which there was no room before."""
MOST = 1000
"""So many tasks run at once, on the largest machine."""


class Schedule:
    """The order of a run.

    Args:
        processes: Starts the processes, in the thread that calls `run`.
        walk: Says which tasks may begin.
        needed: Gives, in order, what those tasks run that wait, and are known to run and not to be reused.
    """

    def __init__(self, processes: Processes, *, walk: Walk, needed: Callable[[], Sequence[Program]]) -> None:
        self._processes = processes
        self._walk = walk
        self._needed = needed
        self._cores = len(os.sched_getaffinity(0))
        self._memory_bytes = psutil.virtual_memory().total

    def run(self, execute: Callable[[Step], None]) -> None:
        """Executes tasks until none may begin any more; where one fails, those that run go on to their end.

        Args:
            execute: Executes a task to its end, and sets its state; called from threads.
        """
        running: dict[Future[None], Step] = {}
        with ThreadPoolExecutor(MOST) as pool:
            try:
                while True:
                    for step in self._walk.ready():
                        if self._fits(step, running.values()):
                            step.node.state = "running"
                            future = pool.submit(execute, step)
                            future.add_done_callback(lambda _: self._processes.wake())
                            running[future] = step
                    if not running:
                        return
                    if not self._walk.failed:
                        self._processes.prepare(self._needed(), self._cores)
                    self._processes.wait(WAIT_SECONDS)
                    for future in [one for one in running if one.done()]:
                        del running[future]
                        future.result()
            except BaseException:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one does not cut short what is undone
                self._processes.end()  # so that the threads end
                raise

    def _fits(self, step: Step, running: Iterable[Step]) -> bool:
        taken = [one.needs for one in running]
        return not taken or (
            sum(one.cores for one in taken) + step.needs.cores <= self._cores
            and sum(one.memory_bytes for one in taken) + step.needs.memory_bytes <= self._memory_bytes
        )
