"""Which of two classes."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cd4ml.contracts.class_labels import distinct, places, shown
from cd4ml.contracts.problem import NOT_FINITE, OF_MODELS, Metric, Metrics, Problem, every_row
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


PLAIN = {
    ("0", "1"),
    ("-1", "1"),
    ("false", "true"),
    ("f", "t"),
    ("no", "yes"),
    ("n", "y"),
    ("off", "on"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("nein", "ja"),
    ("non", "oui"),
    ("no", "si"),
    ("no", "sí"),
}
"""Pairs of which the second is positive in every reading."""
TWO = "give 0 and 1, booleans, or two words"
"""What a label may be."""


class Binary(Problem):
    """Which of two classes: `probability` is that of the second."""

    def why_undefined(self, name: str, rows: int, found: Metrics) -> str:
        """As `Problem` has it."""
        if found["label_rate"] in (0, 1):
            return f"it is not defined on {rows:,} rows that are all of one class"
        if self.metric(name).counted is _selected:
            return f"none of the {rows:,} rows is predicted positive"
        return NOT_FINITE

    def wrong(self, outputs: "np.ndarray") -> "np.ndarray":
        """Those that are not from 0 to 1, or no number."""
        within: np.ndarray = (outputs >= 0) & (outputs <= 1)
        return ~within

    def score(self, labels: "np.ndarray", predictions: "np.ndarray") -> float:
        """The AUC of the ranks."""
        from cd4ml.contracts import ranking

        return ranking.auc(labels, predictions)

    def measured(self, thresholds: Sequence[float]) -> str:
        """As `Problem` has it."""
        return (
            "AUC and average precision (`auc_pr`) for the order of the rows, whatever the threshold, both exact by "
            "their ranks; a row counts as predicted positive where its probability is above "
            f"{' or '.join(map(str, thresholds))}."
        )

    def labelled(self, found: Metrics) -> str:
        """As `Problem` has it."""
        return f"{100 * (found['label_rate'] or 0):.1f} % of them are positive"

    def gives(self, label: str, classes: Sequence[str]) -> str:
        """As `Problem` has it."""
        negative, positive = classes
        return f"the probability that {label} is {positive} and not {negative}"

    def classes(
        self, table: "pa.Table", label: str, *, positive: str = "", order: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The two values of the label as text, the positive one last.

        Raises:
            DataError: It has not exactly two, is of a type that cannot be a label, or does not say which one is
                positive; or an order is given.
        """
        values = distinct(table, label, remedy=TWO)
        if order:
            raise DataError(
                f"classes: are those of an order, and the label {label!r} is to be of two classes; leave them out, and "
                f"write `positive:` with the one that is to be predicted, as `positive: {order[-1]}`"
            )
        if len(values) > 2:
            raise DataError(
                f"label {label!r}: {len(values):,} values ({shown(values)}) where two are needed; group them into two, "
                "or write `problem: multiclass` and leave `positive` out"
            )
        if positive:
            if positive not in values:
                raise DataError(f"positive: {positive!r} is no value of the label {label!r}; there are {shown(values)}")
            return (*(one for one in values if one != positive), positive)
        for negative, other in (values, values[::-1]):
            if (negative.casefold(), other.casefold()) in PLAIN:
                return negative, other
        raise DataError(
            f"label {label!r}: {shown(values)} do not say which one is to be predicted; write "
            f"`positive: {values[1]}` or `positive: {values[0]}`"
        )

    def labels(self, table: "pa.Table", label: str, classes: tuple[str, ...]) -> "np.ndarray":
        """Turns the label's column into 0 and 1.

        Returns:
            float32 [rows]: 1 where the label is the second of the classes.

        Raises:
            DataError: The column is missing, of another type, or has rows with no label or another value.
        """
        import numpy as np

        return places(table, label, classes, remedy=TWO).astype(np.float32)


def _positive(rows: int, found: Metrics, threshold: str) -> int:  # noqa: ARG001 (as every `Counted`)
    return round((found["label_rate"] or 0) * rows)


def _negative(rows: int, found: Metrics, threshold: str) -> int:
    return rows - _positive(rows, found, threshold)


def _rarer(rows: int, found: Metrics, threshold: str) -> int:
    """Of an area under a curve: each row of a class is held against the rows of the other."""
    return min(_positive(rows, found, threshold), _negative(rows, found, threshold))


def _selected(rows: int, found: Metrics, threshold: str) -> int:
    return round((found[f"selection_rate@{threshold}"] or 0) * rows)


EDGES = {"num_thresholds": 1001}
"""Where TFMA's own views draw the curves, and its areas under them are measured; those of the summary are exact."""
_rate = partial(Metric, at_thresholds=True, interval="share")

BINARY = Binary(
    name="binary",
    task="binary classification",
    output="probability",
    outputs="probabilities",
    number_of_classes=range(2, 3),
    primary="auc",
    headlines=("auc", "auc_pr", "accuracy"),
    plots={"ConfusionMatrixPlot": EDGES, "CalibrationPlot": {"num_buckets": 10}},
    compared="the shares of rows that are selected, found and wrongly selected, by precision and by calibration (mean "
    "prediction by label rate; 1 is right)",
    buckets=tuple(number / 20 for number in range(1, 21)),
    rows=(
        Metric("example_count", "ExampleCount", of="data", top=None),
        Metric("label_rate", "Prevalence", of="data", counted=every_row, interval="share"),
        Metric("auc", "AUC", EDGES, title="AUC", better="higher", counted=_rarer, interval="bounded"),
        Metric(
            "auc_pr",
            "AUCPrecisionRecall",
            EDGES,
            title="average precision",
            better="higher",
            counted=_rarer,
            interval="bounded",
        ),
        Metric(
            "binary_cross_entropy",
            "BinaryCrossEntropy",
            top=None,
            better="lower",
            counted=every_row,
            carried=_rarer,
            interval="positive",
        ),
        Metric(
            "calibration",
            "Calibration",
            top=None,
            better="nearer 1",
            counted=_positive,
            interval="positive",
            place_among_groups=7,
        ),
        _rate("accuracy", "BinaryAccuracy", better="higher", counted=every_row),
        _rate("precision", "Precision", better="higher", counted=_selected, place_among_groups=6),
        _rate("recall", "Recall", better="higher", counted=_positive, same_as="true_positive_rate"),
        _rate("true_positive_rate", "TPR", better="higher", counted=_positive, place_among_groups=2),
        _rate("false_positive_rate", "FPR", better="lower", counted=_negative, place_among_groups=3),
        _rate(
            "true_negative_rate",
            "TNR",
            better="higher",
            counted=_negative,
            rest_of="false_positive_rate",
            place_among_groups=4,
        ),
        _rate(
            "false_negative_rate",
            "FNR",
            better="lower",
            counted=_positive,
            rest_of="true_positive_rate",
            place_among_groups=5,
        ),
        _rate("selection_rate", "PredictedPositiveRate", counted=every_row, place_among_groups=1),
        *OF_MODELS,
    ),
)
CRITERIA = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalised_odds": ("true_positive_rate", "false_positive_rate"),
    "predictive_parity": ("precision",),
    "four_fifths": ("selection_rate",),
}
"""The rates that a criterion is about."""
