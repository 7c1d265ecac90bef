"""The page of a model: what was shipped when, and what it changed; `catalogue/models/NAME.html` in the store.

Whoever ends a deployment makes it again, of the events and of what the registry has of the versions. Nothing is read
from it, and no deployment fails where it cannot be written.
"""

import logging
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cd4ml.contracts import problems
from cd4ml.contracts.approval import Approval
from cd4ml.contracts.deployment import WORDS, Answered, Begun, Held, StepTaken, Undone
from cd4ml.contracts.evaluation import CANDIDATE, CHAMPION, OVERALL, Change, ModelSummary
from cd4ml.errors import Cd4mlError
from cd4ml.names import lasting
from cd4ml.registry import approvals, card, catalogue, clock, deployments, shipped
from cd4ml.registry.deployments import Series
from cd4ml.registry.shipped import Shipped
from cd4ml.reports import page
from cd4ml.reports.comparison import moment
from cd4ml.storage import Store, check_name

MOST = 50
"""Deployments on the page, the newest."""
MOST_DRAWN = 24
MOST_LABELS = 8
"""Under the picture, so that they have room on a telephone."""
READERS = 16
LATELY = timedelta(days=30)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Value:
    """A number and its interval, as they are shown; empty where they are not known."""

    number: str = ""
    interval: str = ""
    kind: str = ""
    """Of a change: `passed` for the better, `failed` for the worse, beyond chance."""


@dataclass(frozen=True)
class Line:
    """A figure of what was in production before a deployment, and of what it brought."""

    title: str
    before: Value
    after: Value
    change: Value = Value()


@dataclass(frozen=True)
class Entry:
    """A deployment on the page."""

    series: Series
    approvals: Sequence[Approval]
    """What people said of it."""
    shipped: Shipped | None
    """None where the registry has nothing of its version that can be read."""
    lost: str
    """Why not."""
    arrived: str
    """When its data first came; empty where that is not known."""
    before: "Entry | None" = None
    """What was in production when it began."""
    stands: bool = False
    """Whether it is in production."""

    @property
    def begun(self) -> Begun:
        """Its first event."""
        return self.series.begun

    @property
    def held(self) -> Held | None:
        """That it got into production; None where it did not."""
        return self.series.last(Held)

    @property
    def undone(self) -> Undone | None:
        """That it did not hold; None where it did."""
        return self.series.last(Undone)

    @property
    def state(self) -> tuple[str, str]:
        """What became of it in words, and their colour."""
        if self.stands:
            return "in production", "passed"
        known = {"held": ("replaced", "neutral"), "undone": ("undone", "failed"), "stopped": ("stopped", "warning")}
        return known.get(self.series.state, ("under way, or killed", "warning"))

    @property
    def took(self) -> timedelta | None:
        """From its beginning until it held or was undone."""
        return _between(self.begun.at, (self.held or self.undone or self.begun).at)

    @property
    def goes_back(self) -> bool:
        """Whether an older version took the place of a newer one."""
        return self.before is not None and self.begun.version < self.before.begun.version

    @property
    def changed(self) -> str:
        """What it changed, in a few words."""
        if self.shipped is None:
            return ""
        return shipped.changed(self.before.shipped if self.before else None, self.shipped)

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """When, what, and what is said of it."""
        return [(one.at, WORDS[type(one)], one.headline) for one in self.series.events]

    @property
    def figures(self) -> list[tuple[str, list[Line]]]:
        """By how they were got: quality, latency, requests of users."""
        told = {
            self._how_evaluated: list(self._quality()),
            "Requests of one row, when it was verified": list(self._verified()),
            "Requests of users, both at the same time": list(self._answered()),
        }
        return [(how, lines) for how, lines in told.items() if lines]

    @property
    def _on_the_same_rows(self) -> bool:
        return bool(
            self.shipped
            and self.before
            and self.before.shipped
            and self.shipped.version.champion == self.before.shipped.version.digest
        )

    @property
    def _how_evaluated(self) -> str:
        if self._on_the_same_rows:
            return "Evaluation; the change is on the same rows"
        return "Evaluation, each on its own rows"

    def _quality(self) -> Iterator[Line]:
        found = self.shipped.evaluation if self.shipped else None
        if not self.shipped or not self.shipped.evaluated or not found:
            return
        before = self.before.shipped.evaluated if self.before and self.before.shipped else None
        overall = (one for one in found.changes if (one.other, one.slice) == (CHAMPION, OVERALL))
        changes = {one.metric: one for one in overall} if self._on_the_same_rows else {}
        for name in card.headlines(found):
            after, change = _measured(self.shipped.evaluated, name), changes.get(name)
            if after.number:
                yield Line(found.problem.title(name), _measured(before, name), after, _changed(change))

    def _verified(self) -> Iterator[Line]:
        after = self.held.verified if self.held else {}
        before = self.before.held.verified if self.before and self.before.held else {}
        for name, title in (("p50_ms", "median"), ("p99_ms", "99% are below")):
            if name in after:
                yield Line(title, _milliseconds(before.get(name)), _milliseconds(after[name]))

    def _answered(self) -> Iterator[Line]:
        looked = [one.answered for one in self.series.events if isinstance(one, StepTaken | Undone) and one.answered]
        if not looked:
            return
        before, after = (looked[-1].get(arm) or Answered(0, None, None, None) for arm in ("champion", "challenger"))
        yield Line("requests", Value(f"{before.requests:,}"), Value(f"{after.requests:,}"))
        yield Line("failed", _share(before.failed), _share(after.failed))
        yield Line("median", _milliseconds(before.p50_ms), _milliseconds(after.p50_ms))
        yield Line("95% are below", _milliseconds(before.p95_ms), _milliseconds(after.p95_ms))


