"""The records of runs: `runs/<pipeline>/<run>/` in the store, each a `RunRecord`.

    begun.json        once the arguments are checked
    failed.json       by the first task that fails; what comes after it says that the task has passed when tried again
    published.json    once a version is published
    summary.json      by the last task that ends, or the gate or deployment that fails, which are not tried again

Each holds what the one before it holds, and what is known since. A run whose task was killed, or failed where nothing
asks the store, has no more than it had: KFP alone knows how it ended.
"""

import contextlib
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from cd4ml.contracts.record import Judgement, RunRecord, Status
from cd4ml.contracts.verdict import Verdict
from cd4ml.errors import Cd4mlError, DocumentError, RegistryError
from cd4ml.registry import clock
from cd4ml.storage import AlreadyStoredError, Store, open_store

log = logging.getLogger(__name__)

PIPELINE = "CD4ML_PIPELINE"
RUN = "CD4ML_RUN"
"""The environment variables by which a task knows its run; elsewhere, as in a notebook, nothing is recorded."""
FOLDER = "runs"
PARTS = BEGUN, FAILED, PUBLISHED, SUMMARY = "begun.json", "failed.json", "published.json", "summary.json"
BEGUN_SECONDS = 30.0
"""How much longer than one that fails the task may take that begins the record."""
READERS = 32
"""Records that are read at once: a bucket answers each in milliseconds, most of which are waiting."""


@dataclass(frozen=True)
class _Place:
    """Where the record of a run lies."""

    run: str
    """Its id."""
    name: str
    """Of the latest part that is there, in the store."""
    written: datetime
    """When the first was."""


def begin(location: str, *, name: str, arguments: Mapping[str, Any]) -> None:
    """Records that the run of this task has begun.

    Args:
        location: The store.
        name: The run's name.
        arguments: What it was asked for.
    """
    _add(location, BEGUN, name=name, arguments=dict(arguments), started_at=clock.now())


def begin_part(location: str, *, pipeline: str, run: str, arguments: Mapping[str, Any]) -> None:
    """Records that a run has begun of whose pipeline a part runs, without the task that says so."""
    begun = RunRecord(pipeline=pipeline, run_id=run, name=run, arguments=dict(arguments), started_at=clock.now())
    _store(open_store(location), BEGUN, begun)


def publish(location: str, **found: Any) -> None:
    """Records what the run of this task has published; `found` are fields of a `RunRecord`."""
    _add(location, PUBLISHED, **found, status="running", ended_at="")


def end(location: str, **found: Any) -> None:
    """Records the end of the run of this task; `found` are fields of a `RunRecord`, `status` among them."""
    _add(location, SUMMARY, **found, ended_at=clock.now())


@contextlib.contextmanager
def failing(location: str, **found: Any) -> Iterator[None]:
    """Records the end of the run where what is within fails; `found` are fields of a `RunRecord`."""
    with _failing(location, SUMMARY, **found):
        yield


@contextlib.contextmanager
def failing_task(location: str) -> Iterator[None]:
    """Records that the run has failed where what is within does, which may be tried again, and pass then.

    The task that begins the record may run beside the one that fails, and is waited for.
    """
    with _failing(location, FAILED):
        yield


