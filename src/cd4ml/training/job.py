"""What a trainer is given, and what it gives back."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.problem import Problem
from cd4ml.errors import TrainingError
from cd4ml.names import shown
from cd4ml.training.checkpoints import Checkpoints
from cd4ml.training.devices import Devices
from cd4ml.training.fit import Epoch, Watch, unwatched
from cd4ml.training.statistics import Column
from cd4ml.training.tracking import Tracker

if TYPE_CHECKING:
    from cd4ml.training.network import Features


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """All that there is to train a model with."""

    train: Path
    """The train split, a Parquet file."""
    eval: Path
    """The eval split, a Parquet file: says when to stop, and which weights to keep."""
    contract: Contract
    """The label, its classes and the inputs; `cd4ml.contracts.model.features` turns a table into them."""
    statistics: Mapping[str, Column]
    """Of the train split by column, every input among them."""
    weights: np.ndarray | None
    """What each row of train counts, float32 [rows], where the model is reweighted."""
    seed: int
    """Set for Python, NumPy and TensorFlow already."""
    workspace: Path
    """A folder for what is written meanwhile; removed once the model is written."""
    devices: Devices = field(default_factory=Devices)
    """What to compute on; its `strategy` trains a network on several."""
    checkpoints: Checkpoints | None = None
    """What a training that was ended goes on from; None where nothing is kept."""
    start: Path | None = None
    """A model of the same inputs whose weights this one begins with (layout: `cd4ml.contracts.model`)."""
    tracker: Tracker = field(default_factory=Tracker)
    """Takes word of how far the training is, where it is `due`."""
    watch: Watch = unwatched
    """Is told all epochs so far after each, and ends the training where it raises."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the run file says to a function (`settings:`)."""

    @property
    def problem(self) -> Problem:
        """What is asked."""
        return self.contract.problem

    @property
    def features(self) -> Sequence[Input]:
        """The inputs of the model, in their order."""
        return self.contract.inputs

    def report(self, *, epoch: int = 1, loss: float | None = None, **numbers: float) -> None:
        """Tells how far training is, in the log and to whoever asks (`cd4ml runs show`).

        Args:
            epoch: The one that has ended.
            loss: Of its rows; in the log alone where it is not finite.
            numbers: What else there is to say in the log: `accuracy=0.91`.
        """
        said = {"epoch": epoch, "loss": loss, **numbers}
        words = (f"{name} {float(number):g}" for name, number in said.items() if number is not None)
        print(f"reported {', '.join(words)}", flush=True)  # noqa: T201 (the task's log)
        if self.tracker.due:
            known = None if loss is None or not math.isfinite(loss) else float(loss)
            self.tracker.tell([], best=None, epoch=int(epoch), loss=known)

    def encoder(self) -> keras.Model:
        """Our preprocessing (`cd4ml.training.network.encoder`): a model from raw features to what networks take."""
        from cd4ml.training import network

        return network.encoder(self.contract, self.statistics)

    def rows(self, split: Path) -> tuple[list[tf.Tensor], np.ndarray]:
        """A split whole in memory, for one that fits there.

        Returns:
            The raw features, one tensor [rows] an input in their order, and the label as the problem numbers it.
        """
        from cd4ml.training import examples

        return examples.whole(split, self.contract)

    def network(self, logit: "Callable[[Features], keras.KerasTensor]", **hyperparameters: Any) -> "Fitted":
        """Trains a network on our preprocessing by our loop, which stops early; each call keeps checkpoints of its own.

        Args:
            logit: From the preprocessed features to one logit a row, float32 [batch, 1], or of three and more classes
                to one a class; `features.outputs` says how many.
            hyperparameters: As those of `dnn` (docs/training.md): `epochs`, `batch_size`, `learning_rate` ...

        Raises:
            TrainingError: A hyperparameter is none, or training runs away.
        """
        from cd4ml.training import network

        checkpoints = self.checkpoints.of_next(repr(sorted(hyperparameters.items()))) if self.checkpoints else None
        fitted = network.train(network.by(logit, hyperparameters), replace(self, checkpoints=checkpoints))
        if checkpoints:
            checkpoints.settle()
        return fitted


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    model: keras.Model
    """From raw features, one tensor [batch] an input in their order, to the probability of the positive class or the
    number that is asked for, float32 [batch], or to the probabilities of three and more classes, [batch, classes]."""
    epochs: Sequence[Epoch]
    """At least one; the model has the weights of the one with the best `eval_score`."""
    ended: str = ""
    """Why training ended, where there is something to say."""

    def __post_init__(self) -> None:
        if not isinstance(self.epochs, Sequence) or not all(isinstance(one, Epoch) for one in self.epochs):
            raise TrainingError(f"Fitted: its epochs are {shown(self.epochs)}; give a list of cd4ml.training.fit.Epoch")
        if not isinstance(self.ended, str):
            raise TrainingError(f"Fitted: its end is {shown(self.ended)}; give a text, or leave it out")
