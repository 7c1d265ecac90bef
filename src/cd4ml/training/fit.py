"""Fits a network: epochs until the eval split's AUC gets no better, then the best epoch's weights.

The AUC is exact, that of the ranks: by thresholds, as Keras has it, that of a rare event is wrong in its first digits.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cd4ml.contracts import ranking
from cd4ml.errors import TrainingError
from cd4ml.training.examples import Examples
from cd4ml.training.spec import Spec

STEPS_PER_CALL = 16
"""Steps that TensorFlow takes before Python hears of them."""
BATCH_ROWS = 8192
"""Rows that are predicted at a time, when an epoch is measured."""


@dataclass(frozen=True)
class Epoch:
    """How an epoch went; one entry of a model's history."""

    epoch: int
    seconds: float
    loss: float
    """Of the train split while the epoch ran, weighted where its rows are."""
    auc: float
    """Of the train split with the weights at the end of the epoch, as the two that follow."""
    eval_loss: float
    eval_auc: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}: loss {self.loss:.4f}, auc {self.auc:.4f}; "
            f"eval loss {self.eval_loss:.4f}, auc {self.eval_auc:.4f}; {self.seconds:.1f} s"
        )


def fit(
    network: keras.Model, *, train: Examples, evaluation: Examples, spec: Spec, weights: np.ndarray | None
) -> list[Epoch]:
    """Trains the network in place and prints a line an epoch.

    Args:
        network: Gives a logit.
        train: What it learns from.
        evaluation: Says when to stop, and which epoch's weights to keep.
        spec: The hyperparameters.
        weights: What each row of `train` counts in its loss, float32 [rows]; no other number is weighted.

    Returns:
        The epochs; the network has the weights of the one with the highest `eval_auc`.

    Raises:
        TrainingError: The loss is no longer a finite number.
    """
    network.compile(
        optimizer=keras.optimizers.Adam(spec.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        steps_per_execution=STEPS_PER_CALL,
    )
    history = _History(spec, train, evaluation)
    best = keras.callbacks.EarlyStopping(
        monitor="eval_auc", mode="max", patience=spec.patience, restore_best_weights=True
    )
    network.fit(
        train.inputs,
        train.labels,
        sample_weight=weights,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        callbacks=[history, best],
        verbose=0,
    )
    return history.epochs


class _History(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures the epochs, tells of each, and ends a training that has run away; later callbacks find `eval_auc`."""

    def __init__(self, spec: Spec, train: Examples, evaluation: Examples) -> None:
        super().__init__()
        self.spec, self.train, self.evaluation = spec, train, evaluation
        self.epochs: list[Epoch] = []
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logits = self._logits(self.evaluation)
        with np.errstate(invalid="ignore"):
            eval_loss = float(np.logaddexp(0, np.where(self.evaluation.labels == 1, -logits, logits)).mean())
        if not (math.isfinite(logs["loss"]) and math.isfinite(eval_loss)):
            wrong = eval_loss if math.isfinite(logs["loss"]) else logs["loss"]
            raise TrainingError(
                f"epoch {epoch + 1}: the loss is {wrong}; lower learning_rate (it is {self.spec.learning_rate:g})"
            )
        auc = ranking.auc(self.train.labels, self._logits(self.train))
        logs["eval_auc"] = ranking.auc(self.evaluation.labels, logits)
        seconds = round(time.monotonic() - self.start, 3)
        self.start += seconds
        one = Epoch(epoch + 1, seconds, logs["loss"], auc, eval_loss, logs["eval_auc"])
        self.epochs.append(one)
        print(one, flush=True)  # noqa: T201 (the task's log)

    def _logits(self, examples: Examples) -> np.ndarray:
        """float64 [rows]."""
        logits: np.ndarray = self.model.predict(examples.inputs, batch_size=BATCH_ROWS, verbose=0)
        return logits.reshape(-1).astype(np.float64)
