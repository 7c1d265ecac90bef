"""The groups in the data: how many rows each sensitive group has, and how often each group has the label."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.findings import ENOUGH_ROWS, Finding, Group, percent
from cd4ml.contracts.shares import difference_interval, share_interval
from cd4ml.errors import DataError
from cd4ml.validation.on_disk import Table

SMALL_SHARE = 0.01
FOUR_FIFTHS = 0.8
"""A group whose label rate is below this part of the others' is at a disadvantage, by the rule of that name."""
CERTAIN = 3.0
"""Standard errors by which two label rates must differ for it to be no chance."""
FEW_VALUES = 20
"""A column of numbers with more values than this is cut into quarters."""
CROSS = " × "
"""Between the names and the values of groups that two columns make."""
MOST_PAIRS = 10
"""Of sensitive columns."""
MISSING = "(missing)"
MOST_SLICES = 100
"""Evaluation refuses a column, or a cross of columns, that makes more; said here, before anything is trained."""
MOST_SLICES_TOGETHER = 200
"""And more than these of all kinds together."""


def check_slices(test: Table, slices: Iterable[str | Sequence[str]]) -> None:
    """Makes sure that the model can be evaluated by these columns.

    Args:
        test: The test split.
        slices: Columns, or lists of columns to cross.

    Raises:
        DataError: With each that makes too many slices.
    """
    kinds = dict.fromkeys(tuple(sorted({one} if isinstance(one, str) else set(one))) for one in slices)
    counts = {" × ".join(names): _count_slices(test, names) for names in kinds}
    lines = [
        f"{name} makes {count:,} slices, more than {MOST_SLICES}; slice by a column with fewer values, such as ranges"
        for name, count in counts.items()
        if count > MOST_SLICES
    ]
    if not lines and sum(counts.values()) > MOST_SLICES_TOGETHER:
        lines = [f"they make {sum(counts.values()):,} together, more than {MOST_SLICES_TOGETHER}; name fewer kinds"]
    if lines:
        raise DataError("slices: " + "\n  ".join(lines))


def measure(table: Table, *, outcome: pa.ChunkedArray, columns: Iterable[str], sensitive: Iterable[str]) -> list[Group]:
    """Counts the groups, the largest of a column first.

    Args:
        table: The whole dataset.
        outcome: 1 and 0 by row, null where there is no label.
        columns: Whose values are groups.
        sensitive: Those of the columns that are sensitive.
    """
    return [
        group
        for column in columns
        for group in _groups(values_of(table.column(column)), outcome=outcome, name=column, sensitive=sensitive)
    ]


def cross(values: Mapping[str, pa.ChunkedArray], outcome: pa.ChunkedArray) -> list[Group]:
    """Counts the groups that each two sensitive columns make.

    Args:
        values: By column, the group of each row as text.
        outcome: 1 and 0 by row, null where there is no label.
    """
    groups: list[Group] = []
    for pair in list(combinations(values, 2))[:MOST_PAIRS]:
        both = pc.binary_join_element_wise(*(values[column] for column in pair), CROSS)
        name = CROSS.join(pair)
        groups += _groups(both, outcome=outcome, name=name, sensitive=[name])
    return groups


def examine(groups: Iterable[Group], crossed: Iterable[Group] = ()) -> list[Finding]:
    """Finds sensitive groups that hardly appear, and groups that have the label far less often than the others.

    Of what two columns make, that is a note, and told where neither of its own two groups is.
    """
    found = [(group, finding) for group in groups for finding in (*_representation(group), *_label_rate(group))]
    told = {(group.column, group.value) for group, _ in found}
    others = [group for group in crossed if told.isdisjoint(_parts(group))]
    rates = [replace(finding, severity="note") for group in others for finding in _label_rate(group)]
    return [*(finding for _, finding in found), *_too_small(others), *rates]


def _parts(group: Group) -> Iterator[tuple[str, str]]:
    """The two groups that one is made of."""
    return zip(group.column.split(CROSS), group.value.split(CROSS), strict=False)


