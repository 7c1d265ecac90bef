"""The model that is served: inputs in, predictions out."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cd4ml.contracts.model import SAVED_MODEL, digest, read_contract
from cd4ml.errors import DeploymentError
from cd4ml.serving.rows import Encoder, Inputs

THREADS = 2
"""Of TensorFlow, for the rows of one call; a model that is served is small, and its server shares the machine."""


class ServedModel:
    """A model that is loaded.

    Args:
        folder: The model's (layout: `cd4ml.contracts.model`).
        expected: The digest that it must have; empty where nobody said.

    Raises:
        StorageError: The folder holds no model.
        DeploymentError: It holds another model than it ought to.
    """

    def __init__(self, folder: Path, expected: str) -> None:
        self.contract = read_contract(folder)
        self.digest = digest(folder)
        if expected and self.digest != expected:
            raise DeploymentError(
                f"{folder} holds the model {self.digest}, not {expected} as MODEL_DIGEST says; "
                "fetch that model again, or deploy the one that is there"
            )
        self.encoder = Encoder(self.contract)

        import tensorflow as tf  # takes seconds, so a folder without its model is told before

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._tensor, self._call = tf.constant, tf.raw_ops.StatefulPartitionedCall
        self._loaded = tf.saved_model.load(str(folder / SAVED_MODEL))  # functions do not keep its variables alive
        # Called as an operation: what Python does to call a function takes longer than to predict a row.
        self._function = self._packed(self._loaded.signatures["serving_default"])
        self._variables, self._output = self._function.captured_inputs, [tf.float32]

    def predict(self, inputs: Inputs) -> np.ndarray:
        """The predictions, float32 [rows], or [rows, classes]."""
        given = (self._tensor(one) for one in (inputs.numbers, inputs.texts, inputs.dates))
        [found] = self._call(args=[*given, *self._variables], Tout=self._output, f=self._function)
        predictions: np.ndarray = found.numpy()
        return predictions

    def _packed(self, signature: Any) -> Any:
        """The signature as a function of three tensors: to make one for each feature takes longer than to predict."""
        import tensorflow as tf

        tensors, types = self.encoder.tensors, (tf.float32, tf.string, tf.int64)
        names = list(chain.from_iterable(tensors))
        specification = [tf.TensorSpec([None, len(some)], type_) for some, type_ in zip(tensors, types, strict=True)]

        @tf.function(input_signature=specification)  # type: ignore[untyped-decorator]
        def packed(*given: Any) -> Any:
            columns = chain.from_iterable(tf.unstack(one, axis=1) for one in given)
            return signature(**dict(zip(names, columns, strict=True)))[self.contract.output]

        return packed.get_concrete_function()
