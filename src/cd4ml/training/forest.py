"""Trees as TensorFlow operations.

A tree is not walked, for that takes steps whose number differs by row. Its leaves are bits, numbered from left to
right, and each split that sends a row to the right clears those of the leaves on its left: the lowest bit that is left
is the row's leaf (Lucchese et al. 2015, "QuickScorer"). All splits by one feature are one table: the bits that they
leave in every tree, by the interval that the row's value lies in. So a feature costs a row one search, one row of a
table and one `and`, however deep the trees are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

MOST_LEAVES = 64
"""Of a tree: the bits of the widest integer."""
TREES_TOGETHER = 128
"""A table has a row for each threshold of all its trees: so its size grows with the trees and not with their square."""

ZERO = np.float32(1e-35)
"""LightGBM takes what is no further from 0 for 0."""


@dataclass(frozen=True)
class Split:
    """A node that divides the rows."""

    tree: int
    feature: int
    cleared: int
    """The bits of the leaves on its left."""
    threshold: float
    """Numbers up to here go to the left, as float32; without meaning where there are `values`."""
    values: tuple[int, ...]
    """The values of a category that go to the left."""
    missing_left: bool
    """Where a missing number goes."""


@dataclass
class Tree:
    """A tree as bits."""

    splits: list[Split] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)
    """Their values, from left to right."""


class Forest(keras.layers.Layer):  # type: ignore[misc]
    """The sum of trees: from features, float32 [batch, width], to a number, float64 [batch].

    A number may be missing (NaN); a category is a whole number from 0 to below its size.
    """

    def __init__(self, trees: Sequence[Mapping[str, Any]], *, categories: Mapping[int, int]) -> None:
        """Turns trees into tables.

        Args:
            trees: As LightGBM dumps them (`tree_info`), each of `MOST_LEAVES` leaves at most.
            categories: The features that are categories, and how many values each has.
        """
        super().__init__(dtype="float64", autocast=False)
        self._parts = [
            _Part([_tree(place, one["tree_structure"]) for place, one in enumerate(together)], categories)
            for together in _together(trees)
        ]

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """The sum of each row."""
        columns = tf.transpose(features)
        return tf.add_n([part(columns) for part in self._parts])

    def compute_output_spec(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """As `call` gives it."""
        return keras.KerasTensor(features.shape[:1], dtype="float64")


def _together(trees: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(trees), TREES_TOGETHER):
        yield trees[start : start + TREES_TOGETHER]


class _Part:
    """Trees whose splits are in the same tables."""

    def __init__(self, trees: Sequence[Tree], categories: Mapping[int, int]) -> None:
        width = max(len(tree.leaves) for tree in trees)
        self._leaves = np.zeros((len(trees), width))
        for tree, values in zip(trees, self._leaves, strict=True):
            values[: len(tree.leaves)] = tree.leaves
        dtype = np.int32 if width <= np.iinfo(np.int32).bits else np.int64
        self._numbers: list[int] = []
        thresholds = []
        self._tables: dict[int, np.ndarray] = {}
        splits = [split for tree in trees for split in tree.splits]
        for feature in sorted({split.feature for split in splits}):
            own = [split for split in splits if split.feature == feature]
            if feature in categories:
                reached = _by_value(own, categories[feature])
            else:
                self._numbers.append(feature)
                thresholds.append(np.unique(np.array([split.threshold for split in own], np.float32)))
                reached = _by_interval(own, thresholds[-1])
            self._tables[feature] = _table(own, ~reached, trees=len(trees), dtype=dtype)
        self._missing = np.array([len(one) + 1 for one in thresholds], np.int32)
        longest = max(map(len, thresholds), default=0)
        self._thresholds = np.full((len(thresholds), longest), np.inf, np.float32)
        for row, one in zip(self._thresholds, thresholds, strict=True):
            row[: len(one)] = one

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """The sum of the trees: from float32 [width, batch] to float64 [batch]."""
        places = self._places(columns)
        count, width = self._leaves.shape
        if not self._tables:
            return tf.fill(tf.shape(columns)[1:], self._leaves.sum())
        left: tf.Tensor = None
        for feature, table in self._tables.items():
            # One table after the other: all at once, they would be in memory at once.
            with tf.control_dependencies([] if left is None else [left]):
                found = tf.gather(table, places[feature])
            left = found if left is None else tf.bitwise.bitwise_and(left, found)
        lowest = tf.bitwise.bitwise_and(left, -left)
        leaf = tf.cast(tf.raw_ops.PopulationCount(x=lowest - 1), tf.int32)
        first = np.arange(count, dtype=np.int32) * width
        return tf.reduce_sum(tf.gather(self._leaves.reshape(-1), leaf + first), axis=-1)

    def _places(self, columns: tf.Tensor) -> dict[int, tf.Tensor]:
        """The row of each feature's table, int32 [batch]."""
        places = {feature: tf.cast(columns[feature], tf.int32) for feature in self._tables.keys() - self._numbers}
        if self._numbers:
            values = tf.gather(columns, self._numbers)
            values = tf.where(tf.abs(values) <= ZERO, 0.0, values)
            found = tf.searchsorted(self._thresholds, values)
            found = tf.where(tf.math.is_nan(values), self._missing[:, None], found)
            places |= dict(zip(self._numbers, tf.unstack(found), strict=True))
        return places


