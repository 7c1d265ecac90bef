"""Leakage: columns that tell the label better than anything known before the event could."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cd4ml.contracts.findings import Finding, percent
from cd4ml.contracts.moments import is_moment
from cd4ml.contracts.shares import difference_interval, share_interval
from cd4ml.validation.audit.areas import Area
from cd4ml.validation.audit.codes import MISSING, MOST
from cd4ml.validation.audit.sample import Sample

STRONG = 0.9
"""A column whose area alone is surely above this is held against all others."""
MISTAKES = 1 / 3
"""It is no column like the others where it makes so small a part of the mistakes that they make together."""
EXPECTED = 20
"""Rows of the other class that there would have to be at least, for their absence to be no chance."""
PURE = 1 / 20
"""A value is suspicious with at most this part of them."""
COVERS = 0.05
"""The share of the rarer class that such a value has at least."""
MOST_SUSPECTS = 5
SPIKE = 0.2
"""A number is a value of its own where it is so frequent."""
MISSING_GAP = 0.2
"""By which the rates of missing values of the classes surely differ, for it to be a signal."""


@dataclass(frozen=True)
class _Suspect:
    """Rows with something in common in one column, (nearly) all of one class."""

    column: str
    words: str
    """What they have in common: `is filled in`."""
    rows: np.ndarray
    """bool [rows]."""
    strays: int
    """Those that are of the other class."""
    expected: float
    """How many would be, as in all rows."""


def examine(sample: Sample, types: Mapping[str, pa.DataType]) -> Iterator[Finding]:
    """Finds what tells the label: a column alone, some values of one, or whether one is filled in.

    Args:
        sample: The features, and the label.
        types: Of the columns.
    """
    strong = [name for name, area in sample.alone.items() if area.low >= STRONG]
    rest = [name for name in sample.features.names if name not in strong]
    small = sample.smaller()
    found = set()
    if strong:
        others, _ = small.together(rest)
        for name in strong:
            area = sample.alone[name]
            if 1 - area.value <= MISTAKES * (1 - others.high):
                found.add(name)
                yield _alone(name, area=area, others=others, filled=_filled(sample, name))
    for suspect in _suspects(sample, types, passed_over=found):
        _, chances = small.together([name for name in rest if name != suspect.column])
        wrong = chances if sample.outcome.mean() > 0.5 else 1 - chances
        inside = suspect.rows[np.isin(sample.rows, small.rows)]
        expected = float(wrong[inside].sum()) * len(sample.rows) / len(small.rows)
        if expected >= EXPECTED and suspect.strays <= PURE * expected:
            found.add(suspect.column)
            yield _pure(suspect, expected, positive=bool(sample.outcome.mean() <= 0.5))
    for name, column in zip(sample.features.names, sample.features.codes, strict=True):
        if name not in found:
            yield from _missing(name, column == MISSING, sample.outcome)


def _alone(name: str, *, area: Area, others: Area, filled: str) -> Finding:
    message = (
        f"column {name!r} alone tells the label with AUC {area}{filled}, all columns that are weaker together with "
        f"{others}; make sure that it is known before the event that is predicted, else `exclude` it"
    )
    return Finding("leak", "error", "all", name, area.value, message, area.interval)


def _filled(sample: Sample, name: str) -> str:
    there = sample.features.only([name]).codes[0] != MISSING
    positive, negative = there[sample.outcome].mean(), there[~sample.outcome].mean()
    if abs(positive - negative) < MISSING_GAP:
        return ""
    return f" (there is a value in {percent(positive)} of the positive rows, and in {percent(negative)} of the others)"


def _suspects(sample: Sample, types: Mapping[str, pa.DataType], passed_over: set[str]) -> list[_Suspect]:
    """What has nearly only rows of the rarer class, the most telling first, one a column."""
    rare = sample.outcome if sample.outcome.mean() <= 0.5 else ~sample.outcome
    best: dict[str, _Suspect] = {}
    for name, column in zip(sample.features.names, sample.features.codes, strict=True):
        if name in passed_over:
            continue
        counts = np.bincount(column, minlength=256)
        counts_of_rare = np.bincount(column[rare], minlength=256)
        for words, chosen in _values(counts, types[name]):
            rows, hits = int(counts[chosen].sum()), int(counts_of_rare[chosen].sum())
            expected = rows * (1 - rare.mean())
            if expected >= EXPECTED and rows - hits <= PURE * expected and hits >= COVERS * rare.sum():
                suspect = _Suspect(name, words, np.isin(column, np.flatnonzero(chosen)), rows - hits, expected)
                if name not in best or suspect.expected > best[name].expected:
                    best[name] = suspect
    return sorted(best.values(), key=lambda one: -one.expected)[:MOST_SUSPECTS]


def _values(counts: np.ndarray, type_: pa.DataType) -> Iterator[tuple[str, np.ndarray]]:
    """What rows can have in common in a column: in words, and as codes, bool [256]."""
    codes = np.arange(256)
    if counts[MISSING]:
        yield "has a value", codes != MISSING
        yield "is missing", codes == MISSING
    if pa.types.is_string(type_) or pa.types.is_boolean(type_):
        for value in np.flatnonzero(counts):
            if value not in (MISSING, MOST):
                yield "has one of its values", codes == value
    elif (spike := int(counts[1:].argmax()) + 1) and counts[spike] >= SPIKE * counts.sum():
        what = "time" if is_moment(type_) else "value"
        yield f"has its most frequent {what}", codes == spike
        yield f"has another {what} than its most frequent one", (codes != spike) & (codes != MISSING)


def _pure(suspect: _Suspect, expected: float, *, positive: bool) -> Finding:
    rows = int(suspect.rows.sum())
    said = "positive" if positive else "negative"
    share = (rows - suspect.strays) / rows
    message = (
        f"column {suspect.column!r} {suspect.words} in {rows:,} of the rows looked at, and {percent(share)} of these "
        f"are {said}, where by the other columns about {expected:,.0f} would not be; make sure that it is known before "
        "the event that is predicted, else `exclude` it"
    )
    return Finding("leak", "error", "all", suspect.column, share, message, share_interval(share, rows))


def _missing(name: str, missing: np.ndarray, outcome: np.ndarray) -> Iterator[Finding]:
    positive, negative = missing[outcome], missing[~outcome]
    gap = positive.mean() - negative.mean()
    low, high = difference_interval((positive.mean(), len(positive)), (negative.mean(), len(negative)))
    if max(low, -high) < MISSING_GAP:
        return
    message = (
        f"column {name!r} is missing in {percent(positive.mean())} of the positive rows and in "
        f"{percent(negative.mean())} of the others; find out why: what is filled in after the event tells the label"
    )
    yield Finding("missing", "warning", "all", name, float(gap), message, (float(low), float(high)))
