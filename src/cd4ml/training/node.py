"""A worker of a training in a pod of its own: `python -m cd4ml.training.node`.

It learns from its environment where what it reads lies (`CD4ML_PASSED`), where all workers answer, worker 0 first
(`CD4ML_WORKERS`, with commas between), and from its Job which of them it is. So it makes what TensorFlow and
`cd4ml.training.worker` want to know, and becomes that one.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

from cd4ml.errors import Cd4mlError
from cd4ml.training import ending, passing, workers
from cd4ml.training.passing import NotPassedError
from cd4ml.training.request import Request
from cd4ml.training.workers import Worker

PASSED = "CD4ML_PASSED"
WORKERS = "CD4ML_WORKERS"
INDEX = "JOB_COMPLETION_INDEX"
"""Set by an Indexed Job, from 0; worker 0 is no pod of it."""
COMMAND = ("python3", "-m", "cd4ml.training.node")


def main() -> int:
    """Becomes the worker; the exit status where it cannot, which tells whether it may when all begin again."""
    signal.signal(signal.SIGTERM, ending.leave)
    worker = Worker(os.environ[WORKERS].split(","), int(os.environ[INDEX]) + 1)
    folder = Path(tempfile.mkdtemp(prefix=workers.WORKSPACE))
    try:
        passing.fetch(os.environ[PASSED], folder)
        Request.read(folder / workers.REQUEST).within(folder).write(folder / workers.REQUEST)
    except Cd4mlError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 (the pod's log)
        return workers.LOST if isinstance(error, NotPassedError) else 1
    command = [sys.executable, "-m", "cd4ml.training.worker", str(folder)]
    os.execve(sys.executable, command, {**os.environ, **worker.variables, "PYTHONUNBUFFERED": "1"})  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
