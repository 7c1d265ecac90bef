"""What a model is asked to predict: what it gives, how its label is written as numbers, and how good it can be.

`Problem.metrics` is the one table of metrics: a metric is added by a row, from other packages by `METRICS`. Who needs
to know something of a metric asks the problem for it, by the name that a summary has: `accuracy@0.5` of a metric at a
threshold, `class_recall@north` of one for each class. The problems themselves are in `cd4ml.contracts.problems`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from cd4ml.errors import PluginError
from cd4ml.names import amount
from cd4ml.plugins import PluginPoint

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Metrics = Mapping[str, float | None]
"""The value by name, of one slice or one model; None where it cannot be computed."""
Counted = Callable[[int, Metrics, str], int]
"""From the rows of a slice, its metrics, and the threshold or the class as it is written: the rows that a metric is
over."""


def every_row(rows: int, found: Metrics, threshold: str) -> int:  # noqa: ARG001 (as every `Counted`)
    """Of a metric that is over all rows."""
    return rows


@dataclass(frozen=True)
class Metric:
    """One row of the table: all that is known of a metric."""

    name: str
    tfma: str = ""
    """TFMA's class, or the path of another that extends TFMA's: `package.module.Class`; empty where it is measured
    elsewhere."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Of TFMA's class, a threshold aside."""
    _: KW_ONLY
    title: str = ""
    """What a report calls it; as its name where this is empty."""
    of: Literal["predictions", "data", "model"] = "predictions"
    """`data`: the same whatever the model, so that no two models are compared by it. `model`: of no rows."""
    at_thresholds: bool = False
    of_classes: bool = False
    """Whether it is measured for each class: `class_recall@north`."""
    top: float | None = 1.0
    """The most that it can be; None where it has no end."""
    bottom: float | None = 0.0
    """The least; None likewise."""
    better: Literal["higher", "lower", "nearer 1", "nearer 0", "neither"] = "neither"
    counted: Counted | None = None
    """The rows that it is over; None of a number that no rows are too few for."""
    carried: Counted | None = None
    """The rows that its interval goes by, where these are not all that it is over."""
    interval: Literal["share", "bounded", "positive", "below 1", "signed"] | None = None
    """`share`: of a share of the rows that it is over. By the influence of each row: `bounded`, of what is from 0 to 1,
    `positive`, of what has no end, `below 1`, of what is 1 at most, `signed`, of any number. None: it has none."""
    same_as: str = ""
    """The metric that is this one by another name."""
    rest_of: str = ""
    """The metric that this one is 1 less."""
    place_among_groups: int = 0
    """Where it comes among those that groups are compared by; 0: it is none of them."""
    problems: tuple[str, ...] = ("binary",)
    """Of a row of another package: the problems that it is a metric of."""

    @property
    def said_by(self) -> str:
        """The metric that says as much; empty where none does."""
        return self.same_as or self.rest_of

    def written(self, value: float | None, sign: str = "") -> str:
        """A value for people: to three digits after the point, or as an amount where it has no end; `–` for none.

        Args:
            value: What was measured, or a difference of two.
            sign: `+`: also above 0.
        """
        if value is None:
            return "–"
        return amount(value, sign) if self.top is None else f"{round(value, 3) + 0.0:{sign}.3f}"


