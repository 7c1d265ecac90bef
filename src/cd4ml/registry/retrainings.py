"""Decisions whether models are trained again: `retrainings/<model>/<number>/{decided,started,ended}.json` in the store.

Whoever decides takes the next number by a conditional write; of two that decide at once one does, and the other sees
its decision. What is decided with a yes begins but once, for whoever wrote the decision begins it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cd4ml.contracts.retraining import Decided, Ended, Started
from cd4ml.errors import RegistryError
from cd4ml.registry import clock, numbers, records
from cd4ml.storage import AlreadyStoredError, Store, check_name

FOLDER = "retrainings"
DECIDED, STARTED, ENDED = "decided.json", "started.json", "ended.json"
UNHEARD = timedelta(days=3)
"""After which a run that nothing was heard of counts as failed."""


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
    def state(self) -> str:
        """In a few words."""
        if not self.decided.retrain:
            return "no"
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
        The decision as it stands; None where another was faster, so that it has to be decided anew.
    """
    last = known[-1] if known else None
    if last and not decided.retrain and last.decided.same == decided.same:
        return last
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


def fail(store: Store, one: Retraining, failure: str) -> None:
    """Says that a decision could not be carried out, unless its run says what came of it."""
    now = clock.moment()
    if settle(store, _read(store, one.decided.model, one.number), now).is_open:
        ended = Ended(None, failure, clock.written(now))
        with suppress(AlreadyStoredError):
            store.add(f"{_folder(one.decided.model, one.number)}/{ENDED}", ended.text)


def settle(store: Store, one: Retraining, now: datetime) -> Retraining:
    """Says what came of a decision, where its run has ended, or nothing was heard of it for days."""
    found = settled(store, one, now)
    if found.ended is None or one.ended:
        return found
    try:
        store.add(f"{_folder(one.decided.model, one.number)}/{ENDED}", found.ended.text)
    except AlreadyStoredError:
        return _read(store, one.decided.model, one.number)
    return found


def settled(store: Store, one: Retraining, now: datetime) -> Retraining:
    """A decision, with what came of it as far as is known; nothing is written."""
    return replace(one, ended=_end(store, one, now)) if one.is_open else one


def _end(store: Store, one: Retraining, now: datetime) -> Ended | None:
    since = now - datetime.fromisoformat(one.started.at if one.started else one.decided.at)
    if one.started is None:
        failure = "it was decided on, and never begun"
    else:
        try:
            record = records.read(store, one.started.run)
        except RegistryError:
            failure = f"the run {one.started.run} has no record"
        else:
            if record.status != "running":
                said = record.failure or ("" if record.published else f"the run {record.name} published nothing")
                version = record.published if record.status == "passed" else None
                return Ended(version, "" if version else said, clock.written(now))
            failure = f"the run {record.name} has not ended"
    return Ended(None, f"{failure} for {UNHEARD.days} days", clock.written(now)) if since >= UNHEARD else None


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
