"""The pictures of an evaluation's report, as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from cd4ml.evaluation.measure import Curves
from cd4ml.evaluation.summary import FAIRNESS_METRICS, OVERALL, Fairness, Slice
from cd4ml.reports.page import PALETTE, figure_style, figure_svg

COLOURS = dict(zip(("candidate", "baseline", "champion"), PALETTE, strict=False))
GREY = "#94a3b8"
MOST_SLICES = 40
"""More do not fit a picture that one can read; the table has them all."""


def roc(curves: Mapping[str, Curves]) -> Markup | None:
    """True against false positive rate of each model; None for rows of one class."""
    return _curves(
        curves,
        "ROC curve",
        "false positive rate",
        "true positive rate",
        lambda tp, fp, tn, fn: (fp / (fp + tn), tp / (tp + fn)),
        diagonal=True,
    )


def precision_recall(curves: Mapping[str, Curves]) -> Markup | None:
    """Precision against recall of each model; None for rows of one class."""
    return _curves(
        curves,
        "Precision and recall",
        "recall",
        "precision",
        lambda tp, fp, tn, fn: (tp / (tp + fn), tp / (tp + fp)),  # noqa: ARG005 (called with all four)
        diagonal=False,
    )


def calibration(curves: Mapping[str, Curves]) -> Markup:
    """How often what is predicted comes true, by bucket of the prediction."""
    with figure_style():
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        for role, one in curves.items():
            rows, predicted, positive = one.calibration.T
            axes.plot(predicted, positive, color=COLOURS[role], linewidth=1.6, label=role)
            axes.scatter(predicted, positive, color=COLOURS[role], s=8 + 60 * rows / rows.sum(), zorder=3)
        axes.set(title="Calibration", xlabel="mean prediction", ylabel="share of positives")
        axes.legend(loc="upper left")
        return figure_svg(figure)


def slices(models: Mapping[str, Mapping[str, Slice]]) -> Markup | None:
    """AUC of each slice with its 95% interval; None where it is nowhere defined."""
    candidate = models["candidate"]
    shown = [name for name, one in candidate.items() if one.metrics["auc"] is not None][:MOST_SLICES]
    if not shown:
        return None
    with figure_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.4, 0.9 + 0.27 * len(shown)))
        axes = figure.subplots()
        for role in reversed([*models]):
            aucs = np.array([_auc(models[role].get(name)) for name in shown])
            heights = np.arange(len(shown), dtype=float)
            if role == "candidate":
                halves = np.array([_auc_interval(candidate[name]) for name in shown])
                errors = np.minimum(halves, (aucs, 1 - aucs))
                axes.errorbar(
                    aucs,
                    heights,
                    xerr=errors,
                    fmt="o",
                    markersize=6,
                    linewidth=1.6,
                    color=COLOURS[role],
                    label=role,
                    zorder=4,
                )
            else:
                axes.scatter(
                    aucs,
                    heights,
                    s=34,
                    facecolors="white",
                    edgecolors=COLOURS[role],
                    linewidths=1.5,
                    label=role,
                    zorder=3,
                )
        overall = candidate[OVERALL].metrics["auc"]
        if overall is not None:
            axes.axvline(overall, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axes.set_yticks(range(len(shown)), [f"{name}  ({candidate[name].rows:,})" for name in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("AUC")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(models))
        return figure_svg(figure)


def fairness(rows: Sequence[Fairness]) -> Markup:
    """The rates of each group of one column at one threshold.

    Args:
        rows: One for each rate and model, the candidate's first.
    """
    names = list(rows[0].groups)
    models = list(dict.fromkeys(row.model for row in rows))
    with figure_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.4, 1.0 + 0.3 * len(names)))
        panels = figure.subplots(1, len(FAIRNESS_METRICS), sharey=True)
        for axes, metric in zip(panels, FAIRNESS_METRICS, strict=True):
            for row in reversed([row for row in rows if row.metric == metric]):
                rates = [math.nan if (rate := row.groups.get(name)) is None else rate for name in names]
                colours = [GREY if name in row.too_small else COLOURS[row.model] for name in names]
                if row.model == "candidate":
                    axes.hlines(range(len(names)), 0, rates, color=colours, linewidth=2, alpha=0.35)
                    axes.scatter(rates, range(len(names)), s=46, color=colours, zorder=4, label=row.model)
                    for height, rate in enumerate(rates):
                        if math.isfinite(rate):
                            axes.annotate(
                                f"{rate:.2f}",
                                (rate, height),
                                xytext=(7, 5),
                                textcoords="offset points",
                                fontsize=8.5,
                                color="#0f172a",
                                zorder=5,
                            )
                else:
                    axes.scatter(
                        rates,
                        range(len(names)),
                        s=34,
                        facecolors="white",
                        edgecolors=colours,
                        linewidths=1.5,
                        zorder=3,
                        label=row.model,
                    )
            axes.set(xlim=(0, 1.08), title=metric.replace("_", " "))
            axes.grid(visible=False, axis="y")
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.4, -0.7)
        if len(models) > 1:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(
                handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=len(models)
            )
        figure.subplots_adjust(wspace=0.08)
        return figure_svg(figure)


def learning(history: Sequence[Mapping[str, float]]) -> Markup:
    """Loss and AUC by epoch on the train and eval splits."""
    epochs = [epoch["epoch"] for epoch in history]
    with figure_style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(10.4, 2.9))
        for axes, metric in zip(figure.subplots(1, 2), ("loss", "auc"), strict=True):
            axes.plot(epochs, [epoch[metric] for epoch in history], marker="o", markersize=4, color=GREY, label="train")
            values = [epoch[f"eval_{metric}"] for epoch in history]
            axes.plot(epochs, values, marker="o", markersize=4, color=COLOURS["candidate"], label="eval")
            axes.set(title="AUC" if metric == "auc" else "Loss", xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        return figure_svg(figure)


def _curves(
    curves: Mapping[str, Curves], title: str, across: str, up: str, rates: Any, *, diagonal: bool
) -> Markup | None:
    if any(not one.confusion[0, :2].all() for one in curves.values()):
        return None
    with figure_style():
        figure, axes = _square()
        if diagonal:
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        for role, one in reversed([*curves.items()]):
            with np.errstate(invalid="ignore"):  # no row above the highest thresholds: no precision
                points = np.column_stack(rates(*one.confusion.T))
            points = points[np.isfinite(points).all(axis=1)]
            points = points[np.append(True, np.abs(np.diff(points, axis=0)).sum(axis=1) > 0)]
            axes.plot(*points.T, color=COLOURS[role], linewidth=1.8, label=role)
        axes.set(title=title, xlabel=across, ylabel=up)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="lower right" if diagonal else "lower left")
        return figure_svg(figure)


def _square() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.9))
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure, axes


def _auc(one: Slice | None) -> float:
    auc = one.metrics["auc"] if one else None
    return math.nan if auc is None else auc


def _auc_interval(one: Slice) -> float:
    """Half of the 95% interval of an AUC, after Hanley and McNeil (1982)."""
    auc = _auc(one)
    positives = (one.metrics["label_rate"] or 0) * one.rows
    negatives = one.rows - positives
    both_positive, both_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (both_positive - auc**2) + (negatives - 1) * (both_negative - auc**2)
    return 1.96 * math.sqrt(max(variance, 0) / (positives * negatives))
