"""The pictures of the data report."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cd4ml.contracts.findings import Findings, Group, day, number, percent
from cd4ml.reports.page import PALETTE, figure_svg, picture, short
from cd4ml.validation import distributions
from cd4ml.validation.columns import Column, Kind, is_named, kind_of, numbers
from cd4ml.validation.distributions import DAY, FEW, Histogram
from cd4ml.validation.on_disk import Table

MOST_GROUPS = 12
"""Of one column, in the picture."""
MOST_COLUMNS = 24
"""With a picture of their distribution."""
MOST_VALUES = 5
MOST_TICKS = 3
LONGEST_LABELS = 34
"""Letters of all labels of an axis."""
HOUR = 3600
"""Seconds."""
INK, SOFT, LINE, ALARM = "#0f172a", "#475569", "#94a3b8", PALETTE[1]
COLOURS = dict(zip(("train", "eval", "test"), PALETTE, strict=False))
CHANGE_COLOURS = {"before": LINE, "now": PALETTE[3]}
FILLED = ("train", "before")


@picture
def label_rates(found: Findings) -> Markup | None:
    """How often each group has the label, beside all rows; None where there are no groups or no usable label."""
    if not found.groups or found.label_rate is None:
        return None
    columns: dict[str, list[Group]] = {}
    for group in found.groups:
        columns.setdefault(group.column, []).append(group)
    columns = {column: groups[:MOST_GROUPS] for column, groups in columns.items()}
    alarming = {(finding.column, finding.value) for finding in found.of_kind("label_balance")}
    heights = [len(groups) for groups in columns.values()]
    figure = Figure(figsize=(7.6, 0.27 * sum(heights) + 0.5 * len(heights) + 0.2))
    all_axes = figure.subplots(len(columns), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (column, groups) in zip(all_axes, columns.items(), strict=True):
        _rates_of_column(axes, column=column, groups=groups, overall=found.label_rate, alarming=alarming)
    rates = [group.label_rate or 0 for groups in columns.values() for group in groups]
    all_axes[0].set_xlim(0, 1.3 * max(*rates, found.label_rate) or 1)
    figure.subplots_adjust(hspace=0.5)
    return figure_svg(figure)


@picture
def distribution(column: Column, tables: Mapping[str, Table]) -> Markup:
    """How the values of a column lie in the splits, and in words what the picture leaves out."""
    figure = Figure(figsize=(2.6, 1.3))
    axes = figure.subplots()
    axes.tick_params(labelsize=8, length=0)
    axes.grid(visible=False)
    if column.kind == "text" or column.kind == "boolean":
        _values(axes, column.shares, COLOURS)
        figure.subplots_adjust(left=0.38, right=0.84, bottom=0.02, top=0.98)
        left_out = _other_values(column)
    else:
        values = {split: numbers(table.column(column.name)) for split, table in tables.items()}
        found = distributions.measure(values, column.kind, column.outliers)
        if not found:
            return Markup('<p class="note">no finite values</p>')
        _histogram(axes, found, kind=column.kind, colours=COLOURS)
        figure.subplots_adjust(left=0.04, right=0.96, bottom=0.17, top=0.98)
        left_out = _left_out(found, column.kind)
    return figure_svg(figure, tight=False) + Markup('<p class="note">{}</p>').format(left_out)


@picture
def change(before: pa.ChunkedArray, now: pa.ChunkedArray, *, note: str) -> Markup:
    """How the values of a column lay and how they lie now; of moments the times of the day."""
    figure = Figure(figsize=(2.6, 1.3))
    axes = figure.subplots()
    axes.tick_params(labelsize=8, length=0)
    axes.grid(visible=False)
    missing = f"missing: {_share(_missing(before))} before, {_share(_missing(now))} now"
    notes = [*filter(None, [note, missing if _missing(before) != _missing(now) else ""])]
    if is_named(before.type):
        _values(axes, _changed_shares(before, now), CHANGE_COLOURS)
        figure.subplots_adjust(left=0.38, right=0.84, bottom=0.02, top=0.98)
    else:
        kind: Kind = "number" if pa.types.is_timestamp(before.type) else kind_of(before.type)
        values = {part: _hours(one) for part, one in (("before", before), ("now", now))}
        found = distributions.measure(values, kind)
        if not found:
            return Markup('<p class="note">no finite values</p>')
        _histogram(axes, found, kind=kind, colours=CHANGE_COLOURS)
        figure.subplots_adjust(left=0.04, right=0.96, bottom=0.17, top=0.98)
        notes += [_left_out(found, kind)] if _left_out(found, kind) else []
    return figure_svg(figure, tight=False) + Markup('<p class="note">{}</p>').format("; ".join(notes))


def drawable(columns: Sequence[Column]) -> list[Column]:
    """The columns that have a distribution to see."""
    return [column for column in columns if not column.unique and column.missing < 1 and "personal" not in column.roles]


def _missing(column: pa.ChunkedArray) -> float:
    return float(column.null_count / max(len(column), 1))


def _hours(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column, moments as hours of the day."""
    values = numbers(column)
    return values % DAY / HOUR if pa.types.is_timestamp(column.type) else values