def _tree(place: int, root: Mapping[str, Any]) -> Tree:
    tree = Tree()

    def walk(node: Mapping[str, Any]) -> None:
        if "leaf_value" in node:
            tree.leaves.append(node["leaf_value"])
            return
        first = len(tree.leaves)
        walk(node["left_child"])
        cleared = (1 << len(tree.leaves)) - (1 << first)
        tree.splits.append(_split(place, node, cleared))
        walk(node["right_child"])

    walk(root)
    return tree


def _split(tree: int, node: Mapping[str, Any], cleared: int) -> Split:
    by_value = node["decision_type"] == "=="
    threshold = 0.0 if by_value else float(node["threshold"])
    return Split(
        tree=tree,
        feature=node["split_feature"],
        cleared=cleared,
        threshold=_rounded_down(threshold),
        values=tuple(map(int, node["threshold"].split("||"))) if by_value else (),
        # Where training saw none, LightGBM takes a missing number for 0.
        missing_left=node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0,
    )


def _rounded_down(threshold: float) -> float:
    """The greatest float32 up to a threshold: the same float32 numbers lie below either."""
    with np.errstate(over="ignore"):  # infinity, from which the greatest float32 is one step down
        nearest = np.float32(threshold)
    return float(nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf)))


def _by_value(splits: Sequence[Split], size: int) -> np.ndarray:
    """Whether a value goes to the left: bool [splits, values]."""
    left = np.zeros((len(splits), size), bool)
    for row, split in zip(left, splits, strict=True):
        row[list(split.values)] = True
    return left


def _by_interval(splits: Sequence[Split], thresholds: np.ndarray) -> np.ndarray:
    """Whether a number goes to the left: bool [splits, intervals], the last one being that of missing numbers."""
    own = np.searchsorted(thresholds, np.array([split.threshold for split in splits], np.float32))
    left = np.arange(len(thresholds) + 1) <= own[:, None]
    missing = np.array([[split.missing_left] for split in splits])
    return np.concatenate([left, missing], axis=1)


def _table(splits: Sequence[Split], right: np.ndarray, *, trees: int, dtype: type[np.integer]) -> np.ndarray:
    """The bits that the splits leave, [values, trees], from what goes to the right, bool [splits, values]."""
    table = np.full((right.shape[1], trees), -1, np.int64)
    for split, values in zip(splits, right, strict=True):
        kept = np.array(~split.cleared & 0xFFFF_FFFF_FFFF_FFFF, np.uint64).astype(np.int64)
        table[values, split.tree] &= kept
    return table.astype(dtype)
