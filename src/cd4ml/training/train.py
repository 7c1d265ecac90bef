"""Trains a model: from splits, their statistics and schema to a model's folder (layout: `cd4ml.contracts.model`)."""

import hashlib
import inspect
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from cd4ml.contracts import dataset, document, model
from cd4ml.contracts.calibrated import Calibration
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.contracts.lineage import Lineage
from cd4ml.contracts.model import Contract
from cd4ml.contracts.problem import Problem
from cd4ml.errors import TrainingError
from cd4ml.storage import scratch
from cd4ml.training import (
    calibration,
    class_weights,
    dates,
    environment,
    examples,
    export,
    features,
    reweight,
    statistics,
    threshold,
    warm_start,
)
from cd4ml.training.board import Board
from cd4ml.training.checkpoints import Checkpoints
from cd4ml.training.class_weights import OfClasses
from cd4ml.training.devices import Devices, find
from cd4ml.training.ending import at_sigterm, leave
from cd4ml.training.fit import Epoch, Watch, best, finite, unwatched
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.request import Request
from cd4ml.training.reweight import Weights
from cd4ml.training.split import opened
from cd4ml.training.tracking import Tracker, most_resident
from cd4ml.training.trainers import Trainer, parse
from cd4ml.training.workers import Worker

if TYPE_CHECKING:
    from cd4ml.training.sweeping import Swept

WORKSPACE = "cd4ml-train-"
"""The temporary folder of a training; those of trainings that were killed are known by this prefix."""


@dataclass(frozen=True)
class Trained:
    """A model that was trained."""

    problem: Problem
    digest: str
    name: str
    rows: int
    """Of the train split."""
    features: int
    history: Sequence[Epoch]
    unit: str
    """What its epochs count: epochs, or trees."""
    weights: Weights | None
    """Of the train rows, where they were reweighted."""
    ended: str
    """Why training ended, where there is something to say."""
    device: str
    """What it was trained on."""
    memory_bytes: int
    """The most that the process held."""
    device_memory_bytes: int | None
    """The most that it held of the GPUs' own; None without."""
    calibration: Calibration | None = None
    """Of its probabilities, where that was asked for."""
    class_weights: OfClasses | None = None
    """Of the train rows, where they were weighted by class."""
    threshold: ChosenThreshold | None = None
    """Where one was asked for."""

    @property
    def best(self) -> Epoch:
        """Whose weights the model has."""
        return best(self.history, self.problem)

    @property
    def epochs(self) -> int:
        """How many there were; of trees, how many were grown."""
        return self.history[-1].epoch

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this model in the UI."""
        primary = self.problem.metric(self.problem.primary)
        return {
            "headline": f"{primary.name} {primary.written(self.best.eval_score)}",
            "digest": self.digest,
            "model": self.name,
            "rows": self.rows,
            "features": self.features,
            "reweighted": str(self.weights or "no"),
            "class_weights": str(self.class_weights or "no"),
            "calibrated": str(self.calibration or "no"),
            "threshold": str(self.threshold or "none chosen"),
            "ended": self.ended,
            "device": self.device,
        }

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs; what is not defined is left out."""
        return finite(
            {
                f"eval_{self.problem.primary}": self.best.eval_score,
                "eval_loss": self.best.eval_loss,
                f"train_{self.problem.primary}": self.best.score,
                "train_loss": self.best.loss,
                "best_epoch": self.best.epoch,
                "epochs": self.epochs,
                **self._use,
            }
        )

    @property
    def _use(self) -> dict[str, float]:
        """What it took, as far as it is known."""
        seconds = sum(one.seconds for one in self.history)
        stepped = sum(one.step_seconds or 0.0 for one in self.history)
        waited = [one.input_seconds for one in self.history if one.input_seconds is not None]
        found = {"seconds": round(seconds, 3), "memory_gib": round(self.memory_bytes / 2**30, 3)}
        if stepped and seconds:
            found["step_share"] = round(stepped / seconds, 3)
        if stepped and waited:
            found["rows_per_second"] = round(self.rows * len(self.history) / (stepped + sum(waited)))
        if self.device_memory_bytes:
            found["gpu_memory_gib"] = round(self.device_memory_bytes / 2**30, 3)
        return found


