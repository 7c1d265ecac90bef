"""Compares the groups of sensitive columns: who gets how much of what a model gives."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from statistics import NormalDist

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import OVERALL, Fairness, Group, Slice, at
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.slices import key_of


def compare(
    problem: Problem, *, slices: Iterable[Slice], columns: Sequence[Sequence[str]], thresholds: Sequence[float]
) -> list[Fairness]:
    """Compares the groups by each rate at each threshold or of each class, and by what has none.

    Args:
        problem: Says by what groups are compared.
        slices: Of one model; `overall` is among them.
        columns: What makes the groups: one sensitive column, or several that are crossed.
        thresholds: Those that the slices were measured at.
    """
    slices = list(slices)
    overall = next(one for one in slices if one.slice == OVERALL)
    return [
        _compare(problem, overall=overall, slices=groups, columns=columns_of_groups, metric=name, threshold=threshold)
        for columns_of_groups in columns
        if (groups := [one for one in slices if sorted(one.values) == sorted(columns_of_groups)])
        for name, threshold in _compared(problem, groups[0], thresholds)
    ]


def _compared(problem: Problem, one: Slice, thresholds: Sequence[float]) -> Iterator[tuple[str, float | None]]:
    """The names of the metrics that groups are compared by, each with its threshold, if it has one."""
    for metric in problem.among_groups:
        if metric.at_thresholds:
            yield from ((metric.name, threshold) for threshold in thresholds)
        elif metric.of_classes:
            yield from ((name, None) for name in one.metrics if name.startswith(f"{metric.name}@"))
        else:
            yield metric.name, None


def crosses(slices: Sequence[Sequence[str]], sensitive: Sequence[str]) -> Iterator[Sequence[str]]:
    """What makes groups: each sensitive column, and each cross of slices that has none but sensitive columns."""
    yield from ([column] for column in sensitive)
    yield from (columns for columns in slices if len(columns) > 1 and set(columns) <= set(sensitive))


Estimate = tuple[float, Interval | None]
"""A value and its interval."""


def difference_interval(one: Estimate, other: Estimate, *, correlation: float = 0) -> Interval | None:
    """The interval of `one - other`, from the intervals of two estimates that are as correlated as is said.

    Square-and-add, also called MOVER: Zou & Donner (2008), "Construction of confidence limits about effect measures:
    A general approach", Statistics in Medicine 27(10); of shares of rows it is Newcombe's hybrid score (1998).
    """
    (value, interval), (of_other, interval_of_other) = one, other
    if interval is None or interval_of_other is None:
        return None
    below = _added(value - interval[0], interval_of_other[1] - of_other, correlation)
    above = _added(interval[1] - value, of_other - interval_of_other[0], correlation)
    return value - of_other - below, value - of_other + above


def _added(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0))


def _compare(
    problem: Problem,
    *,
    overall: Slice,
    slices: Sequence[Slice],
    columns: Sequence[str],
    metric: str,
    threshold: float | None,
) -> Fairness:
    measured = metric if threshold is None else at(metric, threshold)
    of_all = overall.metrics[measured]
    by_name = {",".join(one.values.values()): one for one in slices}
    judged = {
        name: rate
        for name, one in by_name.items()
        if (rate := one.metrics[measured]) is not None and one.counted(problem, measured) >= FEWEST_ROWS
    }
    has_ratio = problem.metric(metric).bottom == 0
    best = max(judged.values(), default=None) if has_ratio else None
    groups = {
        name: _group(one, problem=problem, measured=measured, overall=of_all, best=best)
        for name, one in by_name.items()
    }
    rising = sorted(judged, key=lambda name: judged[name])
    lowest, highest = (rising[0], rising[-1]) if len(rising) > 1 else (None, None)
    gap, gap_interval = _gap(groups, judged=judged, lowest=lowest, highest=highest)
    ratio, ratio_interval = _ratio(groups, judged=judged, lowest=lowest, highest=highest) if has_ratio else (None, None)
    return Fairness(
        model=overall.model,
        column=key_of(columns),
        metric=metric,
        threshold=threshold,
        overall=of_all,
        gap=gap,
        gap_interval=gap_interval,
        ratio=ratio,
        ratio_interval=ratio_interval,
        lowest=lowest,
        highest=highest,
        groups=groups,
        too_small=tuple(name for name in by_name if name not in judged),
    )


def _group(one: Slice, *, problem: Problem, measured: str, overall: float | None, best: float | None) -> Group:
    rate = one.metrics[measured]
    return Group(
        rate=rate,
        interval=one.intervals.get(measured),
        rows=one.counted(problem, measured),
        difference=None if rate is None or overall is None else rate - overall,
        ratio=None if rate is None or not best else rate / best,
    )


def _gap(
    groups: Mapping[str, Group], *, judged: Mapping[str, float], lowest: str | None, highest: str | None
) -> tuple[float | None, Interval | None]:
    """The highest group less the lowest."""
    if lowest is None or highest is None:
        return None, None
    return judged[highest] - judged[lowest], _gap_interval(
        [(rate, groups[name].interval) for name, rate in judged.items()]
    )


def _ratio(
    groups: Mapping[str, Group], *, judged: Mapping[str, float], lowest: str | None, highest: str | None
) -> tuple[float | None, Interval | None]:
    """The lowest group by the highest, of what is never below 0."""
    if lowest is None or highest is None or not judged[highest]:
        return None, None
    estimates = [(rate, groups[name].interval) for name, rate in judged.items()]
    logarithms = _gap_interval([(_log(rate), one and (_log(one[0]), _log(one[1]))) for rate, one in estimates])
    interval = logarithms and (math.exp(-logarithms[1]), math.exp(-logarithms[0]))
    return judged[lowest] / judged[highest], interval


def _gap_interval(estimates: Sequence[Estimate]) -> Interval | None:
    """The interval of the highest less the lowest of independent estimates, which is never below 0.

    Any pair may be the one that is farthest apart, so the high end is the largest of the pairs'. The low end is the
    largest at a level that holds for all pairs at once (Bonferroni), for of many groups that are alike the farthest two
    are apart by chance.
    """
    pairs = list(permutations(estimates, 2))
    intervals = [difference_interval(one, other) for one, other in pairs]
    known = [one for one in intervals if one is not None]
    if len(known) < len(pairs):
        return None
    wider = NormalDist().inv_cdf(1 - 0.05 / len(pairs)) / NormalDist().inv_cdf(0.975)
    values = [one - other for (one, _), (other, _) in pairs]
    low = max(value - wider * (value - interval[0]) for value, interval in zip(values, known, strict=True))
    return max(low, 0.0), max(high for _, high in known)


def _log(rate: float) -> float:
    """The logarithm; that of the least number for 0, as good as none."""
    return math.log(max(rate, math.ulp(0)))
