"""What the task `train_model` does: a sweep where one is asked for, then the training, with the settings that win."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from cd4ml.cluster import twins
from cd4ml.errors import TrainingError
from cd4ml.training import local_workers, sweeping, trainers, workers
from cd4ml.training.request import Request
from cd4ml.training.train import Trained, train
from cd4ml.training.workers import Came, Others


def run(
    request: Request, *, sweep: Mapping[str, Any], folder: str | Path, report: str | Path, logs: str | Path
) -> Trained | Came:
    """Trains the model that is asked for, and writes what there is of it.

    Args:
        request: What is asked for; its `spec` is what a sweep varies.
        sweep: Settings that are tried first, in a place of the sweep; empty for none. It needs a store.
        folder: Where the model goes.
        report: Where the report goes, an HTML file.
        logs: Where the epochs go for TensorBoard, a folder.

    Raises:
        TrainingError: What is asked for does not allow a model, or no trial of the sweep wins.
    """
    trainers.check_workers(trainers.parse(request.spec), request.workers, sweep=bool(sweep))
    if request.workers > 1:
        with _others(request) as others:
            return workers.train(request, others, folder=folder, report=report, logs=logs)
    if not sweep:
        return train(request, folder=folder, report=report, logs=logs)
    if not request.store:
        raise TrainingError("sweep: what it tries is kept in the store; name one")
    swept = sweeping.run(sweep, request, place=0)
    return train(replace(request, spec=swept.spec), folder=folder, report=report, logs=logs, swept=swept)


def _others(request: Request) -> AbstractContextManager[Others]:
    """Where the other workers are: in a task of a pipeline in a cluster other pods, else processes here."""
    if twins.POD not in os.environ:
        return local_workers.of(request)
    from cd4ml.training import cluster_workers  # and the cluster's client, which is not needed elsewhere

    return nullcontext(cluster_workers.of(request))
