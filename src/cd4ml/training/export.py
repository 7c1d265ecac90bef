"""Writes a model's folder (layout: `cd4ml.contracts.model`)."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.python.framework import ops

from cd4ml.contracts import document
from cd4ml.contracts.lineage import FILE, Lineage
from cd4ml.contracts.model import HISTORY, SAVED_MODEL, Contract, write_contract
from cd4ml.training.fit import Epoch

ROUND = 1_000_000
"""TensorFlow names functions by how many a process has made, which more or less training before must not change."""


def write(folder: Path, *, contract: Contract, served: keras.Model, epochs: Sequence[Epoch], lineage: Lineage) -> None:
    """Writes the folder beside its place and moves it there when it is whole."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    while ops.uid() % ROUND:
        pass
    try:
        save(unfinished / SAVED_MODEL, contract, served)
        write_contract(contract, unfinished)
        document.write(unfinished / HISTORY, [epoch.entry for epoch in epochs])
        lineage.write(unfinished / FILE)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def save(folder: Path, contract: Contract, served: keras.Model) -> None:
    """Writes the SavedModel of a model's folder."""
    signature = {one.tensor: tf.TensorSpec([None], one.dtype, name=one.tensor) for one in contract.inputs}

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def predict(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {contract.output: served([raw[one.tensor] for one in contract.inputs], training=False)}

    module = tf.Module()
    module.served = served
    tf.saved_model.save(module, str(folder), signatures=predict)
    # Nothing needs it, and the random number in it would give the same model another digest.
    (folder / "fingerprint.pb").unlink(missing_ok=True)
