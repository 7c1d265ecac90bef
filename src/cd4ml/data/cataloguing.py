"""The catalogue of a store, made anew of all that the store holds."""

from cd4ml.contracts.catalogued import Catalogued
from cd4ml.data import table
from cd4ml.data.versions import Datasets
from cd4ml.registry import catalogue
from cd4ml.storage import Store


def write(store: Store) -> str:
    """Writes the catalogue; its first page.

    Raises:
        DataError: A dataset cannot be read.
        StorageError: The store cannot be written.
    """
    for dataset in Datasets(store):
        for commit in dataset.commits:
            columns = table.columns(dataset.uri, commit.number)
            known = Catalogued(commit.about, columns, commit.at.isoformat(), dataset.judged(commit))
            catalogue.keep(store, known, dataset.published_on(commit))
        catalogue.refresh(store, dataset.name)
    return store.uri(catalogue.INDEX)
