"""Fits a network: epochs until the eval split's score gets no better, then the best epoch's weights.

The score is the primary metric of the problem. An AUC is exact, that of the ranks: by thresholds, as Keras has it, that
of a rare event is wrong in its first digits.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cd4ml.contracts.problem import Problem
from cd4ml.errors import TrainingError
from cd4ml.training.examples import Examples
from cd4ml.training.trainers import Network

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
    metric: str
    """What the scores are."""
    score: float
    """Of the train split with the weights at the end of the epoch, as the two that follow."""
    eval_loss: float
    eval_score: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}: loss {self.loss:.4f}, {self.metric} {self.score:.4f}; "
            f"eval loss {self.eval_loss:.4f}, {self.metric} {self.eval_score:.4f}; {self.seconds:.1f} s"
        )

    @property
    def entry(self) -> dict[str, float]:
        """As a model's history has it."""
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "loss": self.loss,
            self.metric: self.score,
            "eval_loss": self.eval_loss,
            f"eval_{self.metric}": self.eval_score,
        }


def fit(
    network: keras.Model,
    *,
    train: Examples,
    evaluation: Examples,
    spec: Network,
    weights: np.ndarray | None,
    problem: Problem,
) -> list[Epoch]:
    """Trains the network in place and prints a line an epoch.

    Args:
        network: Gives a logit.
        train: What it learns from.
        evaluation: Says when to stop, and which epoch's weights to keep.
        spec: The hyperparameters.
        weights: What each row of `train` counts in its loss, float32 [rows]; no other number is weighted.
        problem: Says what the score of an epoch is.

    Returns:
        The epochs; the network has the weights of the one with the highest `eval_score`.

    Raises:
        TrainingError: The loss is no longer a finite number.
    """
    network.compile(
        optimizer=keras.optimizers.Adam(spec.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        steps_per_execution=STEPS_PER_CALL,
    )
    history = _History(spec, train=train, evaluation=evaluation, problem=problem)
    best = keras.callbacks.EarlyStopping(
        monitor="eval_score", mode="max", patience=spec.patience, restore_best_weights=True
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
    """Measures the epochs, tells of each, and ends a training that has run away; later callbacks find `eval_score`."""

    def __init__(self, spec: Network, *, train: Examples, evaluation: Examples, problem: Problem) -> None:
        super().__init__()
        self.spec, self.train, self.evaluation, self.problem = spec, train, evaluation, problem
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
        score = self.problem.score(self.train.labels, self._logits(self.train))
        logs["eval_score"] = self.problem.score(self.evaluation.labels, logits)
        seconds = round(time.monotonic() - self.start, 3)
        self.start += seconds
        one = Epoch(
            epoch=epoch + 1,
            seconds=seconds,
            loss=logs["loss"],
            metric=self.problem.primary,
            score=score,
            eval_loss=eval_loss,
            eval_score=logs["eval_score"],
        )
        self.epochs.append(one)
        print(one, flush=True)  # noqa: T201 (the task's log)

    def _logits(self, examples: Examples) -> np.ndarray:
        """float64 [rows], batch by batch: `predict` makes a dataset first, which takes longer than the network."""
        starts = range(0, len(examples.labels), BATCH_ROWS)
        batches = [
            self.model.predict_on_batch([one[start : start + BATCH_ROWS] for one in examples.inputs])
            for start in starts
        ]
        return np.concatenate(batches).reshape(-1).astype(np.float64)
