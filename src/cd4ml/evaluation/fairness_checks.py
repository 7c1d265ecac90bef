"""The checks of the gate that compare the groups of sensitive columns."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from cd4ml.contracts.bounds import Bounds, Measured, hold
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.evaluation import (
    CANDIDATE,
    MOST_BY_SLICE,
    OVERALL,
    TOO_MANY_CLASSES,
    Fairness,
    Group,
    Summary,
    at,
)
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.slices import Pattern, columns_of, key_of
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.evaluation.fairness import difference_interval
from cd4ml.evaluation.limits import FairnessLimit
from cd4ml.names import amount, nearest


def checks(
    found: Summary,
    *,
    columns: tuple[str, ...],
    subject: str,
    rate: str,
    limit: FairnessLimit,
    error: float | None = None,
) -> Iterator[Check]:
    """Holds one rate of one sensitive column against its limit.

    Args:
        found: What was measured.
        columns: By alphabet: the sensitive column, or those that are crossed.
        subject: What a person calls the rate.
        rate: One of the metrics that groups are compared by.
        limit: What it must keep.
        error: How often chance alone may break a limit that is kept; None where what was measured is what counts.
    """
    column, asked = key_of(columns), dict(_asked(limit))
    rows = [one for one in found.fairness if one.model == CANDIDATE and one.column == column]
    cut = found.chosen_threshold if limit.threshold == CHOSEN else limit.threshold
    everywhere = limit.threshold is None
    rows = [one for one in rows if one.metric.partition("@")[0] == rate and (everywhere or cut == one.threshold)]
    if not rows:
        yield _not_compared(found, columns=columns, subject=subject, rate=rate, limit=limit, asked=asked)
    for one in rows:
        where = f"{subject}{one.metric.removeprefix(rate)} between groups of {column}{_cut(one, limit)}"
        for what, bounds in asked.items():
            if what == "largest difference":
                yield _farthest(found, one=one, where=where, bounds=bounds, error=error)
                continue
            value, interval = (one.gap, one.gap_interval) if what == "gap" else (one.ratio, one.ratio_interval)
            measured = Measured(value, interval, _why_no_value(one), _extremes(one), too_few=one.gap is None)
            yield hold(f"{where}: the {what}", slice_=_each(columns), bounds=bounds, measured=measured, error=error)


def _cut(one: Fairness, limit: FairnessLimit) -> str:
    if one.threshold is None:
        return ""
    return " at the chosen threshold" if limit.threshold == CHOSEN else f" at {one.threshold:g}"


def _asked(limit: FairnessLimit) -> Iterator[tuple[str, Bounds]]:
    if limit.max_gap is not None:
        yield "gap", Bounds(None, limit.max_gap, limit.confident)
    if limit.min_ratio is not None:
        yield "ratio", Bounds(limit.min_ratio, None, limit.confident)
    if limit.max_difference is not None:
        yield "largest difference", Bounds(-limit.max_difference, limit.max_difference, limit.confident)


def _not_compared(
    found: Summary,
    *,
    columns: tuple[str, ...],
    subject: str,
    rate: str,
    limit: FairnessLimit,
    asked: Mapping[str, Bounds],
) -> Check:
    column = key_of(columns)
    subject = f"{subject} between groups of {column}" + (f" at {limit.threshold}" if limit.threshold else "")
    words = " and ".join(f"{what} {bounds}" for what, bounds in asked.items())
    known = dict.fromkeys(one.column for one in found.fairness)
    why = (
        f"it was measured at {', '.join(f'{one:g}' for one in found.thresholds)} only; name it in `thresholds`"
        if column in known
        else f"it is no sensitive column of the evaluation; {nearest(column, known)}"
    )
    if column in known and limit.threshold == CHOSEN:
        why = "training chose no threshold for the candidate; write `threshold` in it (docs/training.md)"
    if found.problem.metric(rate).of_classes and len(found.classes) > MOST_BY_SLICE:
        why = TOO_MANY_CLASSES
    return Check(subject, words, None, Outcome.ERROR, f"{subject}: {why}", _each(columns))


def _farthest(found: Summary, *, one: Fairness, where: str, bounds: Bounds, error: float | None) -> Check:
    """The group that is farthest from all rows; where confidence is asked for, by the end of its interval.

    The reason alone names it: the check is of all groups, whichever is farthest.
    """
    overall = found.of(CANDIDATE)[OVERALL]
    metric = one.metric if one.threshold is None else at(one.metric, one.threshold)
    of_all = overall.intervals.get(metric)
    small = _too_small(one)
    apart = {
        name: Measured(
            group.difference,
            _from_all(group, one.overall, of_all),
            f"there is no rate of all rows{small}",
            f"{_rate(group.rate)}, all {_rate(one.overall)}{small}",
        )
        for name, group in one.groups.items()
        if name not in one.too_small
    }
    subject, slice_ = f"{where}: the largest difference from all", _each(columns_of(one.column))
    if not apart:
        measured = Measured(None, why_not=f"no group is large enough to judge{small}", too_few=True)
        return hold(subject, slice_=slice_, bounds=bounds, measured=measured)
    name = max(apart, key=lambda group: _reach(apart[group], bounds))
    of_group = f"{subject}, that of {name},"
    return replace(
        hold(of_group, slice_=slice_, bounds=bounds, measured=apart[name], error=error),
        name=subject,
    )


def _from_all(group: Group, overall: float | None, of_all: Interval | None) -> Interval | None:
    if group.rate is None or overall is None:
        return None
    return difference_interval((group.rate, group.interval), (overall, of_all))


def _reach(measured: Measured, bounds: Bounds) -> float:
    """How far from 0 it may be."""
    if measured.value is None or (bounds.confident and measured.interval is None):
        return math.inf
    ends: tuple[float, ...] = (measured.interval or ()) if bounds.confident else ()
    return max(abs(end) for end in (measured.value, *ends))


def _extremes(one: Fairness) -> str:
    if one.lowest is None or one.highest is None:
        return ""
    lowest, highest = one.groups[one.lowest], one.groups[one.highest]
    return f"{one.lowest} {_rate(lowest.rate)}, {one.highest} {_rate(highest.rate)}{_too_small(one)}"


def _why_no_value(one: Fairness) -> str:
    if one.gap is not None:
        return f"no group has a rate above 0, so there is no ratio{_too_small(one)}"
    return f"fewer than two groups are large enough to judge{_too_small(one)}"


def _too_small(one: Fairness) -> str:
    return f"; too small to judge: {', '.join(one.too_small)}" if one.too_small else ""


def _each(columns: tuple[str, ...]) -> str:
    return str(Pattern.each(columns))


def _rate(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.2f}" if value == 0 or 0.01 <= abs(value) < 1000 else amount(value)
