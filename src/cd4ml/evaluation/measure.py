"""Predicts with each model and has TFMA measure it, each in a process of its own: TFMA computes on one core."""

import logging
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from cd4ml.errors import EvaluationError
from cd4ml.evaluation.summary import Slice


@dataclass(frozen=True)
class Task:
    """One model, and what it is measured on."""

    role: str
    model: Path
    features: Mapping[str, np.ndarray]
    labels: np.ndarray
    columns: Mapping[str, np.ndarray]
    slices: Sequence[Sequence[str]]
    thresholds: Sequence[float]
    folder: Path
    """Where TFMA writes."""


@dataclass(frozen=True)
class Curves:
    """What the pictures of one model on all rows are drawn from; arrays of one length each."""

    thresholds: np.ndarray
    """Rising, from 0 to 1."""
    confusion: np.ndarray
    """float [thresholds, 4]: true positives, false positives, true negatives, false negatives."""
    calibration: np.ndarray
    """float [buckets, 3]: rows, mean prediction, share of positives; none of them empty."""


@dataclass(frozen=True)
class Measured:
    """What came of it."""

    predictions: np.ndarray
    slices: list[Slice]
    curves: Curves


def measure(tasks: Sequence[Task]) -> list[Measured]:
    """Measures the models side by side, as many at once as there are cores.

    Raises:
        EvaluationError: A model does not predict, or a process was killed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # A server that has imported TFMA, and has not run TensorFlow, is forked: no second import, and no locks held.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([f"{__package__}.tfma_run"])
    workers = min(len(tasks), len(os.sched_getaffinity(0)))
    try:
        with ProcessPoolExecutor(workers, processes, initializer=_end_with_parent) as pool:
            return list(pool.map(_measure, tasks))
    except BrokenProcessPool as error:
        raise EvaluationError(
            "a process that measured a model was killed; give the task more memory, or lower max_rows"
        ) from error


def _measure(task: Task) -> Measured:
    from cd4ml.evaluation import config, predict, tfma_run

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        predictions = predict.predict(task.model, task.features)
    except EvaluationError as error:
        raise EvaluationError(f"{task.role}: {error}") from error
    asked = config.eval_config(task.slices, task.thresholds)
    with tempfile.TemporaryDirectory() as scratch:
        tempfile.tempdir = scratch  # Beam leaves its temporary folders behind
        try:
            slices, curves = tfma_run.run(asked, task.labels, predictions, task.columns, task.role, task.folder)
        finally:
            tempfile.tempdir = None
    return Measured(predictions, slices, curves)


def _end_with_parent() -> None:
    """A worker would wait for tasks for ever when its parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
