"""A model's predictions, from its serving signature: what production will answer."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from cd4ml.errors import EvaluationError
from cd4ml.model import OUTPUT, SAVED_MODEL

BATCH_ROWS = 8192


def predict(folder: Path, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Predicts in batches.

    Args:
        folder: A model's folder (layout: `cd4ml.model`).
        features: One array [rows] by input.

    Returns:
        float32 [rows]: probabilities.

    Raises:
        EvaluationError: The model cannot be loaded or called, or gives no probabilities.
    """
    rows = len(next(iter(features.values())))
    try:
        model = tf.saved_model.load(str(folder / SAVED_MODEL))  # holds the variables that the signature uses
        signature = model.signatures["serving_default"]
        batches = [
            signature(**{name: tf.constant(values[start : start + BATCH_ROWS]) for name, values in features.items()})
            for start in range(0, rows, BATCH_ROWS)
        ]
        predictions = np.concatenate([batch[OUTPUT].numpy() for batch in batches])
    except (OSError, KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        raise EvaluationError(
            f"{folder}: its signature serving_default cannot be called ({error}); train the model again"
        ) from error
    if predictions.shape != (rows,):
        raise EvaluationError(
            f"{folder}: predictions of shape {predictions.shape} for {rows:,} rows; "
            f"{OUTPUT} must have the shape [batch]"
        )
    wrong = np.flatnonzero(~((predictions >= 0) & (predictions <= 1)))  # also where it is not a number
    if len(wrong):
        raise EvaluationError(
            f"{folder}: {len(wrong):,} of {rows:,} predictions are no probabilities, the first in row {wrong[0]:,}: "
            f"{predictions[wrong[0]]}; lower the learning rate, or look for infinite values in the features"
        )
    return predictions
