"""The workers of a training as processes of this machine."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cd4ml.errors import TrainingError
from cd4ml.names import counted
from cd4ml.training import workers
from cd4ml.training.request import Request, wanted_gpus
from cd4ml.training.workers import Ended, Process, Worker

HOST = "127.0.0.1"
LOG = "log"
SAID_LINES = 5
"""Of the log of a worker that has ended without a word, those that are told."""


@contextmanager
def of(request: Request) -> Iterator["LocalWorkers"]:
    """The workers from the second on, none of which outlives the context.

    Raises:
        TrainingError: There are GPUs, but not as many for each as were asked for.
    """
    from cd4ml.training import devices  # and TensorFlow

    gpus = shares(request, there=devices.count(), visible=os.environ.get(workers.VISIBLE))
    with workers.workspace() as place:
        yield LocalWorkers(request, place, gpus)


def shares(request: Request, *, there: int, visible: str | None = None) -> Sequence[str]:
    """The GPUs of each worker, as CUDA has them, so that no two compute on one; empty where none are to be shared out.

    Args:
        request: What is asked for.
        there: How many GPUs TensorFlow sees here.
        visible: What of them this process may see (`CUDA_VISIBLE_DEVICES`); None for all.

    Raises:
        TrainingError: There are GPUs, but not as many for each as were asked for.
    """
    each = wanted_gpus(request.accelerator, request.gpus)
    if not (each and there):
        return [""] * request.workers
    if there < request.workers * each:
        raise TrainingError(
            f"workers: {request.workers} on this machine take {counted(each, 'GPU')} each, and {there} "
            f"{'is' if there == 1 else 'are'} there; lower workers or gpus, or train with `accelerator: cpu`"
        )
    names = visible.split(",") if visible else [str(number) for number in range(there)]
    return [",".join(names[number * each : (number + 1) * each]) for number in range(request.workers)]


class LocalWorkers:
    """The workers from the second on, each a process that ends with this one."""

    def __init__(self, request: Request, place: Path, gpus: Sequence[str]) -> None:
        """Starts nothing yet.

        Args:
            request: What is asked for.
            place: Takes a folder for each.
            gpus: Those of each worker, as of `shares`; the first one takes the first that it sees.
        """
        self._request, self._place, self._gpus = request, place, gpus
        self._running = contextlib.ExitStack()
        self._processes: dict[int, Process] = {}

    def begin(self) -> Sequence[str]:
        """Ends what is left of them, and starts them anew, on ports that are free."""
        self.end()
        addresses = _free(self._request.workers)
        for number in range(1, len(addresses)):
            folder = self._folder(number)
            folder.mkdir(exist_ok=True)
            self._request.write(folder / workers.REQUEST)
            started = workers.process(folder, Worker(addresses, number, gpus=self._gpus[number]), folder / LOG)
            self._processes[number] = self._running.enter_context(started)
        return addresses

    def ended(self) -> Sequence[Ended]:
        """Those that have ended otherwise than by being done."""
        found = (workers.ended(number, self._folder(number), one) for number, one in self._processes.items())
        return [self._told(one) for one in found if one and one.code != 0]

    def end(self) -> None:
        """Ends all."""
        for one in self._processes.values():
            one.terminate()
        self._running.close()
        self._processes = {}

    def _folder(self, number: int) -> Path:
        return self._place / str(number)

    def _told(self, one: Ended) -> Ended:
        """With the last lines of its log, where it has ended of itself and said nothing."""
        if one.said or one.was_lost:
            return one
        lines = (self._folder(one.number) / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return Ended(one.number, one.code, "\n".join(lines[-SAID_LINES:]))


def _free(count: int) -> list[str]:
    """Addresses that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [f"{HOST}:{one.getsockname()[1]}" for one in sockets]
