"""Has TFMA measure a model: labels, predictions and slice columns in, its numbers by slice out."""

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_model_analysis as tfma

from cd4ml.evaluation.config import LABEL, PREDICTION
from cd4ml.evaluation.measure import Curves
from cd4ml.evaluation.summary import OVERALL, Metrics, Slice, at


def run(
    config: Any, labels: np.ndarray, predictions: np.ndarray, columns: Mapping[str, np.ndarray], role: str, folder: Path
) -> tuple[list[Slice], Curves]:
    """Runs TFMA, whose own output stays in the folder.

    Args:
        config: An `EvalConfig` as `cd4ml.evaluation.config` makes it.
        labels: float [rows], 0 and 1.
        predictions: float [rows], probabilities.
        columns: By column that makes slices: text, object [rows].
        role: The model's name in the slices.
        folder: Where TFMA writes.
    """
    frame = pd.DataFrame({**columns, LABEL: labels, PREDICTION: predictions})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # TFMA divides by zero where a slice has one class
        result = tfma.analyze_raw_data(frame, config, output_path=str(folder))
    slices = sorted(_slices(result, role), key=lambda one: (len(one.values), [*one.values], one.slice))
    plots = next(plots[""][""] for key, plots in result.plots if not key)
    return slices, _curves(plots)


def _slices(result: Any, role: str) -> Iterator[Slice]:
    for key, outputs in result.slicing_metrics:
        values = dict(sorted((column, str(value)) for column, value in key))
        name = ",".join(f"{column}={value}" for column, value in values.items()) or OVERALL
        metrics = _metrics(outputs[""][""])
        yield Slice(role, name, values, int(metrics["example_count"] or 0), metrics)


def _metrics(found: Mapping[str, Any]) -> Metrics:
    matrices = found["confusion_matrix_at_thresholds"]["confusionMatrixAtThresholds"]["matrices"]
    true_positives, false_positives, true_negatives, false_negatives = _counts(matrices[0])
    positives, negatives = true_positives + false_negatives, true_negatives + false_positives
    metrics = {
        "example_count": _value(found["example_count"]),
        "label_rate": positives / (positives + negatives),
        # Of rows of one class TFMA gives an area of 0 or 1, which says nothing.
        "auc": _value(found["auc"]) if positives and negatives else None,
        "auc_pr": _value(found["auc_precision_recall"]) if positives and negatives else None,
        "binary_cross_entropy": _value(found["binary_crossentropy"]),
        "calibration": _value(found["calibration"]) if positives else None,
    }
    for matrix in matrices:
        for name, value in _rates(*_counts(matrix)).items():
            metrics[at(name, matrix["threshold"])] = value
    return metrics


def _rates(
    true_positives: float, false_positives: float, true_negatives: float, false_negatives: float
) -> dict[str, float | None]:
    positives, negatives = true_positives + false_negatives, true_negatives + false_positives
    selected = true_positives + false_positives
    recall = true_positives / positives if positives else None
    return {
        "accuracy": (true_positives + true_negatives) / (positives + negatives),
        "precision": true_positives / selected if selected else None,
        "recall": recall,
        "true_positive_rate": recall,
        "false_positive_rate": false_positives / negatives if negatives else None,
        "selection_rate": selected / (positives + negatives),
    }


def _counts(matrix: Mapping[str, Any]) -> tuple[float, float, float, float]:
    return (
        float(matrix.get("truePositives", 0)),
        float(matrix.get("falsePositives", 0)),
        float(matrix.get("trueNegatives", 0)),
        float(matrix.get("falseNegatives", 0)),
    )


def _value(found: Mapping[str, Any]) -> float | None:
    """A number of TFMA; None where it is not finite, or where TFMA could not compute it and gives an `unknownType`.

    The number is a wrapper in the proto, so that a zero is there too; within a matrix a zero is left out.
    """
    value = float(found.get("doubleValue", math.nan))
    return value if math.isfinite(value) else None


def _curves(plots: Mapping[str, Any]) -> Curves:
    matrices = plots["confusionMatrixAtThresholds"]["matrices"]
    buckets = [
        (rows, float(one["totalWeightedRefinedPrediction"]) / rows, float(one.get("totalWeightedLabel", 0)) / rows)
        for one in plots["calibrationHistogramBuckets"]["buckets"]
        if (rows := float(one.get("numWeightedExamples", 0)))
    ]
    return Curves(
        thresholds=np.clip([float(one.get("threshold", 0)) for one in matrices], 0, 1),
        confusion=np.array([_counts(one) for one in matrices]),
        calibration=np.array(buckets),
    )
