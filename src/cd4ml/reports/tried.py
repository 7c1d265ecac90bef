"""The pictures of a sweep, as inline SVG: what was tried, what came of it, and what it cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cd4ml.contracts.sweep import Sweep, Trial
from cd4ml.names import amount
from cd4ml.reports.course import WIDTH
from cd4ml.reports.page import GREY, PALETTE, figure_svg, picture, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WON, KEPT = PALETTE[1], PALETTE[0]
MOST_PICTURES = 3
"""Of constraints, those that have a picture."""
MOST_SHOWN = 12
"""Of the choices of a range, those that are named."""


@picture
def course(sweep: Sweep, trials: Sequence[Trial]) -> Markup:
    """The objective of each trial with the best so far, and the seconds that each took."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 2.7))
    values, seconds = figure.subplots(1, 2)
    for drawn, colour, label in _groups(sweep, trials):
        values.scatter([one.number for one in drawn], _values(drawn), s=16, color=colour, label=label, zorder=3)
    best = [sweep.best(trials[: place + 1]) for place in range(len(trials))]
    line = [math.nan if one is None or one.value is None else one.value for one in best]
    values.step([one.number for one in trials], line, where="post", color=KEPT, linewidth=1, label="best so far")
    values.set(ylabel=f"{sweep.objective} on eval", xlabel="trial")
    _legend(values)
    colours = {"ended": KEPT, "pruned": GREY, "failed": PALETTE[3]}
    for state, colour in colours.items():
        those = [one for one in trials if one.state == state]
        if those:
            seconds.bar([one.number for one in those], [one.seconds for one in those], color=colour, label=state)
    seconds.set(ylabel="seconds", xlabel="trial")
    seconds.grid(visible=False, axis="x")
    _legend(seconds)
    for axes in (values, seconds):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.subplots_adjust(left=0, right=1, wspace=0.25)
    return figure_svg(figure)


def _legend(axes: "Axes") -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


@picture
def coordinates(sweep: Sweep, trials: Sequence[Trial]) -> Markup | None:
    """A line for each trial that has ended, through its settings to the objective; None where there is none."""
    from matplotlib.figure import Figure

    ended = [one for one in trials if one.state == "ended"]
    if not ended:
        return None
    places = [_scaled(tried, name) for name, tried in sweep.ranges.items()]
    places.append(_of_values([one.value or 0.0 for one in ended], sweep.objective))
    figure = Figure(figsize=(WIDTH, 3.1))
    axes = figure.subplots()
    for drawn, colour, label in _groups(sweep, ended):
        for at, trial in enumerate(drawn):
            found = [*(trial.settings[name] for name in sweep.ranges), trial.value]
            heights = [place.height(value) for place, value in zip(places, found, strict=True)]
            width = 2.5 if colour == WON else 1
            axes.plot(heights, color=colour, linewidth=width, alpha=1 if colour == WON else 0.5, label=label * (not at))
    for number, place in enumerate(places):
        axes.axvline(number, color="#475569", linewidth=0.8, zorder=1)
        for text, height in place.marks:
            axes.text(number, height, f" {text}", fontsize=8, va="center", color="#475569", zorder=4)
    axes.set_xticks(range(len(places)), [short(place.name, 24) for place in places])
    axes.set(xlim=(-0.05, len(places) - 0.7), ylim=(-0.06, 1.06))
    axes.tick_params(length=0)
    axes.yaxis.set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    figure.subplots_adjust(left=0, right=1)
    return figure_svg(figure)


@picture
def importance(shares: Mapping[str, float]) -> Markup | None:
    """How much of the objective each setting tells; None where nobody knows."""
    from matplotlib.figure import Figure

    if not shares:
        return None
    ordered = sorted(shares.items(), key=lambda one: one[1])
    figure = Figure(figsize=(WIDTH, 0.6 + 0.28 * len(ordered)))
    axes = figure.subplots()
    axes.barh([short(name) for name, _ in ordered], [share for _, share in ordered], color=KEPT, height=0.6)
    axes.set(xlim=(0, 1))
    axes.grid(visible=False, axis="y")
    figure.subplots_adjust(left=0, right=1)
    return figure_svg(figure)


