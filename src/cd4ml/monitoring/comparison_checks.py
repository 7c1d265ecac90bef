"""What a comparison with training says, as checks: one a column, and one of the rows as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from cd4ml.contracts.drift import FALSE_ALARMS, LARGE, Change, Comparison
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.names import counted
from cd4ml.validation.drift.between_splits import CLEARLY

ENOUGH_ROWS = 300
"""Of both samples together, n·m / (n + m): with fewer, a change that matters may be taken for chance."""
LIMIT = f"an effect below {LARGE:g}, or one that chance makes in more than {FALSE_ALARMS:.0%} of such windows"
WHOLE = f"an AUC below {CLEARLY:g}, or one that chance makes in more than {FALSE_ALARMS:.0%} of such windows"
REMEDY = "find out why, or train on rows of now"


@dataclass(frozen=True)
class Judged:
    """What a comparison is judged by."""

    what: str
    """Of which it is: `drift of`."""
    where: str
    """What stands behind the names of checks: ` in version 3`."""
    few: str
    """What is said where the rows are too few; empty where they are enough."""


def of_comparison(found: Comparison, judged: Judged) -> Iterator[Check]:
    """One of each column, those that matter most first, and of the whole.

    Args:
        found: With rates of false alarms that are those of the whole window (`over_families`).
        judged: What it is judged by.
    """
    for change in found.changes:
        yield _of_column(change, judged, found.before)
    told = found.told_apart
    if told:
        by = " and ".join(f"`{column}`" for column in told.columns[:2])
        said = f"a classifier tells the rows from those of {found.before} with an AUC of {told.auc:.2f}"
        outcome, reason = _outcome(judged.few, said)
        if found.told:
            outcome, reason = Outcome.SKIPPED, f"{said}, which is no news where a column has changed"
        elif told.auc >= CLEARLY and told.false_alarm_rate <= FALSE_ALARMS:
            outcome, reason = Outcome.FAILED, f"{said}, mostly by {by or 'many columns together'}; {REMEDY}"
        name = f"{judged.what} the rows as a whole{judged.where}"
        yield Check(name, WHOLE, told.auc, outcome, reason, interval=told.interval)


def over_families(found: Comparison, families: int) -> Comparison:
    """The same, its rates of false alarms those of so many families together, each of which raises as many."""

    def of_all(rate: float) -> float:
        return min(1.0, rate * families)

    told = found.told_apart
    return replace(
        found,
        changes=tuple(replace(one, false_alarm_rate=of_all(one.false_alarm_rate)) for one in found.changes),
        told_apart=replace(told, false_alarm_rate=of_all(told.false_alarm_rate)) if told else None,
    )


def too_few(rows: int, before: int) -> str:
    """What is said where so many rows cannot tell a change that matters from chance; empty where they can.

    Args:
        rows: Of the window, that speak for themselves.
        before: Of the reference.
    """
    if before <= ENOUGH_ROWS:
        return (
            f"the version keeps {counted(before, 'row')} to compare with, too few however many the window has; train "
            "on more"
        )
    wanted = ceil(ENOUGH_ROWS * before / (before - ENOUGH_ROWS))
    if rows >= wanted:
        return ""
    return (
        f"{counted(rows, 'row')} of different callers are too few to tell a change that matters from chance: "
        f"{wanted - rows:,} more are needed; take a wider window"
    )


def _of_column(change: Change, judged: Judged, before: str) -> Check:
    beyond_chance = change.false_alarm_rate <= FALSE_ALARMS
    said = f"{change.said}, which is little" if beyond_chance else f"`{change.column}` lies as in {before}"
    outcome, reason = _outcome(judged.few, f"{said} (effect {change.effect:.2g})")
    if change.effect >= LARGE and beyond_chance:
        outcome, reason = Outcome.FAILED, f"{change.said}; {REMEDY}"
    name = f"{judged.what} {change.column}{judged.where}"
    return Check(name, LIMIT, change.effect, outcome, reason, slice=change.slice)


def _outcome(few: str, said: str) -> tuple[Outcome, str]:
    return (Outcome.INCONCLUSIVE, f"{said}; {few}") if few else (Outcome.PASSED, said)
