"""The report of an evaluation: HTML that a data scientist shows to a colleague."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cd4ml.contracts import problems
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import (
    CANDIDATE,
    OVERALL,
    TOO_MANY_CLASSES,
    Change,
    Fairness,
    Slice,
    Summary,
    at,
    of_class,
)
from cd4ml.contracts.ordinal import MEAN_CLASS_ERROR
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.shares import Interval
from cd4ml.evaluation import confusion_figures, criteria, figures, residual_figures
from cd4ml.evaluation.confusions import MOST_CURVES, Confusions
from cd4ml.evaluation.curves import Curves
from cd4ml.evaluation.explorer import explorer
from cd4ml.evaluation.gate import MOST_JUDGED
from cd4ml.evaluation.residuals import Residuals
from cd4ml.names import amount
from cd4ml.reports import course, page

NOTABLE_GAP = 0.1
"""A gap between groups that is worth a reader's attention before all else: of a rate, or as a part of the RMSE."""
MOST_MISTAKEN = 10
"""Pairs of classes in the table of those that are taken for each other."""
BEST = {"nearer 1": 1.0, "nearer 0": 0.0}
"""What is best of a metric of which neither more nor less is."""

Kind = Literal["passed", "failed", "neutral"]
Drawn = Mapping[str, Curves] | Mapping[str, Confusions] | Mapping[str, Residuals]
"""By model, what the pictures that are particular to the problem are drawn from."""


@dataclass(frozen=True)
class TrendPoint:
    """A published version, as it was evaluated before it was published."""

    version: int
    value: float | None
    """Of the primary metric."""
    interval: Interval | None


@dataclass(frozen=True)
class WorstRow:
    """A row on which the candidate is far from the label."""

    output: float | str
    """Of several classes in words: `north (0.981)`."""
    columns: Mapping[str, object]
    """Its values; the label is among them."""


def write(
    file: str | Path,
    *,
    name: str,
    found: Summary,
    drawn: Drawn,
    history: Sequence[Mapping[str, float]],
    worst: Sequence[WorstRow],
    trend: Sequence[TrendPoint],
) -> None:
    """Writes the report.

    Args:
        file: The HTML file.
        name: The candidate's.
        found: All numbers.
        drawn: By model: `Curves`, with the same thresholds for all, `Confusions` of three classes and more, or
            `Residuals` of a number.
        history: The candidate's training by epoch; empty where it is not known.
        worst: The rows on which the candidate is farthest from the label, the worst first, with the columns that are
            worth a look.
        trend: The last published versions, the oldest first.
    """
    threshold, problem = next(iter(found.thresholds), None), found.problem
    primary = problem.primary
    models = {role: found.of(role) for role in found.models}
    fair = [one for one in found.fairness if one.threshold in (threshold, None)]
    page.render(
        f"evaluation_{problem.name}.html.j2",
        file,
        title=f"Evaluation: {name}",
        found=found,
        models=models,
        threshold=threshold,
        overall=OVERALL,
        problem=problem,
        primary=primary,
        verdicts=[_verdict(found, one) for one in found.changes if (one.slice, one.metric) == (OVERALL, primary)],
        most_judged=MOST_JUDGED,
        comparison=list(_comparison(found)),
        weakest=found.weakest(),
        notable=[_sentence(problem, one) for one in _largest(problem, fair) if _is_notable(found, one)],
        **PARTICULAR[problem.name](found, drawn),
        slice_picture=figures.slices(problem, models, [one for one in found.changes if one.metric == primary]),
        slice_changes=_slice_changes(found),
        most_slices=figures.MOST_SLICES,
        fairness=[_fairness(column, rows, found) for column, rows in _by_column(fair).items()],
        too_many_classes=TOO_MANY_CLASSES,
        fewest_rows=FEWEST_ROWS,
        worst=_worst(worst, found.label, "predicted" if problem.by_class else problem.output),
        trend=_trend(trend, found),
        learning=course.learning(problem, history) if history else None,
    )


def _of_two_classes(found: Summary, curves: Mapping[str, Curves]) -> dict[str, Any]:
    pictures = (
        figures.roc(curves, {role: one.metrics["auc"] for role, one in found.models.items()}),
        figures.precision_recall(curves, {role: one.metrics["auc_pr"] for role, one in found.models.items()}),
        figures.calibration(curves),
    )
    return {
        "pictures": [one for one in pictures if one],
        "explorer": explorer(curves, found.thresholds),
        "slice_metrics": [found.problem.primary, *_rates(found.problem, found.thresholds[0])],
    }


