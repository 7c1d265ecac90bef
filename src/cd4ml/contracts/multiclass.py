"""Which of three or more classes."""

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cd4ml.contracts.class_labels import distinct, places, shown
from cd4ml.contracts.problem import NOT_FINITE, OF_MODELS, Metric, Metrics, Problem, every_row
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_CLASSES = 200
"""More are too many to be shown, compared and judged one by one."""
WORDS = "give words, or whole numbers that name classes"
"""What a label may be."""
SUM_TOLERANCE = 1e-4
"""How far the probabilities of a row may be from 1 together, as float32 adds them up."""


class Multiclass(Problem):
    """Which of three or more classes: `probabilities` are those of all, in their order; they sum to 1."""

    def shape(self, classes: Sequence[str]) -> tuple[int, ...]:
        """One number a class."""
        return (len(classes),)

    def why_undefined(self, name: str, rows: int, found: Metrics) -> str:
        """As `Problem` has it."""
        metric, _, class_ = name.partition("@")
        if found.get(f"class_rate@{class_}") == 0 and metric != "class_precision":
            return f"none of the {rows:,} rows is of the class {class_!r}"
        if found.get(f"class_rate@{class_}") == 1 and metric == "class_auc":
            return f"all {rows:,} rows are of the class {class_!r}"
        if metric == "class_precision":
            return f"none of the {rows:,} rows is predicted to be of the class {class_!r}"
        if metric == "macro_auc":
            return f"it is not defined on {rows:,} rows that are all of one class"
        return NOT_FINITE

    def wrong(self, outputs: "np.ndarray") -> "np.ndarray":
        """Those with a probability that is not from 0 to 1, or no number, and those that do not sum to 1."""
        import numpy as np

        within = ((outputs >= 0) & (outputs <= 1)).all(axis=1)
        whole: np.ndarray = within & (np.abs(outputs.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE)
        return ~whole

    def score(self, labels: "np.ndarray", predictions: "np.ndarray") -> float:
        """The log loss."""
        return float(losses(labels, predictions).mean())

    def measured(self, thresholds: Sequence[float]) -> str:  # noqa: ARG002 (as `Problem` has it)
        """As `Problem` has it."""
        return (
            "The log loss is the mean of the negative logarithm of the probability that a row's own class got: the "
            "less the better, and 0 at best. The predicted class is the one of the greatest probability. Balanced "
            "accuracy, macro F1 and macro AUC (each class against the rest, exact by the ranks) are means over the "
            "classes, rare ones as much as others."
        )

    def labelled(self, found: Metrics) -> str:
        """As `Problem` has it."""
        rates = {name.partition("@")[2]: rate or 0.0 for name, rate in found.items() if name.startswith("class_rate@")}
        most = max(rates, key=lambda name: rates[name], default="")
        return f"{100 * rates[most]:.1f} % of them are of the class {most!r}, the most frequent" if rates else ""

    def gives(self, label: str, classes: Sequence[str]) -> str:
        """As `Problem` has it."""
        return f"the probabilities that {label} is {', '.join(classes[:-1])} or {classes[-1]}"

    def classes(
        self, table: "pa.Table", label: str, *, positive: str = "", order: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The values of the label as text, whole numbers by their size and others by the alphabet.

        Raises:
            DataError: There are fewer than three, or more than `MOST_CLASSES`; it is of a type that cannot be a label;
                one is to be positive; or an order is given, which `ordinal` has.
        """
        values = distinct(table, label, remedy=WORDS)
        if positive:
            raise DataError(
                f"positive: the label {label!r} has {len(values):,} values, none of which counts as positive; leave it "
                "out, or group them into two"
            )
        if order:
            raise DataError(
                "classes: are those of an order, and the problem is multiclass; write `problem: ordinal`, or leave it "
                "out"
            )
        if len(values) < 3:
            raise DataError(
                f"label {label!r}: two values ({shown(values)}), which are no multiclass; write `problem: binary`, and "
                "`positive:` with the one that is to be predicted"
            )
        if len(values) > MOST_CLASSES:
            raise DataError(
                f"label {label!r}: {len(values):,} values ({shown(values)}) where {MOST_CLASSES} classes can be told "
                "apart at most; group the rare ones into one, or name another column"
            )
        if all(re.fullmatch(r"-?\d{1,18}", one) for one in values):
            values.sort(key=int)
        return tuple(values)

    def labels(self, table: "pa.Table", label: str, classes: tuple[str, ...]) -> "np.ndarray":
        """The place of each row's class among the classes.

        Returns:
            int64 [rows].

        Raises:
            DataError: The column is missing, of another type, or has rows with no label or another value.
        """
        return places(table, label, classes, remedy=WORDS)


def losses(labels: "np.ndarray", probabilities: "np.ndarray") -> "np.ndarray":
    """The log loss of each row, as scikit-learn has it of float32.

    Args:
        labels: int [rows], the places of the classes.
        probabilities: [rows, classes].

    Returns:
        float64 [rows]: of a probability of 0 it is finite, and that of the least one that float32 tells from 1 less 1.
    """
    import numpy as np

    own = np.take_along_axis(probabilities, labels.astype(np.int64)[:, None], axis=1)[:, 0].astype(np.float64)
    least = float(np.finfo(np.float32).eps)
    found: np.ndarray = -np.log(np.clip(own, least, 1 - least))
    return found


def _of_class(rows: int, found: Metrics, class_: str) -> int:
    return round((found.get(f"class_rate@{class_}") or 0) * rows)


def _of_others(rows: int, found: Metrics, class_: str) -> int:
    """Of an area under a curve: each row of the class is held against the rows of the others."""
    own = _of_class(rows, found, class_)
    return min(own, rows - own)


def _selected(rows: int, found: Metrics, class_: str) -> int:
    return round((found.get(f"class_selection_rate@{class_}") or 0) * rows)


def _rarest(rows: int, found: Metrics, threshold: str) -> int:  # noqa: ARG001 (as every `Counted`)
    """Of a mean over the classes: the rows of the rarest that is there."""
    rates = (rate for name, rate in found.items() if name.startswith("class_rate@") and rate)
    return round(min(rates, default=0) * rows)


_share = partial(Metric, interval="share")
_mean = partial(Metric, better="higher", counted=_rarest, interval="bounded")

MULTICLASS = Multiclass(
    name="multiclass",
    task="multiclass classification",
    output="probabilities",
    outputs="probabilities that sum to 1",
    number_of_classes=range(3, MOST_CLASSES + 1),
    primary="log_loss",
    headlines=("log_loss", "top_1_accuracy", "macro_auc"),
    plots={"MultiClassConfusionMatrixPlot": {"thresholds": [0.0]}},
    compared="the share of rows that each class is predicted for, and the share of its own rows that are found",
    buckets=tuple(number / 20 for number in range(1, 21)),
    rows=(
        Metric("example_count", "ExampleCount", of="data", top=None),
        Metric(
            "log_loss",
            "SparseCategoricalCrossentropy",
            top=None,
            better="lower",
            counted=every_row,
            interval="positive",
        ),
        _share("top_1_accuracy", "SparseCategoricalAccuracy", title="accuracy", better="higher", counted=every_row),
        _share("top_2_accuracy", title="top-2 accuracy", better="higher", counted=every_row),
        _mean("balanced_accuracy"),
        _mean("macro_f1", title="macro F1"),
        _mean("macro_auc", title="macro AUC"),
        _share("class_rate", title="share", of="data", of_classes=True, counted=every_row),
        _share(
            "class_selection_rate",
            title="predicted share",
            of_classes=True,
            counted=every_row,
            place_among_groups=1,
        ),
        _share("class_precision", title="precision", of_classes=True, better="higher", counted=_selected),
        _share(
            "class_recall",
            title="recall",
            of_classes=True,
            better="higher",
            counted=_of_class,
            place_among_groups=2,
        ),
        Metric(
            "class_auc",
            title="AUC",
            of_classes=True,
            better="higher",
            counted=_of_others,
            interval="bounded",
        ),
        *OF_MODELS,
    ),
)
