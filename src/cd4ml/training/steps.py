"""What TensorFlow does at once: the steps of a block of batches, and the predictions of many rows."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from cd4ml.training.examples import Block
from cd4ml.training.objective import Objective

PREDICTED_ROWS = 8192
"""Rows that are predicted at a time."""


class Steps:
    """Takes the steps of a training, many in one call of TensorFlow."""

    def __init__(
        self, network: keras.Model, *, objective: Objective, optimizer: keras.optimizers.Optimizer, batch: int
    ) -> None:
        """Prepares the steps.

        Args:
            network: Gives the outputs of the objective; it is trained in place.
            objective: What it learns.
            optimizer: Its variables are part of what a training goes on from.
            batch: Rows of a step.
        """
        self.network, self.objective, self.optimizer, self.batch = network, objective, optimizer, batch
        optimizer.build(network.trainable_variables)
        inputs = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in network.inputs]
        rows = tf.TensorSpec([None], tf.float32)
        self._take = tf.function(self._steps, input_signature=[inputs, rows, rows])
        self._predict = tf.function(self._all_outputs, input_signature=[inputs])

    def take(self, block: Block) -> float:
        """A step for each batch of a block.

        Returns:
            The sum of the losses of its rows, weighted where they are; each before the step that its row is part of.
            What the network adds to the loss (`keras.Layer.add_loss`, a regularizer) counts in the step alone.
        """
        targets = self.objective.targets(block.labels)
        weights = np.ones_like(targets) if block.weights is None else block.weights
        return float(self._take(block.inputs, targets, weights))

    def outputs(self, parts: Iterable[list[np.ndarray]]) -> np.ndarray:
        """What the network gives for encoded rows, float32 [rows]."""
        return np.concatenate([self._predict(inputs).numpy() for inputs in parts])

    def _steps(self, inputs: list[tf.Tensor], targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0, tf.float64)
        for start in tf.range(0, tf.shape(targets)[0], self.batch):
            part = slice(start, start + self.batch)
            total += tf.cast(self._step([one[part] for one in inputs], targets[part], weights[part]), tf.float64)
        return total

    def _step(self, inputs: list[tf.Tensor], targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = tf.reshape(self.network(inputs, training=True), [-1])
            losses = weights * self.objective.losses(targets, outputs)
            own = [tf.cast(tf.reduce_sum(one), losses.dtype) for one in self.network.losses]
            loss = tf.add_n([tf.reduce_mean(losses), *own])
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return tf.reduce_sum(losses)

    def _all_outputs(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        rows = tf.shape(inputs[0])[0]
        found = tf.TensorArray(tf.float32, -(-rows // PREDICTED_ROWS), infer_shape=False, element_shape=[None])
        for number in tf.range(found.size()):
            part = slice(number * PREDICTED_ROWS, (number + 1) * PREDICTED_ROWS)
            outputs = self.network([one[part] for one in inputs], training=False)
            found = found.write(number, tf.reshape(outputs, [-1]))
        return found.concat()
