"""The pictures of an evaluation's report, as inline SVG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import (
    CANDIDATE,
    OVERALL,
    Change,
    Fairness,
    Slice,
)
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.shares import Interval
from cd4ml.evaluation.curves import Curves
from cd4ml.reports.page import GREY, PALETTE, figure_svg, picture, short

COLOURS = dict(zip(("candidate", "baseline", "champion"), PALETTE, strict=False))
PANELS_ACROSS = 4
MOST_SLICES = 40
"""More do not fit a picture that one can read; the table has them all."""
WIDTH = 7.4
"""Inches: so wide that its texts can still be read on a narrow page."""
RARE = 0.5
"""Where no share is as high as this, an axis ends at the highest one."""
HOLLOW = {"s": 34, "facecolors": "white", "linewidths": 1.5, "zorder": 3}


class Point(NamedTuple):
    """A model of a trend."""

    name: str
    value: float
    interval: Interval | None


@picture
def roc(curves: Mapping[str, Curves], aucs: Mapping[str, float | None]) -> Markup | None:
    """True against false positive rate of each model, named with its AUC; None for rows of one class."""
    return _curves(
        curves,
        names={role: f"{role}, AUC {auc:.3f}" for role, auc in aucs.items() if auc is not None},
        title="ROC curve",
        across="false positive rate",
        up="true positive rate",
        rates=lambda tp, fp, tn, fn: (fp / (fp + tn), tp / (tp + fn)),
        diagonal=True,
    )


@picture
def precision_recall(curves: Mapping[str, Curves], averages: Mapping[str, float | None]) -> Markup | None:
    """Precision against recall of each model, named with its average precision; None for rows of one class."""
    return _curves(
        curves,
        names={role: f"{role}, AP {average:.3f}" for role, average in averages.items() if average is not None},
        title="Precision and recall",
        across="recall",
        up="precision",
        rates=lambda tp, fp, tn, fn: (tp / (tp + fn), tp / (tp + fp)),  # noqa: ARG005 (called with all four)
        diagonal=False,
    )


@picture
def calibration(curves: Mapping[str, Curves]) -> Markup:
    """How often what is predicted comes true, by bucket of the prediction."""
    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for role, one in curves.items():
        rows, predicted, positive = one.calibration.T
        axes.plot(predicted, positive, color=COLOURS[role], linewidth=1.6, label=role)
        axes.scatter(predicted, positive, color=COLOURS[role], s=8 + 60 * rows / rows.sum(), zorder=3)
    end = _end(np.concatenate([one.calibration[:, 1:].ravel() for one in curves.values()]))
    axes.set(title="Calibration", xlabel="mean prediction", ylabel="share of positives", xlim=end, ylim=end)
    axes.legend(loc="upper left")
    return figure_svg(figure)


@picture
def slices(problem: Problem, models: Mapping[str, Mapping[str, Slice]], changes: Sequence[Change]) -> Markup | None:
    """Primary metric of each slice, and how far it is from the other models; None where it is nowhere defined.

    Args:
        problem: Whose primary metric it is.
        models: Slices by model and name.
        changes: Those of this metric.
    """
    candidate = models[CANDIDATE]
    if all(one.metrics[problem.primary] is None for one in candidate.values()):
        return None
    shown = [*candidate][:MOST_SLICES]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.9 + 0.27 * len(shown)))
    widths = [5, 3] if changes else [1]
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    _values(panels[0], problem=problem, shown=shown, models=models)
    if changes:
        judged = [name for name in shown if _is_judged(problem, candidate[name])]
        _changes(panels[1], problem=problem, shown=shown, changes=[one for one in changes if one.slice in judged])
    panels[0].set_yticks(range(len(shown)), [f"{short(name)}  ({candidate[name].rows:,})" for name in shown])
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    figure.subplots_adjust(left=0.2, right=1, wspace=0.06)
    return figure_svg(figure)


def _values(axes: Any, *, problem: Problem, shown: Sequence[str], models: Mapping[str, Mapping[str, Slice]]) -> None:
    metric = problem.primary
    heights = [height for height, name in enumerate(shown) if _is_judged(problem, models[CANDIDATE][name])]
    for role in [role for role in models if role != CANDIDATE]:
        found = [models[role].get(shown[height]) for height in heights]
        values = [_none_is_nan(one.metrics[metric] if one else None) for one in found]
        axes.scatter(values, heights, edgecolors=COLOURS[role], label=role, **HOLLOW)
    judged = [models[CANDIDATE][shown[height]] for height in heights]
    _points(
        axes,
        values=[one.metrics[metric] for one in judged],
        places=heights,
        intervals=[one.intervals.get(metric) for one in judged],
        colour=COLOURS[CANDIDATE],
        label=CANDIDATE,
    )
    overall = models[CANDIDATE][OVERALL].metrics[metric]
    if overall is not None:
        axes.axvline(overall, color=GREY, linewidth=1, linestyle="--", zorder=1)
    for height in set(range(len(shown))) - set(heights):
        axes.text(0.01, height, "too few rows", transform=axes.get_yaxis_transform(), va="center", color=GREY)
    axes.set_xlabel(problem.title(metric))
    axes.locator_params(axis="x", nbins=5)
    _legend_above(axes)


def _changes(axes: Any, *, problem: Problem, shown: Sequence[str], changes: Sequence[Change]) -> None:
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--", zorder=1)
    others = list(dict.fromkeys(one.other for one in changes))
    for height, other in enumerate(others):
        drawn = [one for one in changes if one.other == other]
        _points(
            axes,
            values=[one.value for one in drawn],
            places=[shown.index(one.slice) + 0.32 * (height - (len(others) - 1) / 2) for one in drawn],
            intervals=[one.interval for one in drawn],
            colour=COLOURS[other],
            label=f"against the {other}",
            size=4,
        )
    axes.set_xlabel(f"change in {problem.title(problem.primary)}")
    axes.locator_params(axis="x", nbins=4)
    _legend_above(axes, across=1)


@picture
def fairness(problem: Problem, rows: Sequence[Fairness]) -> Markup:
    """The rates, or the means, of each group of one column at one threshold.

    Args:
        problem: Whose rates they are.
        rows: One for each rate and model, the candidate's first.
    """
    names = list(rows[0].groups)[:MOST_SLICES]
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(row.metric for row in rows))
    high = len(metrics) // PANELS_ACROSS + 1  # one place at least is left for the legend
    room = 0.2 if problem.metric(metrics[0]).of_classes else 0  # for a second line above each
    figure = Figure(figsize=(WIDTH, 1.5 + high * (0.25 + room + 0.25 * len(names))))
    every = list(figure.subplots(high, PANELS_ACROSS, sharey=True).flat)
    panels, spare = every[: len(metrics)], every[-1]
    for axes, metric in zip(panels, metrics, strict=True):
        of_metric = [row for row in rows if row.metric == metric]
        _groups(axes, problem=problem, metric=metric, names=names, rows=of_metric)
    for axes in every[len(metrics) :]:
        axes.set_axis_off()
    panels[0].set_yticks(range(len(names)), [short(name) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    spare.legend(*_labels(panels), loc="center left")
    figure.subplots_adjust(left=0, right=1, wspace=0.1, hspace=(0.8 + room) / (0.6 + 0.25 * len(names)))
    return figure_svg(figure)


def _groups(axes: Any, *, problem: Problem, metric: str, names: Sequence[str], rows: Sequence[Fairness]) -> None:
    for row in rows:
        groups = [row.groups.get(name) for name in names]
        if row.model != CANDIDATE:
            rates = [_none_is_nan(one.rate if one else None) for one in groups]
            edges = [GREY if name in row.too_small else COLOURS[row.model] for name in names]
            axes.scatter(rates, range(len(names)), edgecolors=edges, **HOLLOW)
            axes.scatter([], [], edgecolors=COLOURS[row.model], label=row.model, **HOLLOW)
            continue
        if row.overall is not None:
            axes.axvline(row.overall, color=GREY, linewidth=1, linestyle="--", zorder=1)
        small = np.array([name in row.too_small for name in names])
        for kept, colour, label in ((~small, COLOURS[CANDIDATE], CANDIDATE), (small, GREY, "too small to judge")):
            some = [(height, one) for height, one in enumerate(groups) if kept[height] and one]
            _points(
                axes,
                values=[one.rate for _, one in some],
                places=[height for height, _ in some],
                intervals=[one.interval for _, one in some],
                colour=colour,
                label=label,
            )
    known = problem.metric(metric)
    axes.set_title(_lines(problem, metric), fontsize=9 if known.of_classes else 10)
    if known.top is None:
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=3)
    else:
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.5, 1])
    axes.grid(visible=False, axis="y")


def _lines(problem: Problem, metric: str) -> str:
    """A metric's title; that of a class has a line of its own for the class."""
    of, _, name = metric.partition("@")
    return f"{problem.title(of)} of\n{short(name, 22)}" if name else problem.title(metric)


