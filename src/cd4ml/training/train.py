"""Trains a model: from splits, their statistics and schema to a model's folder (layout: `cd4ml.contracts.model`)."""

import hashlib
import inspect
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from cd4ml.contracts import document, model, question
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
    environment,
    examples,
    export,
    features,
    reweight,
    statistics,
    sweeping,
    threshold,
    warm_start,
)
from cd4ml.training.board import Board
from cd4ml.training.checkpoints import EVERY_SECONDS, Checkpoints
from cd4ml.training.class_weights import OfClasses
from cd4ml.training.devices import find
from cd4ml.training.fit import Epoch, Watch, at_sigterm, best, finite, unwatched
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.reweight import Weights
from cd4ml.training.split import opened
from cd4ml.training.tracking import Tracker, most_resident
from cd4ml.training.trainers import Trainer, parse

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
    train_split: str | Path,
    *,
    eval_split: str | Path,
    statistics_folder: str | Path,
    schema: str | Path,
    label: str,
    exclude: Sequence[str],
    spec: Mapping[str, Any],
    seed: int,
    folder: str | Path,
    report: str | Path | None = None,
    logs: str | Path | None = None,
    problem: str = question.AUTO,
    positive: str = "",
    classes: Sequence[object] = (),
    accelerator: str = "auto",
    gpus: int = 1,
    store: str | None = None,
    start: str | Path | None = None,
    warm: bool = True,
    checkpoint_seconds: float = EVERY_SECONDS,
    watch: Watch = unwatched,
    sweep: Mapping[str, Any] | None = None,
) -> Trained:
    """Trains a model and writes its folder, whole or not at all.

    Args:
        train_split: A Parquet file.
        eval_split: A Parquet file; says when to stop, and which epoch's weights to keep.
        statistics_folder: What `validate_dataset` wrote; its `train.pb` is read.
        schema: What `validate_dataset` wrote; the features are its columns.
        label: The column to predict.
        exclude: Columns that are no features.
        spec: The model and its hyperparameters (`cd4ml.training.trainers`).
        seed: On one machine the same seed and data give the same weights.
        folder: Where the model goes.
        report: Where the report goes, an HTML file.
        logs: Where the epochs go for TensorBoard, a folder.
        problem: What the label asks for, or `auto`, which finds it (`cd4ml.contracts.question`).
        positive: The value of the label that counts as positive; found where it is empty.
        classes: The values of the label in their order; empty where they have none.
        accelerator: Whether GPUs are taken: where there are (`auto`), in any case (`gpu`), or not (`cpu`).
        gpus: How many, at most; as many have to be there for `gpu`.
        store: Keeps how far training is; one that was ended before goes on from that, and who asks is told.
        start: A model's folder, whose weights this one begins with; a file where there is none, as of a first run.
        warm: Whether it does; else `start` is not looked at.
        checkpoint_seconds: How often it is kept.
        watch: Is told all epochs so far after each, and ends the training where it raises.
        sweep: Settings that are tried first, in a place of the sweep, to train with those that win; it needs a `store`.

    Raises:
        TrainingError: The specification, the data or the GPUs do not allow a model; or no trial of the sweep wins.
    """
    swept = None
    if sweep:
        if not store:
            raise TrainingError("sweep: what it tries is kept in the store; name one")
        swept = sweeping.run(
            sweep,
            spec=spec,
            place=0,
            training={
                "train_split": str(train_split),
                "eval_split": str(eval_split),
                "statistics_folder": str(statistics_folder),
                "schema": str(schema),
                "label": label,
                "exclude": list(exclude),
                "seed": seed,
                "problem": problem,
                "positive": positive,
                "classes": list(classes),
                "accelerator": accelerator,
                "gpus": gpus,
                "store": store,
            },
        )
        spec = swept.spec
    checked = parse(spec)
    devices = find(accelerator, gpus)
    keras.utils.set_random_seed(seed)

    known = statistics.read(statistics_folder)
    begins_with = Path(start) if warm and start and Path(start).is_dir() else None
    if begins_with:
        if not checked.may_start_warm:
            raise TrainingError(f"warm_start: {checked.model!r} begins anew each time; leave warm_start out")
        known = warm_start.in_its_order(known, begins_with)
    inputs = features.select(
        examples.columns(Path(train_split)),
        schema=Path(schema),
        statistics=known,
        label=label,
        exclude=exclude,
        texts=checked.texts,
    )
    asked = examples.ask(Path(train_split), label, problem=problem, positive=positive, classes=classes)
    print(asked, flush=True)  # noqa: T201 (the task's log)
    contract = Contract(label, asked.classes, inputs, checked.recorded, asked.problem)
    labels = known.get(label)
    if isinstance(labels, statistics.Number) and not contract.problem.buckets:
        contract = replace(contract, label_quantiles=labels.quantiles)
    if begins_with:
        warm_start.check(contract, begins_with)
    weights = _weights(Path(train_split), contract, checked.reweight)
    by_class = _class_weights(Path(train_split), contract, checked)
    temporary = Path(tempfile.gettempdir())
    scratch.clean(temporary, WORKSPACE)
    with at_sigterm(_end), scratch.folder(temporary, WORKSPACE) as workspace:
        job = TrainingJob(
            train=Path(train_split),
            eval=Path(eval_split),
            contract=contract,
            statistics=known,
            weights=class_weights.together(weights, by_class),
            seed=seed,
            workspace=workspace,
            start=begins_with,
            devices=devices,
            watch=watch,
        )
        read = _read(job, Path(statistics_folder), Path(schema))
        calibration.check(checked, job)
        threshold.check(checked.threshold, job)
        started_from = model.digest(begins_with) if begins_with else ""
        key = _key(checked, job=job, read=read, started_from=started_from) if store else ""
        tracker = Tracker(
            checked.model,
            store=store,
            key=key,
            device=str(devices),
            device_memory=devices.most_held,
            show=Board(Path(logs)).show if logs else None,
        )
        checkpoints = Checkpoints(store, key, every_seconds=checkpoint_seconds) if store else None
        job = replace(job, checkpoints=checkpoints, tracker=tracker)
        with tracker:
            fitted = _fitted(checked, job)
            fitted, found = calibration.calibrated(checked, fitted, job)
            chosen = threshold.choose(checked.threshold, fitted, job)
            contract = replace(contract, calibration=found, threshold=chosen)
            _note_end(tracker, fitted, contract.problem)
            lineage = Lineage(seed, read, environment.here(_files(type(checked)), devices), started_from)
            export.write(Path(folder), contract=contract, served=fitted.model, epochs=fitted.epochs, lineage=lineage)
    if checkpoints:
        checkpoints.settle()
    trained = Trained(
        problem=contract.problem,
        digest=model.digest(folder),
        name=checked.model,
        rows=examples.rows(Path(train_split)),
        features=len(inputs),
        history=fitted.epochs,
        unit=tracker.unit,
        weights=weights,
        ended=fitted.ended,
        device=str(devices),
        memory_bytes=most_resident(),
        device_memory_bytes=devices.most_held(),
        calibration=found,
        class_weights=by_class,
        threshold=chosen,
    )
    if report:
        from cd4ml.training import report as reports  # which draws, and is not needed without

        reports.write(report, trained=trained, contract=contract, seed=seed, swept=swept)
    return trained


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


def _read(job: TrainingJob, statistics_folder: Path, schema: Path) -> dict[str, str]:
    """The digests of what training reads.

    Raises:
        TrainingError: A split is not Parquet.
    """
    for split in (job.train, job.eval):
        opened(split).close()
    files = {
        "train": job.train,
        "eval": job.eval,
        "statistics": statistics_folder / statistics.TRAIN,
        "schema": schema,
    }
    return {name: document.digest(file) for name, file in files.items()}


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


def _fitted(trainer: Trainer, job: TrainingJob) -> Fitted:
    fitted = trainer.fit(job)
    shape = (None, *job.contract.shape)
    if fitted.model.output_shape != shape or not fitted.epochs:
        raise TrainingError(
            f"model {trainer.model!r}: {type(trainer).__qualname__}.fit gave a model of the output shape "
            f"{fitted.model.output_shape} after {len(fitted.epochs)} epochs; give one of {shape}, "
            f"{job.contract.output} by row, and tell of at least one epoch"
        )
    return fitted


def _end(number: int, _: FrameType | None) -> NoReturn:
    """Ends the training between two steps, and cleans up."""
    raise SystemExit(128 + number)
