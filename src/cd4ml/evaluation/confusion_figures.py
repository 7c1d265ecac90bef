"""The pictures of a model of three classes and more, as inline SVG."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from cd4ml.contracts.evaluation import CANDIDATE, of_class
from cd4ml.contracts.problem import Metrics
from cd4ml.evaluation.confusions import Confusions
from cd4ml.evaluation.figures import COLOURS, WIDTH
from cd4ml.reports.page import GREY, figure_svg, picture, short

MOST_WRITTEN = 12
"""Of more classes the cells have no room for their share."""
MOST_NAMED = 40
"""Of more classes the sides have no room for their names."""
ACROSS = 4
DARK = 0.4
"""From this share on a cell is so dark that its text is white."""


@picture
def confusion(counts: np.ndarray, classes: Sequence[str]) -> Markup:
    """The share of the rows of each class that each class is predicted for; a class without rows is blank.

    Args:
        counts: int [classes, classes]: the rows by class and predicted class.
        classes: Their names.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    rows = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_invalid(counts / np.where(rows, rows, np.nan))
    number = len(classes)
    side = min(max(0.5 * number, 3.0), WIDTH - 1.2)
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("shares", ["#f8fafc", COLOURS[CANDIDATE], "#172554"])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    axes.grid(visible=False)
    if number <= MOST_WRITTEN:
        for row, column in np.argwhere(counts).tolist():
            share = float(shares[row, column])
            colour = "white" if share > DARK else "#0f172a"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=9)
    places = range(number) if number <= MOST_NAMED else []
    names = [short(one, 20) for one in classes] if number <= MOST_NAMED else []
    axes.set_xticks(places, names, rotation=90 if number > 3 else 0)
    axes.set_yticks(places, names)
    axes.set(title="What is taken for what", xlabel="predicted", ylabel="true")
    return figure_svg(figure)


@picture
def one_against_rest(found: Mapping[str, Confusions], metrics: Metrics) -> Markup | None:
    """The ROC curve of each class against the others, named with the candidate's AUC; None where no class has one.

    Args:
        found: By model; of all models the same classes have a curve.
        metrics: Of the candidate on all rows.
    """
    from matplotlib.figure import Figure

    classes = list(found[CANDIDATE].curves)
    if not classes:
        return None
    across, down = min(ACROSS, len(classes)), -(-len(classes) // ACROSS)
    figure = Figure(figsize=(WIDTH * across / ACROSS, 0.4 + 1.9 * down))
    panels = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for axes, name in zip(panels, classes, strict=False):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        for role, one in reversed([*found.items()]):
            axes.plot(*one.curves[name].T, color=COLOURS[role], linewidth=1.5, label=role)
        axes.set_title(f"{short(name, 14)}  {metrics[of_class('class_auc', name)]:.3f}", fontsize=9)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    for axes in panels[len(classes) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(labels))
    figure.supxlabel("false positive rate", fontsize=9)
    figure.supylabel("true positive rate", fontsize=9)
    figure.tight_layout()
    return figure_svg(figure)
