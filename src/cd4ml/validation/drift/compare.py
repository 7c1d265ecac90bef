"""Compares two samples of rows: every column, in every slice, and the tables as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from cd4ml.contracts.drift import FALSE_ALARMS, Change, Comparison, ToldApart
from cd4ml.contracts.findings import number
from cd4ml.contracts.reference import Reference
from cd4ml.errors import DataError
from cd4ml.validation.drift import chance, effect, reference, told_apart, words
from cd4ml.validation.drift.pair import Pair, kind, pair

FEWEST_ROWS = 30
"""In fewer rows of either sample nothing can be found."""
SLICE_ROWS = 100
"""That a slice has in either sample at least."""
MOST_SLICES = 10
"""Of one column, the most frequent ones."""
SAID = 0.1
"""A false-alarm rate up to which it is said what changed; limits may allow more than `FALSE_ALARMS`."""
NO_CHANCE = 1e-6
"""How likely it may be, at most, that all of the repeated numbers are in one of the samples."""
CONFINED = 4
"""A change is confined to a slice where its effect is so many times that of all other rows."""


@dataclass(frozen=True)
class Slice:
    """Rows of both samples with one value of a column."""

    column: str
    name: str
    before: np.ndarray
    """Which rows, bool [rows]."""
    after: np.ndarray

    @property
    def others(self) -> "Slice":
        """All other rows."""
        return replace(self, before=~self.before, after=~self.after)

    def of(self, whole: Pair) -> Pair:
        """A column of these rows."""
        return whole.where(self.before, self.after)


@dataclass(frozen=True)
class Chance:
    """The p-values of one column."""

    p_value: float
    """Of all its rows and of the slices."""
    within: Sequence[tuple[Slice, float]]
    """Of each slice."""


def compare_samples(
    before: pa.Table, after: pa.Table, *, slices: Sequence[str] = (), as_a_whole: bool = True
) -> Comparison:
    """Compares the rows of one sample with those of another.

    Args:
        before: What `reference.take` drew of the table that the other is held against.
        after: The same of the other one, taken with the first as its `like`.
        slices: Columns; each is also compared in the rows with one value of these.
        as_a_whole: Whether a classifier tries to tell the rows apart too.

    Raises:
        DataError: A sample has fewer than 30 rows.
    """
    whences = reference.about(before), reference.about(after)
    for whence in whences:
        if whence.drawn < FEWEST_ROWS:
            raise DataError(f"{whence.name}: {whence.drawn} rows are too few to compare; give at least {FEWEST_ROWS}")
    random = np.random.default_rng(0)
    left_out = {**whences[0].left_out, **whences[1].left_out}
    names = [name for name in before.column_names if name in after.column_names]
    pairs = {name: pair(name, before.column(name), after.column(name)) for name in names}
    same = {name: one for name, one in pairs.items() if one}
    sliced = [one for name in slices if name in same for one in _slices(same[name])]

    found = [_chance(one, sliced, random) for one in same.values()]
    told = told_apart.tell([*same.values()], random) if as_a_whole else None
    rates = chance.adjusted([*(one.p_value for one in found), *([told.p_value] if told else [])])
    changes = [
        _change(whole, rate, within=one.within, random=random)
        for whole, rate, one in zip(same.values(), rates[: len(same)], found, strict=True)
    ]
    others = [*_of_types(before, after), *_of_names(before, after, left_out), *_of_numbered(before, after)]
    return Comparison(
        split=whences[1].split,
        before=_whence(*whences),
        rows=(whences[0].rows, whences[1].rows),
        compared=(whences[0].drawn, whences[1].drawn),
        changes=tuple(sorted([*changes, *others], key=_weight)),
        told_apart=ToldApart(told.auc, told.interval, rates[-1], told.columns) if told else None,
        left_out=left_out,
    )


def _whence(before: Reference, now: Reference) -> str:
    """What the rows are held against, in words: another part of the same version, or of another one."""
    same = before.version == now.version and before.split != now.split
    return before.split if same else before.name


def _slices(by: Pair) -> Iterator[Slice]:
    """The rows with each of the frequent values of a column; none where it has too many values to tell them apart."""
    both = np.concatenate(by.there)
    values, counts = np.unique(both, return_counts=True)
    if by.kind == "time" or (by.kind == "number" and len(values) > MOST_SLICES):
        return
    for value in values[np.argsort(-counts, kind="stable")][:MOST_SLICES]:
        before, after = by.before == value, by.after == value
        if min(before.sum(), after.sum()) >= SLICE_ROWS and not (before.all() and after.all()):
            name = by.texts[int(value)] if by.kind == "category" else number(float(value))
            yield Slice(by.name, f"{by.name}={name}", before, after)


def _chance(whole: Pair, sliced: Sequence[Slice], random: np.random.Generator) -> Chance:
    """Half of the alarms may come from all rows, half from the slices together."""
    found = chance.of_pair(whole, random)
    within = [(one, chance.of_pair(one.of(whole), random)) for one in sliced if one.column != whole.name]
    if not within:
        return Chance(found, within)
    least = min(p_value for _, p_value in within)
    return Chance(min(1.0, 2 * min(found, len(within) * least)), within)


def _change(whole: Pair, rate: float, *, within: Sequence[tuple[Slice, float]], random: np.random.Generator) -> Change:
    measures = effect.measure(whole)
    if rate > SAID:
        return Change(whole.name, max(measures.values()), measures, rate, "")
    confined = _confined(whole, within, random)
    if not confined:
        return Change(whole.name, max(measures.values()), measures, rate, words.say(whole))
    part = confined.of(whole)
    said = words.say(part, confined.name)
    return Change(whole.name, max(effect.measure(part).values()), measures, rate, said, confined.name)


def _confined(whole: Pair, within: Sequence[tuple[Slice, float]], random: np.random.Generator) -> Slice | None:
    """The one slice in which a column differs, where all other rows do not, or far less."""
    if not within:
        return None
    likeliest = min(within, key=lambda one: one[1])[0]
    others = likeliest.others.of(whole)
    if chance.of_pair(others, random) > FALSE_ALARMS:
        return likeliest
    inside, outside = (max(effect.measure(one).values()) for one in (likeliest.of(whole), others))
    return likeliest if inside > CONFINED * outside else None


def _of_types(before: pa.Table, after: pa.Table) -> Iterator[Change]:
    """Columns of another type than before, which no chance makes."""
    for field in before.schema:
        if field.name not in after.column_names:
            continue
        columns = before.column(field.name), after.column(field.name)
        if any(column.null_count == len(column) for column in columns):
            continue
        types = [_in_words(column.type) for column in columns]
        if types[0] != types[1]:
            effects = 0.0 if {kind(column.type) for column in columns} == {"number"} else 1.0
            yield Change(
                field.name, effects, {}, 0.0, words.sentence(field.name, f"holds {types[1]} now, {types[0]} before")
            )


def _of_names(before: pa.Table, after: pa.Table, left_out: Mapping[str, str]) -> Iterator[Change]:
    """Columns that are in one of the tables alone."""
    for name in before.column_names:
        if name not in {*after.column_names, *left_out}:
            yield Change(name, 1.0, {}, 0.0, words.sentence(name, "is gone"))
    for name in after.column_names:
        if name not in {*before.column_names, *left_out}:
            yield Change(name, 0.0, {}, 0.0, words.sentence(name, "is new"))


def _of_numbered(before: pa.Table, after: pa.Table) -> Iterator[Change]:
    """Columns in which each row of one table has a number of its own, and those of the other have not."""
    sides = (
        (before, after, "has the same value in several rows now, each had its own before"),
        (after, before, "has a number of its own in each row now, several rows had the same before"),
    )
    for numbered, other, said in sides:
        for name, reason in reference.about(numbered).left_out.items():
            if reason != reference.NUMBERED or name not in other.column_names:
                continue
            repeated, rows = reference.repeated(other.column(name)), other.num_rows
            if (1 + (reference.ENOUGH_NUMBERS / rows) ** 2) ** -repeated < NO_CHANCE:
                yield Change(name, repeated / rows, {}, 0.0, words.sentence(name, said))


def _in_words(type_: pa.DataType) -> str:
    if pa.types.is_timestamp(type_):
        return "times"
    if pa.types.is_boolean(type_):
        return "booleans"
    if pa.types.is_integer(type_):
        return "whole numbers"
    return "numbers" if pa.types.is_floating(type_) else "text"


def _weight(change: Change) -> tuple[bool, float, float, str]:
    return change.false_alarm_rate > FALSE_ALARMS, -change.effect, change.false_alarm_rate, change.column
