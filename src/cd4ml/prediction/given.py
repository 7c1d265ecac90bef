"""The rows that are to be predicted: of any source, or of a dataset that the store holds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

from cd4ml import settings
from cd4ml.data import sources
from cd4ml.data.sources import Source
from cd4ml.errors import DataError, StorageError
from cd4ml.settings import OneOf, Strict
from cd4ml.storage import Store, check_name, is_name, open_store

if TYPE_CHECKING:
    import deltalake

    from cd4ml.data.rows import Rows

DATASET = "dataset"


def _is_dataset(written: str) -> str:
    try:
        check_name(written.partition("@")[0])
    except StorageError as error:
        raise ValueError(str(error)) from error
    return written


class StoredDataset(Strict):
    """A version of a dataset of the store."""

    dataset: Annotated[str, AfterValidator(_is_dataset)]
    """Its name, and after an `@` a number or a tag, as `players@3`; the latest version where there is none."""

    @property
    def place(self) -> str:
        """No path or URI: it lies in the store."""
        return ""

    @property
    def text(self) -> str:
        """What was asked for, as JSON."""
        return self.model_dump_json()


def _checked(written: Any) -> Source | StoredDataset:
    content = sources.as_object(written)
    return settings.within(StoredDataset, content) if DATASET in content else sources.checked(content)


def _types() -> Iterator[Any]:
    yield from sources.types()
    yield StoredDataset


AnyRows = Annotated[Source | StoredDataset, OneOf(_checked, _types)]
"""What is to be predicted, as a part of other settings: a source, or `{dataset: NAME}`."""


@dataclass(frozen=True)
class Given:
    """Rows that can be read."""

    name: str
    """What errors call them."""
    text: str
    """Where they come from, as JSON."""
    state: str
    """What tells them from what they are at another time, at one look; empty where only reading tells."""
    key: tuple[str, ...]
    """The columns that are known to tell them apart."""
    source: "Source | deltalake.DeltaTable"

    @contextmanager
    def rows(self, columns: Sequence[str]) -> "Iterator[Rows]":
        """The rows, in the same order each time; they can be read as long as the context lasts.

        Args:
            columns: Those that are read where they are there; a source may give others beside them.

        Raises:
            DataError: They cannot be read.
        """
        from cd4ml.data.rows import rows_of

        found = self.source.read() if isinstance(self.source, Source) else _rows(self.source, columns)
        with closing(rows_of(found, self.name)) as rows:
            yield rows


def parse(written: str, store: str) -> Given:
    """What a task is told of the rows.

    Args:
        written: A path, an `s3://` URI or a web address, or an object as JSON: of a source, or `{"dataset": NAME}`.
        store: The store that holds the datasets.

    Raises:
        DataError: It is no source, or there is no such dataset.
    """
    if not _names_dataset(written):
        source = sources.parse(written)
        return Given(str(source), source.text, source.state(), (), source)
    stored = settings.parse(StoredDataset, content=json.loads(written), name="source", error=DataError)
    return _stored(stored.dataset, open_store(store))


def output(name: str, source: str) -> str:
    """What a table of predictions is called: as a person says, or as the dataset, or the file without its ending.

    Args:
        name: What a person says; empty where nobody has.
        source: Where the rows come from, as JSON.

    Raises:
        DataError: It can be called neither.
        StorageError: It cannot be called as the person says.
    """
    if name:
        return check_name(name)
    kind, place = next(iter(json.loads(source).items()))
    path = urlsplit(place).path if kind == "http" else str(place)
    found = path.rstrip("/").rpartition("/")[2].partition(".")[0].partition("@")[0]
    if not is_name(found):
        raise DataError("output: the source does not tell what its predictions are to be called; name the output")
    return found


def _names_dataset(written: str) -> bool:
    try:
        content = json.loads(written)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, Mapping) and DATASET in content


def _stored(dataset: str, store: Store) -> Given:
    from cd4ml.data import table
    from cd4ml.data.versions import LATEST, Datasets

    name, _, which = dataset.partition("@")
    found = Datasets(store).find(name)
    commit = found.version(which or LATEST)
    about = commit.about
    return Given(
        f"{name}@{about.version}",
        json.dumps({DATASET: f"{name}@{about.version}"}),
        f"{about.digest}, commit {commit.number}",
        about.key_in_table,
        table.opened(found.uri, commit.number),
    )


def _rows(opened: "deltalake.DeltaTable", columns: Sequence[str]) -> Any:
    from cd4ml.data import table

    there = [field.name for field in opened.schema().fields]
    return table.rows_of_version(opened, [name for name in columns if name in there], in_order=True)