def _of_several_classes(found: Summary, confusions: Mapping[str, Confusions]) -> dict[str, Any]:
    candidate, problem = confusions[CANDIDATE], found.problem
    names = [one.name for one in problem.by_class]
    overall = found.of(CANDIDATE)[OVERALL]
    return {
        "picture": confusion_figures.confusion(candidate.counts, found.classes),
        "curves": confusion_figures.one_against_rest(confusions, overall.metrics),
        "most_curves": MOST_CURVES,
        "mistaken": _mistaken(candidate.counts, found.classes),
        "class_metrics": names,
        "classes": [
            {
                "name": class_,
                "rows": int(rows),
                "cells": [_cell(overall, of_class(name, class_)) for name in names],
            }
            for class_, rows in zip(found.classes, candidate.counts.sum(axis=1), strict=True)
        ],
        "slice_metrics": [problem.primary, "top_1_accuracy", "balanced_accuracy", "macro_f1", "macro_auc"],
    }


def _of_ordered_classes(found: Summary, confusions: Mapping[str, Confusions]) -> dict[str, Any]:
    drawn = _of_several_classes(found, confusions)
    first, *others = drawn["slice_metrics"]
    return {**drawn, "slice_metrics": [first, MEAN_CLASS_ERROR, *others]}


def _cell(one: Slice, metric: str) -> dict[str, object]:
    return {"value": one.metrics[metric], "interval": one.intervals.get(metric)}


def _mistaken(counts: np.ndarray, classes: Sequence[str]) -> list[dict[str, object]]:
    """The pairs of a class and another that it is most often taken for, the most frequent first."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MISTAKEN]
    places = [(int(one), int(other)) for one, other in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [
        {"is": classes[one], "taken_for": classes[other], "rows": int(wrong[one, other]), "of": int(counts[one].sum())}
        for one, other in places
        if wrong[one, other]
    ]


def _of_numbers(found: Summary, residuals: Mapping[str, Residuals]) -> dict[str, Any]:
    candidate = residuals[CANDIDATE]
    return {
        "pictures": [
            residual_figures.predicted_and_true(candidate),
            residual_figures.errors_by_prediction(candidate),
            residual_figures.errors(residuals),
        ],
        "slice_metrics": [*found.problem.headlines, "mean_error"],
    }


PARTICULAR: Mapping[str, Callable[[Summary, Any], dict[str, Any]]] = {
    "binary": _of_two_classes,
    "multiclass": _of_several_classes,
    "ordinal": _of_ordered_classes,
    "regression": _of_numbers,
}
"""What the template of each problem names beside what all do."""


def _verdict(found: Summary, change: Change) -> dict[str, object]:
    """What is said on top of the candidate beside another model."""
    kind = _kind(found, change)
    headline = {
        "passed": f"Better than the {change.other}",
        "failed": f"Worse than the {change.other}",
        "neutral": f"No difference from the {change.other} beyond chance",
    }[kind]
    value = found.models[change.other].metrics[change.metric]
    return {"kind": kind, "headline": headline, "change": change, "value": value}


def _kind(found: Summary, change: Change) -> Kind:
    """Better or worse only where the interval of the change leaves 0 out."""
    if change.interval is None or change.interval[0] <= 0 <= change.interval[1]:
        return "neutral"
    better = found.problem.metric(change.metric).better
    if better in BEST:
        return _kind_of_nearness(found, change, BEST[better])
    if better == "neither":
        return "neutral"
    return "passed" if (change.value > 0) == (better == "higher") else "failed"


def _kind_of_nearness(found: Summary, change: Change, best: float) -> Kind:
    """The nearer to what is best the better; of two models on either side of it neither is."""
    candidate = found.of(CANDIDATE)[change.slice].metrics[change.metric]
    if candidate is None or (candidate - best) * (candidate - change.value - best) <= 0:
        return "neutral"
    return "passed" if abs(candidate - best) < abs(candidate - change.value - best) else "failed"


def _comparison(found: Summary) -> Iterator[dict[str, object]]:
    """One row a metric: the value of each model, and how far the candidate is from each other one."""
    changes = {(one.metric, one.other): one for one in found.changes if one.slice == OVERALL}
    names = [
        *(one.name for one in found.problem.on_all if one.counted),
        *(name for threshold in found.thresholds for name in _rates(found.problem, threshold)),
        *(one.name for one in found.problem.of_models if one.name in found.models[CANDIDATE].metrics),
    ]
    for name in names:
        yield {
            "metric": name,
            "models": {
                role: {
                    "value": one.metrics.get(name),
                    "interval": one.intervals.get(name),
                    "change": _change(found, changes.get((name, role))),
                }
                for role, one in found.models.items()
            },
        }


def _change(found: Summary, change: Change | None) -> dict[str, object] | None:
    if change is None:
        return None
    return {"value": change.value, "interval": change.interval, "kind": _kind(found, change)}


def _rates(problem: Problem, threshold: float) -> list[str]:
    """The metrics at a threshold that no other one says already."""
    return [at(one.name, threshold) for one in problem.at_thresholds if not one.said_by]


def _slice_changes(found: Summary) -> dict[str, dict[str, dict[str, object] | None]]:
    """The changes of the primary metric by other model and slice, of slices that are large enough to judge."""
    slices, primary = found.of(CANDIDATE), found.problem.primary
    changes = [
        one
        for one in found.changes
        if one.metric == primary and slices[one.slice].counted(found.problem, primary) >= FEWEST_ROWS
    ]
    return {
        other: {one.slice: _change(found, one) for one in changes if one.other == other}
        for other in dict.fromkeys(one.other for one in changes)
    }


def _fairness(column: str, rows: Sequence[Fairness], found: Summary) -> dict[str, object]:
    """All that is shown of one column; the rows are those of all models at the first threshold."""
    of_candidate = [one for one in rows if one.model == CANDIDATE]
    return {
        "column": column,
        "picture": figures.fairness(found.problem, rows),
        "criteria": [
            {
                "name": name.replace("_", " "),
                "by": "ratio" if name in criteria.BY_RATIO else "gap",
                "asked": asked,
                "models": {
                    role: criteria.read(name, [one for one in rows if one.model == role]) for role in found.models
                },
            }
            for name, asked in criteria.of(found.problem).items()
        ],
        "rates": of_candidate,
        "groups": list(dict.fromkeys(group for one in of_candidate for group in one.groups)),
        "gaps": [one for one in found.fairness if (one.model, one.column) == (CANDIDATE, column)],
        "too_small": _too_small(found.problem, of_candidate),
    }


def _too_small(problem: Problem, rows: Sequence[Fairness]) -> dict[str, list[str]]:
    """By group the rates that it is too small for."""
    return {
        group: [problem.title(one.metric) for one in rows if group in one.too_small]
        for group in sorted({group for one in rows for group in one.too_small})
    }


def _by_column(fair: Sequence[Fairness]) -> dict[str, list[Fairness]]:
    rows = sorted(fair, key=lambda one: (one.model != CANDIDATE, problems.metric(one.metric).place_among_groups))
    return {
        column: [one for one in rows if one.column == column] for column in dict.fromkeys(one.column for one in fair)
    }


def _largest(problem: Problem, fair: Sequence[Fairness]) -> list[Fairness]:
    """By column the candidate's rate, or mean error, with the largest gap."""
    telling = [one for one in problem.among_groups if one.interval == "share" or one.better == "nearer 0"]
    of_candidate = [one for one in fair if one.model == CANDIDATE and one.gap is not None]
    judged = [one for one in of_candidate if problem.metric(one.metric) in telling]
    return [max(rows, key=lambda one: one.gap or 0) for rows in _by_column(judged).values()]


