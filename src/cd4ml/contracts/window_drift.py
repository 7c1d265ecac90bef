"""What production sent and was answered within a window, beside what each version of the model was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.document import Document
from cd4ml.contracts.drift import Comparison
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.verdict import Check, Outcome, worst
from cd4ml.names import counted

UNKNOWN_VERSION = "(unknown)"
"""In names of checks, the version of answers whose arm did not say which it was."""
ERRORS, FLOOD = "errors", "flood of one caller"
"""The checks of how a window was answered and by whom it was asked, in which training has no part."""


def in_version(version: str) -> str:
    """What stands behind the names of the checks of one version."""
    return f" in version {version or UNKNOWN_VERSION}"


@dataclass(frozen=True)
class Share:
    """Of the rows that speak for themselves."""

    value: float
    interval: Interval
    """At 95 %."""


@dataclass(frozen=True)
class FeatureSkew:
    """What serving sends of one feature that training never had."""

    feature: str
    kind: str
    """As the contract of the model has it: `number`, `category`, `boolean`, `text` or `date`."""
    missing: Share
    missing_before: float | None
    """The share of the rows of the reference; None where the reference does not keep the feature."""
    unreadable: Share
    """Values that are no such kind."""
    unseen: Share | None = None
    """Of a category: values that training did not know; None where it is not known which it knew."""
    outside: Share | None = None
    """Of a number: below the least or above the greatest that training saw; None likewise."""


@dataclass(frozen=True)
class Age:
    """How old the moments of a column were when the model was asked, in days; below 0 those that were still to come."""

    column: str
    median: float
    p95: float


@dataclass(frozen=True)
class VersionDrift:
    """What the requests within the window were that one version answered."""

    version: str
    """Empty where the arm did not say which."""
    requests: int
    errors: int
    """Answers of a status of 400 or more."""
    latency_ms: Mapping[str, float]
    """By arm and percentile, as `blue p95`."""
    rows: int
    """That were predicted."""
    callers: int
    """That these are of; of each, one row speaks for itself. A request whose caller is not known is one."""
    compared: int
    """Rows that were looked at: one of each caller, of up to 20,000."""
    reference: str = ""
    """What they are held against, in words: `train of version 3` of the dataset; empty where there is nothing."""
    inputs: Comparison | None = None
    """The features with the rows that the version was trained on."""
    predictions: Comparison | None = None
    """What it predicted with what it predicted for the rows of its evaluation."""
    skew: tuple[FeatureSkew, ...] = ()
    ages: tuple[Age, ...] = ()
    unused: tuple[str, ...] = ()
    """Features that were captured, and that the model does not take."""


@dataclass(frozen=True)
class WindowDrift(Document, kind="cd4ml/WindowDrift", remedy="compare the window again"):
    """A window held against what the model was trained on, each version against its own."""

    model: str
    window: str
    """Its key."""
    number: int
    """Of the window's document."""
    false_alarm_rate: float
    """Of windows in which nothing differs from training, at most this share has a failed check of drift or skew."""
    by_version: tuple[VersionDrift, ...]
    """None of a window without requests."""
    checks: tuple[Check, ...]
    cd4ml: str = ""
    """The version of cd4ml that compared."""

    def beside_training(self, version: str) -> tuple[Check, ...]:
        """The checks of what one version was asked and answered, beside what it was trained on."""
        end = in_version(version)
        own = (one for one in self.checks if one.name.endswith(end))
        return tuple(one for one in own if one.name != f"{ERRORS}{end}")

    @property
    def uncompared(self) -> tuple[str, ...]:
        """The versions of which nothing was held against training, each with the reason."""
        each = {one.version: self.beside_training(one.version) for one in self.by_version}
        return tuple(
            f"not compared{in_version(version)}: {checks[0].reason}"
            for version, checks in each.items()
            if checks and all(one.outcome is Outcome.SKIPPED for one in checks)
        )

    @property
    def outcome(self) -> Outcome:
        """The worst of its checks."""
        return worst(check.outcome for check in self.checks)

    @property
    def failed(self) -> list[Check]:
        """What differs."""
        return [check for check in self.checks if check.outcome is Outcome.FAILED]

    @property
    def headline(self) -> str:
        """How much differs."""
        if not self.by_version:
            return "no requests"
        if self.failed:
            return f"{counted(len(self.failed), 'change')}, as {self.failed[0].name}"
        if self.outcome is not Outcome.PASSED:
            return str(self.outcome)
        beside = (check for one in self.by_version for check in self.beside_training(one.version))
        is_as_before = any(check.outcome is Outcome.PASSED for check in beside)
        return "; ".join([*(["as in training"] if is_as_before else []), *self.uncompared])

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between windows."""
        effects = [one.effect for version in self.by_version if version.inputs for one in version.inputs.changes]
        return {
            "rows": sum(one.rows for one in self.by_version),
            "failed": len(self.failed),
            **({"largest_effect": max(effects)} if effects else {}),
        }
