"""The pictures of the data report."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from cd4ml.data.columns import Column
from cd4ml.data.findings import Findings, Group, percent
from cd4ml.reports.page import PALETTE, figure_style, figure_svg

MOST_GROUPS = 12
"""Of one column, in the picture."""
MOST_COLUMNS = 24
"""In the picture of distributions."""
MOST_VALUES = 5
ACROSS = 4
BUCKETS = 24
TAIL = 0.005
"""The share of a long tail that is left out of the picture."""
COLOURS = dict(zip(("train", "eval", "test"), PALETTE, strict=False))
INK, LINE, ALARM = "#0f172a", "#94a3b8", PALETTE[1]


def label_rates(found: Findings) -> Markup | None:
    """How often each group has the label, beside all rows; None where there are no groups or no usable label."""
    if not found.groups or found.label_rate is None:
        return None
    columns: dict[str, list[Group]] = {}
    for group in found.groups:
        columns.setdefault(group.column, []).append(group)
    columns = {column: groups[:MOST_GROUPS] for column, groups in columns.items()}
    alarming = {(finding.column, finding.value) for finding in found.of_kind("label_balance")}
    with figure_style():
        heights = [len(groups) for groups in columns.values()]
        figure = Figure(figsize=(11.4, 0.27 * sum(heights) + 0.5 * len(heights) + 0.2))
        all_axes = figure.subplots(len(columns), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (column, groups) in zip(all_axes, columns.items(), strict=True):
            _rates_of_column(axes, column, groups, found.label_rate, alarming)
        all_axes[0].set_xlim(0, 1.25 * max(group.label_rate or 0 for groups in columns.values() for group in groups))
        figure.subplots_adjust(hspace=0.5)
        return figure_svg(figure)


def distributions(columns: Sequence[Column]) -> Markup | None:
    """How the values of each column lie in the splits, one small picture a column; None where there is none."""
    drawn = drawable(columns)[:MOST_COLUMNS]
    if not drawn:
        return None
    with figure_style():
        down = -(-len(drawn) // ACROSS)
        figure = Figure(figsize=(11.4, 1.75 * down))
        grid = list(figure.subplots(down, ACROSS, squeeze=False).flat)
        for axes, column in zip(grid, drawn, strict=False):
            draw = _values if column.kind in ("text", "boolean") else _histogram
            draw(axes, column)
            axes.set_title(column.name, fontsize=9.5)
            axes.tick_params(labelsize=8, length=0)
        for axes in grid[len(drawn) :]:
            axes.set_axis_off()
        marks = [Patch(color=colour, label=split) for split, colour in COLOURS.items()]
        figure.legend(handles=marks, loc="lower right", bbox_to_anchor=(1, 0.88 + 0.2 / (1.75 * down)), ncols=3)
        figure.subplots_adjust(left=0.03, right=0.99, hspace=0.75, wspace=0.3)
        return figure_svg(figure)


def drawable(columns: Sequence[Column]) -> list[Column]:
    """The columns that have a distribution to see."""
    return [column for column in columns if not column.unique and column.missing < 1]


def _rates_of_column(
    axes: Axes, column: str, groups: Sequence[Group], overall: float, alarming: set[tuple[str, float | None]]
) -> None:
    names = [group.value for group in groups]
    rates = [group.label_rate or 0.0 for group in groups]
    colours = [ALARM if (column, group.gap) in alarming else PALETTE[0] for group in groups]
    axes.barh(names, rates, color=colours, height=0.72)
    axes.axvline(overall, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    for place, group in enumerate(groups):
        text = f"{percent(rates[place])}  of {group.rows:,}"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(text, (rates[place], place), (5, 0), textcoords="offset points", va="center", bbox=box)
    axes.set_title(column)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[["bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])


def _values(axes: Axes, column: Column) -> None:
    values = list(column.distributions["train"].shares)[:MOST_VALUES]
    width = 0.8 / len(column.distributions)
    for place, (split, distribution) in enumerate(column.distributions.items()):
        shares = [distribution.shares.get(value, 0.0) for value in values]
        left = np.arange(len(values)) - 0.4 + width * (place + 0.5)
        axes.bar(left, shares, width, color=COLOURS[split])
    axes.set_xticks(range(len(values)), [_short(value) for value in values])
    axes.yaxis.set_major_formatter(lambda share, _: f"{share * 100:.0f} %")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.grid(visible=False, axis="x")


def _histogram(axes: Axes, column: Column) -> None:
    edges = _edges(column)
    for split, distribution in column.distributions.items():
        if len(distribution.edges):
            shares = np.diff(np.interp(edges, distribution.edges, distribution.below))
            train = split == "train"
            axes.stairs(shares, edges, color=COLOURS[split], fill=train, alpha=0.3 if train else 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, integer=column.kind == "integer"))
    if column.kind == "time":
        axes.xaxis.set_major_formatter(lambda second, _: f"{datetime.fromtimestamp(second, UTC):%-d %b}")


def _edges(column: Column) -> np.ndarray:
    """The same buckets for all splits, without the tails of the train split; around whole numbers for integers."""
    train = column.distributions["train"]
    if not len(train.edges):
        return np.array([0.0, 1.0])
    inside = np.flatnonzero((train.below > TAIL) & (train.below < 1 - TAIL))
    low, high = train.edges[max(inside[0] - 1, 0)], train.edges[min(inside[-1] + 1, len(train.edges) - 1)]
    if column.kind == "integer":
        return np.arange(np.floor(low) - 0.5, high + 1, np.ceil((high - low) / BUCKETS))
    return np.linspace(low, high, min(BUCKETS, len(inside) + 1) + 1)


def _short(text: str) -> str:
    return text if len(text) <= 9 else f"{text[:8]}…"
