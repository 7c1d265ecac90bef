"""Runs the tasks of a pipeline side by side, where cores and memory allow, each once those that it waits for passed."""

import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from cd4ml.running.processes import Processes, Program

WAIT_SECONDS = 0.1
"""After which a process is started for which there was no room before."""


@dataclass(frozen=True)
class Needs:
    """What a task takes of the machine, as its pipeline says."""

    cores: float
    memory_bytes: float


class Schedule:
    """The order of a run.

    Args:
        processes: Starts the processes, in the thread that calls `run`.
        programs: By task: what it runs.
        needs: By task.
        needed: Gives the tasks that are known to run and not to be reused.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        programs: Mapping[str, Program],
        needs: Mapping[str, Needs],
        needed: Callable[[], Collection[str]],
    ) -> None:
        self._processes = processes
        self._programs = programs
        self._needs = needs
        self._needed = needed
        self._cores = len(os.sched_getaffinity(0))
        self._memory_bytes = psutil.virtual_memory().total

    def run(self, after: Mapping[str, Collection[str]], execute: Callable[[str], bool]) -> bool:
        """Executes tasks; where one fails, those that run go on to their end and no other begins.

        Args:
            after: By task those that it waits for; which of those that could begin does goes by this order.
            execute: Executes a task to its end; called from threads. Whether it passed.

        Returns:
            Whether every task passed.
        """
        waiting, passed, failed = dict(after), set[str](), False
        running: dict[Future[bool], str] = {}
        with ThreadPoolExecutor(len(after)) as pool:
            try:
                while True:
                    for name in [] if failed else list(waiting):
                        if passed.issuperset(waiting[name]) and self._fits(name, running.values()):
                            del waiting[name]
                            future = pool.submit(execute, name)
                            future.add_done_callback(lambda _: self._processes.wake())
                            running[future] = name
                    if not running:
                        return not failed
                    if not failed:
                        needed = self._needed()
                        self._processes.prepare(
                            [self._programs[name] for name in waiting if name in needed], self._cores
                        )
                    self._processes.wait(WAIT_SECONDS)
                    for future in [one for one in running if one.done()]:
                        name = running.pop(future)
                        if future.result():
                            passed.add(name)
                        else:
                            failed = True
            except BaseException:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one does not cut short what is undone
                self._processes.end()  # so that the threads end
                raise

    def _fits(self, name: str, running: Iterable[str]) -> bool:
        taken = [self._needs[one] for one in running]
        own = self._needs[name]
        return not taken or (
            sum(one.cores for one in taken) + own.cores <= self._cores
            and sum(one.memory_bytes for one in taken) + own.memory_bytes <= self._memory_bytes
        )