def train(
    request: Request,
    *,
    folder: str | Path,
    report: str | Path | None = None,
    logs: str | Path | None = None,
    watch: Watch = unwatched,
    swept: "Swept | None" = None,
    worker: Worker | None = None,
) -> Trained:
    """Trains a model in this process and writes its folder, whole or not at all.

    Args:
        request: What is asked for.
        folder: Where the model goes.
        report: Where the report goes, an HTML file.
        logs: Where the epochs go for TensorBoard, a folder.
        watch: Is told all epochs so far after each, and ends the training where it raises.
        swept: The sweep that has found the settings, for the report.
        worker: The first of several workers, where they train together; the others `take_part`.

    Raises:
        TrainingError: The specification, the data or the GPUs do not allow a model.
    """
    trainer = parse(request.spec)
    devices = _devices(request, worker)
    keras.utils.set_random_seed(request.seed)
    basis = _basis(request, trainer)
    with _workspace() as workspace:
        job = basis.job(request, devices=devices, workspace=workspace, watch=watch)
        read = _read(request)
        calibration.check(trainer, job)
        threshold.check(trainer.threshold, job)
        key = _key(trainer, job=job, read=read, started_from=basis.started_from) if request.store else ""
        tracker = _tracker(request, trainer, key=key, devices=devices, logs=logs)
        job = replace(job, checkpoints=_checkpoints(request, key, worker), tracker=tracker)
        with tracker:
            fitted, contract = _fitted(trainer, job)
            lineage = Lineage(request.seed, read, environment.here(_files(type(trainer)), devices), basis.started_from)
            export.write(Path(folder), contract=contract, served=fitted.model, epochs=fitted.epochs, lineage=lineage)
    if job.checkpoints:
        job.checkpoints.settle()
    trained = Trained(
        problem=contract.problem,
        digest=model.digest(folder),
        name=trainer.model,
        rows=examples.rows(job.train),
        features=len(contract.inputs),
        history=fitted.epochs,
        unit=tracker.unit,
        weights=basis.weights,
        ended=fitted.ended,
        device=str(devices),
        memory_bytes=most_resident(),
        device_memory_bytes=devices.most_held(),
        calibration=contract.calibration,
        class_weights=basis.class_weights,
        threshold=contract.threshold,
    )
    if report:
        from cd4ml.training import report as reports  # which draws, and is not needed without

        reports.write(report, trained=trained, contract=contract, seed=request.seed, swept=swept)
    return trained


def take_part(request: Request, worker: Worker) -> None:
    """Trains a network as one of several workers that is not the first; nothing is written.

    Args:
        request: What is asked for, of all of them.
        worker: Which of them this is.

    Raises:
        TrainingError: As `train`.
    """
    trainer = parse(request.spec)
    devices = _devices(request, worker)
    keras.utils.set_random_seed(request.seed)
    basis = _basis(request, trainer)
    with _workspace() as workspace:
        trainer.fit(basis.job(request, devices=devices, workspace=workspace, watch=unwatched))
        devices.together.part()


def _devices(request: Request, worker: Worker | None) -> Devices:
    there = len(worker.addresses) if worker else 1
    if request.workers != there:
        raise TrainingError(f"workers: {request.workers} are asked for, and there are {there}")
    return find(request.accelerator, request.gpus, worker)


@dataclass(frozen=True)
class _Basis:
    """What the files of a request say of the training."""

    contract: Contract
    statistics: Mapping[str, statistics.Column]
    weights: Weights | None
    class_weights: OfClasses | None
    start: Path | None
    """The model that it begins with."""

    @property
    def started_from(self) -> str:
        """The digest of that model; empty without."""
        return model.digest(self.start) if self.start else ""

    def job(self, request: Request, *, devices: Devices, workspace: Path, watch: Watch) -> TrainingJob:
        """What a trainer is given, but for where it tells and keeps how far it is."""
        return TrainingJob(
            train=Path(request.train),
            eval=Path(request.eval),
            contract=self.contract,
            statistics=self.statistics,
            weights=class_weights.together(self.weights, self.class_weights),
            seed=request.seed,
            workspace=workspace,
            start=self.start,
            devices=devices,
            watch=watch,
        )


def _basis(request: Request, trainer: Trainer) -> _Basis:
    """Reads what is to be learnt from what.

    Raises:
        TrainingError: The data does not allow it.
    """
    split, start = Path(request.train), request.begins_with
    known = dates.measured(statistics.read(request.statistics), split, trainer.dates)
    if start and not trainer.may_start_warm:
        raise TrainingError(f"warm_start: {trainer.model!r} begins anew each time; leave warm_start out")
    if start:
        known = warm_start.in_its_order(known, start)
    contract = _contract(request, trainer, known)
    if start:
        warm_start.check(contract, start)
    return _Basis(
        contract,
        known,
        weights=_weights(split, contract, trainer.reweight),
        class_weights=_class_weights(split, contract, trainer),
        start=start,
    )