def refresh(store: Store, name: str) -> None:
    """Makes the page of a model again; where that fails, a warning says so and nothing else happens."""
    try:
        write(store, name)
    except Exception as error:
        said = "the page of %s could not be written (%s: %s); `cd4ml deployments page %s` makes it anew"
        log.warning(said, name, type(error).__name__, error, name)


def write(store: Store, name: str) -> str:
    """Makes the page of a model again; where it lies.

    Raises:
        StorageError: The store cannot be read or written.
        DocumentError: An event cannot be read.
    """
    place = f"{catalogue.FOLDER}/models/{check_name(name)}.html"
    store.replace(place, text(store, name, root="../.."))
    return store.uri(place)


def text(store: Store, name: str, *, root: str = "") -> str:
    """The page of a model.

    Args:
        store: Holds the registry.
        name: The model's.
        root: The way from the page to the store, for its links; empty for a page without any.

    Raises:
        StorageError: The store cannot be read.
        DocumentError: An event cannot be read.
    """
    found = deployments.every(store, name)
    entries = _entries(store, found)
    return page.text(
        "model.html.j2",
        f"{name} in production",
        name=name,
        root=root,
        store=store.location,
        made=clock.now(),
        entries=entries[:MOST],
        older=max(0, len(found) - MOST),
        keys=list(_keys(entries[:MOST])),
        plot=_plot(entries[:MOST]),
    )


def _entries(store: Store, found: Sequence[Series]) -> list[Entry]:
    """The newest deployments, the newest first, and one more, which was there before them."""
    standing = {one.begun.number for one in deployments.in_production(found)}
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda series: _read(store, series, found), found[-MOST - 1 :]))
    entries: list[Entry] = []
    before = None
    for one in read:
        entry = Entry(**{**vars(one), "before": before, "stands": one.begun.number in standing})
        entries.append(entry)
        before = entry if entry.held else before
    return entries[::-1]


def _read(store: Store, series: Series, among: Sequence[Series]) -> Entry:
    found, lost, arrived = None, "", ""
    try:
        found = shipped.of(store, series)
        data = catalogue.find(store, found.version.dataset.name, found.version.dataset.version)
        arrived = data.about.arrived if data else ""
    except Cd4mlError as error:
        lost = str(error)
    return Entry(series, approvals.of(store, series, among), found, lost, arrived)