def _changed_shares(before: pa.ChunkedArray, now: pa.ChunkedArray) -> dict[str, dict[str, float]]:
    """By part the share of each value; of the values that have changed most, the most frequent one first."""
    shares = {}
    for part, column in (("before", before), ("now", now)):
        counts = pc.value_counts(column.drop_null().cast(pa.string()))
        values, times = counts.field("values").to_pylist(), counts.field("counts").to_numpy()
        shares[part] = dict(zip(values, (times / max(times.sum(), 1)).tolist(), strict=True))
    both = {*shares["before"], *shares["now"]}
    moved = {value: shares["now"].get(value, 0.0) - shares["before"].get(value, 0.0) for value in both}
    most = sorted(both, key=lambda value: (-abs(moved[value]), value))[:MOST_VALUES]
    most.sort(key=lambda value: -max(one.get(value, 0.0) for one in shares.values()))
    return {part: {value: one.get(value, 0.0) for value in most} for part, one in shares.items()}


def _other_values(column: Column) -> str:
    if (column.distinct or 0) <= MOST_VALUES:
        return ""
    named = sum([*column.shares["train"].values()][:MOST_VALUES])
    return f"the {MOST_VALUES} most frequent of about {column.distinct:,} values: {percent(named)} of the rows"


def _left_out(found: Histogram, kind: Kind) -> str:
    """What a picture does not show, in the units of its axis; empty where it shows all."""
    written = day if kind == "time" else number
    rows = sum(found.rows.values())
    low, high = found.edges[0], found.edges[-1]
    if kind == "integer":
        low, high = math.ceil(low), math.floor(high)
    lines = []
    if found.spike is not None:
        lines.append(f"without {written(found.spike)}, which {found.spike_rows:,} of {rows:,} are")
    if found.below:
        lines.append(f"{found.below:,} of {rows:,} below {written(low)}")
    if found.above:
        lines.append(f"{found.above:,} of {rows:,} beyond {written(high)}")
    if found.infinite:
        lines.append(f"{found.infinite:,} of {rows:,} infinite")
    if found.logarithmic:
        lines.append("logarithmic axis")
    return "; ".join(lines)


