"""Measures models on each slice: TFMA's numbers, what is exact beside them, and the intervals of all of them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from cd4ml.contracts import problems
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import (
    CANDIDATE,
    Change,
    Intervals,
    Slice,
    at,
)
from cd4ml.contracts.problem import Metrics, Problem
from cd4ml.contracts.shares import Interval
from cd4ml.evaluation import confidence, estimates
from cd4ml.evaluation.confidence import Ends, Spread, spread
from cd4ml.evaluation.estimates import Estimate, Scored
from cd4ml.evaluation.fairness import difference_interval
from cd4ml.evaluation.rows import Slicing

OF_VALUES = {
    "bounded": confidence.bounded,
    "positive": confidence.positive,
    "below 1": confidence.below_one,
    "signed": confidence.signed,
}
OF_CHANGES = {
    "bounded": confidence.bounded_change,
    "positive": confidence.change,
    "below 1": confidence.change,
    "signed": confidence.change,
}
"""The intervals by the influence of each row, by kind (`cd4ml.contracts.problem.Metric`)."""


def complete(rows: Scored, slices: Sequence[Slice], thresholds: Sequence[float]) -> tuple[list[Slice], list[Change]]:
    """Adds what is exact, the intervals, and the changes against the other models, to what TFMA found.

    Args:
        rows: The rows that TFMA evaluated.
        slices: Of each model.
        thresholds: Where rates were measured.
    """
    metrics: dict[tuple[str, str], dict[str, float | None]] = {}
    intervals: dict[tuple[str, str], dict[str, Interval]] = {}
    of_changes: dict[tuple[str, str, str], Interval] = {}
    correlations = _correlations(rows, thresholds)
    estimated = {role: estimates.of(rows, role) for role in rows.predictions}
    for slicing in rows.slicings:
        for of_models in zip(*(estimated[role](slicing) for role in rows.predictions), strict=True):
            by_role = dict(zip(rows.predictions, of_models, strict=True))
            metric, candidate = by_role[CANDIDATE]
            of_rows = problems.metric(metric).interval == "share"  # whose interval goes by the rows that it is over
            for role, (_, one) in by_role.items():
                for name, value, interval in _named(slicing, one, None if of_rows else _of(OF_VALUES, metric)):
                    metrics.setdefault((role, name), {})[metric] = value
                    if interval:
                        intervals.setdefault((role, name), {})[metric] = interval
                if role == CANDIDATE:
                    continue
                if of_rows:
                    alike = _alike(slicing, candidate, one)
                    correlations |= {
                        (role, name, metric): both for name, both in zip(slicing.names, alike, strict=True)
                    }
                else:
                    change = _change(candidate, one)
                    named = _named(slicing, change, _of(OF_CHANGES, metric))
                    of_changes |= {(role, name, metric): interval for name, _, interval in named if interval}
    completed = [
        _completed(
            one,
            problem=rows.problem,
            exact=metrics[one.model, one.slice],
            intervals=intervals.get((one.model, one.slice), {}),
        )
        for one in slices
    ]
    changes = _changes(rows.problem, slices=completed, intervals=of_changes, correlations=correlations)
    return completed, list(changes)


def _of(intervals: Mapping[str, Callable[[np.ndarray, Spread], Ends]], metric: str) -> Callable[..., Ends]:
    """The interval of a metric's kind."""
    return intervals[str(problems.metric(metric).interval)]


def _named(
    slicing: Slicing, one: Estimate, interval_of: Callable[[np.ndarray, Spread], Ends] | None
) -> Iterator[tuple[str, float | None, Interval | None]]:
    """The value and the interval of each slice; none where it is found elsewhere."""
    if interval_of:
        lows, highs = interval_of(one.values, spread(one.influence, slicing.codes, len(slicing.names)))
    else:
        lows = highs = np.full(len(slicing.names), np.nan)
    for name, value, low, high, is_enough in zip(
        slicing.names, one.values.tolist(), lows.tolist(), highs.tolist(), one.enough.tolist(), strict=True
    ):
        known = is_enough and math.isfinite(low) and math.isfinite(high)
        yield name, value if math.isfinite(value) else None, (low, high) if known else None


def _change(candidate: Estimate, other: Estimate) -> Estimate:
    """The candidate's estimate less another, on the same rows."""
    with np.errstate(invalid="ignore"):  # calibration without positives, R² of equal labels
        difference = candidate.values - other.values
    return Estimate(difference, candidate.influence - other.influence, candidate.enough & other.enough)


def _alike(slicing: Slicing, one: Estimate, other: Estimate) -> list[float]:
    """How far the shares of two models rise and fall together on each slice, by the influence of each row."""
    codes, size = slicing.codes, len(slicing.names)
    both, of_one, of_other, apart = (
        np.bincount(codes, values, size)
        for values in (
            one.influence * other.influence,
            one.influence**2,
            other.influence**2,
            (one.influence - other.influence) ** 2,
        )
    )
    vary = of_one * of_other > 0
    correlations = np.divide(both, np.sqrt(of_one * of_other), out=np.zeros(size), where=vary)
    found: list[float] = np.where(apart == 0, 1.0, correlations).tolist()
    return found


