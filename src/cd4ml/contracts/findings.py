"""What the audit of a dataset found: what `validate_dataset` writes and its gate reads."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cd4ml.contracts import problems
from cd4ml.contracts.document import Document
from cd4ml.contracts.drift import Comparison, Uncompared
from cd4ml.contracts.shares import Interval, share_interval

Kind = Literal[
    "anomaly",
    "label",
    "label_balance",
    "representation",
    "personal_data",
    "outlier",
    "leak",
    "missing",
    "duplicate",
    "conflict",
    "relabel",
    "proxy",
    "drift",
]
Severity = Literal["error", "warning", "note"]
"""A note is no alarm: it is worth to be known."""

ENOUGH_ROWS = 100
"""A group of fewer rows is too small to say anything of its label rate."""


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about the data."""

    kind: Kind
    severity: Severity
    split: str
    """The split it is about; `all` for the whole dataset."""
    column: str
    value: float | None
    message: str
    """A sentence: what, where, and what to do."""
    interval: Interval | None = None
    """Of the value; None where it has none."""


@dataclass(frozen=True)
class Group:
    """The rows with one value of a sensitive or slice column, or of two of them."""

    column: str
    """Of two the names with a cross between them, `gender × region`; so the values."""
    value: str
    sensitive: bool
    """Of two, whether both are."""
    rows: int
    share: float
    label_rate: float | None
    """The share of its rows with the positive label; None where the label is of no use, or a number."""
    others_label_rate: float | None
    """The same of all other rows; None where there are none."""

    @property
    def interval(self) -> Interval | None:
        """Of its label rate; None where there is none."""
        return None if self.label_rate is None or not self.rows else share_interval(self.label_rate, self.rows)

    @property
    def gap(self) -> float | None:
        """How far its label rate is from that of the others; None where it cannot be said."""
        if self.rows < ENOUGH_ROWS or self.label_rate is None or self.others_label_rate is None:
            return None
        return abs(self.label_rate - self.others_label_rate)


@dataclass(frozen=True)
class Proxy:
    """How well features tell a group of a sensitive column from all other rows."""

    column: str
    group: str
    by: str
    """A feature; empty for all of them together."""
    auc: float
    interval: Interval


@dataclass(frozen=True)
class Anonymity:
    """How many rows stand alone, or nearly, with what others may know of a person (quasi-identifiers)."""

    columns: tuple[str, ...]
    smallest: int
    """Rows that share their values, at least: the k of k-anonymity."""
    alone: int
    """Rows that share them with none."""
    fewer_than_five: int
    """Rows that share them with at most three others."""
    rows: int


@dataclass(frozen=True)
class Copies:
    """The rows of eval or test that are in train too, beyond chance."""

    split: str
    rows: int
    """Those that were looked at."""
    some: bool
    """Whether these are some of the split only."""
    same: int
    """Rows alike in every feature."""
    near: int | None
    """Rows alike in all features but one; None where these were not looked for."""

    @property
    def found(self) -> int:
        """All of them."""
        return self.same + (self.near or 0)

    @property
    def share(self) -> float:
        """Their share of the rows that were looked at."""
        return self.found / self.rows

    @property
    def interval(self) -> Interval:
        """Of the share."""
        return share_interval(self.share, self.rows)

    @property
    def said(self) -> str:
        """How many they are, as a sentence."""
        of_rows = f"{self.rows:,} of its rows that were looked at" if self.some else f"its {self.rows:,} rows"
        near = "those in all but one were not looked for" if self.near is None else f"{self.near:,} in all but one"
        return (
            f"{self.split}: {self.found:,} of {of_rows}, {percent(self.share)}, are in train too, beyond chance: "
            f"{self.same:,} are alike in every feature, {near}"
        )


@dataclass(frozen=True)
class Waiver:
    """Why a finding does not count, until when, and who says so."""

    finding: Kind
    column: str
    """Which the finding is about; empty for one that is about none."""
    owner: str
    reason: str
    until: str
    """The last day that it holds, as `2027-03-31`."""

    def __str__(self) -> str:
        about = f" of {self.column!r}" if self.column else ""
        return f"the waiver for {self.finding}{about} ({self.owner}, until {self.until}: {self.reason})"


