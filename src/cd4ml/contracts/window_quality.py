"""How right a model was within a window: its metrics by the labels that came, and what they are likely to be before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from cd4ml.contracts.document import Document
from cd4ml.contracts.evaluation import OVERALL, Fairness, Slice
from cd4ml.contracts.problems import named
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.verdict import Check, Outcome, worst

Word = Literal["as evaluated", "better", "worse", "other", "unknown"]
"""`other`: changed, of a metric of which neither more nor less is better. `unknown`: too few rows to tell."""


@dataclass(frozen=True)
class Moved:
    """How far a metric is from what it was in the evaluation that the version was published with."""

    slice: str
    metric: str
    now: float
    then: float
    interval: Interval | None
    """Of `now` less `then`, at 95%, for each by itself; None where rows are too few."""
    word: Word
    """Whether that is more than chance; over all metrics together it is wrongly called so as often as `error` says."""

    @property
    def value(self) -> float:
        """How far."""
        return self.now - self.then


@dataclass(frozen=True)
class Estimate:
    """What a metric is likely to be by the probabilities that the model itself gave; right as far as these are."""

    slice: str
    metric: str
    value: float
    interval: Interval | None
    """Where the metric is in 95 of 100 windows once all labels are in; None where rows are too few."""
    was: float | None = None
    """What it came to be, once labels were ripe."""
    within: bool | None = None
    """Whether that is no further from the estimate than chance; None where it is not known."""

    @property
    def said(self) -> str:
        """`estimated 0.84, was 0.83`."""
        return f"estimated {self.value:.4g}" + ("" if self.was is None else f", was {self.was:.4g}")


@dataclass(frozen=True)
class Reliance:
    """Whether the estimates can be relied on."""

    outcome: Outcome
    """Passed: they held so far. Failed: they did not. Inconclusive: nothing tells yet. Skipped: there are none."""
    windows: int
    """Earlier ones by which it is known."""
    misses: int
    """Of these, those in which an estimate was further from what came than chance."""
    reason: str


@dataclass(frozen=True)
class Labelling:
    """Which rows got a label: all alike, or such as the model's answer or the arm chose."""

    outcome: Outcome
    """Passed: what is measured is of rows as they came. Inconclusive: it is not known of which."""
    used: int
    """Labelled rows that are measured."""
    reason: str
    p_value: float | None = None
    """Of all rows being as likely to get a label; None where that was not tested."""
    shares: Mapping[str, tuple[float, float]] | None = None
    """By arm: the least and the greatest share of rows with a label, by what was predicted."""


@dataclass(frozen=True)
class VersionQuality:
    """How right one version was on the requests that it answered."""

    version: str
    digest: str
    """Of the model; empty where it is not published."""
    problem_name: str
    arms: tuple[str, ...]
    rows: int
    """That were predicted."""
    labelled: int
    """Of these, those with a label that it could have predicted."""
    strange: int
    """Rows whose answer is none, such as a probability that is no number; they are in nothing that is measured."""
    thresholds: tuple[float, ...]
    slices: tuple[Slice, ...]
    """What was measured on labelled rows, as an evaluation has it of its candidate; none where there are none."""
    fairness: tuple[Fairness, ...]
    moved: tuple[Moved, ...]
    estimates: tuple[Estimate, ...]
    reliance: Reliance
    labelling: Labelling
    limits_digest: str
    """Of the limits that it was published with; empty where these are not known."""
    checks: tuple[Check, ...]

    def measured(self, metric: str, slice_: str = OVERALL) -> float | None:
        """What was measured, where it was."""
        return next((one.metrics.get(metric) for one in self.slices if one.slice == slice_), None)

    def estimated(self, metric: str, slice_: str = OVERALL) -> Estimate | None:
        """What was estimated, where it was."""
        return next((one for one in self.estimates if (one.metric, one.slice) == (metric, slice_)), None)

    @property
    def is_labelled_alike(self) -> bool:
        """Whether its labelled rows, all of them, stand for all of its rows, as far as a test can tell."""
        return 0 < self.labelled == self.labelling.used

    @property
    def headline(self) -> str:
        """The primary metric, as it was or as it is likely to be."""
        if not self.digest:
            return "not published"
        problem = named(self.problem_name)
        value, estimate = self.measured(problem.primary), self.estimated(problem.primary)
        title, metric = problem.title(problem.primary), problem.metric(problem.primary)
        if value is not None and self.labelling.outcome is Outcome.PASSED:
            before = f" (estimated {metric.written(estimate.value)})" if estimate else ""
            return f"{title} {metric.written(value)}{before}"
        return f"{title} estimated {metric.written(estimate.value)}" if estimate else f"{title} unknown"


@dataclass(frozen=True)
class WindowQuality(Document, kind="cd4ml/WindowQuality", remedy="measure the window again"):
    """How right a model was within a window, by each version that answered."""

    model: str
    window: str
    """Its key."""
    number: int
    """Of the window's document."""
    ripe: bool
    """Whether so many of the labels are in that there is a verdict."""
    ripe_at: str
    """When they are, or were, ISO 8601, UTC; empty where that is not known yet."""
    error: float
    """How often at most a version that keeps all its limits fails by chance, in one window."""
    by_version: tuple[VersionQuality, ...]
    """None of a window in which nothing was predicted."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """Each limit held against each version; names say which version where there are several."""
        if not self.by_version:
            said = "rows: nothing was predicted within the window, so nothing can be said of it"
            return (Check("rows", "at least 1", 0.0, Outcome.INCONCLUSIVE, said),)
        if len(self.by_version) == 1:
            return self.by_version[0].checks
        return tuple(
            replace(check, name=f"version {one.version}: {check.name}", reason=f"version {one.version}: {check.reason}")
            for one in self.by_version
            for check in one.checks
        )

    def settled(self, version: str) -> tuple[Check, ...]:
        """Each limit held against one version; none before there are ripe labels that stand for its rows."""
        own = (one for one in self.by_version if one.version == version and one.labelling.outcome is Outcome.PASSED)
        return next((one.checks for one in own if self.ripe), ())

    @property
    def outcome(self) -> Outcome:
        """The one that counts of all checks."""
        return worst(check.outcome for check in self.checks)

    @property
    def headline(self) -> str:
        """The primary metric of each version."""
        if not self.by_version:
            return "nothing was predicted"
        if len(self.by_version) == 1:
            return self.by_version[0].headline
        return "; ".join(f"version {one.version}: {one.headline}" for one in self.by_version)

    @property
    def metadata(self) -> dict[str, object]:
        """What an artifact says of it in the UI."""
        return {"headline": self.headline, "outcome": str(self.outcome), "window": self.window, "ripe": self.ripe}

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs: what was measured on all rows of the version that answered most."""
        most = max(self.by_version, key=lambda one: one.rows, default=None)
        if most is None:
            return {}
        overall: Iterable[Slice] = (one for one in most.slices if one.slice == OVERALL)
        return {name: value for one in overall for name, value in one.metrics.items() if value is not None}