def _completed(one: Slice, *, problem: Problem, exact: Metrics, intervals: Intervals) -> Slice:
    metrics = {**one.metrics, **exact}
    rates = [
        metric for metric, value in metrics.items() if value is not None and problem.metric(metric).interval == "share"
    ]
    ends = confidence.proportion(
        np.array([metrics[metric] for metric in rates]),
        np.array([problem.counted(metric, one.rows, metrics) for metric in rates]),
    )
    of_rates = dict(zip(rates, zip(ends[0].tolist(), ends[1].tolist(), strict=True), strict=True))
    return replace(one, metrics=metrics, intervals={**intervals, **of_rates})


def _correlations(rows: Scored, thresholds: Sequence[float]) -> dict[tuple[str, str, str], float]:
    """How far the rates at thresholds of two models rise and fall together, by other model, slice and metric."""
    positive = rows.labels == 1
    found = {}
    for role, threshold in product(rows.predictions, thresholds):
        if role == CANDIDATE:
            continue
        selected, by_other = (rows.predictions[one].astype(np.float64) > threshold for one in (CANDIDATE, role))
        cell = positive * 4 + selected * 2 + by_other
        for slicing in rows.slicings:
            counts = np.bincount(slicing.codes * 8 + cell, minlength=8 * len(slicing.names))
            for name, table in zip(slicing.names, counts.reshape(-1, 2, 2, 2), strict=True):
                for metric, correlation in _of_table(rows.problem, table):
                    found[role, name, at(metric, threshold)] = correlation
    return found


def _changes(
    problem: Problem,
    *,
    slices: Sequence[Slice],
    intervals: Mapping[tuple[str, str, str], Interval],
    correlations: Mapping[tuple[str, str, str], float],
) -> Iterator[Change]:
    candidate = {one.slice: one for one in slices if one.model == CANDIDATE}
    for other in (one for one in slices if one.model != CANDIDATE):
        one = candidate[other.slice]
        for metric, value in one.metrics.items():
            before = other.metrics[metric]
            if value is None or before is None or problem.metric(metric).of == "data":
                continue
            key = other.model, one.slice, metric
            interval = intervals.get(key)
            if key in correlations:
                interval = _interval_of_rate(
                    problem, one=one, other=other, metric=metric, correlation=correlations[key]
                )
            yield Change(other.model, one.slice, metric, value - before, interval)


def _interval_of_rate(
    problem: Problem, *, one: Slice, other: Slice, metric: str, correlation: float
) -> Interval | None:
    value, before = one.metrics[metric], other.metrics[metric]
    if (
        value is None
        or before is None
        or min(one.counted(problem, metric), other.counted(problem, metric)) < FEWEST_ROWS
    ):
        return None
    return difference_interval(
        (value, one.intervals[metric]), (before, other.intervals[metric]), correlation=correlation
    )


def _of_table(problem: Problem, table: np.ndarray) -> Iterator[tuple[str, float]]:
    """How far the rates of two models rise and fall together, of each rate.

    Args:
        problem: Whose rates they are.
        table: int [2, 2, 2], the rows by label, by the candidate's selection and by that of the other.

    Returns:
        Of a rate that nothing is said of 0, which makes its interval rather too wide than too narrow.
    """
    negative, positive = table
    known = {
        "selection_rate": _phi(negative + positive),
        "true_positive_rate": _phi(positive),
        "false_positive_rate": _phi(negative),
        "accuracy": _phi(positive + negative[::-1, ::-1]),
        "precision": _of_precision(table),
    }
    for metric in problem.at_thresholds:
        yield metric.name, known.get(metric.said_by or metric.name, 0.0)


def _phi(table: np.ndarray) -> float:
    """Of two answers to the same rows, int [2, 2]."""
    if table[0, 1] == table[1, 0] == 0:
        return 1.0
    apart = math.sqrt(float(np.prod(table.sum(axis=0), dtype=float) * np.prod(table.sum(axis=1), dtype=float)))
    return float(table[0, 0] * table[1, 1] - table[0, 1] * table[1, 0]) / apart if apart else 0.0


def _of_precision(table: np.ndarray) -> float:
    """By the rows that both models select; each precision is over those that its own model selects."""
    if not table[:, 0, 1].any() and not table[:, 1, 0].any():
        return 1.0
    of_candidate, of_other = table[:, 1, :].sum(axis=1), table[:, :, 1].sum(axis=1)
    if not of_candidate.all() or not of_other.all():
        return 0.0
    one, other = (float(of[1] / of.sum()) for of in (of_candidate, of_other))
    wrong, right = table[:, 1, 1].tolist()
    together = right * (1 - one) * (1 - other) + wrong * one * other
    return float(together / math.sqrt(of_candidate.sum() * one * (1 - one) * of_other.sum() * other * (1 - other)))
