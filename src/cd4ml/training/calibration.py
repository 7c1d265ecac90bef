"""Calibration: a trained model's probabilities become those that the eval split bears out, within the model.

A temperature divides log odds (Guo et al. 2017, "On calibration of modern neural networks"), or of three classes and
more the logarithms of all probabilities; an isotonic regression finds the rising steps that fit best, between which it
is linear. Neither turns the order of two rows round, nor a temperature that of two classes of a row. Whether
probabilities are calibrated, the test split judges: on the eval split, which they were fitted to, they always seem so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import isotonic_regression, minimize_scalar

from cd4ml.contracts.calibrated import Calibration
from cd4ml.contracts.model import Contract
from cd4ml.errors import TrainingError
from cd4ml.names import counted
from cd4ml.training import blocks, examples, objective, split
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.objective import LEAST, MOST, Objective
from cd4ml.training.trainers import Trainer

FEWEST = 20
"""Rows of each class that the eval split has at least."""
FEW_FOR_ISOTONIC = 200
"""With fewer, an isotonic regression follows these rows more than what they are drawn from."""
MOST_TEMPERATURE = 20.0
"""And the least is 1 by that."""
AT_BOUND = 1e-3
"""A temperature this close to a bound, in parts of it, is at it."""
PARTS = 10
"""In which the rows are compared with what was predicted of them, each of as many."""


def check(trainer: Trainer, job: TrainingJob) -> None:
    """Makes sure, before anything is trained, that its probabilities can be calibrated where that is asked for.

    Raises:
        TrainingError: The label is a number, or has too many classes for it; or the eval split has too few rows.
    """
    contract, method = job.contract, trainer.calibration
    if method == "none":
        return
    if not contract.classes:
        raise TrainingError(
            f"calibration: is of the probabilities of classes, and the label {contract.label!r} asks for "
            f"{contract.problem.task}; leave it out"
        )
    if len(contract.classes) > 2 and method == "isotonic":
        raise TrainingError(
            f"calibration: isotonic is of two classes, and the label {contract.label!r} has {len(contract.classes)}; "
            "write `temperature`, or leave it out"
        )
    what, rows = _rarer(split.labels(job.eval, contract), contract)
    if rows < FEWEST:
        raise TrainingError(
            f"calibration: the eval split has {counted(rows, 'row')} of {what}, and {FEWEST} are the fewest that it "
            "can be fitted to; give eval a larger share of the data, or leave it out"
        )


def calibrated(trainer: Trainer, fitted: Fitted, job: TrainingJob) -> tuple[Fitted, Calibration | None]:
    """Calibrates a model that was trained, where that is asked for.

    Args:
        trainer: Says how.
        fitted: What it trained.
        job: Its eval split is what the calibration is fitted to, with no weights.

    Returns:
        The model with its calibration within, and what that is; the model as it was where none is asked for.
    """
    if trainer.calibration == "none":
        return fitted, None
    labels, before = examples.answers(job.eval, contract=job.contract, served=fitted.model)
    learnt = objective.of(job.contract, labels)
    fit = _FITS[trainer.calibration](labels, before, learnt)
    after = np.concatenate([fit.layer(before[part]).numpy() for part in blocks.of(before)])
    calibration = Calibration(
        method=trainer.calibration,
        rows=len(labels),
        positives=int(labels.sum()) if before.ndim == 1 else None,
        loss=(_loss(labels, before, learnt), _loss(labels, after, learnt)),
        error=(_error(labels, before), _error(labels, after)),
        temperature=fit.temperature,
        levels=fit.levels,
        warning=fit.warning,
    )
    print(f"calibrated {calibration}", flush=True)  # noqa: T201 (the task's log)
    model = keras.Model(fitted.model.inputs, fit.layer(fitted.model.outputs[0]))
    return replace(fitted, model=model), calibration


class Temperature(keras.layers.Layer):  # type: ignore[misc]
    """Divides the log odds of probabilities, float32 [batch], by a number."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def call(self, probabilities: tf.Tensor) -> tf.Tensor:
        """In float64, so that no two rows change places."""
        likely = tf.clip_by_value(tf.cast(probabilities, tf.float64), LEAST, MOST)
        logits = tf.math.log(likely) - tf.math.log1p(-likely)
        return tf.cast(tf.sigmoid(logits / self.temperature), tf.float32)


class TemperatureOfClasses(Temperature):
    """Divides the logarithms of the probabilities of classes, float32 [batch, classes], by a number; they sum to 1."""

    def call(self, probabilities: tf.Tensor) -> tf.Tensor:
        """In float64, so that no two classes change places, though they may become equal in float32."""
        logits = tf.math.log(tf.maximum(tf.cast(probabilities, tf.float64), LEAST))
        return tf.cast(tf.nn.softmax(logits / self.temperature), tf.float32)


