"""Measures models with TFMA: labels, predictions and slice columns in, its numbers by slice out."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cd4ml import columnar
from cd4ml.contracts.evaluation import OVERALL, Slice
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.slices import name_of
from cd4ml.errors import EvaluationError
from cd4ml.evaluation.config import eval_config

CALIBRATION = "CalibrationPlot"
DIFFERENCE = "_diff"
"""What TFMA appends to the name of a metric that compares two models."""


@dataclass(frozen=True)
class Measured:
    """What TFMA found."""

    slices: tuple[Slice, ...]
    """Of each model; without intervals."""
    calibration: Mapping[str, np.ndarray]
    """By model: float [buckets, 3], as `cd4ml.evaluation.curves.Curves` has them; of a problem with this plot."""
    row_by_row: Mapping[str, str]
    """Why TFMA itself ran row by row, by the name of its combiner."""


def run(
    problem: Problem,
    *,
    roles: Sequence[str],
    slices: Sequence[Sequence[str]],
    thresholds: Sequence[float],
    batches: Iterable[Mapping[str, np.ndarray]],
    folder: Path,
    runner: Sequence[str],
) -> Measured:
    """Measures all models on the same rows; TFMA's files stay in the folder.

    Args:
        problem: Says what is measured.
        roles: The models, the candidate among them.
        slices: The columns of each kind of slice.
        thresholds: Where rates are wanted.
        batches: By column: the label and the predictions of each role, float [rows]; what makes slices, text.
        folder: Where TFMA's files go; `tfma.load_eval_result` reads them.
        runner: A runner of Beam and its options, on which TFMA itself computes; empty computes here, in columns.

    Raises:
        EvaluationError: Beam does not take the runner, or two slices have one name.
    """
    config = eval_config(problem, roles=roles, slices=slices, thresholds=thresholds)
    evaluation = (
        columnar.run_on_beam(config, batches, folder, runner=runner[0], options=runner[1:])
        if runner
        else columnar.run(config, batches, folder)
    )
    found: list[Slice] = []
    calibration = {}
    for role in roles:
        result = evaluation.result(role if len(roles) > 1 else None)  # TFMA has no name for a single one
        of_role = [_slice(key, outputs[""][""], role) for key, outputs in result.slicing_metrics]
        found += sorted(of_role, key=lambda one: (len(one.values), [*one.values], one.slice))
        if CALIBRATION in problem.plots:
            calibration[role] = _calibration(next(plots[""][""] for key, plots in result.plots if not key))
    _check_names(found)
    return Measured(tuple(found), calibration, evaluation.row_by_row)


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
    metrics = {metric: _value(one) for metric, one in found.items() if not metric.endswith(DIFFERENCE)}
    return Slice(role, name_of(values) or OVERALL, values, int(metrics["example_count"] or 0), metrics, {})


def _value(found: Mapping[str, Any]) -> float | None:
    """A number of TFMA; None where it is not finite, or where TFMA could not compute it and gives an `unknownType`."""
    return _finite(found.get("doubleValue"))


def _finite(found: Any) -> float | None:
    value = math.nan if found is None else float(found)
    return value if math.isfinite(value) else None


def _calibration(plots: Mapping[str, Any]) -> np.ndarray:
    """The buckets, float [buckets, 3], as `Curves` has them."""
    return np.array(
        [
            (rows, float(one["totalWeightedRefinedPrediction"]) / rows, float(one.get("totalWeightedLabel", 0)) / rows)
            for one in plots["calibrationHistogramBuckets"]["buckets"]
            if (rows := float(one.get("numWeightedExamples", 0)))
        ]
    )