def _is_notable(found: Summary, one: Fairness) -> bool:
    """A large gap that is no mere chance."""
    of_error = found.problem.metric(one.metric).top is None
    unit = found.models[CANDIDATE].metrics[found.problem.primary] if of_error else 1
    return (one.gap or 0) >= NOTABLE_GAP * (unit or 0) and (one.gap_interval is None or one.gap_interval[0] > 0)


def _sentence(problem: Problem, one: Fairness) -> str:
    assert one.lowest is not None and one.highest is not None  # noqa: PT018 (a gap has both)
    written: Callable[[float], str] = amount if problem.metric(one.metric).top is None else "{:.2f}".format
    low, high = (written(one.groups[name].rate or 0) for name in (one.lowest, one.highest))
    lowest, highest = one.lowest.replace(",", ", "), one.highest.replace(",", ", ")
    ends = one.gap_interval
    chance = f", a gap between {written(ends[0])} and {written(ends[1])}" if ends else ""
    return f"In {lowest} the {problem.title(one.metric)} is {low} against {high} in {highest}{chance}"


def _worst(rows: Sequence[WorstRow], label: str, output: str) -> dict[str, object]:
    """The table of the worst errors: the label and what the model gave lead."""
    others = [column for row in rows[:1] for column in row.columns if column != label]
    return {
        "columns": [label, output, *others],
        "rows": [[row.columns[label], row.output, *(row.columns[name] for name in others)] for row in rows],
    }


def _trend(versions: Sequence[TrendPoint], found: Summary) -> object:
    """A picture of the versions with their primary metric, and the candidate; none of fewer than two versions."""
    points = [figures.Point(str(one.version), one.value, one.interval) for one in versions if one.value is not None]
    if len(points) < 2:
        return None
    candidate, primary = found.models[CANDIDATE], found.problem.primary
    value = candidate.metrics[primary]
    last = None if value is None else figures.Point(CANDIDATE, value, candidate.intervals.get(primary))
    return figures.trend(found.problem, points, last)
