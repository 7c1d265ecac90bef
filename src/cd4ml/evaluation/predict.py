"""A model's predictions, from its serving signature: what production will answer."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from cd4ml.contracts.model import SAVED_MODEL, Contract
from cd4ml.errors import EvaluationError

BATCH_ROWS = 8192
FEW = 10
"""So many numbers of a row are told; of more, the first and the last."""
CALLS = 200
"""Of one row each, by which the latency is measured, after some that warm up."""


class Model:
    """A loaded model."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        """Loads it.

        Args:
            folder: A model's folder (layout: `cd4ml.contracts.model`).
            contract: Its contract.

        Raises:
            EvaluationError: It cannot be loaded.
        """
        self._folder, self._problem, self._shape = folder, contract.problem, contract.shape
        try:
            self._loaded = tf.saved_model.load(str(folder / SAVED_MODEL))  # holds the signature's variables
            self._signature = self._loaded.signatures["serving_default"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise self._unusable(error) from error

    def predict(self, features: Mapping[str, np.ndarray | pa.ChunkedArray]) -> np.ndarray:
        """Predicts in batches.

        Args:
            features: One array [rows] by input; of texts it may be Arrow's.

        Returns:
            float32 [rows]: probabilities, or finite numbers; [rows, classes] of three classes and more.

        Raises:
            EvaluationError: It cannot be called, or gives something else.
        """
        rows = len(next(iter(features.values())))
        starts = range(0, rows, BATCH_ROWS)
        found = [self._call({name: one[at : at + BATCH_ROWS] for name, one in features.items()}) for at in starts]
        predictions = np.concatenate(found)
        if predictions.shape != (rows, *self._shape):
            wanted = ", ".join(["batch", *map(str, self._shape)])
            raise EvaluationError(
                f"{self._folder}: predictions of shape {predictions.shape} for {rows:,} rows; "
                f"{self._problem.output} must have the shape [{wanted}]"
            )
        wrong = np.flatnonzero(self._problem.wrong(predictions))
        if len(wrong):
            first = np.array2string(predictions[wrong[0]], threshold=FEW)
            raise EvaluationError(
                f"{self._folder}: {len(wrong):,} of {rows:,} predictions are no {self._problem.outputs}, the first "
                f"{first}; lower the learning rate, or look for infinite values in the features"
            )
        return predictions

    def latency_ms(self, features: Mapping[str, np.ndarray]) -> float:
        """The 95th percentile of the time that one prediction of one row takes, in milliseconds."""
        rows = len(next(iter(features.values())))
        seconds = []
        for call in range(CALLS):
            row = {name: one[call % rows : call % rows + 1] for name, one in features.items()}
            started = time.perf_counter()
            self._call(row)
            seconds.append(time.perf_counter() - started)
        return float(np.percentile(seconds[CALLS // 10 :], 95) * 1000)

    def _call(self, features: Mapping[str, np.ndarray | pa.ChunkedArray]) -> np.ndarray:
        try:
            given = {name: _tensor(values) for name, values in features.items()}
            predictions: np.ndarray = self._signature(**given)[self._problem.output].numpy()
        except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
            raise self._unusable(error) from error
        return predictions

    def _unusable(self, error: Exception) -> EvaluationError:
        return EvaluationError(
            f"{self._folder}: its signature serving_default cannot be called ({error}); train the model again"
        )


def _tensor(values: np.ndarray | pa.ChunkedArray) -> tf.Tensor:
    """A tensor [rows]; each text becomes one once, however many rows have it."""
    if isinstance(values, np.ndarray):
        return tf.constant(values)
    coded = values.combine_chunks().dictionary_encode()
    return tf.gather(tf.constant(coded.dictionary.to_numpy(zero_copy_only=False), tf.string), coded.indices.to_numpy())
