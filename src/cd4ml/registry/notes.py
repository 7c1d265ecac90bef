"""What the tasks of a run read and wrote: `runs/<pipeline>/<run>/tasks/<task>/{read,wrote}.json` in the store.

By them a run that went on elsewhere is taken up on this machine. A task that asks no store notes nothing: what it wrote
is known where one that notes has read it.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cd4ml.contracts import document
from cd4ml.contracts.record import Located, RunRecord, TaskNote
from cd4ml.errors import StorageError
from cd4ml.registry import records
from cd4ml.storage import Store, open_store

TASK = "CD4ML_TASK"
"""The environment variable by which a task knows its name in the pipeline."""
READ, WROTE = "read.json", "wrote.json"


@dataclass(frozen=True)
class Notes:
    """The notes of a run, by task."""

    read: Mapping[str, TaskNote]
    """Of those that began."""
    wrote: Mapping[str, TaskNote]
    """Of those that passed."""


@runtime_checkable
class _Artifact(Protocol):
    uri: str
    path: str


@contextlib.contextmanager
def noting(location: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Notes what this task reads as it begins, and what it wrote once what is within has passed; or that it failed.

    A run does not fail because a note cannot be stored.

    Args:
        location: The store.
        given: The task's arguments: values, and artifacts, of which those that are not there yet are its outputs.

    Yields:
        Takes the values that the task returns.
    """
    read = {name: one for name, one in given.items() if isinstance(one, _Artifact) and Path(one.path).exists()}
    values = {name: one for name, one in given.items() if not isinstance(one, _Artifact)}
    _add(location, READ, TaskNote(values, _located(read)))
    returned: dict[str, Any] = {}
    with records.failing_task(location):
        yield returned
    made = {name: one for name, one in given.items() if name not in {**read, **values} and Path(one.path).exists()}
    _add(location, WROTE, TaskNote(returned, _located(made)))


def of(store: Store, record: RunRecord) -> Notes:
    """What the tasks of a run noted."""
    folder = f"{_folder(record.pipeline, record.run_id)}/"
    found: dict[str, dict[str, TaskNote]] = {READ: {}, WROTE: {}}
    for name in store.below(folder.rstrip("/")):
        task, _, part = name.removeprefix(folder).partition("/")
        if part in found:
            found[part][task] = TaskNote.parse(store.read(name), store.uri(name))
    return Notes(found[READ], found[WROTE])


def _located(artifacts: Mapping[str, _Artifact]) -> dict[str, Located]:
    return {name: Located(one.uri, document.digest(one.path)) for name, one in artifacts.items()}


def _add(location: str, part: str, note: TaskNote) -> None:
    pipeline, run, task = (os.environ.get(name) for name in (records.PIPELINE, records.RUN, TASK))
    if pipeline and run and task:
        with contextlib.suppress(StorageError):  # among them that an attempt before this one has noted it
            open_store(location).add(f"{_folder(pipeline, run)}/{task}/{part}", note.text)


def _folder(pipeline: str, run: str) -> str:
    return f"{records.FOLDER}/{pipeline}/{run}/tasks"
