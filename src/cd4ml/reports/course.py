"""The pictures of how a training went, as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from cd4ml.contracts.problem import Problem
from cd4ml.contracts.progress import thinned
from cd4ml.reports.page import GREY, PALETTE, figure_svg, picture

WIDTH = 7.4
"""Inches: so wide that its texts can still be read on a narrow page."""
FEW = 40
"""Of more epochs the points are left out, and the line alone is drawn."""
PARTS = {"step_seconds": "steps", "eval_seconds": "measuring", "input_seconds": "waiting for rows"}
"""What a training does with its time, by the name in a model's history."""


@picture
def learning(
    problem: Problem, history: Sequence[Mapping[str, float]], *, kept: float | None = None, unit: str = "epoch"
) -> Markup:
    """Loss and primary metric by epoch on the train and eval splits.

    Args:
        problem: Whose primary metric it is.
        history: As a model has it.
        kept: The epoch that was kept, where it is to be marked.
        unit: What is counted.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    drawn = thinned(history)
    epochs = [epoch["epoch"] for epoch in drawn]
    figure = Figure(figsize=(WIDTH, 2.9))
    titles = {"loss": "Loss", problem.primary: problem.title(problem.primary)}
    for axes, (metric, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        if kept is not None:
            axes.axvline(kept, color=GREY, linewidth=1, linestyle="--", zorder=1, label=f"kept: {unit} {kept:,.0f}")
        for name, colour, label in ((metric, GREY, "train"), (f"eval_{metric}", PALETTE[0], "eval")):
            values = [epoch.get(name, math.nan) for epoch in drawn]
            marker = "o" if len(drawn) <= FEW else ""
            axes.plot(epochs, values, marker=marker, markersize=4, color=colour, label=label)
        axes.set(title=title, xlabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    figure.subplots_adjust(left=0, right=1, wspace=0.15)
    return figure_svg(figure)


@picture
def times(history: Sequence[Mapping[str, float]], unit: str = "epoch") -> Markup | None:
    """What each epoch took its time for; None where nobody knows."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    drawn = thinned(history)
    names = [name for name in PARTS if any(name in epoch for epoch in drawn)]
    if not names:
        return None
    epochs = [epoch["epoch"] for epoch in drawn]
    parts = {PARTS[name]: [epoch.get(name, 0.0) for epoch in drawn] for name in names}
    known = [sum(values) for values in zip(*parts.values(), strict=True)]
    parts["all else"] = [max(epoch["seconds"] - sure, 0.0) for epoch, sure in zip(drawn, known, strict=True)]
    width = 0.8 * min((after - before for before, after in pairwise(epochs)), default=1.0)
    figure = Figure(figsize=(WIDTH, 2.3))
    axes = figure.subplots()
    below = [0.0] * len(drawn)
    colours = dict(zip(PARTS.values(), PALETTE, strict=False))
    for label, values in parts.items():
        axes.bar(epochs, values, width, bottom=below, color=colours.get(label, GREY), label=label)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.set(xlabel=unit, ylabel="seconds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(parts))
    figure.subplots_adjust(left=0, right=1)
    return figure_svg(figure)
