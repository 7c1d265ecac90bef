"""The optimizer of a network that several workers train: one sum over all of them a step, also of embeddings."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Gradient: TypeAlias = Any
"""A tensor, or rows of one: `tf.IndexedSlices`."""


class SharedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam, whose gradients are added up over the workers as they are over the rows of a batch in one process.

    TensorFlow adds up the gradients of embeddings, which have the shape of the rows, by a way of its own, which waits
    for ever within a loop. Here each worker puts its rows in a place of their own among zeros, and one sum over all
    that is learnt has the rows of all of them.
    """

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Sequence[tuple[Gradient, keras.Variable]]
    ) -> list[tuple[Gradient, keras.Variable]]:
        """As Keras calls it in each step, on each device."""
        gradients = [gradient for gradient, _ in grads_and_vars]
        parts = [part for gradient in gradients for part in _parts(gradient)]
        flat = tf.concat([tf.reshape(tf.cast(one, tf.float32), [-1]) for one in parts], 0)
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
        pieces = tf.split(total, [tf.size(one) for one in parts])
        summed = iter([tf.reshape(piece, tf.shape(part)) for piece, part in zip(pieces, parts, strict=True)])
        return [(_whole(gradient, summed), variable) for gradient, variable in grads_and_vars]


def _parts(gradient: Gradient) -> list[tf.Tensor]:
    """What is to be added up: of rows, in a place of their own, their values and where they belong."""
    if isinstance(gradient, tf.IndexedSlices):
        return [_placed(gradient.values), _placed(gradient.indices)]
    return [gradient]


def _placed(rows: tf.Tensor) -> tf.Tensor:
    """The rows of this device among zeros, where those of the others are; every device has as many."""
    context = tf.distribute.get_replica_context()
    count, place = tf.shape(rows)[0], context.replica_id_in_sync_group
    after = context.num_replicas_in_sync - 1 - place
    return tf.pad(rows, [[place * count, after * count], *([0, 0] for _ in rows.shape[1:])])


def _whole(gradient: Gradient, summed: Iterator[tf.Tensor]) -> Gradient:
    """A gradient as it was, of what was added up."""
    if isinstance(gradient, tf.IndexedSlices):
        values, indices = next(summed), next(summed)
        return tf.IndexedSlices(values, tf.cast(indices, gradient.indices.dtype), gradient.dense_shape)
    return tf.ensure_shape(next(summed), gradient.shape)
