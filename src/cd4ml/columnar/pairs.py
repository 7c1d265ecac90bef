"""Labels, predictions and weights as a metric pairs them: by class, by rank, flattened, or split by the label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from cd4ml.columnar.batch import Batch, NotVectorised
from cd4ml.errors import EvaluationError

_EPSILON = metric_util._EPSILON


@dataclass(frozen=True)
class Asked:
    """What a metric asks of its rows; the names are those of TFMA's `to_label_prediction_example_weight`."""

    model_name: str = ""
    output_name: str = ""
    sub_key: metric_types.SubKey | None = None
    aggregation_type: metric_types.AggregationType | None = None
    class_weights: tuple[tuple[int, float], ...] = ()
    example_weighted: bool = False
    fractional_labels: bool = False
    flatten: bool = True

    @classmethod
    def by(cls, combiner: Any, **changes: Any) -> "Asked":
        """What one of TFMA's combiners asks, by the attributes that nearly all of them have."""
        key = getattr(combiner, "_key", None) or combiner._metric_key
        weights: Mapping[int, float] = combiner._class_weights or {}
        asked = {
            "model_name": key.model_name,
            "output_name": key.output_name,
            "sub_key": key.sub_key,
            "aggregation_type": combiner._aggregation_type,
            "class_weights": tuple(sorted(weights.items())),
            "example_weighted": combiner._example_weighted,
        }
        return cls(**{**asked, **changes})


@dataclass(frozen=True)
class Pairs:
    """Pairs of a label and a prediction, several of a row where it is flattened.

    Attributes:
        rows: int [pairs], the row that each comes from; None where they are the rows.
        labels: [pairs] when flattened, else [rows, values]; of the dtype of the column.
        predictions: As the labels.
        weights: float64 [pairs].
    """

    rows: np.ndarray | None
    labels: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray


def pairs(batch: Batch, asked: Asked) -> Pairs:
    """Pairs the rows of a batch.

    Raises:
        NotVectorised: TFMA's own loop has to do it.
        EvaluationError: TFMA refuses such rows.
    """
    if asked not in batch.cache:
        batch.cache[asked] = _pairs(batch, asked)
    found: Pairs = batch.cache[asked]
    return found


def _pairs(batch: Batch, asked: Asked) -> Pairs:
    labels = batch.labels(asked.model_name, asked.output_name)
    predictions = batch.predictions(asked.model_name, asked.output_name)
    weights = batch.weights(asked.model_name, asked.output_name) if asked.example_weighted else None
    weights = np.ones(batch.rows) if weights is None else weights.astype(np.float64)
    if asked.sub_key is not None:
        labels, predictions = _of_key(
            asked.sub_key, aggregation=asked.aggregation_type, labels=labels, predictions=predictions
        )
    if not asked.flatten:
        if asked.class_weights:
            raise NotVectorised("class weights are for flattened labels")
        return Pairs(None, labels, predictions, weights)
    flat = _flat(labels, predictions=predictions, weights=weights, class_weights=dict(asked.class_weights))
    return _split(flat) if asked.fractional_labels else flat


def _of_key(
    key: metric_types.SubKey,
    *,
    aggregation: metric_types.AggregationType | None,
    labels: np.ndarray,
    predictions: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each row, the values of one class, of one rank, or of the first ranks."""
    if max(key.k or 0, key.top_k or 0) > predictions.shape[1]:
        raise NotVectorised("a rank is asked for that is beyond the number of predictions")
    if key.k is not None:
        rank = np.argsort(-predictions, axis=1, kind="stable")[:, key.k - 1 : key.k]
        return np.take_along_axis(_dense(labels, predictions), rank, 1), np.take_along_axis(predictions, rank, 1)
    if key.top_k is not None:
        best = np.sort(np.argsort(-predictions, axis=1, kind="stable")[:, : key.top_k], axis=1)
        chosen = np.take_along_axis(predictions, best, 1)
        if aggregation is not None:
            labels, predictions = np.take_along_axis(_dense(labels, predictions), best, 1), chosen
        else:
            predictions = np.full(predictions.shape, -np.inf)
            np.put_along_axis(predictions, best, chosen, 1)
    if key.class_id is not None:
        return _of_class(key.class_id, labels, predictions)
    return labels, predictions


def _of_class(class_id: int, labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not 0 <= class_id < predictions.shape[1]:
        raise NotVectorised("a class is asked for that is beyond the number of predictions")
    chosen = predictions[:, class_id : class_id + 1]
    if labels.shape[1] == predictions.shape[1]:
        return labels[:, class_id : class_id + 1], chosen
    if labels.shape[1] != 1:
        raise NotVectorised("the labels are neither one nor as many as the predictions")
    return (labels == class_id).astype(np.int64), chosen


def _dense(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """One label a class, [rows, classes], of labels that may be class numbers."""
    if labels.shape == predictions.shape:
        return labels
    if labels.shape[1] != 1:
        raise NotVectorised("the labels are neither one nor as many as the predictions")
    if not np.all(np.isfinite(labels)):
        raise NotVectorised("a label is not a class number")
    try:
        dense: np.ndarray = metric_util.one_hot(labels, predictions)
    except ValueError:
        raise NotVectorised("a label is not a class number") from None
    return dense


def _flat(
    labels: np.ndarray, *, predictions: np.ndarray, weights: np.ndarray, class_weights: Mapping[int, float]
) -> Pairs:
    count, values = predictions.shape
    labels = _dense(labels, predictions)
    by_value = np.broadcast_to(weights[:, np.newaxis], (count, values))
    if class_weights:
        by_value = by_value * np.array([class_weights.get(value, 0.0) for value in range(values)])
    rows = np.repeat(np.arange(count), values) if values > 1 else None
    return Pairs(rows, labels.ravel(), predictions.ravel(), by_value.ravel())


def _split(flat: Pairs) -> Pairs:
    """Each pair as one of label 0 and one of label 1, which share its weight by its label; those of no weight go."""
    labels, weights = flat.labels, flat.weights
    if not np.all((labels >= -_EPSILON) & (labels <= 1 + _EPSILON)):
        wrong = labels[~((labels >= -_EPSILON) & (labels <= 1 + _EPSILON))][0]
        raise EvaluationError(f"a label is {wrong}; metrics of binary classification take labels from 0 to 1")
    if np.all((labels == 0) | (labels == 1)):
        whole = Pairs(flat.rows, labels.astype(np.float64), flat.predictions, weights)
        return whole if np.all(weights) else _chosen(whole, np.flatnonzero(weights))
    split = np.stack([weights * (1 - labels), weights * labels], axis=1).ravel()
    kept = np.flatnonzero(split)
    of_pair = _chosen(flat, kept // 2)
    return Pairs(of_pair.rows, (kept % 2).astype(np.float64), of_pair.predictions, split[kept])


def _chosen(flat: Pairs, chosen: np.ndarray) -> Pairs:
    rows = chosen if flat.rows is None else flat.rows[chosen]
    return Pairs(rows, flat.labels[chosen], flat.predictions[chosen], flat.weights[chosen])
