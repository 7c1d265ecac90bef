"""Decisions whether models are trained again: `retrainings/<model>/<number>/{decided,started,ended}.json` in the store.

Whoever decides takes the next number by a conditional write; of two that decide at once one does, and the other sees
its decision. What is decided with a yes begins but once, for whoever wrote the decision begins it. How it ended is
kept once that is known; that it failed because nothing is heard of it is not, for its run may yet say otherwise.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile

from cd4ml.contracts.record import RunRecord
from cd4ml.contracts.retraining import Decided, Ended, Started
from cd4ml.errors import RegistryError, StorageError
from cd4ml.registry import clock, deployments, numbers, records, trainings
from cd4ml.storage import AlreadyStoredError, Store, check_name

FOLDER = "retrainings"
DECIDED, STARTED, ENDED = "decided.json", "started.json", "ended.json"
UNHEARD = timedelta(days=3)
"""After which a run that nothing was heard of counts as failed."""
UNDEPLOYED = timedelta(days=30)
"""Likewise while the version that it published waits for an approval, or its rollout goes on."""


@dataclass(frozen=True)
class Retraining:
    """One decision, and what came of it."""

    number: int
    decided: Decided
    started: Started | None
    ended: Ended | None

    @property
    def is_open(self) -> bool:
        """Whether a run was decided on that has not ended, as far as is known."""
        return self.decided.retrain and self.ended is None

    @property
    def is_stopped(self) -> bool:
        """Whether a person stopped its run, so that it neither failed nor taught anything."""
        return self.ended is not None and self.ended.stopped

    @property
    def state(self) -> str:
        """In a few words."""
        if not self.decided.retrain:
            return "no"
        if self.is_stopped:
            return "stopped"
        if self.ended is None:
            return f"runs as {self.started.run}" if self.started else "begins"
        return f"version {self.ended.version}" if self.ended.version else f"failed: {self.ended.failure}"


def every(store: Store, model: str) -> list[Retraining]:
    """All decisions about a model, the oldest first.

    Raises:
        DocumentError: One cannot be read.
    """
    folder = f"{FOLDER}/{check_name(model)}"
    return [_read(store, model, number) for number in numbers.numbers(store, folder)]


def decide(store: Store, known: Sequence[Retraining], decided: Decided) -> Retraining | None:
    """Adds a decision behind those that are known, unless the last one says the same.

    Args:
        store: The store.
        known: All earlier ones.
        decided: The decision.

    Returns:
        The decision, in the words of now also where the last one says the same; None where another was faster, so that
        it has to be decided anew.
    """
    last = known[-1] if known else None
    if last and not decided.retrain and last.decided.same == decided.same:
        return replace(last, decided=decided)
    number = last.number + 1 if last else 1
    try:
        store.add(f"{_folder(decided.model, number)}/{DECIDED}", decided.text)
    except AlreadyStoredError:
        return None
    return Retraining(number, decided, None, None)


def start(store: Store, one: Retraining, run: str) -> None:
    """Says which run trains.

    Args:
        store: The store.
        one: The decision.
        run: Its id.
    """
    store.add(f"{_folder(one.decided.model, one.number)}/{STARTED}", Started(run, clock.now()).text)


def end(store: Store, one: Retraining, failure: str, *, stopped: bool = False) -> None:
    """Says why nothing came of a decision, unless its run says what did.

    Args:
        store: The store.
        one: The decision.
        failure: Why.
        stopped: Whether a person stopped it, which is no failure.
    """
    now = clock.moment()
    settle(store, _read(store, one.decided.model, one.number), now)
    with suppress(AlreadyStoredError):
        _keep(store, one, Ended(None, failure, clock.written(now), stopped))


def settle(store: Store, one: Retraining, now: datetime) -> Retraining:
    """What `settled` says, which is kept where the run itself said how it ended."""
    record = _record(store, one)
    if record is None or not records.is_over(store, record):
        return _settled(store, one, record, now=now)
    found = settled(store, one, now)  # by the record as it is since it is over
    if found.ended is None:
        return found
    try:
        _keep(store, one, found.ended)
    except AlreadyStoredError:
        return _read(store, one.decided.model, one.number)
    return found


def settled(store: Store, one: Retraining, now: datetime) -> Retraining:
    """A decision, with what came of it as far as is known; nothing is written."""
    return _settled(store, one, _record(store, one), now=now)


def _settled(store: Store, one: Retraining, record: RunRecord | None, *, now: datetime) -> Retraining:
    if not one.is_open:
        return one
    told = record and record.status != "running" and _told(record, now)
    return replace(one, ended=told or _assumed(store, one, record, now=now))


def _record(store: Store, one: Retraining) -> RunRecord | None:
    """What the run of an open one says of itself; None where there is nothing."""
    if not one.is_open or one.started is None:
        return None
    try:
        return records.read(store, one.started.run)
    except RegistryError:
        return None


def _told(record: RunRecord, now: datetime) -> Ended:
    """What a run that has ended says."""
    version = record.published if record.status == "passed" else None
    if version:
        return Ended(version, "", clock.written(now))
    said = record.failure or ("" if record.published else f"the run {record.name} published nothing")
    return Ended(None, said, clock.written(now), stopped=record.status == "stopped")


def _assumed(store: Store, one: Retraining, record: RunRecord | None, *, now: datetime) -> Ended | None:
    """That it failed, where nothing was heard of it for long."""
    at, silence = one.decided.at, UNHEARD
    if one.started is None:
        what = "it was decided on, and never begun"
    elif record is None:
        what, at = f"the run {one.started.run} has no record", one.started.at
    else:
        what = f"the run {record.name} has not ended"
        at, silence = _heard(store, record, began=max(one.started.at, record.started_at), model=one.decided.model)
    until = datetime.fromisoformat(at) + silence
    return Ended(None, f"{what} for {silence.days} days", clock.written(until)) if now >= until else None


def _heard(store: Store, record: RunRecord, *, began: str, model: str) -> tuple[str, timedelta]:
    """When a run was heard of last, and for how long it may say nothing from then on."""
    if record.published is None:
        return max([began, *_trained(store, record)]), UNHEARD
    recent = takewhile(lambda series: series.begun.at >= began, deployments.newest_first(store, model))
    rollout = next((series for series in recent if series.begun.run == record.run_id), None)
    if rollout is None:
        return began, UNDEPLOYED
    return rollout.events[-1].at, UNDEPLOYED if rollout.state == "begun" else UNHEARD


def _trained(store: Store, record: RunRecord) -> list[str]:
    """When the trainings of a run said last how far they are; nothing where that may not be read."""
    with suppress(StorageError):
        return [one.seen_at for one in trainings.of(store, pipeline=record.pipeline, run=record.run_id)[0]]
    return []


def _keep(store: Store, one: Retraining, ended: Ended) -> None:
    store.add(f"{_folder(one.decided.model, one.number)}/{ENDED}", ended.text)


def _read(store: Store, model: str, number: int) -> Retraining:
    folder = _folder(model, number)
    there = store.children(folder)

    def parsed(name: str) -> tuple[str, str]:
        return store.read(f"{folder}/{name}"), store.uri(f"{folder}/{name}")

    return Retraining(
        number,
        Decided.parse(*parsed(DECIDED)),
        Started.parse(*parsed(STARTED)) if STARTED in there else None,
        Ended.parse(*parsed(ENDED)) if ENDED in there else None,
    )


def _folder(model: str, number: int) -> str:
    return f"{FOLDER}/{check_name(model)}/{number}"
