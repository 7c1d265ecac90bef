"""What TFMA is asked for: the metrics, the plots and the slices of an evaluation as an `EvalConfig`."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from cd4ml.contracts.evaluation import CANDIDATE, at

LABEL = "__label"
THRESHOLDS_OF_CURVES = 1001
"""Where TFMA's own views draw the curves, and its areas under them are measured; those of the summary are exact."""
CALIBRATION_BUCKETS = 10
RATES = {
    "accuracy": "BinaryAccuracy",
    "precision": "Precision",
    "recall": "Recall",
    "true_positive_rate": "TPR",
    "false_positive_rate": "FPR",
    "true_negative_rate": "TNR",
    "false_negative_rate": "FNR",
    "selection_rate": "PredictedPositiveRate",
}
"""TFMA's class by our name."""


def prediction(role: str) -> str:
    """The column that holds the predictions of a model."""
    return f"__prediction_{role}"


def apart(name: str, slices: Sequence[Sequence[str]]) -> str:
    """What TFMA knows a column of ours by: its name, or one that no column which makes slices has."""
    taken = {column for columns in slices for column in columns}
    while name in taken:
        name = f"_{name}"
    return name


def eval_config(
    roles: Sequence[str], slices: Sequence[Sequence[str]], thresholds: Sequence[float]
) -> config_pb2.EvalConfig:
    """The configuration for all models together. Intervals are found elsewhere (`cd4ml.evaluation.confidence`).

    TFMA compares each model with the one it calls the baseline. Here that is the candidate, so that it is compared with
    every other model at once: TFMA's difference is the other model's metric less the candidate's.

    Args:
        roles: The models, the candidate among them.
        slices: The columns of each kind of slice; all rows together are always one.
        thresholds: Where rates are wanted.
    """
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=role,
                label_key=apart(LABEL, slices),
                prediction_key=apart(prediction(role), slices),
                is_baseline=role == CANDIDATE,
            )
            for role in roles
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=columns) for columns in slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    _metric("ExampleCount", name="example_count"),
                    _metric("Prevalence", name="label_rate"),
                    _metric("AUC", name="auc", num_thresholds=THRESHOLDS_OF_CURVES),
                    _metric("AUCPrecisionRecall", name="auc_pr", num_thresholds=THRESHOLDS_OF_CURVES),
                    _metric("BinaryCrossEntropy", name="binary_cross_entropy"),
                    _metric("Calibration", name="calibration"),
                    *_rates(thresholds),
                    _metric("ConfusionMatrixPlot", num_thresholds=THRESHOLDS_OF_CURVES),
                    _metric("CalibrationPlot", num_buckets=CALIBRATION_BUCKETS),
                ]
            )
        ],
    )


def _rates(thresholds: Sequence[float]) -> Iterator[config_pb2.MetricConfig]:
    for threshold in thresholds:
        for name, kind in RATES.items():
            where: dict[str, Any] = {"threshold": threshold} if name == "accuracy" else {"thresholds": [threshold]}
            yield _metric(kind, name=at(name, threshold), **where)


def _metric(kind: str, **settings: Any) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=kind, config=json.dumps(settings)[1:-1])
