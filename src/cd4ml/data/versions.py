"""The datasets of a store, for people: what each version is, what it is called, and which models stand on it."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from cd4ml.contracts.record import Judgement, RunRecord
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import DATA_GATE
from cd4ml.data import table
from cd4ml.data.table import Commit
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.registry import catalogue, models, records
from cd4ml.storage import Store, check_name

FOLDER, TAGS = "datasets", "tags"
LATEST = "latest"


@dataclass(frozen=True)
class Column:
    """A column of a dataset."""

    name: str
    type: str


class Datasets:
    """The datasets of a store.

    Args:
        store: Holds them.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __iter__(self) -> Iterator["Dataset"]:
        """All of them, by their names."""
        found = (Dataset(self, name) for name in self.store.children(FOLDER))
        return (dataset for dataset in found if dataset.commits)

    def find(self, name: str) -> "Dataset":
        """The one of a name.

        Raises:
            DataError: There is none, or it cannot be read.
            StorageError: There can be none.
        """
        dataset = Dataset(self, name)
        if not dataset.commits:
            known = [one.name for one in self]
            raise DataError(f"store {self.store.location}: no dataset {name!r}; {nearest(name, known)}")
        return dataset

    def search(self, words: Sequence[str]) -> Iterator[tuple["Dataset", list[str]]]:
        """Finds datasets by what they are called.

        Args:
            words: Each has to be part of a name, an owner, a tag or a column, whatever its case.

        Yields:
            A dataset, and where the words were found.
        """
        for dataset in self:
            owner = dataset.latest.about.owner
            places = [
                f"name {dataset.name}",
                *([f"owner {owner}"] if owner else []),
                *(f"tag {tag}" for tag in dataset.tags),
                *(f"column {column.name}" for column in dataset.columns(dataset.latest)),
            ]
            found = [[place for place in places if _is_in(word, place.partition(" ")[2])] for word in words]
            if all(found):
                yield dataset, list(dict.fromkeys(place for each in found for place in each))

    @cached_property
    def runs(self) -> dict[str, RunRecord]:
        """The records of runs by their ids, and by such names as only one of them has."""
        found = records.every(self.store)
        called = Counter(one.name for one in found)
        return {one.name: one for one in found if called[one.name] == 1} | {one.run_id: one for one in found}

    @cached_property
    def published(self) -> list[Version]:
        """All published versions of all models."""
        return [version for name in self.store.children("models") for version in models.versions(self.store, name)]


class Dataset:
    """A dataset of a store; `Datasets.find` gives one that is there.

    Args:
        datasets: Those that it is one of.
        name: Its own.
    """

    def __init__(self, datasets: Datasets, name: str) -> None:
        self.store, self.name = datasets.store, name
        self.uri = self.store.uri(f"{FOLDER}/{name}")
        self.commits: Sequence[Commit] = table.commits(self.uri)
        self._datasets = datasets

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
        catalogue.changed(self.store.location, self.name)
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
        catalogue.came(self.store.location, wanted.about, table.columns(self.uri, wanted.number))
        return wanted

    def columns(self, commit: Commit) -> list[Column]:
        """The columns of the table after a commit."""
        return [Column(name, type_) for name, type_ in table.columns(self.uri, commit.number).items()]

    def tags_of(self, commit: Commit) -> list[str]:
        """What a version is called beside its number."""
        return [tag for tag, number in self.tags.items() if number == commit.about.version]

    def models_of(self, commit: Commit) -> list[str]:
        """The published models that were trained on a version, as `NAME VERSION`."""
        return [f"{one.name} {one.version}" for one in self.published_on(commit)]

    def published_on(self, commit: Commit) -> list[Version]:
        """The versions of models that were trained on a version."""
        reference = self.name, commit.about.version
        return [one for one in self._datasets.published if (one.dataset.name, one.dataset.version) == reference]

    def judged(self, commit: Commit) -> Judgement | None:
        """What the gate of the data said in the run that brought a version; None where no record says."""
        record = self._datasets.runs.get(commit.about.run)
        return next((one for one in record.gates if one.gate == DATA_GATE), None) if record else None


def _is_in(word: str, text: str) -> bool:
    return re.search(re.escape(word), text, re.IGNORECASE) is not None
