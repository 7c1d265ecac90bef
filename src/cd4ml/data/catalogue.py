"""A page about all datasets of a store."""

from dataclasses import dataclass
from pathlib import Path

from cd4ml.contracts.record import Judgement
from cd4ml.data.versions import Dataset, Datasets
from cd4ml.reports import page
from cd4ml.storage import Store


@dataclass(frozen=True)
class Row:
    """A version of a dataset, as it became the latest."""

    version: int
    at: str
    rows: int
    mode: str
    run: str
    source: str
    tags: tuple[str, ...]
    judged: Judgement | None
    models: tuple[str, ...]


def write(store: Store, file: Path) -> None:
    """Writes the page, of one file.

    Raises:
        DataError: A dataset cannot be read.
    """
    datasets = list(Datasets(store))
    page.render(
        "catalogue.html.j2",
        file,
        "Datasets",
        store=store.location,
        datasets=[(one, one.columns(one.latest), _rows(one)) for one in datasets],
    )


def _rows(dataset: Dataset) -> list[Row]:
    return [
        Row(
            version=one.about.version,
            at=f"{one.at:%Y-%m-%d %H:%M} UTC",
            rows=one.about.rows,
            mode=one.about.mode,
            run=one.about.run,
            source=one.about.source,
            tags=tuple(dataset.tags_of(one)),
            judged=dataset.judged(one),
            models=tuple(dataset.models_of(one)),
        )
        for one in reversed(dataset.commits)
    ]