def _contract(request: Request, trainer: Trainer, known: Mapping[str, statistics.Column]) -> Contract:
    split = Path(request.train)
    columns = examples.columns(split)
    inputs = features.select(
        columns,
        schema=Path(request.schema),
        statistics=known,
        label=request.label,
        exclude=request.exclude,
        texts=trainer.texts,
    )
    asked = examples.asked(request)
    print(asked, flush=True)  # noqa: T201 (the task's log)
    origin = dataset.read(columns, str(split))
    hashed = {one.column for one in origin.masked if one.how == "hashed"} if origin else set()
    inputs = tuple(replace(one, personal=one.name in hashed) for one in inputs)
    contract = Contract(request.label, asked.classes, inputs, trainer.recorded, asked.problem)
    labels = known.get(request.label)
    if isinstance(labels, statistics.Number) and not contract.problem.buckets:
        return replace(contract, label_quantiles=labels.quantiles)
    return contract


@contextmanager
def _workspace() -> Iterator[Path]:
    """A folder for what is written meanwhile, which goes too where SIGTERM ends the training."""
    temporary = Path(tempfile.gettempdir())
    scratch.clean(temporary, WORKSPACE)
    with at_sigterm(leave), scratch.folder(temporary, WORKSPACE) as workspace:
        yield workspace


def _checkpoints(request: Request, key: str, worker: Worker | None) -> Checkpoints | None:
    if not request.store:
        return None
    written = worker.kept if worker else lambda: None
    return Checkpoints(request.store, key, every_seconds=request.checkpoint_seconds, written=written)


def _tracker(request: Request, trainer: Trainer, *, key: str, devices: Devices, logs: str | Path | None) -> Tracker:
    return Tracker(
        trainer.model,
        store=request.store,
        key=key,
        device=str(devices),
        device_memory=devices.most_held,
        show=Board(Path(logs)).show if logs else None,
    )


def _key(trainer: Trainer, *, job: TrainingJob, read: Mapping[str, str], started_from: str) -> str:
    """Tells a training from every other: data, settings, seed and code are the same, and so is what comes of it."""
    code = {*Path(__file__).parents[1].rglob("*.py"), *_files(type(trainer))}
    parts = (
        read["train"],
        read["eval"],
        repr(job.contract),
        repr(sorted(job.statistics.items())),
        str(job.seed),
        started_from,
        *(document.digest(file) for file in sorted(code)),
        keras.__version__,
        np.__version__,
        tf.__version__,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _read(request: Request) -> dict[str, str]:
    """The digests of what training reads.

    Raises:
        TrainingError: A split is not Parquet.
    """
    for split in (request.train, request.eval):
        opened(Path(split)).close()
    return {name: document.digest(file) for name, file in request.learnt_from.items()}


def _files(trainer: type[Trainer]) -> set[Path]:
    """Where a trainer and what it is made from are written."""
    return {Path(inspect.getfile(one)) for one in trainer.__mro__ if one is not object}


def _weights(split: Path, contract: Contract, columns: Sequence[str]) -> Weights | None:
    if not columns:
        return None
    if not contract.problem.has_classes:
        raise TrainingError(
            f"reweight: evens out how often groups have a class, and the label {contract.label!r} is a number; "
            "leave it out"
        )
    weights = reweight.weigh(split, contract, columns)
    print(f"reweighted {weights}", flush=True)  # noqa: T201 (the task's log)
    return weights


def _class_weights(split: Path, contract: Contract, trainer: Trainer) -> OfClasses | None:
    if not trainer.class_weights:
        return None
    weights = class_weights.weigh(split, contract, trainer)
    print(f"class weights {weights}", flush=True)  # noqa: T201 (the task's log)
    return weights


def _fitted(trainer: Trainer, job: TrainingJob) -> tuple[Fitted, Contract]:
    """A model that is trained, with what eval says of its probabilities and its threshold in its contract."""
    fitted = trainer.fit(job)
    job.devices.together.part()
    _check_model(fitted, trainer, job)
    fitted, found = calibration.calibrated(trainer, fitted, job)
    chosen = threshold.choose(trainer.threshold, fitted, job)
    _note_end(job.tracker, fitted, job.problem)
    return fitted, replace(job.contract, calibration=found, threshold=chosen)


def _check_model(fitted: Fitted, trainer: Trainer, job: TrainingJob) -> None:
    shape = (None, *job.contract.shape)
    if fitted.model.output_shape != shape or not fitted.epochs:
        raise TrainingError(
            f"model {trainer.model!r}: {type(trainer).__qualname__}.fit gave a model of the output shape "
            f"{fitted.model.output_shape} after {len(fitted.epochs)} epochs; give one of {shape}, "
            f"{job.contract.output} by row, and tell of at least one epoch"
        )


def _note_end(tracker: Tracker, fitted: Fitted, problem: Problem) -> None:
    last = fitted.epochs[-1]
    tracker.note(
        fitted.epochs,
        best=best(fitted.epochs, problem),
        epoch=last.epoch,
        loss=last.entry.get("loss"),
        seconds=sum(one.seconds for one in fitted.epochs),
        said=fitted.ended,
    )
