"""The epochs of a training as TensorBoard reads them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework.summary_pb2 import SummaryMetadata

from cd4ml.training.fit import Epoch

_SCALARS = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
"""What has TensorBoard draw a curve; `tf.summary.scalar` would say so too, but for the package of TensorBoard."""


class Board:
    """A folder of event files; each attempt writes its own anew, so that no epoch is there twice."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(folder))
        self._shown = 0

    def show(self, epochs: Sequence[Epoch]) -> None:
        """Writes the epochs that it has not.

        Args:
            epochs: All so far.

        Raises:
            tf.errors.OpError: The folder cannot be written.
        """
        with self._writer.as_default():
            for one in epochs[self._shown :]:
                for name, value in one.entry.items():
                    if name != "epoch":
                        tf.summary.write(_tag(name), tf.constant(value, tf.float32), step=one.epoch, metadata=_SCALARS)
        self._writer.flush()
        self._shown = len(epochs)


def _tag(name: str) -> str:
    """Curves that belong together share the word before the slash: `auc/train`, `auc/eval`, `seconds/step`."""
    if name == "seconds":
        return "seconds/all"
    if name.endswith("_seconds"):
        return f"seconds/{name.removesuffix('_seconds')}"
    return f"{name.removeprefix('eval_')}/eval" if name.startswith("eval_") else f"{name}/train"