OF_MODELS = (
    Metric("latency_ms", title="latency, ms", of="model", top=None, better="lower"),
    Metric("size_mib", title="size, MiB", of="model", top=None, better="lower"),
)
"""The metrics of a model itself, which every problem has."""
METRICS: PluginPoint[Metric] = PluginPoint(kind="metric", group="cd4ml.metrics", of=Metric, built_in={})
"""The rows that other packages add to the tables."""
NAME = re.compile(r"[a-z][a-z0-9_]*(?<!_diff)")
"""What a metric can be called; TFMA appends `_diff` itself."""
NOT_FINITE = "it is not a finite number"
"""Why a metric could not be computed where its rows are such that it could be."""
TOLERANCE = 1e-5
"""How far two predictions of one model for one row may be apart: of a number, the part of its size."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Problem(ABC):
    """A kind of question, and all that is particular to its answers."""

    name: str
    task: str
    """What a model card calls it, as CycloneDX has it."""
    output: str
    """What the signature of a model gives."""
    outputs: str
    """What a person calls these outputs: `probabilities`."""
    number_of_classes: range
    """How many classes the label may have; 0 where it is a number."""
    rows: tuple[Metric, ...]
    """The metrics that cd4ml has itself."""
    primary: str
    """The metric that training stops by, that headlines tell, and that versions are compared by."""
    headlines: tuple[str, ...]
    """The metrics that say most of a model, those at thresholds by their first."""
    plots: Mapping[str, Mapping[str, float | list[float]]]
    """TFMA's classes, and the settings of each."""
    compared: str
    """What groups are compared by, in words."""
    buckets: tuple[float, ...] = ()
    """The upper bounds between which a server counts what a model gives; none where its own labels tell them."""

    def __repr__(self) -> str:
        """The same in every process, for a training that goes on is known by it."""
        return f"<{self.name}>"

    @property
    def has_classes(self) -> bool:
        """Whether the label is one of some classes, and not a number."""
        return 0 not in self.number_of_classes

    def shape(self, classes: Sequence[str]) -> tuple[int, ...]:  # noqa: ARG002 (where there is one number a row)
        """The shape of the output for one row."""
        return ()

    @property
    def lower_is_better(self) -> bool:
        """Of the primary metric."""
        return self.metric(self.primary).better == "lower"

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics, those of other packages last.

        Raises:
            PluginError: A row of another package is none that can be measured.
        """
        outside = (self._from_outside(name) for name in METRICS.names)
        return (*self.rows, *(one for one in outside if self.name in one.problems))

    @cached_property
    def _by_name(self) -> Mapping[str, Metric]:
        return {one.name: one for one in self.metrics}

    def _from_outside(self, name: str) -> Metric:
        one, own = METRICS.load(name), {row.name for row in self.rows}
        mistakes = {
            "cd4ml has one of this name itself": name in own,
            f"its row is called {one.name!r}": name != one.name,
            "its name is not made of a-z, 0-9 and _, or ends with _diff": not NAME.fullmatch(name),
            "no class of TFMA measures it": not one.tfma or one.of == "model",
            "nothing measures it of each class": one.of_classes,
            f"nothing computes its interval of the kind {one.interval!r}": one.interval not in (None, "share"),
            "it is said to be a share, and to be above 1": one.interval == "share" and one.top != 1,
            f"there is no metric {one.said_by!r}, by which it is said": self.name in one.problems
            and one.said_by not in ("", *own),
        }
        for mistake, found in mistakes.items():
            if found:
                raise PluginError(f"metric {name!r}: {mistake}; mend the package that adds it, or uninstall it")
        return one

    def metric(self, name: str) -> Metric:
        """The row of a metric, by its name with or without a threshold.

        Raises:
            KeyError: The problem has no such metric.
        """
        return self._by_name[name.partition("@")[0]]

    def __contains__(self, name: str) -> bool:
        """Whether there is a metric of this name, a threshold aside."""
        return name.partition("@")[0] in self._by_name

    def title(self, name: str) -> str:
        """What a report calls a metric: `accuracy at 0.5`, `recall of north`."""
        one, (_, found, at) = self.metric(name), name.partition("@")
        joined = " of " if one.of_classes else " at "
        return (one.title or one.name.replace("_", " ")) + (f"{joined}{at}" if found else "")

    @property
    def on_all(self) -> tuple[Metric, ...]:
        """The metrics of rows that are of no threshold and of no class."""
        return tuple(one for one in self.metrics if not one.at_thresholds and not one.of_classes and one.of != "model")

    @property
    def by_class(self) -> tuple[Metric, ...]:
        """The metrics that are measured for each class."""
        return tuple(one for one in self.metrics if one.of_classes)

    @property
    def at_thresholds(self) -> tuple[Metric, ...]:
        """The metrics that are measured at each threshold."""
        return tuple(one for one in self.metrics if one.at_thresholds)

    @property
    def of_models(self) -> tuple[Metric, ...]:
        """The metrics that are of a model itself and of no rows."""
        return tuple(one for one in self.metrics if one.of == "model")

    @property
    def among_groups(self) -> tuple[Metric, ...]:
        """The metrics that groups are compared by, in their order."""
        compared = (one for one in self.metrics if one.place_among_groups)
        return tuple(sorted(compared, key=lambda one: one.place_among_groups))

    def counted(self, name: str, rows: int, found: Metrics) -> int:
        """The rows that a metric is over.

        Args:
            name: The metric's.
            rows: Of the slice.
            found: The metrics of the slice.
        """
        counted = self.metric(name).counted
        return counted(rows, found, name.partition("@")[2]) if counted else rows

    def carrying(self, name: str, rows: int, found: Metrics) -> int:
        """The rows by which an interval of a metric goes; as `counted`."""
        carried = self.metric(name).carried
        return carried(rows, found, name.partition("@")[2]) if carried else self.counted(name, rows, found)

    @abstractmethod
    def why_undefined(self, name: str, rows: int, found: Metrics) -> str:
        """Why a metric could not be computed on a slice; as `counted`."""

    @abstractmethod
    def wrong(self, outputs: "np.ndarray") -> "np.ndarray":
        """Which rows have outputs that are no answers to the problem, bool [rows].

        Args:
            outputs: [rows, *shape].
        """

    @abstractmethod
    def score(self, labels: "np.ndarray", predictions: "np.ndarray") -> float:
        """The primary metric.

        Args:
            labels: As `labels` gives them.
            predictions: [rows, *shape], what tells rows apart as the outputs do.
        """

    @abstractmethod
    def measured(self, thresholds: Sequence[float]) -> str:
        """How the headlines are to be read, in a sentence or two."""

    @abstractmethod
    def labelled(self, found: Metrics) -> str:
        """What the labels of rows are like, by their metrics: `40.0 % of them are positive`."""

    @abstractmethod
    def gives(self, label: str, classes: Sequence[str]) -> str:
        """What the output is, in words: `the probability that took is true and not false`."""

    def tolerance(self, predictions: "np.ndarray") -> "np.ndarray":
        """How far predictions of the same model for the same rows may be apart, each time that they are made.

        Args:
            predictions: [rows, *shape], what the model gave once.

        Returns:
            float64, of the same shape.
        """
        import numpy as np

        return np.full(predictions.shape, TOLERANCE)

    @abstractmethod
    def classes(
        self, table: "pa.Table", label: str, *, positive: str = "", order: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The values that the label has, as text, in the order in which they are numbered.

        Args:
            table: Has each value of the label at least once.
            label: The column.
            positive: The class that is to be the positive one; found where it is empty.
            order: The classes from the lowest to the highest; none where they have no order.

        Raises:
            DataError: The column is missing, or is no label of this problem.
        """

    @abstractmethod
    def labels(self, table: "pa.Table", label: str, classes: tuple[str, ...]) -> "np.ndarray":
        """The label's column as numbers.

        Raises:
            DataError: The column is missing, of another type, or has rows with no label or one of no class.
        """