def _keys(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """How often, how fast, how safely: a figure each, and what it is of."""
    now = datetime.now(UTC)
    held = [one for one in entries if one.held]
    lately = [one for one in held if one.held and (at := moment(one.held.at)) and now - at < LATELY]
    yield str(len(lately)), f"into production in the last {LATELY.days} days"
    first = {one.begun.version: one for one in held}.values()
    published = [_between(one.shipped.version.published_at, one.held.at) for one in first if one.shipped and one.held]
    yield _median(published, "from published to served")
    yield _median(
        [_between(one.arrived, one.held.at) for one in first if one.held], "from the data's arrival to served"
    )
    undone = [one for one in entries if one.undone]
    ended = [one for one in entries if one.undone or one.held]
    share = f"{len(undone) / len(ended):.0%}" if ended else "–"
    yield share, f"did not hold: {len(undone)} of {len(ended)}"
    yield _median([one.took for one in undone], "until what did not hold was undone")
    yield _median([one.took for one in held if one.goes_back], "to go back to an earlier version")


def _median(spans: Iterable[timedelta | None], what: str) -> tuple[str, str]:
    known = [one.total_seconds() for one in spans if one is not None]
    if not known:
        return "–", f"{what}: not known yet"
    return lasting(timedelta(seconds=statistics.median(known))), f"{what}, median of {len(known)}"


def _plot(entries: Sequence[Entry]) -> Mapping[str, Any]:
    """The primary metric of what was deployed, the oldest first, in percent of the height; empty where it has none.

    Deployments of another problem than the newest's are left out.
    """
    known = [(one, one.shipped.evaluation) for one in entries if one.shipped and one.shipped.evaluation]
    if not known:
        return {}
    problem = known[0][1].problem
    metric = problem.metric(problem.primary)
    points = []
    for one, evaluation in reversed(known):
        if evaluation.problem != problem:
            continue
        model = evaluation.models[CANDIDATE]
        value = model.metrics.get(problem.primary)
        if value is not None:
            points.append((one, value, model.intervals.get(problem.primary, (value, value))))
    points = points[-MOST_DRAWN:]
    if not points:
        return {}
    low, high = (least(end for _, _, ends in points for end in ends) for least in (min, max))
    pad = (high - low) * 0.1 or abs(high) * 0.01 or 0.01
    low, high = low - pad, high + pad

    def height(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    return {
        "title": problem.title(problem.primary),
        "ticks": [(height(value), metric.written(value)) for value in (low + pad, (low + high) / 2, high - pad)],
        "labelled": -(-len(points) // MOST_LABELS),
        "points": [(one, metric.written(value), height(value), *map(height, ends)) for one, value, ends in points],
    }


def _between(begin: str, end: str) -> timedelta | None:
    """None where one of them is not known, or both are the wrong way round, as clocks of two machines may have them."""
    began, ended = moment(begin), moment(end)
    return ended - began if began and ended and ended >= began else None


def _measured(one: ModelSummary | None, name: str) -> Value:
    value = one.metrics.get(name) if one else None
    if one is None or value is None:
        return Value()
    ends, metric = one.intervals.get(name), problems.metric(name)
    return Value(metric.written(value), f"[{metric.written(ends[0])}, {metric.written(ends[1])}]" if ends else "")


def _changed(change: Change | None) -> Value:
    if change is None:
        return Value()
    metric = problems.metric(change.metric)
    better, value = metric.better, metric.written(change.value, "+")
    if change.interval is None:
        return Value(value)
    low, high = change.interval
    kind = ""
    if better in ("higher", "lower") and (low > 0 or high < 0):
        kind = "passed" if (low > 0) is (better == "higher") else "failed"
    return Value(value, f"[{metric.written(low, '+')}, {metric.written(high, '+')}]", kind)


def _milliseconds(value: float | None) -> Value:
    return Value("" if value is None else f"{value:.1f} ms")


def _share(value: float | None) -> Value:
    return Value("" if value is None else f"{value:.2%}")
