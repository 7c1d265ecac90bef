"""The time line of a model: what was published, approved, deployed, undone and stopped, of all its versions."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cd4ml.contracts import deployment as events
from cd4ml.contracts.deployment import StepTaken
from cd4ml.contracts.evaluation import CANDIDATE, SUMMARY, Summary
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.errors import Cd4mlError, RegistryError
from cd4ml.registry import approvals, deployments, models, promotions
from cd4ml.registry.deployments import Series
from cd4ml.storage import Store

READERS = 16
VERDICT = "verdict.json"


@dataclass(frozen=True)
class Event:
    """Something that happened to a version of a model."""

    at: str
    """ISO 8601, UTC."""
    version: int
    what: str
    """`published`, `copied` from another environment, `approved`, `begun`, `held`, `undone`, `stopped`; of a rollout
    also `promoted` and `aborted`."""
    said: str
    deployment: int | None = None
    """The number of the deployment that it is about; None where it is about none."""


def of(store: Store, name: str) -> list[Event]:
    """All that happened to the versions of a model, the newest first; of a deployment not its steps.

    Raises:
        RegistryError: There is no such model.
        StorageError: The store cannot be read.
        DocumentError: An event of it cannot be.
    """
    published, deployed = models.versions(store, name), deployments.every(store, name)
    if not published and not deployed:
        raise RegistryError(f"store {store.location}: there is no model {name}; `cd4ml models list` has all")
    known = {one.version for one in published}
    with ThreadPoolExecutor(READERS) as pool:
        trained = list(pool.map(lambda version: _published(store, version), published))
    numbers = sorted(known | {series.begun.version for series in deployed})
    found = [
        *trained,
        *(event for number in sorted(known) for event in _copied(store, name, number)),
        *(event for number in numbers for event in _said(store, name, number)),
        *(event for series in deployed for event in _deployed(series, gone=series.begun.version not in known)),
    ]
    return sorted(found, key=lambda one: one.at)[::-1]


def figures(store: Store, version: Version) -> str:
    """What a version was evaluated to, and what its gate said, in a few words; what cannot be read is told as such."""
    there = store.children(version.folder)
    said = []
    try:
        if SUMMARY in there:
            file = f"{version.folder}/{SUMMARY}"
            said.append(_primary(Summary.parse(store.read(file), store.uri(file))))
        if VERDICT in there:
            file = f"{version.folder}/{VERDICT}"
            said.append(Verdict.parse(store.read(file), store.uri(file)).headline)
    except Cd4mlError as error:
        said.append(str(error))
    return ", ".join(filter(None, said)) or "no evaluation is kept"


def _primary(evaluation: Summary) -> str:
    """The primary metric, with its interval at 95 %."""
    found, problem = evaluation.models[CANDIDATE], evaluation.problem
    value, ends = found.metrics.get(problem.primary), found.intervals.get(problem.primary)
    if value is None:
        return ""
    metric = problem.metric(problem.primary)
    interval = f" [{metric.written(ends[0])}, {metric.written(ends[1])}]" if ends else ""
    return f"{problem.primary} {metric.written(value)}{interval}"


def _published(store: Store, version: Version) -> Event:
    dataset = f"{version.dataset.name}@{version.dataset.version}"
    said = f"by {version.run}, trained on {dataset}: {figures(store, version)}"
    return Event(version.published_at, version.version, "published", said)


def _copied(store: Store, name: str, number: int) -> Iterator[Event]:
    found = promotions.find(store, name, number)
    if found:
        yield Event(found.at, number, "copied", found.headline)


def _said(store: Store, name: str, number: int) -> Iterator[Event]:
    for one in approvals.every(store, name, number):
        until = f", until {one.until}" if one.what == "approved" else ""
        yield Event(one.at, number, one.what, f"{one.headline}{until}", one.deployment or None)


def _deployed(series: Series, *, gone: bool) -> Iterator[Event]:
    begun = series.begun
    for one in _without_steps(series.events):
        lost = "; the version is gone from the store" if gone and one is begun else ""
        yield Event(one.at, begun.version, events.WORDS[type(one)], f"{one.headline}{lost}", begun.number)


def _without_steps(found: Sequence[events.Event]) -> Iterator[events.Event]:
    yield from (one for one in found if not isinstance(one, StepTaken))
