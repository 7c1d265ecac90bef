"""How the rows of one table differ from those of another: by how much, whether beyond chance, and in words."""

from collections.abc import Mapping
from dataclasses import dataclass

FALSE_ALARMS = 0.01
"""Of a hundred comparisons of tables that do not differ, one raises an alarm."""
LARGE = 0.1
"""An effect from which on a person is told."""


@dataclass(frozen=True)
class Change:
    """How one column differs."""

    column: str
    effect: float
    """The largest of the measures, in [0, 1]; in the slice, where it is a change of one slice."""
    measures: Mapping[str, float]
    """In all rows `jensen_shannon` and `missing`, and of categories `infinity_norm` and `new_values`.

    The first is a distance, base 2, less what chance makes.
    """
    false_alarm_rate: float
    """Of the whole comparison, the smallest at which this change counts; 0 where chance has no part in it."""
    said: str
    """A sentence that names the column and what changed; empty where chance may well have done it."""
    slice: str = ""
    """The rows to which it is confined: `region=south`; empty for all."""


@dataclass(frozen=True)
class ToldApart:
    """How well a classifier tells the rows of one table from those of the other."""

    auc: float
    """On rows that it was not fitted to; 0.5 where it cannot tell."""
    interval: tuple[float, float]
    """Of the AUC, at 95% confidence."""
    false_alarm_rate: float
    """As that of a column."""
    columns: tuple[str, ...]
    """By which it tells them apart, those that matter most first; none where it cannot."""


@dataclass(frozen=True)
class Comparison:
    """One table held against another."""

    split: str
    """Of the rows that are looked at."""
    before: str
    """What they are held against, in words: `train of version 3`."""
    rows: tuple[int, int]
    """Of the table before and of this one."""
    compared: tuple[int, int]
    """The rows of each that were drawn for it."""
    changes: tuple[Change, ...]
    """Every column that is in both or in one, those that matter most first."""
    told_apart: ToldApart | None
    """None where the rows are too few."""
    left_out: Mapping[str, str]
    """Columns that are not compared, each with the reason."""

    @property
    def name(self) -> str:
        """In words: `eval against train`."""
        return f"{self.split} against {self.before}"

    @property
    def told(self) -> list[Change]:
        """The changes that a person is told: beyond chance, and large."""
        return [change for change in self.beyond_chance() if change.effect >= LARGE]

    def beyond_chance(self, false_alarm_rate: float = FALSE_ALARMS) -> list[Change]:
        """The changes that stay where so many comparisons of tables that do not differ may raise an alarm."""
        return [change for change in self.changes if change.false_alarm_rate <= false_alarm_rate]


@dataclass(frozen=True)
class Uncompared:
    """A split that was not held against anything."""

    split: str
    reason: str
    too_few: bool
    """Whether its rows are too few; else there is nothing to hold it against."""
