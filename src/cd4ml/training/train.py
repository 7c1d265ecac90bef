"""Trains a model: from splits, their statistics and schema to a model's folder (layout: `cd4ml.contracts.model`)."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import keras
import tensorflow as tf

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract
from cd4ml.contracts.problem import BINARY, Problem
from cd4ml.training import examples, export, features, network, reweight, statistics
from cd4ml.training.fit import Epoch, fit
from cd4ml.training.reweight import Weights
from cd4ml.training.spec import parse


@dataclass(frozen=True)
class Trained:
    """A model that was trained."""

    problem: Problem
    digest: str
    name: str
    rows: int
    """Of the train split."""
    features: int
    best: Epoch
    """Whose weights the model has."""
    epochs: int
    weights: Weights | None
    """Of the train rows, where they were reweighted."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this model in the UI."""
        return {
            "headline": f"{self.problem.primary} {self.best.eval_score:.3f}",
            "digest": self.digest,
            "model": self.name,
            "rows": self.rows,
            "features": self.features,
            "reweighted": str(self.weights or "no"),
        }

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs."""
        return {
            f"eval_{self.problem.primary}": self.best.eval_score,
            "eval_loss": self.best.eval_loss,
            f"train_{self.problem.primary}": self.best.score,
            "train_loss": self.best.loss,
            "best_epoch": self.best.epoch,
            "epochs": self.epochs,
        }


def train(
    train_split: str | Path,
    *,
    eval_split: str | Path,
    statistics_folder: str | Path,
    schema: str | Path,
    label: str,
    exclude: Sequence[str],
    spec: Mapping[str, Any],
    seed: int,
    folder: str | Path,
) -> Trained:
    """Trains a model and writes its folder, whole or not at all.

    Args:
        train_split: A Parquet file.
        eval_split: A Parquet file; says when to stop, and which epoch's weights to keep.
        statistics_folder: What `validate_dataset` wrote; its `train.pb` is read.
        schema: What `validate_dataset` wrote; the features are its columns.
        label: The column to predict: booleans, 0 and 1, or two words, of which the later by alphabet is positive.
        exclude: Columns that are no features.
        spec: The model and its hyperparameters (`cd4ml.training.spec`).
        seed: On one machine the same seed and data give the same weights.
        folder: Where the model goes.

    Raises:
        TrainingError: The specification or the data does not allow a model.
    """
    checked = parse(spec)
    keras.utils.set_random_seed(seed)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)

    known = statistics.read(statistics_folder)
    inputs = features.select(
        examples.columns(Path(train_split)), schema=Path(schema), statistics=known, label=label, exclude=exclude
    )
    classes = examples.classes(Path(train_split), label, BINARY)
    contract = Contract(label, classes, inputs, checked.model_dump(mode="json"))
    weights = _weights(Path(train_split), contract, checked.reweight)
    encoded = network.encoder(contract, known)
    trained = network.head(contract, statistics=known, encoded=encoded, spec=checked)
    with _ended_by_sigterm():
        training = examples.read(Path(train_split), contract, encoded)
        evaluation = examples.read(Path(eval_split), contract, encoded)
        epochs = fit(
            trained,
            train=training,
            evaluation=evaluation,
            spec=checked,
            weights=weights.rows if weights else None,
            problem=contract.problem,
        )
        export.write(Path(folder), contract=contract, served=network.served(contract, encoded, trained), epochs=epochs)
    best = max(epochs, key=lambda epoch: epoch.eval_score)
    return Trained(
        problem=contract.problem,
        digest=model.digest(folder),
        name=checked.model,
        rows=len(training.labels),
        features=len(inputs),
        best=best,
        epochs=len(epochs),
        weights=weights,
    )


def _weights(split: Path, contract: Contract, columns: Sequence[str]) -> Weights | None:
    if not columns:
        return None
    weights = reweight.weigh(split, contract, columns)
    print(f"reweighted {weights}", flush=True)  # noqa: T201 (the task's log)
    return weights


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, as a cluster sends it, ends the training between two steps and cleans up."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