@contextlib.contextmanager
def _failing(location: str, part: str, **found: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = str(error) if isinstance(error, Cd4mlError) else f"{type(error).__name__}: {error}"
        try:
            _await_begun(location)
            _add(location, part, status="failed", failure=said, ended_at=clock.now(), **found)
        except Cd4mlError as untold:  # what failed first is what a person has to know
            log.warning("that the run failed could not be recorded: %s", untold)
        raise


def _await_begun(location: str) -> None:
    end = time.monotonic() + BEGUN_SECONDS
    while (known := current(location)) and not known.started_at and time.monotonic() < end:
        time.sleep(1)


def judge(location: str, verdict: Verdict, found: Mapping[str, Any] = MappingProxyType({})) -> Verdict:
    """Ends the run of this task, and its record, where a verdict lets it not go on.

    Args:
        location: The store.
        verdict: What a gate said.
        found: The fields of a `RunRecord` that are known by now.

    Raises:
        GateError: A limit is not kept.
    """
    with failing(location, gates=(Judgement.of(verdict),), **found):
        verdict.raise_if_failed()
    return verdict


def close(location: str, *, pipeline: str, run: str, status: Status, failure: str) -> None:
    """Records the end of a run that whoever watches it has seen, where no task of it has.

    Args:
        location: The store.
        pipeline: The pipeline's name.
        run: The run's id.
        status: `failed` or `stopped`.
        failure: Why.
    """
    store = open_store(location)
    known = _latest(store, pipeline, run)
    if known:  # where it has ended, its record stays
        _store(store, SUMMARY, replace(known, status=status, failure=failure, ended_at=clock.now()))


def current(location: str) -> RunRecord | None:
    """The record of the run of this task, as far as it is; None where there is no run."""
    pipeline, run = os.environ.get(PIPELINE), os.environ.get(RUN)
    if not pipeline or not run:
        return None
    return _latest(open_store(location), pipeline, run) or RunRecord(pipeline=pipeline, run_id=run, name=run)


def read(store: Store, run: str) -> RunRecord:
    """The record of a run, by its id or its name.

    Raises:
        RegistryError: There is none, or there are several of this name.
    """
    return read_all(store, [run])[0]


def read_all(store: Store, runs: Sequence[str]) -> list[RunRecord]:
    """The records of runs, by their ids or names.

    Raises:
        RegistryError: There is none of one of them, or there are several of its name.
    """
    places, wanted = _places(store), set(runs)
    by_id = {one.run_id: one for one in _read(store, [place for place in places if place.run in wanted])}
    if by_id.keys() >= wanted:
        return [by_id[run] for run in runs]
    by_name: dict[str, list[RunRecord]] = {}
    for one in _readable(store, places)[0]:
        by_name.setdefault(one.name, []).append(one)
    return [by_id.get(run) or _only(store, run, by_name.get(run, [])) for run in runs]


def is_over(store: Store, record: RunRecord) -> bool:
    """Whether nothing more will be known of a run: what only failed may be tried again."""
    return SUMMARY in store.children(f"{FOLDER}/{record.pipeline}/{record.run_id}")


def every(store: Store) -> list[RunRecord]:
    """The records of all runs that can be read, in no order."""
    return _readable(store, _places(store))[0]


def newest(store: Store, number: int) -> tuple[list[RunRecord], list[DocumentError]]:
    """The records of the runs that began last, the newest first; and what is wrong with those that cannot be read.

    A run begins before its record is written, so once enough are known that began after all others were written, those
    are not read.
    """
    places = sorted(_places(store), key=lambda place: place.written, reverse=True)
    found: list[RunRecord] = []
    unreadable: list[DocumentError] = []
    for start in range(0, len(places), READERS):
        if len(found) >= number and found[number - 1].started_at >= clock.written(places[start].written):
            break
        more, wrong = _readable(store, places[start : start + READERS])
        found = sorted([*found, *more], key=lambda one: one.started_at, reverse=True)
        unreadable += wrong
    return found[:number], unreadable


def _only(store: Store, run: str, found: Sequence[RunRecord]) -> RunRecord:
    if not found:
        raise RegistryError(f"store {store.location}: no record of a run {run!r}; see them with `cd4ml runs list`")
    if len(found) > 1:
        ids = ", ".join(one.run_id for one in found[:3])
        raise RegistryError(f"store {store.location}: several runs are called {run!r}; name one by its id: {ids}")
    return found[0]


def _places(store: Store) -> list[_Place]:
    """Where the records of all runs lie."""
    times: dict[str, dict[str, datetime]] = {}
    for name, written in store.below(FOLDER).items():
        folder, _, part = name.rpartition("/")
        if part in PARTS and folder.count("/") == 2:
            times.setdefault(folder, {})[part] = written
    return [
        _Place(folder.rpartition("/")[2], _latest_of(folder, parts), written=min(parts.values()))
        for folder, parts in times.items()
    ]


def _latest_of(folder: str, parts: Collection[str]) -> str:
    return f"{folder}/{max(parts, key=PARTS.index)}"


def _read(store: Store, places: Sequence[_Place]) -> list[RunRecord]:
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda place: _parsed(store, place.name), places))


def _readable(store: Store, places: Sequence[_Place]) -> tuple[list[RunRecord], list[DocumentError]]:
    def tried(place: _Place) -> RunRecord | DocumentError:
        try:
            return _parsed(store, place.name)
        except DocumentError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(tried, places))
    unreadable = [one for one in found if isinstance(one, DocumentError)]
    return [one for one in found if isinstance(one, RunRecord)], unreadable


def _add(location: str, part: str, **found: Any) -> None:
    known = current(location)
    if known:
        _store(open_store(location), part, replace(known, **{"failure": "", **found}))


def _store(store: Store, part: str, record: RunRecord) -> None:
    with contextlib.suppress(AlreadyStoredError):  # by an attempt before this one
        store.add(f"{FOLDER}/{record.pipeline}/{record.run_id}/{part}", record.text)


def _latest(store: Store, pipeline: str, run: str) -> RunRecord | None:
    folder = f"{FOLDER}/{pipeline}/{run}"
    parts = [part for part in store.children(folder) if part in PARTS]
    return _parsed(store, _latest_of(folder, parts)) if parts else None


def _parsed(store: Store, name: str) -> RunRecord:
    return RunRecord.parse(store.read(name), store.uri(name))
