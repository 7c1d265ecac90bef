"""The named criteria of fairness, read from how far rates differ between groups. What is enough, a gate judges."""

from collections.abc import Iterable
from dataclasses import dataclass

from cd4ml.contracts.binary import CRITERIA
from cd4ml.contracts.evaluation import Fairness
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.shares import Interval

ASKED = {
    "demographic_parity": "each group is selected as often",
    "equal_opportunity": "of the positives as many are found in each group",
    "equalised_odds": "that, and of the negatives as many are selected: the larger gap of the two",
    "predictive_parity": "a selection is right as often in each group",
    "four_fifths": "the lowest selection rate is 0.8 of the highest or more",
}
"""What each criterion asks, in words."""
BY_RATIO = ("four_fifths",)


@dataclass(frozen=True)
class Reading:
    """How far a model is from a criterion."""

    value: float
    """A gap, or a ratio for a criterion that is by ratio."""
    interval: Interval | None
    farthest: Fairness
    """The rate that it was read from."""


def of(problem: Problem) -> dict[str, str]:
    """What each criterion asks, of those whose rates the problem has."""
    return {name: asked for name, asked in ASKED.items() if all(rate in problem for rate in CRITERIA[name])}


def read(criterion: str, rows: Iterable[Fairness]) -> Reading | None:
    """Reads a criterion; None where one of its rates could not be compared.

    Args:
        criterion: Its name.
        rows: The rates of one model by one column at one threshold.
    """
    rates = [row for row in rows if row.metric in CRITERIA[criterion]]
    known = [one for row in rates if (one := _read(row, criterion in BY_RATIO)) is not None]
    if not known or len(known) < len(CRITERIA[criterion]):
        return None
    return max(known, key=lambda one: one.value)


def _read(row: Fairness, by_ratio: bool) -> Reading | None:
    value, interval = (row.ratio, row.ratio_interval) if by_ratio else (row.gap, row.gap_interval)
    return None if value is None else Reading(value, interval, row)
