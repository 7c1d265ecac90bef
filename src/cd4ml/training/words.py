"""Texts by their words: hashed, so that no vocabulary is kept, and whatever comes later has a place."""

import keras
import tensorflow as tf

BUCKETS = 4096
"""Into which words, and pairs of them, are hashed."""
MOST_WORDS = 100
"""Of a text, from its beginning: all that count."""
MOST = 2 * MOST_WORDS - 1
"""Of a text, words and pairs."""


class Words(keras.layers.Layer):  # type: ignore[misc]
    """The words of a text and each two in a row: from string [batch] to their buckets, int32 [batch, MOST].

    Buckets are numbered from 1; 0 follows where there are no more words. A word is some letters and digits in a row,
    whatever their case.
    """

    def call(self, texts: tf.Tensor) -> tf.Tensor:
        """Takes the texts apart."""
        plain = tf.strings.regex_replace(tf.strings.lower(texts, "utf-8"), r"[^\pL\pM\pN]+", " ")
        words = tf.strings.split(plain)[:, :MOST_WORDS]
        terms = tf.concat([words, tf.strings.ngrams(words, 2)], axis=1)
        buckets = tf.strings.to_hash_bucket_fast(terms, BUCKETS)
        return tf.cast(buckets + 1, tf.int32).to_tensor(0, shape=[None, MOST])

    def compute_output_spec(self, texts: keras.KerasTensor) -> keras.KerasTensor:
        """As `call` gives it."""
        return keras.KerasTensor((*texts.shape, MOST), dtype="int32")


class Bag(keras.layers.Layer):  # type: ignore[misc]
    """Words as one vector: from their buckets, int32 [batch, words], to float32 [batch, width].

    It is the sum of the vectors that are learnt of them, divided by the root of how many they are, so that neither a
    long text drowns the others nor in it a word; zero where there are none. No vector is written out for each word of
    each row, for these would fill the memory.
    """

    def __init__(self, size: int, width: int) -> None:
        """Makes the vectors.

        Args:
            size: One above the last bucket.
            width: Of a vector.
        """
        super().__init__()
        self.vectors = self.add_weight((size, width), "uniform", name="vectors")

    def call(self, buckets: tf.Tensor) -> tf.Tensor:
        """The vector of each row."""
        there = buckets > 0
        found = tf.sparse.segment_sqrt_n(
            tf.cast(self.vectors, tf.float32),
            tf.boolean_mask(buckets, there),
            tf.cast(tf.where(there)[:, 0], tf.int32),
            num_segments=tf.shape(buckets)[0],
        )
        return tf.cast(found, self.compute_dtype)

    def compute_output_spec(self, buckets: keras.KerasTensor) -> keras.KerasTensor:
        """As `call` gives it."""
        return keras.KerasTensor((buckets.shape[0], self.vectors.shape[1]), dtype=self.compute_dtype)
