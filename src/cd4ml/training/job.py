"""What a trainer is given, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from cd4ml.contracts.model import Contract
from cd4ml.training.checkpoints import Checkpoints
from cd4ml.training.fit import Epoch
from cd4ml.training.statistics import Column
from cd4ml.training.tracking import Tracker


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
    checkpoints: Checkpoints | None = None
    """What a training that was ended goes on from; None where nothing is kept."""
    tracker: Tracker = field(default_factory=Tracker)
    """Takes word of how far the training is, where it is `due`."""


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    model: keras.Model
    """From raw features, one tensor [batch] an input in their order, to the probability of the positive class,
    float32 [batch]."""
    epochs: Sequence[Epoch]
    """At least one; the model has the weights of the one with the highest `eval_score`."""
    ended: str = ""
    """Why training ended, where there is something to say."""
