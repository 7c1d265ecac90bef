"""A made-up evaluation, for tests of what comes after it."""

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import Change, ModelSummary, Slice, Summary, at
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.regression import REGRESSION
from cd4ml.evaluation import fairness

GRADES = ("bronze", "silver", "gold")


def a_summary() -> Summary:
    """A candidate that passes over the south, of a test split of 200 rows."""
    slices = (
        _slice("overall", {}, 200, 0.5),
        _slice("region=north", {"region": "north"}, 120, 0.6),
        _slice("region=south", {"region": "south"}, 79, 0.2),
        _slice("region=is|le <b>", {"region": "is|le <b>"}, 1, None),
        _slice("gender=female,region=south", {"gender": "female", "region": "south"}, 40, 0.1),
    )
    return Summary(
        label="took",
        rows=200,
        test_digest="sha256:t",
        judged=3,
        thresholds=(0.5,),
        models={"candidate": ModelSummary("sha256:c", slices[0].metrics, slices[0].intervals)},
        slices=slices,
        changes=(Change("baseline", "overall", "auc", 0.05, (0.03, 0.07)),),
        fairness=tuple(fairness.compare(BINARY, slices=slices, columns=[["region"]], thresholds=[0.5])),
    )


def a_summary_of_numbers() -> Summary:
    """A candidate that gives the south too little, in the unit of a price."""
    slices = (
        _priced("overall", {}, 200, error=-2000.0),
        _priced("region=north", {"region": "north"}, 120, error=-500.0),
        _priced("region=south", {"region": "south"}, 80, error=-4250.0),
    )
    change = Change("baseline", "overall", "root_mean_squared_error", -1500.0, (-2500.0, -400.0))
    return _summary(REGRESSION, "price", slices, change)


def a_summary_of_classes(problem: Problem = MULTICLASS) -> Summary:
    """A candidate that tells three grades apart, and hardly ever finds the gold in the south."""
    slices = (
        _graded("overall", {}, 200, gold=0.4),
        _graded("region=north", {"region": "north"}, 120, gold=0.6),
        _graded("region=south", {"region": "south"}, 80, gold=0.1),
    )
    change = Change("baseline", "overall", "log_loss", -0.25, (-0.3, -0.2))
    return _summary(problem, "grade", slices, change, GRADES)


def _summary(
    problem: Problem, label: str, slices: tuple[Slice, ...], change: Change, classes: tuple[str, ...] = ()
) -> Summary:
    return Summary(
        label=label,
        rows=200,
        test_digest="sha256:t",
        judged=1,
        thresholds=(),
        models={"candidate": ModelSummary("sha256:c", slices[0].metrics, slices[0].intervals)},
        slices=slices,
        changes=(change,),
        fairness=tuple(fairness.compare(problem, slices=slices, columns=[["region"]], thresholds=[])),
        problem_name=problem.name,
        classes=classes,
    )


def _graded(name: str, values: dict[str, str], rows: int, *, gold: float) -> Slice:
    of_classes = {
        f"{metric.name}@{grade}": gold if grade == "gold" and metric.of != "data" else 0.5
        for metric in MULTICLASS.by_class
        for grade in GRADES
    }
    means = {"log_loss": 0.75, "top_1_accuracy": 0.7, "mean_class_error": 1 - gold, "macro_auc": 0.8}
    metrics = {"example_count": float(rows), **means, **of_classes}
    return Slice("candidate", name, values, rows, metrics, {"class_recall@gold": (gold - 0.05, gold + 0.05)})


def _priced(name: str, values: dict[str, str], rows: int, *, error: float) -> Slice:
    metrics = {
        "example_count": float(rows),
        "mean_label": 182_000.0,
        "mean_prediction": 182_000.0 + error,
        "mean_error": error,
        "root_mean_squared_error": 12_345.6,
        "mean_squared_error": 12_345.6**2,
        "mean_absolute_error": 9_000.0,
        "r_squared": 0.87654,
    }
    intervals = {"mean_error": (error - 900, error + 900), "root_mean_squared_error": (11_000.0, 14_000.0)}
    return Slice("candidate", name, values, rows, metrics, intervals)


def _slice(name: str, values: dict[str, str], rows: int, rate: float | None) -> Slice:
    metrics = {
        "example_count": float(rows),
        "label_rate": 0.4,
        "auc": rate and 0.8,
        "auc_pr": 0.7,
        "binary_cross_entropy": 0.5,
        "calibration": 1.0,
        **{at(metric.name, 0.5): rate for metric in BINARY.at_thresholds},
    }
    intervals = {at("true_positive_rate", 0.5): (rate - 0.05, rate + 0.05), "auc": (0.78, 0.82)} if rate else {}
    return Slice("candidate", name, values, rows, metrics, intervals)
