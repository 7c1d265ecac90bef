"""What was deployed when: the events of each deployment, `deployments/<name>/<number>/<1, 2, …>.json` in the store.

The first event takes the number, and every later one the next place, each by a conditional write. Stores of before have
`deployments/<name>/<number>.json`, one record of a deployment that held.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

from cd4ml.contracts import deployment as events
from cd4ml.contracts import model
from cd4ml.contracts.deployment import Begun, Event, Held, Stopped, Undone
from cd4ml.contracts.experiment import EXPERIMENT, Experiment
from cd4ml.contracts.release import Deployment, Version
from cd4ml.errors import RegistryError
from cd4ml.registry import clock, models, numbers
from cd4ml.storage import NUMBER, AlreadyStoredError, Store, check_name, open_store

READERS = 8
Kind = TypeVar("Kind", bound=Event)


@dataclass(frozen=True)
class Series:
    """The events of one deployment."""

    begun: Begun
    events: tuple[Event, ...]
    """All of them, the oldest first."""

    @property
    def state(self) -> Literal["begun", "held", "undone", "stopped"]:
        """What became of it; `begun` goes on, or its process was killed."""
        if self.last(Undone):
            return "undone"
        if self.last(Stopped):
            return "stopped"
        return "held" if self.last(Held) else "begun"

    @property
    def deployment(self) -> Deployment | None:
        """The deployment, where it counts: it held, and was neither undone nor stopped."""
        return self.served if self.state == "held" else None

    @property
    def served(self) -> Deployment | None:
        """The deployment, where it was in production: it held, and was not undone; also where it was stopped."""
        held = self.last(Held)
        return events.deployment_of(self.begun, held) if held and self.state != "undone" else None

    def last(self, kind: type[Kind]) -> Kind | None:
        """The last event of a kind; None where there is none."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)


def begin(store: Store, version: Version, *, run: str, target: str, strategy: str, persons: int = 0) -> Begun:
    """Adds a deployment to the history, before anything is changed; of many that do so at once, each has its number."""
    number = max(_numbers(_stored(store, version.name)), default=0)
    while True:
        number += 1
        begun = Begun(
            name=version.name,
            number=number,
            version=version.version,
            digest=version.digest,
            run=run,
            target=target,
            strategy=strategy,
            at=clock.now(),
            persons=persons,
        )
        try:
            store.add(f"{_folder(version.name, number)}/1.json", begun.text)
        except AlreadyStoredError:
            continue  # another run took this number; take the next
        return begun


def add(store: Store, begun: Begun, event: Event) -> None:
    """Adds an event to a deployment."""
    numbers.append(store, _folder(begun.name, begun.number), event.text)


def add_experiment(store: Store, begun: Begun, experiment: Experiment) -> None:
    """Keeps how the experiment of a deployment went, beside its events."""
    store.add(f"{_folder(begun.name, begun.number)}/{EXPERIMENT}", experiment.text)


def experiment(store: Store, begun: Begun) -> Experiment | None:
    """How the experiment of a deployment went; None where it had none, or that has not ended."""
    folder = _folder(begun.name, begun.number)
    if EXPERIMENT not in store.children(folder):
        return None
    return Experiment.parse(store.read(f"{folder}/{EXPERIMENT}"), store.uri(f"{folder}/{EXPERIMENT}"))


def find(store: Store, name: str, number: int) -> Series | None:
    """A deployment by its number; None where there is none.

    Raises:
        RegistryError: What is there is another.
    """
    found = _series(_events(store, name, number), store.uri(_folder(name, number)))
    return found or _read(store, name, number, stored=_stored(store, name))


def read(store: Store, name: str, number: int) -> Series:
    """A deployment by its number.

    Raises:
        RegistryError: There is none, or what is there is another.
    """
    series = find(store, name, number)
    if series is None:
        raise RegistryError(
            f"store {store.location}: {name} has no deployment {number}; `cd4ml deployments list {name}` has all"
        )
    return series


def newest_first(store: Store, name: str) -> Iterator[Series]:
    """All deployments of a model, each read when it is asked for."""
    stored = _stored(store, name)
    for number in sorted(_numbers(stored), reverse=True):
        found = _read(store, name, number, stored=stored)
        if found:
            yield found