def _too_small(groups: Iterable[Group]) -> Iterator[Finding]:
    """Says by pair of columns which groups cannot be judged."""
    small: dict[str, list[Group]] = {}
    for group in groups:
        if group.rows < FEWEST_ROWS:
            small.setdefault(group.column, []).append(group)
    for column, of_pair in small.items():
        least = of_pair[-1]
        message = (
            f"{column}: of the groups that both make, {len(of_pair)} of fewer than {FEWEST_ROWS} rows ({least.value!r} "
            f"has {least.rows:,}); what a model does to these cannot be measured: gather more of them"
        )
        yield Finding("representation", "note", "all", column, least.share, message)


def _count_slices(table: Table, names: Sequence[str]) -> int:
    columns = [table.column(name).cast(pa.string()).fill_null(MISSING) for name in names]
    text = pa.table({str(place): column for place, column in enumerate(columns)})  # `.name` would be a path
    return int(text.group_by(text.column_names).aggregate([]).num_rows)


def _groups(values: pa.ChunkedArray, *, outcome: pa.ChunkedArray, name: str, sensitive: Iterable[str]) -> list[Group]:
    rows = pa.table({"value": values, "outcome": outcome})
    counts = rows.group_by("value").aggregate([("value", "count"), ("outcome", "count"), ("outcome", "sum")])
    counts = counts.sort_by([("value_count", "descending"), ("value", "ascending")])
    labelled = counts["outcome_count"].to_numpy()
    positive = counts["outcome_sum"].fill_null(0).to_numpy()
    return [
        Group(
            column=name,
            value=str(value),
            sensitive=name in sensitive,
            rows=count,
            share=count / len(values),
            label_rate=_rate(positive[place], labelled[place]),
            others_label_rate=_rate(positive.sum() - positive[place], labelled.sum() - labelled[place]),
        )
        for place, (value, count) in enumerate(
            zip(counts["value"].to_pylist(), counts["value_count"].to_pylist(), strict=True)
        )
    ]


def values_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The group of each row as text: its value; numbers of many values as the quarters of the rows that they are in."""
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if numeric and pc.count_distinct(column).as_py() > FEW_VALUES:
        edges = np.unique(pc.quantile(column, q=[0, 0.25, 0.5, 0.75, 1]).to_numpy())
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
        place = np.searchsorted(edges[1:-1], column.to_numpy(), side="left")
        column = pa.chunked_array([pa.array(np.array(names, object)[place], mask=pc.is_null(column).to_numpy())])
    return column.cast(pa.string()).fill_null(MISSING)


def _rate(positive: int, rows: int) -> float | None:
    return float(positive / rows) if rows else None


def _representation(group: Group) -> list[Finding]:
    if not group.sensitive or (group.share >= SMALL_SHARE and group.rows >= ENOUGH_ROWS):
        return []
    message = (
        f"{group.column}: {group.value!r} has {group.rows:,} rows, {percent(group.share)} of all; a model learns "
        "little of this group and its fairness can hardly be measured: gather more of it"
    )
    interval = share_interval(group.share, round(group.rows / group.share)) if group.share else None
    return [Finding("representation", "warning", "all", group.column, group.share, message, interval)]


def _label_rate(group: Group) -> list[Finding]:
    own, others = group.label_rate, group.others_label_rate
    if group.gap is None or own is None or others is None or own >= FOUR_FIFTHS * others:
        return []
    if group.gap < CERTAIN * math.sqrt(others * (1 - others) / group.rows):
        return []
    of_all = round(group.rows / group.share)
    low, high = difference_interval((others, of_all - group.rows), (own, group.rows))
    message = (
        f"{group.column}: {group.value!r} is positive in {percent(own)} of its rows, all others in "
        f"{percent(others)}, a gap of {percent(group.gap)} [{percent(low)}, {percent(high)}]; find out why, for a "
        "model learns it, be it the world or a fault in the data"
    )
    return [Finding("label_balance", "warning", "all", group.column, group.gap, message, (low, high))]