@picture
def trend(problem: Problem, versions: Sequence[Point], candidate: Point | None) -> Markup:
    """The primary metric of published versions one after the other, and that of the candidate."""
    points = [*versions, *([candidate] if candidate else [])]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 2.3))
    axes = figure.subplots()
    axes.plot(range(len(points)), [point.value for point in points], color=GREY, linewidth=1.2, zorder=2)
    for place, point in enumerate(points):
        colour = COLOURS[CANDIDATE if point is candidate else "champion"]
        _points(
            axes,
            values=[point.value],
            places=[place],
            intervals=[point.interval],
            colour=colour,
            label="",
            upright=True,
        )
    axes.set_xticks(range(len(points)), [point.name for point in points])
    axes.set(xlabel="version", ylabel=problem.title(problem.primary))
    axes.margins(x=0.06, y=0.15)
    figure.subplots_adjust(left=0, right=1)
    return figure_svg(figure)


def _curves(
    curves: Mapping[str, Curves],
    *,
    names: Mapping[str, str],
    title: str,
    across: str,
    up: str,
    rates: Any,
    diagonal: bool,
) -> Markup | None:
    if any(not one.confusion[0, [0, 3]].any() or not one.confusion[0, 1:3].any() for one in curves.values()):
        return None
    figure, axes = _square()
    heights = []
    if diagonal:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for role, one in reversed([*curves.items()]):
        with np.errstate(invalid="ignore"):  # no row above the highest thresholds: no precision
            points = np.column_stack(rates(*one.confusion.T))
        points = points[np.isfinite(points).all(axis=1)]
        points = points[np.append(True, np.abs(np.diff(points, axis=0)).sum(axis=1) > 0)[: len(points)]]
        axes.plot(*points.T, color=COLOURS[role], linewidth=1.8, label=names.get(role, role))
        heights.extend(points[:, 1])
    axes.set(title=title, xlabel=across, ylabel=up, ylim=_end(heights))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower right" if diagonal else "lower left")
    return figure_svg(figure)