def every(store: Store, name: str) -> list[Series]:
    """All deployments of a model, the oldest first; read side by side, for each event is an object of its own."""
    stored = _stored(store, name)
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda number: _read(store, name, number, stored=stored), sorted(_numbers(stored)))
        return [series for series in found if series]


def latest(store: Store, name: str) -> Deployment | None:
    """The last deployment that counts."""
    return next((series.deployment for series in newest_first(store, name) if series.deployment), None)


def in_production(found: Sequence[Series]) -> list[Series]:
    """What is in production at each target, the newest first: the last deployment there that held, unless it was ended.

    Where one was stopped, nothing is put back, so that the one before it counts, and is not served.

    Args:
        found: All deployments of a model, the oldest first.
    """
    last = {series.begun.target: series for series in found if series.served}
    standing = (series for series in last.values() if series.deployment)
    return sorted(standing, key=lambda series: series.begun.number, reverse=True)


def last(found: Sequence[Series]) -> Deployment | None:
    """The last deployment that was in production; takes what `in_production` takes."""
    return next((series.served for series in reversed(found) if series.served), None)


def before(found: Sequence[Series]) -> Deployment | None:
    """What was in production before the version that is: where that came back after others, what came before it first.

    So one step back after another leads to ever earlier versions, and never to one that was left. Of a version that was
    stopped it is the last one that still counts.
    """
    served = [series for series in found if series.served]
    counted = [series.deployment for series in served if series.deployment]
    if not counted or served[-1].state == "stopped":
        return counted[-1] if counted else None
    first = next(place for place, one in enumerate(counted) if one.version == counted[-1].version)
    return counted[first - 1] if first else None


def is_way_back(found: Sequence[Series], version: Version) -> bool:
    """Whether a version was in production last, or before the one that is: what may come back at any time."""
    back = (last(found), before(found))
    return any(one and (one.version, one.digest) == (version.version, version.digest) for one in back)


def persons(found: Sequence[Series]) -> int:
    """How many people had to let the newest version in that was in production; a way back since has asked nobody."""
    served = [series.begun for series in found if series.served]
    newest = max((begun.version for begun in served), default=0)
    return max((begun.persons for begun in served if begun.version == newest), default=0)


def champion(location: str, name: str, candidate_folder: str) -> tuple[str, str]:
    """The model in production that a candidate is to be held against.

    That is the one of the last deployment that counts. Where it is the candidate itself, as in a run that repeats
    another, it is the one that the candidate replaced: so the same run asks the same question, and its answer can be
    reused.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        candidate_folder: What training wrote.

    Returns:
        Where the champion lies and its digest; both empty where no other model was ever deployed, or none still counts.
    """
    store = open_store(location)
    candidate = model.digest(candidate_folder)
    for series in newest_first(store, name):
        if series.deployment and series.begun.digest != candidate:
            version = models.read(store, name, series.begun.version)
            return store.uri(f"{version.folder}/model"), version.digest
    return "", ""


def _stored(store: Store, name: str) -> list[str]:
    return store.children(f"deployments/{check_name(name)}")


def _numbers(stored: list[str]) -> set[int]:
    stems = (child.removesuffix(".json") for child in stored)
    return {int(stem) for stem in stems if NUMBER.fullmatch(stem)}


def _folder(name: str, number: int) -> str:
    return f"deployments/{check_name(name)}/{number}"


def _read(store: Store, name: str, number: int, *, stored: list[str]) -> Series | None:
    found: list[Event] = []
    if f"{number}.json" in stored:
        file = f"{_folder(name, number)}.json"
        found += events.events_of(Deployment.parse(store.read(file), store.uri(file)))
    return _series([*found, *_events(store, name, number)], store.uri(_folder(name, number)))


def _events(store: Store, name: str, number: int) -> list[Event]:
    read = [events.parse(text, place) for text, place in numbers.documents(store, _folder(name, number))]
    return [event for event in read if event]


def _series(found: list[Event], place: str) -> Series | None:
    begun = next((event for event in found if isinstance(event, Begun)), None)
    if begun is None:
        return None
    if not place.endswith(f"/{_folder(begun.name, begun.number)}"):
        raise RegistryError(f"{place}: holds deployment {begun.number} of the model {begun.name}; {Begun.remedy}")
    return Series(begun, tuple(found))
