"""Weights by class: what a row of a rare class, or of one that must not be missed, counts in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cd4ml.contracts.model import Contract
from cd4ml.errors import TrainingError
from cd4ml.names import nearest
from cd4ml.training import split
from cd4ml.training.reweight import Weights
from cd4ml.training.trainers import Trainer

NOTE = "; so its probabilities are of classes as frequent as weighted, and not of those of the data"


@dataclass(frozen=True)
class OfClasses:
    """What each row of a split counts by its class."""

    rows: np.ndarray
    """float32 [rows], all above 0; together they are the number of rows."""
    by_class: Mapping[str, float]
    note: str
    """What they do to the probabilities, where nothing takes it back."""

    def __str__(self) -> str:
        return ", ".join(f"{name!r} {weight:.3g}" for name, weight in self.by_class.items()) + self.note


def weigh(file: Path, contract: Contract, trainer: Trainer) -> OfClasses:
    """Weighs the rows of a split.

    Args:
        file: The split, a Parquet file.
        contract: Names the label and its classes.
        trainer: Its `class_weights` are `balanced`, which gives each class the same weight in all; or a weight by
            class, and 1 for those that are not named.

    Raises:
        TrainingError: The label is a number, or a name is that of no class.
    """
    if not contract.problem.has_classes:
        raise TrainingError(f"class_weights: the label {contract.label!r} is a number and has no classes; leave it out")
    asked, labels = trainer.class_weights, split.labels(file, contract).astype(np.int64)
    counts = np.bincount(labels, minlength=len(contract.classes))
    weights = _named(asked, contract) if isinstance(asked, Mapping) else 1 / counts
    weights *= len(labels) / (weights @ counts)
    by_class = dict(zip(contract.classes, weights.tolist(), strict=True))
    return OfClasses(weights[labels].astype(np.float32), by_class, NOTE if trainer.calibration == "none" else "")


def together(groups: Weights | None, classes: OfClasses | None) -> np.ndarray | None:
    """What each row counts by its group and by its class, float32 [rows]; None where all count the same.

    The label rate stays the same in all groups, for all of one class are multiplied by the same number.
    """
    if groups is None or classes is None:
        return groups.rows if groups else classes.rows if classes else None
    rows = groups.rows.astype(np.float64) * classes.rows
    scaled: np.ndarray = (rows * (len(rows) / rows.sum())).astype(np.float32)
    return scaled


def _named(asked: Mapping[str, float], contract: Contract) -> np.ndarray:
    """By class, float64 [classes]."""
    unknown = [name for name in asked if name not in contract.classes]
    if unknown:
        raise TrainingError(
            f"class_weights: {unknown[0]!r} is no class of the label {contract.label!r}; "
            f"{nearest(unknown[0], contract.classes)}"
        )
    return np.array([asked.get(name, 1.0) for name in contract.classes])
