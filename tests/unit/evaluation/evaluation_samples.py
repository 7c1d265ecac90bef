"""Made-up slices, for tests that need no model."""

from collections.abc import Sequence

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import Interval, Metrics, Slice, at, of_class


def metrics(auc: float | None, rate: float | None = 0.5, label_rate: float = 0.4) -> Metrics:
    return {
        "example_count": 100.0,
        "label_rate": label_rate,
        "auc": auc,
        "auc_pr": auc,
        "binary_cross_entropy": 0.5,
        "calibration": 1.0,
        **{at(one.name, 0.5): rate for one in BINARY.at_thresholds},
    }


def group(
    name: str,
    auc: float | None = 0.7,
    rate: float | None = 0.5,
    rows: int = 100,
    intervals: dict[str, Interval] | None = None,
    **others: float,
) -> Slice:
    values = {} if name == "overall" else dict(part.split("=") for part in name.split(","))
    return Slice("candidate", name, values, rows, metrics(auc, rate, **others), intervals or {})


def number(name: str, error: float = 3.0, bias: float = 0.5, rows: int = 100, model: str = "candidate") -> Slice:
    """A slice of a model that predicts a number."""
    values = {} if name == "overall" else dict(part.split("=") for part in name.split(","))
    found = {
        "example_count": float(rows),
        "mean_label": 20.0,
        "mean_prediction": 20.0 + bias,
        "mean_error": bias,
        "root_mean_squared_error": error,
        "mean_squared_error": error**2,
        "mean_absolute_error": 0.8 * error,
        "r_squared": 0.7,
    }
    return Slice(model, name, values, rows, found, {})


def graded(
    name: str,
    classes: Sequence[str],
    *,
    recall: float = 0.6,
    loss: float = 0.8,
    rows: int = 300,
    model: str = "candidate",
    by_class: bool = True,
) -> Slice:
    """A slice of a model of several classes, all of them as frequent and found as often."""
    values = {} if name == "overall" else dict(part.split("=") for part in name.split(","))
    share = 1 / len(classes)
    found: dict[str, float | None] = {
        "example_count": float(rows),
        "log_loss": loss,
        **dict.fromkeys(("top_1_accuracy", "top_2_accuracy", "balanced_accuracy", "macro_f1"), recall),
        "macro_auc": 0.8,
        **{of_class("class_rate", one): share for one in classes},
    }
    if by_class:
        for one in classes:
            found |= {
                of_class("class_selection_rate", one): share,
                of_class("class_precision", one): recall,
                of_class("class_recall", one): recall,
                of_class("class_auc", one): 0.8,
            }
    return Slice(model, name, values, rows, found, {})