@dataclass(frozen=True)
class Findings(Document, kind="cd4ml/Findings", remedy="run validate_dataset again"):
    """All that was found in one version of a dataset."""

    dataset: str
    version: int
    digest: str
    label: str
    positive: str
    """The value of the label that counts as positive; empty where the label is of no use, or a number."""
    label_rate: float | None
    rows: Mapping[str, int]
    """By split."""
    groups: tuple[Group, ...]
    """Of single columns."""
    findings: tuple[Finding, ...]
    crossed: tuple[Group, ...] = ()
    """The groups that each two sensitive columns make."""
    proxies: tuple[Proxy, ...] = ()
    anonymity: Anonymity | None = None
    waivers: tuple[Waiver, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """Train against the rows of the last model, eval and test against train."""
    uncompared: tuple[Uncompared, ...] = ()
    ungrouped: tuple[str, ...] = ()
    """Sensitive columns whose groups are not counted, as they are personal data."""
    copies: tuple[Copies, ...] = ()
    """Of eval and test, however few."""
    audited: str = ""
    """How many of the rows the audit looked at, in words; empty where these were all."""
    positives: Mapping[str, int] | None = None
    """The rows with the positive label, by split; None where the label is of no use, or a number."""
    problem: str = "binary"
    """What the label asks for (`cd4ml.contracts.problems`); empty where it is of no use."""
    class_rows: Mapping[str, Mapping[str, int]] | None = None
    """Of three or more classes: the rows of each, by split; None of any other label."""

    @property
    def class_shares(self) -> Mapping[str, float]:
        """Of three or more classes: the share of each in the rows of all splits, the most frequent first."""
        counted = Counter[str]()
        for rows in (self.class_rows or {}).values():
            counted.update(rows)
        return {name: rows / counted.total() for name, rows in counted.most_common()}

    @property
    def is_of_a_number(self) -> bool:
        """Whether the label is a number, and not one of some classes."""
        return self.problem in problems.PROBLEMS and not problems.named(self.problem).has_classes

    def of_kind(self, kind: Kind) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def waiver_of(self, finding: Finding) -> Waiver | None:
        """The waiver that a finding has, whether it still holds or not."""
        about = (finding.kind, finding.column)
        return next((one for one in self.waivers if (one.finding, one.column) == about), None)

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of it in the UI."""
        errors = sum(finding.severity == "error" for finding in self.findings)
        warnings = sum(finding.severity == "warning" for finding in self.findings)
        anomalies = len(self.of_kind("anomaly"))
        counts = {"anomalies": anomalies, "errors": errors, "warnings": warnings}
        return {"headline": self.headline, **counts, "digest": self.digest}

    @property
    def headline(self) -> str:
        """The findings in a few words: `no anomalies, 1 warning`."""
        anomalies = len(self.of_kind("anomaly"))
        label = len(self.of_kind("label"))
        leaks = sum(finding.severity == "error" for finding in self.of_kind("leak"))
        alarms = sum(finding.severity != "note" for finding in self.findings)
        others = alarms - anomalies - label - leaks
        words = [_counted(anomalies, "anomaly", "anomalies")]
        words += [_counted(label, "problem with the label", "problems with the label")] if label else []
        words += [_counted(leaks, "column that leaks the label", "columns that leak the label")] if leaks else []
        words += [_counted(others, "warning", "warnings")] if others else []
        return ", ".join(words)


def percent(share: float) -> str:
    """A fraction in [0, 1] as `12.3 %`."""
    return f"{share * 100:.1f} %"


def number(value: float, digits: int = 6) -> str:
    """A number with so many digits, and all those before the point: `95,000`, `0.0125`, `1e+308`."""
    if not math.isfinite(value):
        return "infinite"
    order = math.floor(math.log10(abs(value))) if value else 0
    if not -5 < order < 15:
        return f"{value:.{digits}g}"
    text = f"{value:,.{max(digits - 1 - order, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def day(second: float) -> str:
    """The day of a moment, in seconds since 1970, also before the year 1 and after 9999: `2026-03-01`."""
    return str(np.datetime64(math.floor(second), "s").astype("datetime64[D]"))


def _counted(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"
