"""The optimizer of a network that several workers train: one sum over all of them a step, also of embeddings."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Gradient: TypeAlias = Any
"""A tensor, or rows of one: `tf.IndexedSlices`."""
_EXACT = 2**24
"""Up to where float32 has all whole numbers; the number of a row beyond goes in two parts."""


class SharedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam, whose gradients are added up over the workers as they are over the rows of a batch in one process."""

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Sequence[tuple[Gradient, keras.Variable]]
    ) -> list[tuple[Gradient, keras.Variable]]:
        """As Keras calls it in each step, on each device."""
        gradients, variables = zip(*grads_and_vars, strict=True)
        return list(zip(added_up(gradients), variables, strict=True))


def added_up(gradients: Sequence[Gradient]) -> list[Gradient]:
    """The sums of gradients over all devices, each of which calls this at once.

    TensorFlow adds up the gradients of embeddings, which have the shape of the rows, by a way of its own, which waits
    for ever within a loop. Here each device puts its rows in a place of their own among zeros, and one sum over all
    that is learnt has the rows of all of them.
    """
    alike = [_alike(one) for one in gradients]
    parts = [part for one in alike for part in _parts(one)]
    flat = tf.concat([tf.reshape(tf.cast(one, tf.float32), [-1]) for one in parts], 0)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
    pieces = tf.split(total, [tf.size(one) for one in parts])
    summed = iter([tf.reshape(piece, tf.shape(part)) for piece, part in zip(pieces, parts, strict=True)])
    return [_whole(one, summed) for one in alike]


def _alike(gradient: Gradient) -> Gradient:
    """A gradient of the same shape on all devices: rows whose number depends on the data become a whole tensor."""
    is_known = not isinstance(gradient, tf.IndexedSlices) or gradient.values.shape[0] is not None
    return gradient if is_known else tf.convert_to_tensor(gradient)


def _parts(gradient: Gradient) -> list[tf.Tensor]:
    """What is to be added up: of rows, in a place of their own, their values and where they belong."""
    if isinstance(gradient, tf.IndexedSlices):
        return [_placed(one) for one in (gradient.values, gradient.indices // _EXACT, gradient.indices % _EXACT)]
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
        values, high, low = (next(summed) for _ in range(3))
        kind = gradient.indices.dtype
        return tf.IndexedSlices(values, tf.cast(high, kind) * _EXACT + tf.cast(low, kind), gradient.dense_shape)
    return tf.ensure_shape(next(summed), gradient.shape)
