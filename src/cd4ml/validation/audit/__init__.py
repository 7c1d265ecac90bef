"""The audit of a dataset: what its columns tell that they should not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from cd4ml.contracts.findings import Finding
from cd4ml.contracts.model import kind_of
from cd4ml.validation.audit import codes, copies, duplicates, leaks, order, relabel, sample


@dataclass(frozen=True)
class Audited:
    """A dataset, and what its columns are."""

    splits: Mapping[str, pa.Table]
    table: pa.Table
    """All splits, one after the other."""
    outcome: pa.ChunkedArray
    """1 and 0 by row, null where there is no label."""
    label: str
    key: str
    exclude: Sequence[str]
    """Columns that no model sees."""
    time: str
    """The column that says when a row came to be; empty where there is none."""

    @property
    def features(self) -> list[str]:
        """The columns that a model may be given."""
        others = {self.label, self.key, self.time, *self.exclude}
        return [one.name for one in self.table.schema if one.name not in others and kind_of(one.type)]

    @property
    def places(self) -> dict[str, slice]:
        """Where the rows of each split are in the table."""
        ends = np.cumsum([0, *(split.num_rows for split in self.splits.values())])
        return {name: slice(int(low), int(high)) for name, (low, high) in zip(self.splits, pairwise(ends), strict=True)}


def examine(audited: Audited) -> Iterator[Finding]:
    """Finds what is wrong with the dataset, as far as it can be asked: without labels nothing tells them."""
    outcome = codes.as_numbers(audited.outcome)
    if not np.isnan(outcome).all():
        drawn = sample.draw(audited.table, outcome=outcome, features=audited.features)
        yield from leaks.examine(drawn, {field.name: field.type for field in audited.table.schema})
        yield from order.of_key(audited.table.column(audited.key), drawn)
        yield from relabel.examine(drawn, audited.places)
    yield from order.after_the_event(audited.table, audited.time)
    rows = copies.read(audited.table, audited.features)
    yield from duplicates.across(rows, audited.places)
    yield from duplicates.conflicts(rows, outcome)
