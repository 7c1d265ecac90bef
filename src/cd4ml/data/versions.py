"""The datasets of a store, for people: what each version is, what it is called, and which models stand on it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from cd4ml.contracts.record import Judgement
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import DATA_GATE
from cd4ml.data import table
from cd4ml.data.table import Commit
from cd4ml.errors import DataError, DocumentError, RegistryError
from cd4ml.names import nearest
from cd4ml.registry import models, records
from cd4ml.storage import Store, check_name

FOLDER, TAGS = "datasets", "tags"
LATEST = "latest"


@dataclass(frozen=True)
class Column:
    """A column of a dataset."""

    name: str
    type: str


class Dataset:
    """A dataset of a store.

    Args:
        store: Holds it.
        name: The dataset's.

    Raises:
        DataError: There is none of this name, or it cannot be read.
    """

    def __init__(self, store: Store, name: str) -> None:
        known = names(store)
        if name not in known:
            raise DataError(f"store {store.location}: no dataset {name!r}; {nearest(name, known)}")
        self.store, self.name = store, name
        self.uri = store.uri(f"{FOLDER}/{name}")
        self.commits: Sequence[Commit] = table.commits(self.uri)

    @property
    def latest(self) -> Commit:
        """What was done last."""
        return self.commits[-1]

    def version(self, which: str) -> Commit:
        """What became of a version when it came to be.

        Args:
            which: Its number, a tag, or `latest`.

        Raises:
            DataError: There is none.
        """
        number = self.tags.get(which, self.latest.about.version if which == LATEST else which)
        found = next((one for one in self.commits if str(one.about.version) == str(number)), None)
        if found is None:
            known = [*(str(one.about.version) for one in self.commits), *self.tags, LATEST]
            raise DataError(f"{self.uri}: no version {which!r}; {nearest(which, list(dict.fromkeys(known)))}")
        return found

    @cached_property
    def tags(self) -> dict[str, int]:
        """The versions that have a name."""
        folder = f"{TAGS}/{self.name}"
        pointers = {tag: self.store.pointer(f"{folder}/{tag}") for tag in self.store.children(folder)}
        return {tag: int(pointer.value) for tag, pointer in pointers.items() if pointer}

    def tag(self, tag: str, which: str) -> int:
        """Gives a version a name, which another may have had; the version's number.

        Raises:
            DataError: There is no such version, or a number is no name.
            StorageError: It cannot be a name.
        """
        number = self.version(which).about.version
        if check_name(tag).isdecimal() or tag == LATEST:
            raise DataError(f"{tag!r} says which version it is already; choose another tag")
        name = f"{TAGS}/{self.name}/{tag}"
        self.store.move(name, str(number), self.store.pointer(name))
        return number

    def restore(self, which: str) -> Commit:
        """Makes an earlier version the latest again.

        Raises:
            DataError: There is no such version, or it is the latest.
        """
        wanted = self.version(which)
        if wanted.about.digest == self.latest.about.digest:
            raise DataError(f"{self.uri}: version {wanted.about.version} is the latest already")
        table.restore(wanted)
        return wanted

    def columns(self, commit: Commit) -> list[Column]:
        """The columns of the table after a commit."""
        schema = table.opened(self.uri, commit.number).schema()
        return [Column(field.name, str(getattr(field.type, "type", field.type))) for field in schema.fields]

    def judged(self, commit: Commit) -> Judgement | None:
        """What the gate of the data said in the run that brought a version; None where no record says."""
        if not commit.about.run:
            return None
        try:
            gates = records.read(self.store, commit.about.run).gates
        except (RegistryError, DocumentError):
            return None
        return next((one for one in gates if one.gate == DATA_GATE), None)

    @cached_property
    def models(self) -> dict[int, list[Version]]:
        """The published models that were trained on it, by its version."""
        found: dict[int, list[Version]] = {}
        for version in published(self.store):
            if version.dataset.name == self.name:
                found.setdefault(version.dataset.version, []).append(version)
        return found


def names(store: Store) -> list[str]:
    """The datasets of a store."""
    return [name for name in store.children(FOLDER) if table.exists(store.uri(f"{FOLDER}/{name}"))]


def published(store: Store) -> Iterator[Version]:
    """All published versions of all models."""
    for name in store.children("models"):
        yield from models.versions(store, name)


def search(store: Store, words: Sequence[str]) -> Iterator[tuple[Dataset, list[str]]]:
    """Finds datasets by what they are called.

    Args:
        store: Holds them.
        words: Each has to be part of a name, an owner, a tag or a column, whatever its case.

    Yields:
        A dataset, and where the words were found.
    """
    for name in names(store):
        dataset = Dataset(store, name)
        columns = dataset.columns(dataset.latest)
        places = [
            f"name {name}",
            *([f"owner {dataset.latest.about.owner}"] if dataset.latest.about.owner else []),
            *(f"tag {tag}" for tag in dataset.tags),
            *(f"column {column.name}" for column in columns),
        ]
        found = [[place for place in places if _is_in(word, place.partition(" ")[2])] for word in words]
        if all(found):
            yield dataset, list(dict.fromkeys(place for each in found for place in each))


def _is_in(word: str, text: str) -> bool:
    return re.search(re.escape(word), text, re.IGNORECASE) is not None
