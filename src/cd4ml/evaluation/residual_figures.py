"""The pictures of how far predicted numbers are off, as inline SVG."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from cd4ml.contracts.evaluation import CANDIDATE
from cd4ml.evaluation.figures import COLOURS
from cd4ml.evaluation.residuals import Residuals
from cd4ml.reports.page import GREY, figure_svg, picture

SIZE = (4.2, 3.9)


@picture
def predicted_and_true(found: Residuals) -> Markup:
    """The label against the prediction; on the dashed line they are the same."""
    figure, axes = _axes()
    _cells(axes, found.labels, (found.numbers, found.numbers))
    ends = found.numbers[[0, -1]]
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle="--")
    axes.set(title="Predicted and true", xlabel="predicted", ylabel="true")
    return figure_svg(figure)


@picture
def errors_by_prediction(found: Residuals) -> Markup:
    """The error against the prediction, with the mean error of as many rows each."""
    figure, axes = _axes()
    _cells(axes, found.missed, (found.numbers, found.errors))
    axes.axhline(0, color=GREY, linewidth=1, linestyle="--")
    predicted, means, low, high = found.means.T
    if len(means):
        axes.errorbar(
            predicted,
            means,
            yerr=[means - low, high - means],
            fmt="o-",
            markersize=3,
            linewidth=1.2,
            color=COLOURS["baseline"],
            label="mean error, 95%",
        )
        axes.legend(loc="upper left")
    axes.set(title="Error by prediction", xlabel="predicted", ylabel="predicted less true")
    return figure_svg(figure)


@picture
def errors(found: Mapping[str, Residuals]) -> Markup:
    """How often each model is off by how much."""
    figure, axes = _axes()
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    for role, one in reversed([*found.items()]):
        counts = one.missed.sum(axis=0)
        axes.stairs(
            counts / counts.sum(),
            one.errors,
            color=COLOURS[role],
            linewidth=1.6,
            label=role,
            fill=role == CANDIDATE,
            alpha=0.35 if role == CANDIDATE else 1,
        )
    axes.set(title="Errors", xlabel="predicted less true", ylabel="share of rows")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left")
    return figure_svg(figure)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.locator_params(nbins=5)
    return figure, axes


def _cells(axes: Any, counts: np.ndarray, edges: tuple[np.ndarray, np.ndarray]) -> None:
    """The rows of each cell: the more, the darker, on the scale of the logarithm."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    axes.imshow(
        np.ma.masked_equal(counts.T, 0),
        origin="lower",
        extent=tuple(side[place] for side in edges for place in (0, -1)),
        aspect="auto",
        interpolation="nearest",
        cmap=LinearSegmentedColormap.from_list("rows", ["#dbeafe", COLOURS[CANDIDATE], "#172554"]),
        norm=LogNorm(1, max(counts.max(), 2)),
    )