@picture
def fronts(sweep: Sweep, trials: Sequence[Trial]) -> Markup | None:
    """The objective against each constraint, with the trials that no other beats in both; None without constraints."""
    from matplotlib.figure import Figure

    names = [name for name in sweep.constraints if _known(name, trials)][:MOST_PICTURES]
    if not names:
        return None
    figure = Figure(figsize=(WIDTH, 2.7))
    several = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(several, names, strict=True):
        _front(axes, sweep, name=name, trials=trials)
    several[0].set(ylabel=f"{sweep.objective} on eval")
    several[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5)
    figure.subplots_adjust(left=0, right=1, wspace=0.22)
    return figure_svg(figure)


def _front(axes: "Axes", sweep: Sweep, *, name: str, trials: Sequence[Trial]) -> None:
    known = _known(name, trials)
    for drawn, colour, label in _groups(sweep, known):
        axes.scatter([one.measured[name] for one in drawn], _values(drawn), s=18, color=colour, label=label, zorder=3)
    front = unbeaten(sweep, name, trials)
    axes.plot([one.measured[name] for one in front], _values(front), color=KEPT, linewidth=1, label="unbeaten")
    axes.axvline(sweep.constraints[name], color=GREY, linestyle="--", linewidth=1, label="allowed at most")
    axes.set(xlabel=short(name, 44))


def unbeaten(sweep: Sweep, name: str, trials: Sequence[Trial]) -> list[Trial]:
    """The Pareto front: the trials than which no other is better by the objective and lower in what is constrained.

    Args:
        sweep: Says which values of the objective are better.
        name: What is constrained.
        trials: Those of which one of both is not known are left out.
    """
    sign = 1 if sweep.better == "lower" else -1
    by_bound = sorted(_known(name, trials), key=lambda one: (one.measured[name], sign * (one.value or 0.0), one.number))
    front: list[Trial] = []
    for one in by_bound:
        if not front or sign * (one.value or 0.0) < sign * (front[-1].value or 0.0):
            front.append(one)
    return front


def _known(name: str, trials: Sequence[Trial]) -> list[Trial]:
    return [one for one in trials if one.state == "ended" and one.measured.get(name) is not None]


def _values(trials: Sequence[Trial]) -> list[float]:
    return [one.value or 0.0 for one in trials]


def _groups(sweep: Sweep, trials: Sequence[Trial]) -> list[tuple[list[Trial], str, str]]:
    """The trials that have ended, in parts that are drawn alike, with colour and name of each."""
    ended, won = [one for one in trials if one.state == "ended"], sweep.best(trials)
    others = [one for one in ended if one != won]
    parts = (
        ([one for one in others if not sweep.keeps(one)], GREY, "breaks a constraint"),
        ([one for one in others if sweep.keeps(one)], KEPT, "ended"),
        ([won] if won else [], WON, "won"),
    )
    return [part for part in parts if part[0]]


class _Axis:
    """One axis of the coordinates: from a value to a height from 0 to 1, and what is written beside it."""

    def __init__(self, name: str, height: Callable[[Any], float], marks: Sequence[tuple[str, float]]) -> None:
        self.name, self.height, self.marks = name, height, marks


def _scaled(tried: Any, name: str) -> _Axis:
    if isinstance(tried, list):
        step = 1 / (len(tried) - 1)
        marks = [(short(one, 16), place * step) for place, one in enumerate(tried)]
        return _Axis(name, lambda value: tried.index(value) * step, marks if len(tried) <= MOST_SHOWN else [])
    low, high = tried["min"], tried["max"]
    scale: Callable[[float], float] = math.log if tried.get("log") else float
    bottom, span = scale(low), scale(high) - scale(low)
    return _Axis(name, lambda value: (scale(value) - bottom) / span, [(amount(low), 0), (amount(high), 1)])


def _of_values(values: Sequence[float], name: str) -> _Axis:
    low, high = min(values), max(values)
    span = high - low or 1.0
    return _Axis(
        name, lambda value: (value - low) / span, [(amount(low), 0), *([(amount(high), 1)] if high > low else [])]
    )
