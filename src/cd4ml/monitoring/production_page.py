"""The page of what production does: how right the model is, what it is asked, what was told and decided, over time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cd4ml.contracts.alerts import Alerts
from cd4ml.contracts.delays import Delays
from cd4ml.contracts.deployment import Begun
from cd4ml.contracts.evaluation import OVERALL
from cd4ml.contracts.problem import Metric, Problem
from cd4ml.contracts.problems import named as problem_named
from cd4ml.contracts.verdict import Outcome, worst
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import VersionDrift
from cd4ml.contracts.window_quality import VersionQuality
from cd4ml.errors import DataError, RegistryError
from cd4ml.evaluation.limits import as_written
from cd4ml.monitoring import alerts, monitored, windows
from cd4ml.monitoring.as_published import LIMITS
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.windows import Span
from cd4ml.registry import clock, deployments, models, named, retrainings, timeline
from cd4ml.reports import page
from cd4ml.reports.band import Band
from cd4ml.reports.over_time import Limit, Line, Mark, OverTime, Point
from cd4ml.reports.page import GREY, PALETTE
from cd4ml.storage import Store

MOST = 400
"""Windows on the page, the latest."""
MOST_COLUMNS = 30
"""Of the picture of drift, those that drift most."""
MOST_SHOWN = 60
"""Windows in tables, the latest."""
MOST_EVENTS = 200
_DAY = 86400
_PERCENTILES = {"p50": GREY, "p95": PALETTE[1]}
_MILLISECONDS: dict[str, Callable[[Part], Mapping[str, float]]] = {
    "Latency": lambda part: part.latency_ms,
    "Look-up of features": lambda part: part.lookup_ms,
}
_KINDS = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.ERROR: "failed", Outcome.INCONCLUSIVE: "warning"}


@dataclass(frozen=True)
class Happened:
    """A line of the time line."""

    at: str
    what: str
    said: str
    kind: str = ""
    """`passed`, `failed` or `warning`."""


@dataclass(frozen=True)
class Cell:
    """How far one column drifts in one window."""

    effect: float | None
    told: bool
    said: str


def text(store: Store, model: str) -> str:
    """The page of a model, one file with all that it shows.

    Raises:
        DataError: No window of it was judged.
        StorageError: The store cannot be read.
        DocumentError: What was found of a window cannot be read.
    """
    judged = monitored.every(store, model, last=MOST)
    if not judged:
        raise DataError(f"store {store.location}: no window of {model} was judged; `cd4ml monitor run` judges them")
    delays = windows.delays(store, model)
    deployed = deployments.every(store, model)
    return page.text(
        "production.html.j2",
        f"{model}: what production does",
        name=model,
        store=store.location,
        made=clock.now(),
        standing=deployments.in_production(deployed),
        alerts=alerts.known(store, model).alerts.standing,
        judged=judged[-MOST_SHOWN:][::-1],
        kind_of=lambda one: _KINDS.get(_outcome(one), ""),
        plots=list(_plots(store, model, judged, marks=[_mark(one.begun) for one in deployed if one.deployment])),
        drift=_drift(judged[-MOST_SHOWN:]),
        maturity=_maturity(delays),
        delays=delays,
        happened=list(_happened(store, model))[:MOST_EVENTS],
    )


def _outcome(judged: Judged) -> Outcome:
    return worst(check.outcome for check in judged.verdict.checks)


def _mark(begun: Begun) -> Mark:
    return Mark(datetime.fromisoformat(begun.at), f"v{begun.version}")


def _plots(
    store: Store, model: str, judged: Sequence[Judged], *, marks: Sequence[Mark]
) -> Iterator[tuple[str, OverTime, str]]:
    """The pictures that there is anything for: the title, the picture, and what is to be known of it."""
    versions = [(one.window, version) for one in judged if one.quality for version in one.quality.by_version]
    known = [version for _, version in versions if version.digest]
    limits = _limits(store, model)
    if known:
        problem = problem_named(known[-1].problem_name)
        lines = list(_quality(versions, problem))
        if any(line.points for line in lines):
            metric = problem.metric(problem.primary)
            bounds = list(_bounds(limits.get(problem.primary)))
            said = "Filled: measured by labels, with its interval at 95 %. Hollow: estimated before labels were ripe."
            yield (
                f"{problem.title(problem.primary)} by window",
                OverTime(lines, marks=marks, limits=bounds, written=metric.written),
                said,
            )
        wanted = limits.get("fairness") or {}
        gaps = list(_gaps(versions, wanted))
        if gaps:
            by_metric = [limit for one in wanted.values() if isinstance(one, Mapping) for limit in one.values()]
            bounds = list(dict.fromkeys(bound for limit in by_metric for bound in _bounds(limit)))
            said = (
                "The highest less the lowest group's, with its interval at 95 %; of windows whose labels are ripe, for "
                "all that groups are compared by is measured on rows with a label."
            )
            yield "Gaps between groups by window", OverTime(gaps, marks=marks, limits=bounds, from_zero=True), said
    asked = [Point(_middle(one.window), one.window.requests, _told(one.window)) for one in judged]
    errors = [Point(_middle(one.window), one.window.errors, _told(one.window)) for one in judged]
    traffic = [Line("requests", PALETTE[0], asked), Line("errors", "#b91c1c", errors)]
    yield "Requests by window", OverTime(traffic, marks=marks, written="{:,.0f}".format, from_zero=True), ""
    for title, of in _MILLISECONDS.items():
        slow = [Line(name, colour, list(_milliseconds(judged, of, name))) for name, colour in _PERCENTILES.items()]
        if any(line.points for line in slow):
            yield f"{title} by window, ms", OverTime(slow, marks=marks, from_zero=True), ""


def _limits(store: Store, model: str) -> Mapping[str, Any]:
    """The limits that the version in production was published with, as its run was asked to hold them."""
    try:
        arguments = named.find(store, model).arguments
    except RegistryError:  # none is in production
        arguments = next((one.arguments for one in models.versions(store, model)[-1:]), {})
    return as_written(arguments.get(LIMITS) or {})


def _bounds(limit: object) -> Iterator[Limit]:
    if isinstance(limit, Mapping):
        for name, word in (("min", "at least"), ("max", "at most"), ("max_gap", "at most")):
            if isinstance(limit.get(name), int | float):
                yield Limit(float(limit[name]), f"{word} {limit[name]:g}")


def _quality(versions: Sequence[tuple[Window, VersionQuality]], problem: Problem) -> Iterator[Line]:
    """The primary metric of each version that answered: measured, and estimated."""
    metric = problem.metric(problem.primary)
    measured = [(one, _measured(window, one, metric)) for window, one in versions]
    estimated = [(one, _estimated(window, one, metric)) for window, one in versions]
    numbers = list(dict.fromkeys(one.version for _, one in versions))
    for place, number in enumerate(numbers):
        colour = PALETTE[place % len(PALETTE)]
        of_version = f"version {number}"
        yield Line(of_version, colour, [point for one, point in measured if one.version == number and point])
        before = [point for one, point in estimated if one.version == number and point]
        yield Line(f"{of_version}, estimated", colour, before, hollow=True)


def _measured(window: Window, one: VersionQuality, metric: Metric) -> Point | None:
    overall = next((each for each in one.slices if each.slice == OVERALL), None)
    value = overall.metrics.get(metric.name) if overall else None
    if overall is None or value is None or one.labelling.outcome is not Outcome.PASSED:
        return None
    outcome = worst(check.outcome for check in one.checks)
    said = f"{window.begin[:16]}: {metric.written(value)} of {one.labelled:,} labelled rows, version {one.version}"
    return Point(_middle(window), value, said, overall.intervals.get(metric.name), _KINDS.get(outcome, ""))


def _estimated(window: Window, one: VersionQuality, metric: Metric) -> Point | None:
    found = one.estimated(metric.name)
    if found is None:
        return None
    return Point(_middle(window), found.value, f"{window.begin[:16]}: {found.said}", found.interval)


def _gaps(versions: Sequence[tuple[Window, VersionQuality]], wanted: Mapping[str, Any]) -> Iterator[Line]:
    """Of each version and sensitive column the gaps that limits name; where they name none, its first."""
    found: dict[str, list[Point]] = {}
    for window, one in versions:
        if one.labelling.outcome is not Outcome.PASSED:
            continue
        first: set[str] = set()
        for each in one.fairness:
            named = wanted.get(each.column)
            asked = each.metric in named if isinstance(named, Mapping) else each.column not in first
            if each.gap is not None and asked:
                first.add(each.column)
                at = f" at {each.threshold:g}" if each.threshold is not None else ""
                said = f"{window.begin[:16]}: {each.gap:.3g}, {each.lowest} lowest, {each.highest} highest"
                point = Point(_middle(window), each.gap, said, each.gap_interval)
                name = f"version {one.version}: {each.metric}{at} by {each.column}"
                found.setdefault(name, []).append(point)
    for place, (name, points) in enumerate(found.items()):
        yield Line(name, PALETTE[place % len(PALETTE)], points)


def _milliseconds(judged: Sequence[Judged], of: Callable[[Part], Mapping[str, float]], name: str) -> Iterator[Point]:
    """A percentile of the arm that most were answered by."""
    for one in judged:
        given = (part for part in one.window.parts if not part.mirrored)
        most = max(given, key=lambda part: part.requests, default=None)
        if most and (value := of(most).get(name)) is not None:
            yield Point(_middle(one.window), value, f"{one.window.begin[:16]}: {name} {value:.1f} ms, {most.arm}")


def _told(window: Window) -> str:
    return f"{window.begin[:16]}: {window.requests:,} requests, {window.errors:,} errors"


def _middle(window: Window) -> datetime:
    span = Span.of(window)
    return span.begin + (span.until - span.begin) / 2


def _drift(judged: Sequence[Judged]) -> tuple[list[Window], list[tuple[str, list[Cell]]]]:
    """The windows, and by column how far it drifts in each; those that drift most first."""
    compared = [(one.window, _cells(_most(one))) for one in judged if one.drift]
    effects: dict[str, float] = {}
    for _, cells in compared:
        for name, cell in cells.items():
            effects[name] = max(effects.get(name, 0.0), cell.effect or 0.0)
    names = sorted(effects, key=lambda name: -effects[name])[:MOST_COLUMNS]
    missing = Cell(None, told=False, said="not compared")
    return (
        [window for window, _ in compared],
        [(name, [cells.get(name, missing) for _, cells in compared]) for name in names],
    )


def _most(judged: Judged) -> VersionDrift | None:
    """What is known of the version that answered most."""
    return max(judged.drift.by_version, key=lambda one: one.rows, default=None) if judged.drift else None


def _cells(version: VersionDrift | None) -> dict[str, Cell]:
    compared = {"": version.inputs, "answer: ": version.predictions} if version else {}
    return {
        f"{before}{change.column}": Cell(change.effect, told=change in found.told, said=change.said or "as in training")
        for before, found in compared.items()
        if found
        for change in found.changes
        if not change.slice
    }


def _maturity(delays: Delays) -> Band | None:
    """What share of labels is in after so many days; None where it is not known."""
    shares = [one for one in delays.shares if one.seconds <= delays.horizon]
    if len(shares) < 2:
        return None
    return Band(
        [one.seconds / _DAY for one in shares],
        values=[one.value for one in shares],
        lows=[one.low for one in shares],
        highs=[one.high for one in shares],
        across_name="days after the request",
        written="{:.0%}".format,
    )


def _happened(store: Store, model: str) -> Iterator[Happened]:
    """What happened to the model, the newest first."""
    found = [Happened(one.at, one.what, f"version {one.version}: {one.said}") for one in timeline.of(store, model)]
    found += [one for state in alerts.history(store, model) for one in _changes(state.alerts)]
    for decided in (one.decided for one in retrainings.every(store, model)):
        kind = "warning" if decided.retrain else ""
        found.append(Happened(decided.at, "decided", f"to train again? {decided.headline}", kind))
    yield from sorted(found, key=lambda one: one.at, reverse=True)


def _changes(state: Alerts) -> Iterator[Happened]:
    kinds = {"fired": "failed", "resolved": "passed", "acknowledged": "warning"}
    for one in state.changes:
        if one.what in kinds:
            said = one.why or one.alert.reason
            if one.what == "acknowledged" and one.alert.acknowledged:
                said = f"{one.alert.acknowledged.by}: {one.alert.acknowledged.reason}"
            yield Happened(state.at, one.what, f"{one.alert.check}: {said}", kinds[one.what])
