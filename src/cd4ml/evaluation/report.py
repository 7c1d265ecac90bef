"""The report of an evaluation: HTML that a data scientist shows to a colleague."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cd4ml.evaluation import figures
from cd4ml.evaluation.measure import Curves
from cd4ml.evaluation.summary import FAIRNESS_METRICS, METRICS, METRICS_AT_THRESHOLDS, OVERALL, Fairness, Summary, at
from cd4ml.reports import page

NOTABLE_GAP = 0.1
"""A gap between groups that is worth a reader's attention before all else."""
LOWER_IS_BETTER = ("binary_cross_entropy",)
HIGHER_IS_BETTER = ("auc", "auc_pr", "accuracy", "precision", "true_positive_rate")


def write(
    file: str | Path,
    name: str,
    found: Summary,
    curves: Mapping[str, Curves],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Writes the report.

    Args:
        file: The HTML file.
        name: The candidate's.
        found: All numbers.
        curves: By model.
        history: The candidate's training by epoch; empty where it is not known.
    """
    threshold = found.thresholds[0]
    models = {role: found.of(role) for role in found.models}
    fair = [one for one in found.fairness if one.threshold == threshold]
    of_candidate = [one for one in found.fairness if one.model == "candidate"]
    page.render(
        "evaluation.html.j2",
        file,
        title=f"Evaluation: {name}",
        found=found,
        models=models,
        threshold=threshold,
        changes=_changes("auc", {role: one.metrics["auc"] for role, one in found.models.items()}),
        comparison=list(_comparison(found)),
        weakest=found.weakest(),
        notable=[_sentence(one) for one in _largest(fair) if (one.gap or 0) >= NOTABLE_GAP],
        curves=[
            picture
            for picture in (figures.roc(curves), figures.precision_recall(curves), figures.calibration(curves))
            if picture
        ],
        slice_metrics=[
            "auc",
            "auc_pr",
            *(at(metric, threshold) for metric in METRICS_AT_THRESHOLDS if metric != "recall"),
        ],
        slice_picture=figures.slices(models),
        most_slices=figures.MOST_SLICES,
        fairness=[
            {
                "column": column,
                "sentences": [_sentence(one) for one in rows if one.gap is not None],
                "rows": [one for one in of_candidate if one.column == column],
                "picture": figures.fairness([one for one in fair if one.column == column]),
                "too_small": sorted({group for one in rows for group in one.too_small}),
            }
            for column, rows in _by_column(fair).items()
        ],
        learning=figures.learning(history) if history else None,
        overall=OVERALL,
    )


def _comparison(found: Summary) -> Iterator[dict[str, object]]:
    """One row a metric: the value of each model, and how far the candidate is from each other one."""
    names = [
        *METRICS[1:],
        *(at(metric, one) for one in found.thresholds for metric in METRICS_AT_THRESHOLDS if metric != "recall"),
    ]
    for name in names:
        values = {role: one.metrics[name] for role, one in found.models.items()}
        yield {"metric": name, "values": values, "changes": _changes(name, values)}


def _changes(name: str, values: Mapping[str, float | None]) -> dict[str, dict[str, object]]:
    candidate = values["candidate"]
    changes: dict[str, dict[str, object]] = {}
    for role, value in values.items():
        if role == "candidate" or value is None or candidate is None or name == "label_rate":
            continue
        change, better = candidate - value, _better(name, candidate, value)
        changes[role] = {"change": change, "kind": "neutral" if better is None else "passed" if better else "failed"}
    return changes


def _better(name: str, candidate: float, other: float) -> bool | None:
    metric = name.partition("@")[0]
    if abs(candidate - other) < 0.0005:
        return None
    if metric == "calibration":
        return abs(candidate - 1) < abs(other - 1)
    if metric in HIGHER_IS_BETTER:
        return candidate > other
    return candidate < other if metric in LOWER_IS_BETTER else None


def _largest(fair: Sequence[Fairness]) -> list[Fairness]:
    """By column the candidate's rate with the largest gap."""
    judged = {column: [one for one in rows if one.gap is not None] for column, rows in _by_column(fair).items()}
    return [max(rows, key=lambda one: one.gap or 0) for rows in judged.values() if rows]


def _by_column(fair: Sequence[Fairness]) -> dict[str, list[Fairness]]:
    rows = [one for one in fair if one.model == "candidate"]
    rows.sort(key=lambda one: FAIRNESS_METRICS.index(one.metric))
    return {
        column: [one for one in rows if one.column == column] for column in dict.fromkeys(one.column for one in rows)
    }


def _sentence(one: Fairness) -> str:
    assert one.lowest is not None and one.highest is not None  # noqa: PT018 (a gap has both)
    low, high = one.groups[one.lowest], one.groups[one.highest]
    lowest, highest = one.lowest.replace(",", ", "), one.highest.replace(",", ", ")
    return f"In {lowest} the {one.metric.replace('_', ' ')} is {low:.2f} against {high:.2f} in {highest}"
