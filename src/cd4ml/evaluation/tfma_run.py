"""Measures models with TFMA: labels, predictions and slice columns in, its numbers by slice out."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cd4ml.errors import EvaluationError
from cd4ml.evaluation import executor
from cd4ml.evaluation.config import eval_config
from cd4ml.evaluation.curves import Curves
from cd4ml.evaluation.summary import CANDIDATE, OVERALL, Change, Interval, Slice
from cd4ml.slices import name_of

DIFFERENCE = "_diff"
"""What TFMA appends to the name of a metric that compares two models."""


@dataclass(frozen=True)
class Measured:
    """What TFMA found."""

    slices: tuple[Slice, ...]
    """Of each model."""
    changes: tuple[Change, ...]
    curves: Mapping[str, Curves]
    """By model."""
    row_by_row: Mapping[str, str]
    """Why TFMA itself ran row by row, by the name of its combiner."""


def run(
    roles: Sequence[str],
    slices: Sequence[Sequence[str]],
    thresholds: Sequence[float],
    batches: Iterable[Mapping[str, np.ndarray]],
    folder: Path,
    seed: int,
    runner: Sequence[str],
) -> Measured:
    """Measures all models on the same rows; TFMA's files stay in the folder.

    Args:
        roles: The models, the candidate among them.
        slices: The columns of each kind of slice.
        thresholds: Where rates are wanted.
        batches: By column: the label and the predictions of each role, float [rows]; what makes slices, text.
        folder: Where TFMA's files go; `tfma.load_eval_result` reads them.
        seed: Of the bootstrap's draws.
        runner: A runner of Beam and its options, on which TFMA itself computes; empty computes here, in columns.

    Raises:
        EvaluationError: Beam does not take the runner, or two slices have one name.
    """
    config = eval_config(roles, slices, thresholds)
    evaluation = (
        executor.run_on_beam(config, batches, folder, runner[0], runner[1:])
        if runner
        else executor.run(config, batches, folder, seed)
    )
    found: list[Slice] = []
    changes: list[Change] = []
    curves = {}
    for role in roles:
        result = evaluation.result(role)
        of_role = [(_slice(key, outputs[""][""], role), outputs[""][""]) for key, outputs in result.slicing_metrics]
        of_role.sort(key=lambda one: (len(one[0].values), [*one[0].values], one[0].slice))
        found += [one for one, _ in of_role]
        if role != CANDIDATE:
            changes += [change for one, metrics in of_role for change in _changes(one, metrics)]
        curves[role] = _curves(next(plots[""][""] for key, plots in result.plots if not key))
    _check_names(found)
    defined = {(one.model, one.slice): one.metrics for one in found}
    kept = (
        change
        for change in changes
        if defined[change.other, change.slice][change.metric] is not None
        and defined[CANDIDATE, change.slice][change.metric] is not None
    )
    return Measured(tuple(found), tuple(kept), curves, evaluation.row_by_row)


def _check_names(slices: Sequence[Slice]) -> None:
    """A value with a comma may make two slices of one name, or two groups."""
    names = Counter((one.model, one.slice) for one in slices)
    names.update((f"{one.model} {[*one.values]}", ",".join(one.values.values())) for one in slices if one.values)
    (((_, name), count),) = names.most_common(1)
    if count > 1:
        raise EvaluationError(
            f"slices: two of them are called {name!r}, for there are commas in their values; replace these in the data"
        )


def _slice(key: Sequence[tuple[str, Any]], found: Mapping[str, Any], role: str) -> Slice:
    values = dict(sorted((column, str(value)) for column, value in key))
    name = name_of(values) or OVERALL
    metrics = {metric: _value(one) for metric, one in found.items() if not metric.endswith(DIFFERENCE)}
    positive = metrics["label_rate"] or 0.0
    # Of rows of one class TFMA gives an area of 0 or 1, which says nothing.
    undefined = {"auc", "auc_pr"} if positive in (0, 1) else set()
    if not positive:
        undefined.add("calibration")
    metrics |= dict.fromkeys(undefined)
    intervals = {
        metric: interval
        for metric, value in metrics.items()
        if value is not None and (interval := _interval(found[metric])) is not None and interval[0] < interval[1]
    }  # every draw of a rate of 0 or 1 is the same, however few its rows: an interval of no width is none
    return Slice(role, name, values, int(metrics["example_count"] or 0), metrics, intervals)


def _changes(one: Slice, found: Mapping[str, Any]) -> Iterator[Change]:
    """The candidate's metrics less those of another model: TFMA gives the other's less the candidate's."""
    for name, difference in found.items():
        metric = name.removesuffix(DIFFERENCE)
        if metric != name and (value := _value(difference)) is not None:
            interval = _interval(difference)
            turned = None if interval is None else (0.0 - interval[1], 0.0 - interval[0])
            yield Change(one.model, one.slice, metric, 0.0 - value, turned)


def _value(found: Mapping[str, Any]) -> float | None:
    """A number of TFMA; None where it is not finite, or where TFMA could not compute it and gives an `unknownType`."""
    return _finite(found.get("boundedValue", {}).get("value", found.get("doubleValue")))


def _interval(found: Mapping[str, Any]) -> Interval | None:
    """TFMA takes the samples as normal, so that the interval of a rate can leave the range of rates."""
    bounds = found.get("boundedValue", {})
    low, high = _finite(bounds.get("lowerBound")), _finite(bounds.get("upperBound"))
    return None if low is None or high is None else (low, high)


def _finite(found: Any) -> float | None:
    value = math.nan if found is None else float(found)
    return value if math.isfinite(value) else None


def _curves(plots: Mapping[str, Any]) -> Curves:
    matrices = plots["confusionMatrixAtThresholds"]["matrices"]
    buckets = [
        (rows, float(one["totalWeightedRefinedPrediction"]) / rows, float(one.get("totalWeightedLabel", 0)) / rows)
        for one in plots["calibrationHistogramBuckets"]["buckets"]
        if (rows := float(one.get("numWeightedExamples", 0)))
    ]
    return Curves(
        thresholds=np.clip([float(one.get("threshold", 0)) for one in matrices], 0, 1),
        confusion=np.array([_counts(one) for one in matrices]),
        calibration=np.array(buckets),
    )


def _counts(matrix: Mapping[str, Any]) -> tuple[float, ...]:
    """Within a matrix a zero is left out."""
    names = ("truePositives", "falsePositives", "trueNegatives", "falseNegatives")
    return tuple(float(matrix.get(name, 0)) for name in names)