class Steps(keras.layers.Layer):  # type: ignore[misc]
    """What lies between points, linearly; beyond the first and the last point it is as there."""

    def __init__(self, given: np.ndarray, becomes: np.ndarray) -> None:
        """Takes the points.

        Args:
            given: Probabilities, float64 [points], each above the one before.
            becomes: What they are to be, float64 [points], none below the one before.
        """
        super().__init__()
        self.given, self.becomes = given, becomes

    def call(self, probabilities: tf.Tensor) -> tf.Tensor:
        """float32 [batch], of probabilities likewise."""
        last = len(self.given) - 1
        within = tf.clip_by_value(tf.cast(probabilities, tf.float64), self.given[0], self.given[-1])
        above = tf.searchsorted(tf.constant(self.given), within, side="right")
        places = tf.maximum(above - 1, 0), tf.minimum(above, last)
        (start, stop), (low, high) = (
            [tf.gather(tf.constant(points), place) for place in places] for points in (self.given, self.becomes)
        )
        found = low + tf.math.divide_no_nan(within - start, stop - start) * (high - low)
        return tf.cast(tf.minimum(found, high), tf.float32)


@dataclass(frozen=True)
class _Fit:
    """What was fitted, and what there is to say of it."""

    layer: keras.layers.Layer
    temperature: float | None = None
    levels: int | None = None
    warning: str = ""


def _temperature(labels: np.ndarray, probabilities: np.ndarray, learnt: Objective) -> _Fit:
    bound = np.log(MOST_TEMPERATURE)
    found = minimize_scalar(
        lambda tried: _loss(labels, probabilities, learnt, temperature=float(np.exp(tried))),
        bounds=(-bound, bound),
        method="bounded",
    )
    temperature = float(np.exp(found.x))
    warning = ""
    if abs(found.x) > bound - AT_BOUND:
        look = "whether it has learnt anything" if found.x > 0 else "whether a feature gives the label away"
        warning = f"this temperature is the bound of those that are tried: see {look}"
    layer = Temperature if probabilities.ndim == 1 else TemperatureOfClasses
    return _Fit(layer(temperature), temperature=temperature, warning=warning)


def _isotonic(labels: np.ndarray, probabilities: np.ndarray, learnt: Objective) -> _Fit:  # noqa: ARG001 (as the other)
    given, places, counts = np.unique(probabilities.astype(np.float64), return_inverse=True, return_counts=True)
    shares = np.bincount(places, weights=labels) / counts
    least = 1 / (len(labels) + 2)  # so many rows do not tell that something never is
    levels = np.clip(isotonic_regression(shares, weights=counts).x, least, 1 - least)
    rises = np.diff(levels) > 0
    ends = np.append(rises, True) | np.insert(rises, 0, True)
    rarer = int(min(labels.sum(), len(labels) - labels.sum()))
    warning = ""
    if not rises.any():
        warning = "every row has the same probability now: see whether the model has learnt anything"
    elif rarer < FEW_FOR_ISOTONIC:
        warning = f"{rarer} rows of the rarer class are few for it, so it follows chance; a temperature needs fewer"
    return _Fit(Steps(given[ends], levels[ends]), levels=1 + int(rises.sum()), warning=warning)


_FITS: Mapping[str, Callable[[np.ndarray, np.ndarray, Objective], _Fit]] = {
    "temperature": _temperature,
    "isotonic": _isotonic,
}


def _loss(labels: np.ndarray, probabilities: np.ndarray, learnt: Objective, *, temperature: float = 1.0) -> float:
    """The mean logarithmic loss."""
    parts = blocks.of(probabilities)
    losses = [learnt.loss(labels[part], learnt.outputs(probabilities[part]) / temperature) for part in parts]
    return float(np.average(losses, weights=[len(labels[part]) for part in parts]))


def _error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The expected calibration error, over parts of as many rows each; of several classes, of the predicted one."""
    if probabilities.ndim > 1:
        labels, probabilities = labels == probabilities.argmax(axis=1), probabilities.max(axis=1)
    differences = (probabilities - labels)[np.argsort(probabilities, kind="stable")]
    parts = np.array_split(differences.astype(np.float64), PARTS)
    return float(sum(abs(part.sum()) for part in parts) / len(labels))


def _rarer(labels: np.ndarray, contract: Contract) -> tuple[str, int]:
    """The class that fewer rows have, or of several all but the most frequent one; and how many rows."""
    counts = np.bincount(labels.astype(np.int64), minlength=len(contract.classes))
    most = int(counts.argmax())
    others = [repr(one) for place, one in enumerate(contract.classes) if place != most]
    what = others[0] if len(others) == 1 else f"classes other than {contract.classes[most]!r}"
    return what, int(counts.sum() - counts[most])
