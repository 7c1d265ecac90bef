"""What an evaluation found, as numbers.

The folder of an evaluation:

    summary.json           `Summary`
    tfma/                  TFMA's own output, for `tfma.load_eval_result` with `model_name` one of the models
    predictions.parquet    up to 100 rows and what the candidate gave for them (layout: `cd4ml.contracts.predictions`)
    outputs.parquet        what it gave for up to 20,000 rows, drawn by chance: one column, as there, no features

A metric at a threshold is named with it: `accuracy@0.5`. A row counts as predicted positive where its probability is
above the threshold. What cannot be computed, such as the AUC of rows of one class, is null. `auc` and `auc_pr` are
those of the ranks (`cd4ml.contracts.ranking`), where TFMA's own output has areas between thresholds. What is predicted
as a number has no thresholds, and its errors are in the unit of the label. Of three classes and more there are none
either, and a metric of one of them is named with it: `class_recall@north`; where there are many, these are of all rows
alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cd4ml.contracts import document, problems, slices
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.document import Document
from cd4ml.contracts.problem import Metrics, Problem
from cd4ml.contracts.shares import Interval

SUMMARY = "summary.json"
PREDICTIONS = "predictions.parquet"
OUTPUTS = "outputs.parquet"
TFMA = "tfma"
CANDIDATE = "candidate"
"""The model that is evaluated, beside `baseline` and `champion`."""
CHAMPION = "champion"
OVERALL = slices.OVERALL
MOST_BY_SLICE = 20
"""Of more classes each is measured on all rows alone: on every slice they would be more numbers than anybody reads."""
TOO_MANY_CLASSES = f"of more than {MOST_BY_SLICE} classes each is measured on all rows alone"

Intervals = Mapping[str, Interval]
"""By metric (`cd4ml.evaluation.confidence`). A metric that has none, such as a count, is not there."""


@dataclass(frozen=True)
class ModelSummary:
    """One model on all rows of the test split."""

    digest: str
    metrics: Metrics
    """Those of the slice `overall`, and those of the model itself."""
    intervals: Intervals


@dataclass(frozen=True)
class Slice:
    """One model on the rows that have some values."""

    model: str
    """`candidate`, `baseline` or `champion`."""
    slice: str
    """`overall`, `region=south`, or `gender=female,region=south` with the columns by alphabet."""
    values: Mapping[str, str]
    """The value by column; none for `overall`."""
    rows: int
    metrics: Metrics
    intervals: Intervals

    def counted(self, problem: Problem, metric: str) -> int:
        """The rows that a metric is over."""
        return problem.counted(metric, self.rows, self.metrics)


@dataclass(frozen=True)
class Change:
    """The candidate's metric less that of another model, on the same rows."""

    other: str
    """`baseline` or `champion`."""
    slice: str
    metric: str
    value: float
    interval: Interval | None
    """Of the difference on the same rows; None where they are too few to tell."""


@dataclass(frozen=True)
class Group:
    """One group of a sensitive column, by one rate."""

    rate: float | None
    interval: Interval | None
    rows: int
    """That the rate is over."""
    difference: float | None
    """From the rate of all rows."""
    ratio: float | None
    """To the highest rate of a group that is large enough to judge; None of what may be below 0."""


@dataclass(frozen=True)
class Fairness:
    """How far one rate, or one mean, differs between the groups of a sensitive column."""

    model: str
    column: str
    """`gender`, or `gender,region` for the groups that two make."""
    metric: str
    threshold: float | None
    """None of what has none, such as `calibration` and the mean error."""
    overall: float | None
    gap: float | None
    """Highest less lowest rate; None where fewer than two groups are large enough."""
    gap_interval: Interval | None
    ratio: float | None
    """Lowest by highest rate; None also where the highest is 0, and of what may be below 0."""
    ratio_interval: Interval | None
    lowest: str | None
    highest: str | None
    groups: Mapping[str, Group]
    too_small: tuple[str, ...]
    """Groups with too few of the rows that the rate is over; they have no part in the gap."""


@dataclass(frozen=True)
class Summary(Document, kind="cd4ml/Summary", remedy="run evaluate_model again"):
    """All numbers of an evaluation."""

    label: str
    rows: int
    """Of the test split; every one is evaluated."""
    test_digest: str
    """Of the test split's file."""
    judged: int
    """How many candidates this test split has judged, with this one."""
    thresholds: tuple[float, ...]
    """None of a number that is predicted."""
    models: Mapping[str, ModelSummary]
    slices: tuple[Slice, ...]
    changes: tuple[Change, ...]
    fairness: tuple[Fairness, ...]
    row_by_row: Mapping[str, str] = field(default_factory=dict)
    """Why TFMA itself ran row by row, by the name of its combiner; all else was computed in columns."""
    problem_name: str = BINARY.name
    """What the models are to predict (`cd4ml.contracts.problems`)."""
    classes: tuple[str, ...] = ()
    """Of the label, in the order of its problem; none of a number, and where an older version evaluated."""
    sensitive: tuple[str, ...] = ()
    """Columns whose groups were to be compared; none where an older version evaluated."""
    chosen_threshold: float | None = None
    """That which training chose for the candidate (`cd4ml.contracts.chosen`), the first of `thresholds`; None where it
    chose none."""

    def __post_init__(self) -> None:
        problems.named(self.problem_name)
        if CANDIDATE not in self.models:
            raise ValueError("it has no candidate among its models")

    def measured_as(self, metric: str) -> str:
        """The name by which a metric was measured: `recall@0.31` of `recall@chosen`, where that was chosen."""
        name, _, cut = metric.partition("@")
        of_it = cut == CHOSEN and name in self.problem and self.problem.metric(name).at_thresholds
        return at(name, self.chosen_threshold) if of_it and self.chosen_threshold is not None else metric

    def of(self, model: str) -> dict[str, Slice]:
        """The slices of a model by name."""
        return {one.slice: one for one in self.slices if one.model == model}

    @property
    def problem(self) -> Problem:
        """What the models are to predict."""
        return problems.named(self.problem_name)

    def weakest(self) -> tuple[str, float] | None:
        """The slice that is large enough to judge and is the worst by the primary metric, with its value."""
        primary = self.problem.metric(self.problem.primary)
        values = [
            (name, value)
            for name, one in self.of(CANDIDATE).items()
            if name != OVERALL
            and one.counted(self.problem, primary.name) >= FEWEST_ROWS
            and (value := one.metrics[primary.name]) is not None
        ]
        worst = max if primary.better == "lower" else min
        return worst(values, key=lambda one: one[1], default=None)


def at(metric: str, threshold: float | str) -> str:
    """The name of a metric at a threshold: `accuracy@0.5`, or `accuracy@chosen`."""
    return f"{metric}@{threshold}" if isinstance(threshold, str) else f"{metric}@{threshold:g}"


def of_class(metric: str, name: str) -> str:
    """The name of a metric of a class: `class_recall@north`."""
    return f"{metric}@{name}"


def write(summary: Summary, folder: str | Path) -> None:
    """Writes the summary into the folder of an evaluation."""
    summary.write(Path(folder) / SUMMARY)


def read(folder: str | Path) -> Summary:
    """Reads the summary of an evaluation's folder.

    Raises:
        DocumentError: The folder holds no evaluation.
    """
    return Summary.read(Path(folder) / SUMMARY)


def digest(folder: str | Path) -> str:
    """Tells the summary of an evaluation's folder from every other: `sha256:`."""
    return document.digest(Path(folder) / SUMMARY)
