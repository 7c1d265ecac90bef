"""What a model learns of a problem: its targets, its loss, and how what it gives becomes an answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cd4ml.contracts.model import Contract
from cd4ml.contracts.problem import Problem
from cd4ml.errors import TrainingError
from cd4ml.training import blocks

LEAST, MOST = 1e-37, 1 - 2.0**-25
"""What a probability of 0 and one of 1 may have been before they became a float32."""


@dataclass(frozen=True)
class Objective(ABC):
    """What is learnt of a label; what a network gives for a row is its output, one number or one a class."""

    problem: Problem
    boosting: str
    """What LightGBM calls it."""
    boosting_loss: str
    """What LightGBM calls the loss of `losses`."""
    shape: tuple[int, ...] = field(default=(), kw_only=True)
    """Of the output of a row."""

    @abstractmethod
    def targets(self, labels: np.ndarray) -> np.ndarray:
        """What is learnt, float32 [rows], from labels as the problem numbers them."""

    @abstractmethod
    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The loss of each row, [rows], from outputs [rows, *shape]."""

    @abstractmethod
    def loss(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The mean loss of rows that are measured; no number where an output is none."""

    @abstractmethod
    def answer(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """What the model gives, of the type of the outputs."""

    @abstractmethod
    def outputs(self, answers: np.ndarray) -> np.ndarray:
        """The outputs that these are the answers of, [rows, *shape]."""

    def boosted(self, predicted: np.ndarray) -> np.ndarray:
        """What tells rows apart as outputs do, from LightGBM's own predictions for the rows that it has."""
        return predicted

    @abstractmethod
    def score(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The primary metric of the problem."""


class Classes(Objective):
    """Which of two classes: an output is a logit."""

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """0 and 1, as they are."""
        return labels

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The cross entropy."""
        return tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs)

    def loss(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The mean cross entropy."""
        with np.errstate(invalid="ignore"):
            return float(np.logaddexp(0, np.where(labels == 1, -outputs, outputs)).mean(dtype=np.float64))

    def answer(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """The probability of the positive class."""
        return ops.sigmoid(outputs)

    def outputs(self, answers: np.ndarray) -> np.ndarray:
        """The logits, of 0 and 1 as far as a float32 tells."""
        likely: np.ndarray = np.clip(answers.astype(np.float64), LEAST, MOST)
        logits: np.ndarray = np.log(likely) - np.log1p(-likely)
        return logits

    def score(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """That of the logits, which tell rows apart where their probabilities are alike."""
        return self.problem.score(labels, outputs)


class Several(Objective):
    """Which of three or more classes: an output is a logit a class."""

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """The places of the classes."""
        return labels.astype(np.float32)

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The cross entropy."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(targets, tf.int32), outputs)

    def loss(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The mean cross entropy."""
        places, total = labels.astype(np.int64)[:, None], 0.0
        for part in blocks.of(outputs):
            total -= float(np.take_along_axis(_log_softmax(outputs[part]), places[part], axis=1).sum())
        return total / len(labels)

    def answer(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """The probabilities of the classes."""
        return ops.softmax(outputs)

    def outputs(self, answers: np.ndarray) -> np.ndarray:
        """The logarithms of the probabilities, as far as a float32 tells these from 0."""
        logits: np.ndarray = np.maximum(answers, LEAST, dtype=np.float64)
        np.log(logits, out=logits)
        return logits

    def boosted(self, predicted: np.ndarray) -> np.ndarray:
        """LightGBM gives probabilities."""
        return self.outputs(predicted)

    def score(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """That of the probabilities, which is a mean over the rows."""
        parts = blocks.of(outputs)
        scores = [self.problem.score(labels[part], np.exp(_log_softmax(outputs[part]))) for part in parts]
        return float(np.average(scores, weights=[len(labels[part]) for part in parts]))


def _log_softmax(outputs: np.ndarray) -> np.ndarray:
    """The logarithm of each class's probability, float64 [rows, classes]; no numbers where an output is none."""
    with np.errstate(invalid="ignore"):
        below = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
        found: np.ndarray = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    return found


@dataclass(frozen=True)
class Number(Objective):
    """Which number: an output is the label less its mean, in standard deviations, so that its unit is no matter."""

    mean: float
    deviation: float

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """The standard scores of the labels."""
        return ((labels - self.mean) / self.deviation).astype(np.float32)

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The squared error."""
        return tf.math.squared_difference(targets, outputs)

    def loss(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The mean squared error, in parts of the variance of the labels that were learnt from."""
        with np.errstate(invalid="ignore", over="ignore"):
            return float(np.square(self.targets(labels) - outputs.astype(np.float64)).mean())

    def answer(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """In the unit of the label."""
        return outputs * self.deviation + self.mean

    def outputs(self, answers: np.ndarray) -> np.ndarray:
        """Their standard scores."""
        return self.targets(answers)

    def score(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """That of the numbers in the unit of the label."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.problem.score(labels, outputs.astype(np.float64) * self.deviation + self.mean)


def _classes(contract: Contract, labels: np.ndarray) -> Objective:  # noqa: ARG001 (as every objective)
    return Classes(contract.problem, "binary", "binary_logloss")


def _several(contract: Contract, labels: np.ndarray) -> Objective:  # noqa: ARG001 (likewise)
    return Several(contract.problem, "multiclass", "multi_logloss", shape=contract.shape)


def _number(contract: Contract, labels: np.ndarray) -> Objective:
    mean, deviation = float(labels.mean()), float(labels.std())
    if deviation < max(abs(mean), LEAST) * np.finfo(np.float32).eps:
        raise TrainingError(
            f"label {contract.label!r}: its numbers, {mean:g} on average, lie too close together for a model to tell "
            "them apart; give them in a smaller unit, or as their distances from a number"
        )
    return Number(contract.problem, "regression", "l2", mean, deviation)


_BY_PROBLEM: Mapping[str, Callable[[Contract, np.ndarray], Objective]] = {
    "binary": _classes,
    "multiclass": _several,
    "ordinal": _several,
    "regression": _number,
}


def of(contract: Contract, labels: np.ndarray) -> Objective:
    """What is learnt of a label.

    Args:
        contract: Names the problem.
        labels: Of the train split, as the problem numbers them; not all are the same.

    Raises:
        TrainingError: They are too much alike for a model.
    """
    return _BY_PROBLEM[contract.problem.name](contract, labels)
