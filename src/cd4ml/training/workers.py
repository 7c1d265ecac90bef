"""Several workers that train one network, each a process; the first is a child of the task.

`TF_CONFIG` tells a process which one it is, as TensorFlow defines it. When one is lost, all end and begin again, and go
on from the last checkpoint.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cd4ml.contracts import document
from cd4ml.errors import TrainingError
from cd4ml.storage import scratch
from cd4ml.training import ending
from cd4ml.training.ending import at_sigterm, leave
from cd4ml.training.request import Request

Process = subprocess.Popen[bytes]

WORKSPACE = "cd4ml-workers-"
TF_CONFIG = "TF_CONFIG"
VISIBLE = "CUDA_VISIBLE_DEVICES"
REQUEST, FAULT = "request.json", "fault.txt"
"""What lies in the folder of a worker: what is asked, and what was wrong."""
OUTPUTS, TRAINED, KEPT = "outputs.json", "trained.json", "kept"
"""And in that of the first: where things go, what came of it, and a file that is touched with each checkpoint."""
PARTED = "parted"
"""There too, once it needs the others no more: what is left it does alone."""
LOST = 75
"""The code of a worker that has lost another one, or was not there in time."""
ENDED = 128 + signal.SIGTERM
"""The code of one that was told to end, and has kept how far it is."""
ATTEMPTS = 4
"""How often all begin without a checkpoint between, before no more is tried."""
LOOK_SECONDS = 0.5
MEET_SECONDS = 1200.0
"""How long a worker waits for the first one, which waits until the pods of all run."""
HEAR_SECONDS = 10.0
"""How long the first worker may take to hear of the loss of another."""
END_SECONDS = 10.0
"""How long a worker may take to end."""
KEEP_SECONDS = 25.0
"""How long the first one may, which keeps how far all are: what a cluster grants a pod, less what is cleaned up."""


@dataclass(frozen=True)
class Worker:
    """Which of the workers a process is."""

    addresses: Sequence[str]
    """Of all of them, `host:port`, the first one's first."""
    number: int
    """From 0 on."""
    kept: Callable[[], object] = lambda: None
    """Is called with each checkpoint that is written."""
    parted: Callable[[], object] = lambda: None
    """Is called when it needs the others no more."""
    gpus: str = ""
    """The GPUs that it sees, as CUDA has them; empty for all that this process sees."""

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes what comes of the training."""
        return self.number == 0

    @property
    def variables(self) -> dict[str, str]:
        """What its process finds in its environment."""
        task = {"type": "worker", "index": self.number}
        said = {TF_CONFIG: json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})}
        return said | ({VISIBLE: self.gpus} if self.gpus else {})

    @classmethod
    def taken(cls) -> "Worker":
        """What the environment of this process says, and no longer does: no other process is that worker.

        Raises:
            TrainingError: It says nothing of workers.
        """
        said = os.environ.pop(TF_CONFIG, "")
        try:
            content = json.loads(said)
            found = cls(content["cluster"]["worker"], content["task"]["index"])
            if content["task"]["type"] != "worker" or not 0 <= found.number < len(found.addresses):
                raise ValueError
        except (ValueError, LookupError, TypeError) as error:
            raise TrainingError(
                f"{TF_CONFIG}: {said!r} names no worker; write "
                '{"cluster": {"worker": [HOST:PORT, …]}, "task": {"type": "worker", "index": 0}}'
            ) from error
        return found


@dataclass(frozen=True)
class Ended:
    """A worker that has ended."""

    number: int
    code: int
    """As a shell has it: 128 and more for a signal."""
    said: str = ""
    """What was wrong, for people."""

    @property
    def was_lost(self) -> bool:
        """Whether it may do better when it begins again."""
        return self.code in (LOST, ENDED) or self.code > 128

    def __str__(self) -> str:
        code = f"by signal {self.code - 128}" if self.code > 128 else f"with the code {self.code}"
        return f"worker {self.number} ended {code}" + (f": {self.said}" if self.said else "")


class Others(Protocol):
    """The workers from the second on, wherever they run."""

    def begin(self) -> Sequence[str]:
        """Starts all that do not run, also again after some were lost, and does not wait until they do.

        Returns:
            The addresses of all workers, the first one's first.

        Raises:
            TrainingError: They cannot be started.
        """

    def ended(self) -> Sequence[Ended]:
        """Those that have ended otherwise than by being done, and will not begin again by themselves."""

    def end(self) -> None:
        """Ends all, and removes whatever was made for them."""


@dataclass(frozen=True)
class Came:
    """What came of a training in another process."""

    metadata: Mapping[str, Any]
    """What an artifact says of the model in the UI."""
    metrics: Mapping[str, float]
    """What the UI compares between runs."""

    def write(self, folder: Path) -> None:
        """Writes it into the folder of the first worker."""
        document.write(folder / TRAINED, {"metadata": dict(self.metadata), "metrics": dict(self.metrics)})

    @classmethod
    def read(cls, folder: Path) -> "Came":
        """Reads what `write` wrote."""
        return cls(**json.loads((folder / TRAINED).read_text(encoding="utf-8")))


def train(request: Request, others: Others, *, folder: str | Path, report: str | Path, logs: str | Path) -> Came:
    """Trains a model by several workers, and begins again from the last checkpoint where one is lost.

    Args:
        request: What is asked for.
        others: All workers but the first, which is a process of its own here.
        folder: Where the model goes.
        report: Where the report goes, an HTML file.
        logs: Where the epochs go for TensorBoard, a folder.

    Raises:
        TrainingError: What is asked for does not allow a model, or workers are lost again and again.
        SystemExit: SIGTERM has arrived; what can be kept is.
    """
    with at_sigterm(leave), workspace() as place:
        request.write(place / REQUEST)
        document.write(place / OUTPUTS, {"folder": str(folder), "report": str(report), "logs": str(logs)})
        try:
            _until_done(place, others, Path(folder))
        finally:
            others.end()
        return Came.read(place)


@contextmanager
def workspace() -> Iterator[Path]:
    """The folder of a worker."""
    temporary = Path(tempfile.gettempdir())
    scratch.clean(temporary, WORKSPACE)
    with scratch.folder(temporary, WORKSPACE) as folder:
        yield folder


@contextmanager
def process(folder: Path, worker: Worker, log: Path | None = None) -> Iterator[Process]:
    """A worker as a process, which ends with the context and with this process.

    Args:
        folder: Its folder.
        worker: Which one it is.
        log: Takes what it prints; without, that is printed here.
    """
    command = [sys.executable, "-P", "-m", "cd4ml.training.worker", str(folder), str(os.getpid())]
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
        started = subprocess.Popen(  # noqa: S603 (our own program, without a shell)
            command,
            env={**os.environ, **worker.variables, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
        )
        try:
            yield started
        finally:
            end(started, KEEP_SECONDS if worker.is_first else END_SECONDS)


def end(started: Process, seconds: float) -> None:
    """Ends the process of a worker, which has the time to keep how far it is."""
    if not ending.end(started, seconds):
        said = f"a worker that was told to end has not in {seconds:g} s, and is killed; what it did since the last"
        print(f"{said} checkpoint is lost", flush=True)  # noqa: T201 (the task's log)


def ended(number: int, folder: Path, started: Process) -> Ended | None:
    """How the process of a worker has ended; None while it runs."""
    code = started.poll()
    if code is None:
        return None
    said = (folder / FAULT).read_text(encoding="utf-8") if (folder / FAULT).exists() else ""
    return Ended(number, code if code >= 0 else 128 - code, said)


def _until_done(place: Path, others: Others, folder: Path) -> None:
    """Has all workers begin until the first one is done."""
    kept, attempt, was_there = _kept(place), 1, folder.exists()
    while lost := _attempt(place, others):
        now = _kept(place)
        kept, attempt = now, 1 if now != kept else attempt + 1
        if attempt > ATTEMPTS:
            raise TrainingError(
                f"{_cause(lost)}; workers were lost {ATTEMPTS} times without a checkpoint between: look whether "
                f"their memory is enough, and whether they reach each other{_others(lost)}"
            )
        print(f"{_cause(lost)}; all begin again, from the last checkpoint", flush=True)  # noqa: T201 (the task's log)
        if not was_there:  # but of the first one, which was lost after it had written it
            shutil.rmtree(folder, ignore_errors=True)


def _attempt(place: Path, others: Others) -> Sequence[Ended]:
    """Runs all workers until the first one is done or one is lost; empty, or those that ended.

    Raises:
        TrainingError: What is asked for does not allow a model.
    """
    first = Worker(others.begin(), 0)
    (place / PARTED).unlink(missing_ok=True)
    with process(place, first) as started:
        found = _that_ended(place, started, others)
    if any(one.number == one.code == 0 for one in found):
        return []
    failed = next((one for one in found if not one.was_lost), None)
    if failed:
        raise TrainingError(failed.said if failed.number == 0 and failed.said else str(failed))
    return found


def _that_ended(place: Path, started: Process, others: Others) -> list[Ended]:
    """Those that have ended, once the first one has, or should have heard of the loss of another."""
    deadline = math.inf
    while (own := ended(0, place, started)) is None:
        lost = [] if (place / PARTED).exists() else list(others.ended())
        deadline = min(deadline, time.monotonic() + HEAR_SECONDS) if lost else math.inf
        if time.monotonic() > deadline:
            return lost
        time.sleep(LOOK_SECONDS)
    return [own, *others.ended()]


def _cause(found: Sequence[Ended]) -> Ended:
    """The one that the others have lost, as far as it is known."""
    return next((one for one in found if one.code != LOST), found[0])


def _others(found: Sequence[Ended]) -> str:
    """What those said in which the loss was found, for it may be a fault of their own."""
    return "".join(f"\n{one}" for one in found if one.said and one is not _cause(found))


def _kept(place: Path) -> int:
    """Tells the last checkpoint from those before."""
    with contextlib.suppress(FileNotFoundError):
        return (place / KEPT).stat().st_mtime_ns
    return 0
