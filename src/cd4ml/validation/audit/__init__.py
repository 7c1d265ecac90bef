"""The audit of a dataset: what its columns tell that they should not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.findings import Anonymity, Copies, Finding, Proxy
from cd4ml.contracts.model import kind_of
from cd4ml.contracts.moments import is_moment
from cd4ml.validation.audit import amounts, anonymous, codes, copies, duplicates, leaks, order, proxies, relabel, sample
from cd4ml.validation.audit.copies import Chosen
from cd4ml.validation.audit.sample import Asked, Sample
from cd4ml.validation.on_disk import Table

FEWEST_OF_A_CLASS = 100
"""Rows of the rarer class; fewer do not tell a leak from luck."""
MOST_CLASSES = 5
"""Of a label of three and more, the most frequent, each of which is held against all others."""
FEWEST_LABELLED = 200
"""Likewise rows of a label that is a number."""


@dataclass(frozen=True)
class Audited:
    """A dataset, and what its columns are."""

    splits: Mapping[str, Table]
    table: Table
    """All splits, one after the other."""
    outcome: pa.ChunkedArray
    """1 and 0 by row, null where there is no label."""
    label: str
    key: str
    exclude: Sequence[str]
    """Columns that no model sees."""
    time: str
    """The column that says when a row came to be; empty where there is none."""
    sensitive: Mapping[str, pa.ChunkedArray]
    """By sensitive column: the group of each row, as text."""
    numbers: np.ndarray | None = None
    """The label by row where it is a number, float64 [rows], NaN where there is none; else None."""
    classes: pa.ChunkedArray | None = None
    """The class of each row as text where there are three or more, null where there is none; else None."""
    dates: Sequence[str] = ()
    """Columns that a model sees as dates or times."""

    @property
    def features(self) -> list[str]:
        """The columns that a model may be given."""
        others = {self.label, self.key, self.time, *self.exclude}
        return [one.name for one in self.table.schema if one.name not in others and kind_of(one.type)]

    @property
    def seen_dates(self) -> list[str]:
        """The columns of dates and times that a model is given."""
        others = {self.label, self.key, *self.exclude}
        moments = [field.name for field in self.table.schema if is_moment(field.type)]
        return [name for name in moments if name in self.dates and name not in others]

    @property
    def moment(self) -> str:
        """The column that says when a row came to be, where that is a date or time; else empty."""
        return self.time if self.time and is_moment(self.table.schema.field(self.time).type) else ""

    @property
    def labelled(self) -> np.ndarray:
        """1 and 0 by row, 0 of all that have no positive class, float64 [rows]; NaN where there is no label."""
        if self.classes is not None:
            return np.where(self.classes.is_null().to_numpy(), np.nan, 0.0)
        if self.numbers is None:
            return codes.as_numbers(self.outcome)
        return np.where(np.isnan(self.numbers), np.nan, 0.0)

    @property
    def places(self) -> dict[str, slice]:
        """Where the rows of each split are in the table."""
        ends = np.cumsum([0, *(split.num_rows for split in self.splits.values())])
        return {name: slice(int(low), int(high)) for name, (low, high) in zip(self.splits, pairwise(ends), strict=True)}


@dataclass(frozen=True)
class Audit:
    """What was found."""

    findings: tuple[Finding, ...]
    proxies: tuple[Proxy, ...]
    anonymity: Anonymity | None
    copies: tuple[Copies, ...]
    looked_at: str
    """How many of the rows, in words; empty where these were all."""


def examine(audited: Audited) -> Audit:
    """Audits a dataset, as far as it can be asked: without labels nothing tells them."""
    features = audited.features
    outcome = codes.as_numbers(audited.outcome)
    asked = Asked(features, audited.seen_dates, audited.moment)
    drawn = sample.draw(audited.table, outcome=audited.labelled, asked=asked)
    told = tuple(proxies.measure(drawn.features, drawn.rows, audited.sensitive))
    chosen = copies.choose(audited.table, features)
    rows = copies.read(audited.table, features, chosen)
    among = {split: _among(chosen.places, place) for split, place in audited.places.items()}
    copied = tuple(duplicates.measure(rows, among))
    known_to_none = [audited.label, audited.key, audited.time]
    hidden = anonymous.measure(audited.table, sensitive=audited.sensitive, passed_over=known_to_none)
    found = [
        *_of_the_label(audited, drawn),
        *order.after_the_event(audited.table, audited.time, audited.exclude),
        *duplicates.across(copied),
        *duplicates.conflicts(rows, outcome[chosen.places]),
        *proxies.examine(told),
    ]
    return Audit(tuple(found), told, hidden, copied, _looked_at(audited.table.num_rows, len(drawn.rows), chosen))


def _among(chosen: np.ndarray, rows: slice) -> slice:
    """Where the rows of a split are among those that were chosen."""
    low, high = np.searchsorted(chosen, (rows.start, rows.stop)).tolist()
    return slice(low, high)


def _looked_at(rows: int, drawn: int, chosen: Chosen) -> str:
    count = len(chosen.places)
    if count == rows:
        return ""
    said = f"{drawn:,} of the {rows:,} rows, drawn by chance, and {count:,} for copies, drawn by what they hold"
    return said + ", of which those alike in all features but one were not looked for" * chosen.by_all


def _of_the_label(audited: Audited, drawn: Sample) -> Iterator[Finding]:
    if len(drawn.rows) < FEWEST_LABELLED:
        return
    key = audited.table.select([audited.key]).take(pa.array(drawn.rows)).column(audited.key)
    if audited.numbers is not None:
        yield from amounts.examine(drawn, audited.numbers[drawn.rows], key)
    elif audited.classes is not None:
        yield from _of_classes(audited, drawn, key)
    elif drawn.rarer >= FEWEST_OF_A_CLASS:
        yield from _of_two_classes(audited, drawn, key)
        yield from relabel.examine(drawn, audited.places)


def _of_two_classes(audited: Audited, drawn: Sample, key: pa.ChunkedArray) -> Iterator[Finding]:
    yield from leaks.examine(drawn, {field.name: field.type for field in audited.table.schema})
    yield from order.of_key(key, drawn)


def _of_classes(audited: Audited, drawn: Sample, key: pa.ChunkedArray) -> Iterator[Finding]:
    """What tells one of the most frequent classes from all others, each column once."""
    assert audited.classes is not None
    classes = audited.classes.take(pa.array(drawn.rows))
    counted = sorted(pc.value_counts(classes).to_pylist(), key=lambda one: (-one["counts"], one["values"]))
    found: dict[tuple[str, str], Finding] = {}
    for one in counted[:MOST_CLASSES]:
        sample = drawn.of(pc.equal(classes, one["values"]).to_numpy())
        if sample.rarer < FEWEST_OF_A_CLASS:
            continue
        for finding in _of_two_classes(audited, sample, key):
            message = f"class {one['values']!r} against all others: {finding.message}"
            found.setdefault((finding.kind, finding.column), replace(finding, message=message))
    yield from found.values()
