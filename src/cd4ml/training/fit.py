"""Fits a network: epochs until the eval split's AUC gets no better, then the best epoch's weights."""

import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cd4ml.errors import TrainingError
from cd4ml.training.examples import Examples
from cd4ml.training.spec import Spec

STEPS_PER_CALL = 16
"""Steps that TensorFlow takes before Python hears of them."""


@dataclass(frozen=True)
class Epoch:
    """How an epoch went; one entry of a model's history."""

    epoch: int
    seconds: float
    loss: float
    auc: float
    eval_loss: float
    eval_auc: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}: loss {self.loss:.4f}, auc {self.auc:.4f}; "
            f"eval loss {self.eval_loss:.4f}, auc {self.eval_auc:.4f}; {self.seconds:.1f} s"
        )


def fit(
    network: keras.Model, train: Examples, evaluation: Examples, spec: Spec, weights: np.ndarray | None
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
        metrics=[keras.metrics.AUC(from_logits=True, name="auc")],
        steps_per_execution=STEPS_PER_CALL,
    )
    history = _History(spec)
    best = keras.callbacks.EarlyStopping(
        monitor="val_auc", mode="max", patience=spec.patience, restore_best_weights=True
    )
    network.fit(
        train.inputs,
        train.labels,
        sample_weight=weights,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        validation_data=(evaluation.inputs, evaluation.labels),
        validation_batch_size=8192,
        callbacks=[history, best],
        verbose=0,
    )
    return history.epochs


class _History(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the epochs, tells of each, and ends a training that has run away."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.epochs: list[Epoch] = []
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = round(time.monotonic() - self.start, 3)
        self.start += seconds
        one = Epoch(epoch + 1, seconds, logs["loss"], logs["auc"], logs["val_loss"], logs["val_auc"])
        if not (math.isfinite(one.loss) and math.isfinite(one.eval_loss)):
            raise TrainingError(
                f"epoch {one.epoch}: the loss is {one.loss}; lower learning_rate (it is {self.spec.learning_rate:g})"
            )
        self.epochs.append(one)
        print(one, flush=True)  # noqa: T201 (the task's log)