def _end(shares: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis of shares: 0 to 1, or to the highest where all are low, as those of a rare event are."""
    highest = max(shares, default=1.0)
    end = highest if 0 < highest < RARE else 1.0
    return -0.02 * end, (1.1 if end < 1 else 1.02) * end


def _square() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.9))
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.locator_params(nbins=5)
    return figure, axes


def _points(
    axes: Any,
    *,
    values: Iterable[float | None],
    places: Sequence[float],
    intervals: Iterable[Interval | None],
    colour: str,
    label: str,
    size: int = 6,
    upright: bool = False,
) -> None:
    """Points with their intervals; no whiskers where there is none."""
    found = np.array([_none_is_nan(value) for value in values])
    if not np.isfinite(found).any():
        return
    low, high = np.array([interval or (math.nan, math.nan) for interval in intervals]).T
    errors = np.maximum([found - low, high - found], 0)  # an end may lie on the wrong side of the value
    across, up, direction = (places, found, "yerr") if upright else (found, places, "xerr")
    axes.errorbar(
        across,
        up,
        **{direction: errors},
        fmt="o",
        markersize=size,
        linewidth=1.6,
        color=colour,
        label=label or "_nolegend_",
        zorder=4,
    )


def _legend_above(axes: Any, across: int = 3) -> None:
    handles, labels = _labels([axes])
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=across)


def _labels(panels: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """What the panels' legends name, each once, the candidate first."""
    named: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            named.setdefault(label, handle)
    labels = sorted(named, key=lambda label: label != CANDIDATE)
    return [named[label] for label in labels], labels


def _is_judged(problem: Problem, one: Slice) -> bool:
    return one.counted(problem, problem.primary) >= FEWEST_ROWS


def _none_is_nan(value: float | None) -> float:
    return math.nan if value is None else value
