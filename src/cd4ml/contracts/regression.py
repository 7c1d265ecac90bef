"""Which number: `prediction` is in the unit of the label."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cd4ml.contracts.columns import column
from cd4ml.contracts.problem import NOT_FINITE, OF_MODELS, TOLERANCE, Metric, Metrics, Problem, every_row
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Regression(Problem):
    """Which number, in the unit of the label."""

    def why_undefined(self, name: str, rows: int, found: Metrics) -> str:  # noqa: ARG002 (as `Problem` has it)
        """As `Problem` has it."""
        if name == "r_squared":
            return f"it is not defined on {rows:,} rows that all have one label"
        return NOT_FINITE

    def wrong(self, outputs: "np.ndarray") -> "np.ndarray":
        """Those that are not finite."""
        import numpy as np

        finite: np.ndarray = np.isfinite(outputs)
        return ~finite

    def score(self, labels: "np.ndarray", predictions: "np.ndarray") -> float:
        """The root of the mean squared error."""
        import numpy as np

        errors = predictions.astype(np.float64) - labels.astype(np.float64)
        return float(np.sqrt(np.mean(errors**2)))

    def measured(self, thresholds: Sequence[float]) -> str:  # noqa: ARG002
        """As `Problem` has it."""
        return (
            "The root of the mean squared error and the mean absolute error are in the unit of the label, the less the "
            "better; R² is 1 less the squared errors by the squared distances of the labels from their mean: 1 at "
            "best, and 0 of who predicts that mean for every row."
        )

    def labelled(self, found: Metrics) -> str:
        """As `Problem` has it."""
        return f"their labels are {self.metric('mean_label').written(found['mean_label'])} on average"

    def gives(self, label: str, classes: Sequence[str]) -> str:  # noqa: ARG002
        """As `Problem` has it."""
        return f"{label}, a number"

    def tolerance(self, predictions: "np.ndarray") -> "np.ndarray":
        """A part of the prediction, or of the size that nine of ten do not exceed where that is more.

        So it is in the unit of the label whatever that is, and a prediction of about 0 may be as far off as the others.
        """
        import numpy as np

        sizes = np.abs(predictions.astype(np.float64))
        allowed: np.ndarray = TOLERANCE * np.maximum(sizes, np.quantile(sizes, 0.9))
        return allowed

    def classes(
        self, table: "pa.Table", label: str, *, positive: str = "", order: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """None, of a label of more than one number.

        Raises:
            DataError: It is no column of numbers, all of them are the same, one is to be positive,
                or classes are given.
        """
        import numpy as np
        import pyarrow.compute as pc

        if positive:
            raise DataError(f"positive: the label {label!r} is a number, and has no positive class; leave it out")
        if order:
            raise DataError(f"classes: the label {label!r} is a number, and has none; leave them out")
        found = _numbers(table, label).drop_null()
        values = np.unique(found.filter(pc.is_finite(found)).to_numpy())
        if len(values) < 2:
            raise DataError(
                f"label {label!r}: every row is {values[0]:g}, so there is nothing to predict; name another column"
                if len(values)
                else f"label {label!r}: no row has one; name another column, or fill it in"
            )
        return ()

    def labels(self, table: "pa.Table", label: str, classes: tuple[str, ...]) -> "np.ndarray":  # noqa: ARG002
        """The label's column as it is.

        Returns:
            float64 [rows].

        Raises:
            DataError: The column is missing, of another type, or has rows with no label or one that is not finite.
        """
        import numpy as np

        values = _numbers(table, label)
        if values.null_count:
            raise DataError(
                f"label {label!r}: {values.null_count:,} of {len(values):,} rows have none; "
                "drop these rows from the source"
            )
        found: np.ndarray = values.to_numpy()
        strange = np.flatnonzero(~np.isfinite(found))
        if len(strange):
            raise DataError(
                f"label {label!r}: {len(strange):,} of {len(found):,} rows have none that is finite, the first "
                f"{found[strange[0]]}; drop these rows from the source"
            )
        return found


def _numbers(table: "pa.Table", label: str) -> "pa.ChunkedArray":
    """The label's column as float64, null where there is none."""
    import pyarrow as pa

    values = column(table, label)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise DataError(f"label {label!r}: {values.type} cannot be a number to predict; give a column of numbers")
    return values.cast(pa.float64(), safe=False)


_amount = partial(Metric, top=None, counted=every_row)
_mean = partial(_amount, bottom=None, interval="signed")
_error = partial(_amount, better="lower", interval="positive")

REGRESSION = Regression(
    name="regression",
    task="regression",
    output="prediction",
    outputs="finite numbers",
    number_of_classes=range(1),
    primary="root_mean_squared_error",
    headlines=("root_mean_squared_error", "mean_absolute_error", "r_squared"),
    plots={},
    compared="the mean error (predicted less true; 0 is right), the mean prediction and the mean absolute error",
    rows=(
        Metric("example_count", "ExampleCount", of="data", top=None),
        _mean("mean_label", "MeanLabel", of="data"),
        _mean("mean_prediction", "MeanPrediction", place_among_groups=2),
        _mean("mean_error", better="nearer 0", place_among_groups=1),
        _error("root_mean_squared_error", title="RMSE"),
        _error("mean_squared_error", "MeanSquaredError"),
        _error("mean_absolute_error", "MeanAbsoluteError", place_among_groups=3),
        Metric("r_squared", title="R²", bottom=None, better="higher", counted=every_row, interval="below 1"),
        *OF_MODELS,
    ),
)
