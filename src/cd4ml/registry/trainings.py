"""How far the trainings of a run are: `progress/<pipeline>/<run>/<task>-<key>.json` in the store, each a `Progress`.

Whoever trains writes its own again and again, and can do no more: the record of the run is others'.
"""

import os

from cd4ml.contracts.progress import Progress
from cd4ml.errors import DocumentError
from cd4ml.registry import notes, records
from cd4ml.storage import Store

FOLDER = "progress"


def name(key: str) -> str:
    """What the progress of this task is called in the store; empty where it belongs to no run.

    Args:
        key: Tells the training from others of the task, as those of a loop.
    """
    pipeline, run, task = (os.environ.get(one) for one in (records.PIPELINE, records.RUN, notes.TASK))
    return f"{FOLDER}/{pipeline}/{run}/{task}-{key[:8]}.json" if pipeline and run and task else ""


def of(store: Store, *, pipeline: str, run: str) -> tuple[list[Progress], list[DocumentError]]:
    """How far the trainings of a run are, in the order of their tasks; and what is wrong with what cannot be read."""
    folder = f"{FOLDER}/{pipeline}/{run}"
    found: list[Progress] = []
    unreadable = []
    for child in store.children(folder):
        name = f"{folder}/{child}"
        try:
            found.append(Progress.parse(store.read(name), store.uri(name)))
        except DocumentError as error:
            unreadable.append(error)
    return found, unreadable
