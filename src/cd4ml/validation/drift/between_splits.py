"""The splits of a dataset, compared: train with the rows of the last model, eval and test with train."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cd4ml.contracts.dataset import Origin
from cd4ml.contracts.drift import FALSE_ALARMS, LARGE, Comparison, Uncompared
from cd4ml.contracts.findings import Finding
from cd4ml.validation.drift import reference
from cd4ml.validation.drift.compare import FEWEST_ROWS, compare_samples
from cd4ml.validation.on_disk import Table

NO_REFERENCE = "no version of this model was published on other data, or the last one keeps no rows to compare with"
CLEARLY = 0.6
"""An AUC from which on a person is told that the rows can be told apart."""


@dataclass(frozen=True)
class Compared:
    """What came of it."""

    comparisons: tuple[Comparison, ...]
    uncompared: tuple[Uncompared, ...]
    samples: Mapping[str, tuple[pa.Table, pa.Table]]
    """By split the rows that it was held against and its own."""
    reference: pa.Table
    """The sample of train, which later rows are held against."""


def compare(
    tables: Mapping[str, Table],
    *,
    origin: Origin,
    before: str | Path,
    without: Mapping[str, str],
    slices: Sequence[str],
) -> Compared:
    """Compares train with the rows of the last model, eval and test with train.

    Args:
        tables: The splits.
        origin: The version of the dataset that they are of.
        before: The sample that the last published version keeps; an empty file where there is none.
        without: Columns that are neither compared nor kept, each with the reason.
        slices: Columns in whose values the others are compared too.
    """

    def take(split: str, like: pa.Table | None = None) -> pa.Table:
        about = reference.about(like) if like else None
        return reference.take(tables[split], origin=origin, split=split, without=without, like=about)

    kept, train = reference.read(before), take("train")
    samples = {split: (train, take(split, train)) for split in ("eval", "test")}
    uncompared = []
    if kept:
        samples = {"train": (kept, take("train", kept)), **samples}
    else:
        uncompared.append(Uncompared("train", NO_REFERENCE, too_few=False))
    for split, both in samples.items():
        rows = min(reference.about(sample).drawn for sample in both)
        if rows < FEWEST_ROWS:
            uncompared.append(Uncompared(split, f"{rows} rows are too few to compare", too_few=True))
    few = {one.split for one in uncompared}
    comparisons = [compare_samples(*both, slices=slices) for split, both in samples.items() if split not in few]
    return Compared(tuple(comparisons), tuple(uncompared), samples, train)


def findings(comparisons: Sequence[Comparison]) -> Iterator[Finding]:
    """The large changes as findings, one a column."""
    for one in comparisons:
        for change in one.told:
            yield Finding("drift", "warning", one.split, change.column, change.effect, f"{one.name}: {change.said}")
        told = one.told_apart
        if told and not one.told and told.auc >= CLEARLY and told.false_alarm_rate <= FALSE_ALARMS:
            by = " and ".join(f"`{column}`" for column in told.columns[:2])
            message = (
                f"{one.name}: no column alone has changed by {LARGE:g} or more, yet a classifier tells the rows apart "
                f"with an AUC of {told.auc:.2f}, mostly by {by or 'many columns together'}"
            )
            yield Finding("drift", "warning", one.split, "", told.auc, message)
