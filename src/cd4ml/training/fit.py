"""Fits a network: epochs until the eval split's score gets no better, then the best epoch's weights.

The score is the primary metric of the problem. An AUC is exact, that of the ranks: by thresholds, as Keras has it, that
of a rare event is wrong in its first digits.
"""

import math
import time
from dataclasses import dataclass

import keras
import numpy as np

from cd4ml.contracts.problem import Problem
from cd4ml.errors import TrainingError
from cd4ml.training.examples import Block, Examples
from cd4ml.training.steps import Steps
from cd4ml.training.trainers import Network

STEPS_PER_CALL = 16
"""Steps that TensorFlow takes before Python hears of them."""
BLOCK_ROWS = 65_536
"""Rows that are predicted in a call, when an epoch is measured."""
MEASURED_ROWS = 50_000
"""Rows of the train split, drawn once, that its score is measured on; all where it has fewer."""


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
    """Of the train split, or `MEASURED_ROWS` of it, with the weights at the end of the epoch as what follows."""
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
    network: keras.Model, *, train: Examples, evaluation: Examples, spec: Network, seed: int, problem: Problem
) -> list[Epoch]:
    """Trains the network in place and prints a line an epoch.

    Args:
        network: Gives a logit.
        train: What it learns from; its weights count in the loss alone.
        evaluation: Says when to stop, and which epoch's weights to keep.
        spec: The hyperparameters.
        seed: Of the order of the rows.
        problem: Says what the score of an epoch is.

    Returns:
        The epochs; the network has the weights of the one with the highest `eval_score`.

    Raises:
        TrainingError: The loss is no longer a finite number.
    """
    steps = Steps(network, optimizer=keras.optimizers.Adam(spec.learning_rate), batch=spec.batch_size)
    measure = _Measure(steps, sample=_sample(train, seed), evaluation=evaluation, problem=problem)
    epochs: list[Epoch] = []
    best, kept = 0, network.get_weights()
    for epoch in range(1, spec.epochs + 1):
        start = time.monotonic()
        blocks = train.blocks(batch=spec.batch_size, batches=STEPS_PER_CALL, seed=seed, epoch=epoch)
        loss = sum(steps.take(block) for block in blocks) / train.rows
        found = measure.epoch(epoch, loss=loss, start=start, learning_rate=spec.learning_rate)
        print(found, flush=True)  # noqa: T201 (the task's log)
        epochs.append(found)
        if found.eval_score > epochs[best].eval_score or epoch == 1:
            best, kept = epoch - 1, network.get_weights()
        if epoch - 1 - best >= spec.patience:
            break
    network.set_weights(kept)
    return epochs


def _sample(train: Examples, seed: int) -> Block:
    """Rows of the train split as an epoch 0 would begin."""
    return next(train.blocks(batch=min(MEASURED_ROWS, train.rows), batches=1, seed=seed, epoch=0))


@dataclass(frozen=True)
class _Measure:
    """Measures the epochs."""

    steps: Steps
    sample: Block
    """Of the train split."""
    evaluation: Examples
    problem: Problem

    def epoch(self, epoch: int, *, loss: float, start: float, learning_rate: float) -> Epoch:
        """How an epoch went; raises where the loss is no number."""
        labels, logits = self.evaluation.labels, self.steps.logits(self.evaluation.in_order(BLOCK_ROWS))
        with np.errstate(invalid="ignore"):
            eval_loss = float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean(dtype=np.float64))
        for one in (loss, eval_loss):
            if not math.isfinite(one):
                raise TrainingError(f"epoch {epoch}: the loss is {one}; lower learning_rate (it is {learning_rate:g})")
        return Epoch(
            epoch=epoch,
            loss=loss,
            metric=self.problem.primary,
            score=self.problem.score(self.sample.labels, self.steps.logits([self.sample.inputs])),
            eval_loss=eval_loss,
            eval_score=self.problem.score(labels, logits),
            seconds=round(time.monotonic() - start, 3),
        )