def _rates_of_column(
    axes: Axes, *, column: str, groups: Sequence[Group], overall: float, alarming: set[tuple[str, float | None]]
) -> None:
    rates = [group.label_rate or 0.0 for group in groups]
    colours = [ALARM if (column, group.gap) in alarming else PALETTE[0] for group in groups]
    axes.barh(range(len(groups)), rates, color=colours, height=0.72)
    axes.axvline(overall, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    for place, group in enumerate(groups):
        share = "no label" if group.label_rate is None else percent(group.label_rate)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        text = f"{share}  of {group.rows:,}"
        axes.annotate(text, (rates[place], place), (5, 0), textcoords="offset points", va="center", bbox=box)
    axes.set_title(short(column, 60))
    axes.set_yticks(range(len(groups)), [short(group.value, 24) for group in groups])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[["bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])


def _values(axes: Axes, parts: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]) -> None:
    frequent = [value for shares in parts.values() for value in [*shares][:MOST_VALUES]]
    values = list(dict.fromkeys(frequent))[:MOST_VALUES]
    height = 0.8 / len(parts)
    most = max(shares.get(value, 0.0) for shares in parts.values() for value in values)
    for place, (part, shares) in enumerate(parts.items()):
        across = np.arange(len(values)) - 0.4 + height * (place + 0.5)
        axes.barh(across, [shares.get(value, 0.0) for value in values], height, color=colours[part])
    written = "now" if "now" in parts else "train"
    for place, value in enumerate(values):
        end = max(shares.get(value, 0.0) for shares in parts.values())
        share = _share(parts[written].get(value, 0.0))
        axes.annotate(share, (end, place), (3, 0), textcoords="offset points", va="center", fontsize=8, color=SOFT)
    axes.set_yticks(range(len(values)), [short(value, 14) for value in values])
    axes.set_xlim(0, most or 1)
    axes.set_ylim(MOST_VALUES - 0.5, -0.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _histogram(axes: Axes, found: Histogram, *, kind: Kind, colours: Mapping[str, str]) -> None:
    """Drawn by the number of the bucket, for no axis of matplotlib has room for every number and moment."""
    buckets = len(found.edges) - 1
    for part, counts in found.counts.items():
        shares = counts / max(found.rows[part], 1)
        style = {"fill": True, "alpha": 0.3} if part in FILLED else {"linewidth": 1.1}
        axes.stairs(shares, range(buckets + 1), color=colours[part], **style)
    if buckets <= FEW:
        of_all = np.sum([*found.counts.values()], axis=0) / sum(found.rows.values())
        heights = np.max([counts / max(found.rows[split], 1) for split, counts in found.counts.items()], axis=0)
        for place in np.flatnonzero(of_all):
            there = (place + 0.5, heights[place])
            axes.annotate(_share(of_all[place]), there, (0, 2), textcoords="offset points", ha="center", fontsize=8)
    ticks, labels = _ticks(found, kind)
    places = _positions(ticks, found.edges)
    axes.set_xticks(places, labels)
    for place, label in zip(places, axes.get_xticklabels(), strict=True):
        label.set_horizontalalignment(
            "left" if place < 0.1 * buckets else "right" if place > 0.9 * buckets else "center"
        )
    axes.set_xlim(-0.02 * buckets, 1.02 * buckets)
    axes.margins(y=0.2)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _positions(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    largest = np.abs(edges).max()
    places: np.ndarray = np.interp(values / largest, edges / largest, np.arange(len(edges)))
    return places


def _ticks(found: Histogram, kind: Kind) -> tuple[np.ndarray, list[str]]:
    low, high = found.edges[0], found.edges[-1]
    if kind == "time":
        ticks, labels = _moments(low, high)
    else:
        if found.logarithmic:
            ticks = _powers_of_ten(found.edges)
        elif kind == "integer" and len(found.edges) - 1 <= FEW:
            ticks = (found.edges[:-1] + found.edges[1:]) / 2
        elif 1e-290 < high / 2 - low / 2 < 1e290:
            ticks = MaxNLocator(nbins=MOST_TICKS, integer=kind == "integer").tick_values(low, high)
        else:
            ticks = found.edges[[0, -1]]
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        labels = _labels(ticks)
    if sum(map(len, labels)) > LONGEST_LABELS:
        return ticks[[0, -1]], [labels[0], labels[-1]]
    return ticks, labels


def _powers_of_ten(edges: np.ndarray) -> np.ndarray:
    """Some within the edges, 0 among them where it is."""
    sizes = np.log10(np.abs(edges[edges != 0]))
    smallest = math.ceil(np.sort(sizes)[2] if edges[0] <= 0 <= edges[-1] else sizes.min())
    powers = 10.0 ** np.arange(smallest, math.floor(sizes.max()) + 1)
    ticks = np.unique([*-powers, 0, *powers])
    ticks = ticks[(ticks >= edges[0]) & (ticks <= edges[-1])]
    step = -(-len(ticks) // (MOST_TICKS + 1))
    zero = int(np.flatnonzero(ticks == 0)[0]) if 0 in ticks else len(ticks) - 1
    ticks = ticks[zero % step :: step]
    return ticks if len(ticks) > 1 else edges[[0, -1]]


def _labels(ticks: np.ndarray) -> list[str]:
    """With as few digits as tell them apart."""
    for digits in range(3, 13):
        labels = [number(tick, digits) for tick in ticks]
        if len({*labels}) == len(ticks):
            break
    return labels


def _moments(low: float, high: float) -> tuple[np.ndarray, list[str]]:
    """The beginnings of years, months, days, ... within."""
    first, last = np.datetime64(math.floor(low), "s"), np.datetime64(math.ceil(high), "s")
    for unit in ("Y", "M", "D", "h", "m", "s"):
        moments = np.arange(first.astype(f"datetime64[{unit}]"), last.astype(f"datetime64[{unit}]") + 1)
        seconds = moments.astype("datetime64[s]").astype(np.float64)
        inside = np.flatnonzero((seconds >= low) & (seconds <= high))
        if len(inside) > 1:
            break
    some = inside[:: -(-len(inside) // MOST_TICKS) or 1]
    letters = {"h": slice(5, 16), "m": slice(5, 16), "s": slice(11, 19)}.get(unit, slice(None))
    precise = moments[some].astype("datetime64[s]") if unit in ("h", "m", "s") else moments[some]
    return seconds[some], [str(moment)[letters].replace("T", " ") for moment in precise]


def _share(share: float) -> str:
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share * 100:.{1 if 0 < share < 0.1 or 0.99 < share < 1 else 0}f} %"
