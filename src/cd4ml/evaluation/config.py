"""What TFMA is asked for: the metrics, the plots and the slices of an evaluation as an `EvalConfig`."""

import json
from collections.abc import Sequence
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

LABEL = "__label"
PREDICTION = "__prediction"
ROC_POINTS = 1001
CALIBRATION_BUCKETS = 10


def eval_config(slices: Sequence[Sequence[str]], thresholds: Sequence[float]) -> config_pb2.EvalConfig:
    """The configuration for one model; that of every model of an evaluation is the same.

    Args:
        slices: The columns of each kind of slice; all rows together are always one.
        thresholds: Where confusion matrices are wanted.
    """
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key=LABEL, prediction_key=PREDICTION)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=columns) for columns in slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    _metric("ExampleCount"),
                    _metric("AUC"),
                    _metric("AUCPrecisionRecall"),
                    _metric("BinaryCrossEntropy"),
                    _metric("Calibration"),
                    _metric("ConfusionMatrixAtThresholds", thresholds=list(thresholds)),
                    _metric("ConfusionMatrixPlot", num_thresholds=ROC_POINTS),
                    _metric("CalibrationPlot", num_buckets=CALIBRATION_BUCKETS),
                ]
            )
        ],
    )


def _metric(name: str, **settings: Any) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=name, config=json.dumps(settings)[1:-1])
