"""The catalogue: pages about the datasets of a store, which the tasks that change one keep current.

facts/DATASET/VERSION/version.json     what is known of a version (layout: `cd4ml.contracts.catalogued`)
facts/DATASET/VERSION/models/NAME/N    a published model that was trained on it; empty
datasets/DATASET.html                  the page of a dataset, made of these
index.html                             the names of all, and who answers for each

A task adds what it knows and makes the page of its dataset again, so that none looks at all runs, models and datasets.
Nothing is read from the catalogue but pages: a run goes on where it cannot be written, and `cd4ml datasets catalogue`
makes it anew.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ParamSpec

from markupsafe import Markup

from cd4ml.contracts.catalogued import Catalogued
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.record import Judgement
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.errors import StorageError
from cd4ml.reports import page
from cd4ml.storage import AlreadyStoredError, Store, open_store

FOLDER = "catalogue"
INDEX = f"{FOLDER}/index.html"
MOST = 50
"""Versions on a page, the newest, and columns in the index."""
ATTEMPTS = 3
READERS = 16
_FACTS, _VERSION = f"{FOLDER}/facts", "version.json"

log = logging.getLogger(__name__)
Given = ParamSpec("Given")


@dataclass(frozen=True)
class Row:
    """A version of a dataset, with the names that people gave it, and the models that stand on it."""

    known: Catalogued
    tags: tuple[str, ...]
    models: tuple[str, ...]


def _not_failing(write: Callable[Given, None]) -> Callable[Given, None]:
    """Has a task go on where the catalogue cannot be written."""

    @functools.wraps(write)
    def tried(*args: Given.args, **kwargs: Given.kwargs) -> None:
        try:
            write(*args, **kwargs)
        except Exception as error:
            said = "the catalogue could not be written (%s: %s); `cd4ml datasets catalogue` makes it anew"
            log.warning(said, type(error).__name__, error)

    return tried


@_not_failing
def came(location: str, about: DatasetVersion, columns: Mapping[str, str]) -> None:
    """Says that a version has become the latest of its dataset."""
    store = open_store(location)
    keep(store, Catalogued(about, columns, since=datetime.now(UTC).isoformat()))
    refresh(store, about.name)


@_not_failing
def judged(location: str, about: DatasetVersion, verdict: Verdict) -> None:
    """Says what the gate of the data said of a version."""
    store = open_store(location)
    known, said = find(store, about.name, about.version), Judgement.of(verdict)
    if known and known.judged != said:
        keep(store, replace(known, judged=said))
        refresh(store, about.name)


@_not_failing
def published(location: str, version: Version) -> None:
    """Says which model was trained on a version."""
    store = open_store(location)
    with contextlib.suppress(AlreadyStoredError):
        _stand(store, version)
        refresh(store, version.dataset.name)


@_not_failing
def erased(location: str, versions: Iterable[DatasetVersion]) -> None:
    """Tells no more when the rows of versions came to be, of which some were erased."""
    store = open_store(location)
    for about in versions:
        known = find(store, about.name, about.version)
        if known and known.about != known.about.without_times:
            keep(store, replace(known, about=known.about.without_times))
            refresh(store, about.name)


@_not_failing
def changed(location: str, name: str) -> None:
    """Makes the page of a dataset again, of which something was changed by hand."""
    refresh(open_store(location), name)


def keep(store: Store, known: Catalogued, models: Iterable[Version] = ()) -> None:
    """Keeps what is known of a version, and of the models that were trained on it; makes no page.

    Raises:
        StorageError: The store cannot be written.
    """
    before = find(store, known.about.name, known.about.version)
    about, said = replace(known.about, said=()), known.judged or (before.judged if before else None)
    store.replace(f"{_folder(about.name, about.version)}/{_VERSION}", replace(known, about=about, judged=said).text)
    for model in models:
        with contextlib.suppress(AlreadyStoredError):
            _stand(store, model)


def refresh(store: Store, name: str) -> None:
    """Makes the page of a dataset again of what is known, and the index where it does not have the dataset so.

    Raises:
        StorageError: The store cannot be read or written.
        DocumentError: What is known cannot be read.
    """
    _settled(store, f"{_FACTS}/{name}", lambda facts: _write(store, name, facts))


def _settled(store: Store, folder: str, write: Callable[[Mapping[str, datetime]], None]) -> None:
    """Writes again where another has changed what was written of."""
    for _ in range(ATTEMPTS):
        facts = store.below(folder)
        write(facts)
        if store.below(folder) == facts:
            return


def _write(store: Store, name: str, facts: Mapping[str, datetime]) -> None:
    places = sorted((place for place in facts if place.endswith(f"/{_VERSION}")), key=_number, reverse=True)
    if not places:
        return
    with ThreadPoolExecutor(READERS) as pool:
        known = list(pool.map(lambda place: _parsed(store, place), places[:MOST]))
    latest = max(known, key=lambda one: one.since)
    tags = {tag: store.pointer(f"tags/{name}/{tag}") for tag in store.children(f"tags/{name}")}
    models = [place.split("/")[3:] for place in facts if "/models/" in place]
    rows = [
        Row(
            one,
            tags=tuple(tag for tag, at in tags.items() if at and at.value == str(one.about.version)),
            models=tuple(f"{model} {which}" for on, _, model, which in models if on == str(one.about.version)),
        )
        for one in known
    ]
    content = page.text("dataset.html.j2", name, latest=latest, rows=rows, older=len(places) - len(rows))
    store.replace(f"{FOLDER}/datasets/{name}.html", content)
    if _row(latest) not in _read(store, INDEX):
        _settled(store, _FACTS, lambda every: _write_index(store, every))


def _write_index(store: Store, facts: Mapping[str, datetime]) -> None:
    """Writes the index of the version of each dataset of which something was written last."""
    places = [place for place in facts if place.endswith(f"/{_VERSION}")]
    places.sort(key=lambda place: (facts[place], _number(place)))
    last = {place.split("/")[2]: place for place in places}
    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(lambda name: _row(_parsed(store, last[name])), sorted(last)))
    store.replace(INDEX, page.text("catalogue.html.j2", "Datasets", rows=rows, store=store.location))


def _row(latest: Catalogued) -> Markup:
    """The row of a dataset in the index."""
    cells = '<td><a href="datasets/{0}.html">{0}</a></td><td>{1}</td><td>{2}</td>'
    about = latest.about
    return Markup(cells).format(about.name, about.owner, _named(latest.columns))  # noqa: S704


def _named(columns: Iterable[str]) -> str:
    """The first columns of a dataset, and how many more there are."""
    names = [*map(page.short, columns)]
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def find(store: Store, name: str, version: int) -> Catalogued | None:
    """What is known of a version; None where the catalogue has nothing of it.

    Raises:
        DocumentError: What is known cannot be read.
    """
    place = f"{_folder(name, version)}/{_VERSION}"
    text = _read(store, place)
    return Catalogued.parse(text, store.uri(place)) if text else None


def _parsed(store: Store, place: str) -> Catalogued:
    return Catalogued.parse(store.read(place), store.uri(place))


def _read(store: Store, name: str) -> str:
    """The text of an object; empty where there is none."""
    try:
        return store.read(name)
    except StorageError:
        return ""


def _stand(store: Store, model: Version) -> None:
    folder = _folder(model.dataset.name, model.dataset.version)
    store.add(f"{folder}/models/{model.name}/{model.version}", "")


def _folder(name: str, version: int) -> str:
    return f"{_FACTS}/{name}/{version}"


def _number(place: str) -> int:
    """The version that a fact is about."""
    return int(place.split("/")[3])
