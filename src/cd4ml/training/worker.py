"""One of several workers that train a network together (`cd4ml.training.workers`).

    python -m cd4ml.training.worker FOLDER [PARENT]

It ends with the process PARENT, where one is named. FOLDER holds `request.json`, and that of the first worker
`outputs.json`: it alone writes what comes of the training.
Which of the workers it is says `TF_CONFIG`. It ends with 0 when it is done, with 143 when one of the workers was told
to end and what could be kept is, with 75 where another was lost, and with 1 where there is no model to be had.
"""

import json
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from cd4ml import parent
from cd4ml.errors import Cd4mlError
from cd4ml.training import workers
from cd4ml.training.ending import at_sigterm, leave
from cd4ml.training.request import Request
from cd4ml.training.workers import Came, Worker


def main(folder: Path) -> int:
    """Takes part in a training; its exit code.

    Args:
        folder: As above.
    """
    (folder / workers.FAULT).unlink(missing_ok=True)
    try:
        with at_sigterm(leave):  # also where this process is the first of its container, which no signal ends else
            _take_part(folder, Worker.taken())
    except SystemExit as told:
        return int(told.code or 0)
    except Exception as error:  # which is told to who has started this process
        return _code(error, folder)
    return 0


def _take_part(folder: Path, worker: Worker) -> None:
    from cd4ml.training.train import take_part, train

    request = Request.read(folder / workers.REQUEST)
    if not worker.is_first:
        take_part(request, worker)
        return
    outputs = json.loads((folder / workers.OUTPUTS).read_text(encoding="utf-8"))
    kept, parted = (folder / workers.KEPT).touch, (folder / workers.PARTED).touch
    trained = train(request, **outputs, worker=replace(worker, kept=kept, parted=parted))
    Came(trained.metadata, trained.metrics).write(folder)


def _code(error: Exception, folder: Path) -> int:
    from cd4ml.training.together import LOSSES

    said = str(error) if isinstance(error, Cd4mlError) else f"{type(error).__name__}: {error}"
    (folder / workers.FAULT).write_text(said, "utf-8")
    if isinstance(error, LOSSES):
        print(f"another worker was lost, as far as this one knows: {said}", flush=True)  # noqa: T201 (the task's log)
        return workers.LOST
    if not isinstance(error, Cd4mlError):
        traceback.print_exception(error)
    elif not (folder / workers.OUTPUTS).exists():  # what is wrong with the first one its task says
        print(f"error: {error}", flush=True)  # noqa: T201 (the log of this worker)
    return 1


if __name__ == "__main__":
    if sys.argv[2:]:
        parent.end_with(int(sys.argv[2]), signal.SIGKILL)
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow waits for workers that are gone
