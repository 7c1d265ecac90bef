"""The epochs of a training as TensorBoard reads them.

The files are written as records, without `tf.summary`: its writer counts among what TensorFlow numbers, and tables and
functions that are made after it would be called otherwise in the model.
"""

import shutil
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import tensorflow as tf

from cd4ml.training.fit import Epoch

Event = tf.compat.v1.Event
Summary = tf.compat.v1.Summary


class Board:
    """A folder with a file of events; each attempt writes its own anew, so that no epoch is there twice."""

    def __init__(self, folder: Path) -> None:
        """Names the folder; nothing is written yet."""
        self._folder, self._shown = folder, 0

    def show(self, epochs: Sequence[Epoch]) -> None:
        """Writes the epochs that it has not.

        Args:
            epochs: All so far.

        Raises:
            OSError: The folder cannot be written.
            tf.errors.OpError: The same.
        """
        for one in epochs[self._shown :]:
            values = [
                Summary.Value(tag=_tag(name), simple_value=value)
                for name, value in one.entry.items()
                if name != "epoch"
            ]
            self._write(Event(wall_time=time.time(), step=one.epoch, summary=Summary(value=values)))
        self._shown = len(epochs)

    @cached_property
    def _writer(self) -> tf.io.TFRecordWriter:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        made = tf.io.TFRecordWriter(str(self._folder / f"events.out.tfevents.{time.time():.0f}"))
        made.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        return made

    def _write(self, event: "tf.compat.v1.Event") -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()


def _tag(name: str) -> str:
    """Curves that belong together share the word before the slash: `auc/train`, `auc/eval`, `seconds/step`."""
    if name == "seconds":
        return "seconds/all"
    if name.endswith("_seconds"):
        return f"seconds/{name.removesuffix('_seconds')}"
    return f"{name.removeprefix('eval_')}/eval" if name.startswith("eval_") else f"{name}/train"
