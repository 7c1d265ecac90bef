"""What TensorFlow does at once: the steps of a block of batches, and the predictions of many rows."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from cd4ml.training.examples import Block
from cd4ml.training.objective import Objective

PREDICTED_ROWS = 8192
"""Rows that are predicted at a time."""
DRAWING = "seed_generator_state"
"""As Keras calls the variable from which a layer draws: a seed, and how often it was drawn from."""


class Steps:
    """Takes the steps of a training, many in one call of TensorFlow."""

    def __init__(
        self,
        network: keras.Model,
        *,
        exact: keras.Model,
        objective: Objective,
        optimizer: keras.optimizers.Optimizer,
        batch: int,
    ) -> None:
        """Prepares the steps, in the scope of the strategy by which devices share them.

        Args:
            network: Gives the outputs of the objective; it is trained in place.
            exact: What predicts: the network, or another whose weights become its own.
            objective: What it learns.
            optimizer: Its variables are part of what a training goes on from.
            batch: Rows of a step, on all devices together.
        """
        self.network, self.exact, self.objective = network, exact, objective
        self.optimizer, self.batch = optimizer, batch
        self.strategy = tf.distribute.get_strategy()
        self.devices = self.strategy.num_replicas_in_sync
        optimizer.build(network.trainable_variables)
        inputs = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in network.inputs]
        rows = tf.TensorSpec([None], tf.float32)
        self._take = tf.function(self._steps, input_signature=[inputs, rows, rows])
        self._predict = tf.function(self._all_outputs, input_signature=[inputs])

    def draw_apart(self) -> None:
        """Has each device draw otherwise than the others, from where the first one is: what `dropout` leaves out."""
        states = [one for one in self.network.variables if one.name == DRAWING]
        if states and self.devices > 1:
            tf.function(lambda: self.strategy.run(lambda: _apart(states)))()

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
        """What the network gives for encoded rows, float32 [rows, *shape]."""
        if self.exact is not self.network:
            self.exact.set_weights(self.network.get_weights())
        return np.concatenate([self._predict(inputs).numpy() for inputs in parts])

    def _steps(self, inputs: list[tf.Tensor], targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0, tf.float64)
        for start in tf.range(0, tf.shape(targets)[0], self.batch):
            part = slice(start, start + self.batch)
            batch = ([one[part] for one in inputs], targets[part], weights[part])
            losses = self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(self._step, batch), axis=None)
            total += tf.cast(losses, tf.float64)
        return total

    def _step(self, inputs: list[tf.Tensor], targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """One device's part of a step: its rows of a batch, whose gradients the optimizer adds up over all devices."""
        rows = tf.shape(targets)[0]
        inputs, targets, weights = self._part(inputs, targets, weights)
        with tf.GradientTape() as tape:
            outputs = tf.cast(self._shaped(self.network(inputs, training=True)), tf.float32)
            losses = weights * self.objective.losses(targets, outputs)
            own = [tf.cast(tf.reduce_sum(one), losses.dtype) / self.devices for one in self.network.losses]
            loss = tf.add_n([tf.reduce_sum(losses) / tf.cast(rows, losses.dtype), *own])
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return tf.reduce_sum(losses)

    def _part(
        self, inputs: list[tf.Tensor], targets: tf.Tensor, weights: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """The rows of a batch that this device takes; in a small last batch some device may have none of its own.

        They are filled up to as many as in any other batch, by rows of the batch that have no weight: what workers add
        up in a loop has to keep its shape, the gradients of embeddings have that of the rows, and a layer that looks at
        all rows at once is to see true ones.
        """
        if self.devices == 1:
            return inputs, targets, weights
        rows = tf.shape(targets)[0]
        part, size = -(-rows // self.devices), -(-self.batch // self.devices)
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        numbers = tf.range(size)
        taken = place * part + numbers
        is_own = (numbers < part) & (taken < rows)

        def of(values: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.gather(values, taken % rows), [size, *values.shape[1:]])

        return [of(one) for one in inputs], of(targets), tf.where(is_own, of(weights), 0.0)

    def _all_outputs(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        rows = tf.shape(inputs[0])[0]
        shape = [None, *self.objective.shape]
        found = tf.TensorArray(tf.float32, -(-rows // PREDICTED_ROWS), infer_shape=False, element_shape=shape)
        for number in tf.range(found.size()):
            part = slice(number * PREDICTED_ROWS, (number + 1) * PREDICTED_ROWS)
            outputs = self.exact([one[part] for one in inputs], training=False)
            found = found.write(number, self._shaped(outputs))
        return found.concat()

    def _shaped(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(outputs, [-1, *self.objective.shape])


def _apart(states: list[keras.Variable]) -> None:
    """Has this device draw by a seed of its own."""
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    for one in states:
        one.assign(one.value + tf.cast(tf.stack([place, 0]), one.dtype))
