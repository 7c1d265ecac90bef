"""What a model sees of a date, by operations of Keras: its age, and where it stands in the year, week and day."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from cd4ml.contracts.model import Contract
from cd4ml.contracts.moments import MISSING
from cd4ml.training.statistics import DAY, Column, Cycle, Date, Number

LENGTHS: Mapping[Cycle, int] = {"year": 366, "week": 7, "day": 24}
"""Of a cycle, in the unit of its places: days, and hours of a day."""
BEGINS = 719_468
"""Days from 1 March of the year 0 to 1970."""


@dataclass(frozen=True)
class Age:
    """How long before another moment a date lies."""

    days: keras.KerasTensor
    """float32 [batch], NaN where one of both is missing."""
    scale: Number
    """Of the train split."""


@dataclass(frozen=True)
class Place:
    """Where a date stands in what comes again."""

    value: keras.KerasTensor
    """float32 [batch]: the day of the year from 0, 29 February among them always; the day of the week from 0, a
    Monday; or the hour of the day, in UTC. Whatever it is where the date is missing."""
    known: keras.KerasTensor
    """Whether it is there, bool [batch]."""
    length: int
    """Of the cycle."""
    missing: bool
    """Whether any row of the train split lacks the date."""


def ages(contract: Contract, statistics: Mapping[str, Column], raw: Mapping[str, keras.KerasTensor]) -> list[Age]:
    """The age of each date that has one.

    Args:
        contract: The inputs.
        statistics: Has every input.
        raw: The raw features by column, one tensor [batch] each.
    """
    return [
        Age(_days(raw[name], raw[date.since]) if date.since else _days_until(raw[name], date.latest), date.age)
        for name, date in _dates(contract, statistics)
        if date.age
    ]


def places(contract: Contract, statistics: Mapping[str, Column], raw: Mapping[str, keras.KerasTensor]) -> list[Place]:
    """Where each date stands in its cycles; likewise."""
    return [
        Place(_place(raw[name], cycle), _known(raw[name]), LENGTHS[cycle], date.missing)
        for name, date in _dates(contract, statistics)
        for cycle in date.cycles
    ]


def _dates(contract: Contract, statistics: Mapping[str, Column]) -> Iterator[tuple[str, Date]]:
    for one in contract.inputs:
        column = statistics[one.name]
        if isinstance(column, Date):
            yield one.name, column


def _known(moment: keras.KerasTensor) -> keras.KerasTensor:
    return ops.not_equal(moment, np.int64(MISSING))


def _days(moment: keras.KerasTensor, since: keras.KerasTensor) -> keras.KerasTensor:
    return _age(since - moment, ops.logical_and(_known(moment), _known(since)))


def _days_until(moment: keras.KerasTensor, latest: int) -> keras.KerasTensor:
    return _age(ops.subtract(np.int64(latest), moment), _known(moment))


def _age(microseconds: keras.KerasTensor, known: keras.KerasTensor) -> keras.KerasTensor:
    days = ops.cast(microseconds, "float64") / np.float64(DAY)
    return ops.where(known, ops.cast(days, "float32"), np.float32(np.nan))


def _place(moment: keras.KerasTensor, cycle: Cycle) -> keras.KerasTensor:
    day = ops.floor_divide(moment, np.int64(DAY))
    if cycle == "day":
        hours = ops.cast(ops.mod(moment, np.int64(DAY)), "float64") / np.float64(DAY / 24)
        return ops.cast(hours, "float32")
    found = ops.mod(day + np.int64(3), np.int64(7)) if cycle == "week" else _day_of_year(day)
    return ops.cast(found, "float32")


def _day_of_year(day: keras.KerasTensor) -> keras.KerasTensor:
    """From the days since 1970, in the calendar of today for all time.

    By Howard Hinnant's `civil_from_days`: 400 years, in which the calendar comes again, have 146,097 days; a year
    begins in March, so that a leap day ends one.
    """
    in_cycle = ops.mod(day + np.int64(BEGINS), np.int64(146_097))
    leaps = _parts(in_cycle, 1460) - _parts(in_cycle, 36_524) + _parts(in_cycle, 146_096)
    year = _parts(in_cycle - leaps, 365)
    from_march = in_cycle - (year * np.int64(365) + _parts(year, 4) - _parts(year, 100))
    return ops.mod(from_march + np.int64(60), np.int64(366))


def _parts(whole: keras.KerasTensor, size: int) -> keras.KerasTensor:
    return ops.floor_divide(whole, np.int64(size))
