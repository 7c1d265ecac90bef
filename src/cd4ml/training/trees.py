"""Gradient-boosted trees: grown by LightGBM, one a round and class, and written as TensorFlow operations.

What TensorFlow encodes is what LightGBM learns from, and what the trees are asked about: numbers and truth values as
they are, NaN where one is missing, and a text as its place in the vocabulary. What training never saw is no surprise
to them: the first missing number of a column is its mean, a new text is as those that the statistics do not list.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from cd4ml.contracts.model import Contract
from cd4ml.errors import TrainingError
from cd4ml.training import date_parts, objective
from cd4ml.training.devices import cores
from cd4ml.training.examples import Examples
from cd4ml.training.fit import Epoch, best, end, measured_rows
from cd4ml.training.forest import Forest
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.network import lookup, vocabularies
from cd4ml.training.objective import Objective
from cd4ml.training.statistics import Column, Number
from cd4ml.training.trainers import Trees

if TYPE_CHECKING:
    import lightgbm

MOST_TREES = 12_000
"""Of a model, those of all classes together: more make a SavedModel of many hundred MiB."""
BATCH_ROWS = 65_536
"""Rows that LightGBM is given at a time."""
ROUNDS = 10
"""The trees from one measurement to the next: to measure takes longer than to grow one."""


def train(spec: Trees, job: TrainingJob) -> Fitted:
    """Grows trees until the eval split's score gets no better.

    Raises:
        TrainingError: A split cannot be read, the memory is too small, LightGBM cannot be loaded or fails, or there are
            too many trees for so many classes.
    """
    most = MOST_TREES // math.prod(job.contract.shape)
    usual = type(spec).model_fields["trees"].default  # records have it as if it was written
    if usual == spec.trees > most:
        said = f"trees: {most} for each of {len(job.contract.classes)} classes, {MOST_TREES:,} in all at most"
        print(said, flush=True)  # noqa: T201 (the task's log)
        spec = spec.model_copy(update={"trees": most})
    if spec.trees > most:
        raise TrainingError(
            f"model 'trees': {spec.trees} trees for each of {len(job.contract.classes)} classes are more than "
            f"{MOST_TREES:,} in all; write `trees: {most}`, or train another model"
        )
    encoded = encoder(job.contract, job.statistics)
    failed = library().basic.LightGBMError
    try:
        train, evaluation = (Examples(split, contract=job.contract, encoded=encoded) for split in (job.train, job.eval))
        learnt = objective.of(job.contract, train.labels)
        booster, epochs, ended = _grown(spec, train=train, evaluation=evaluation, job=job, learnt=learnt)
    except MemoryError as error:
        raise TrainingError(
            "model 'trees': out of memory, for trees have all rows in it; give the task more, exclude columns, or "
            "train another model"
        ) from error
    except failed as error:
        raise TrainingError(f"model 'trees': LightGBM fails ({error}); change its settings") from error
    print(f"ended {ended}", flush=True)  # noqa: T201 (the task's log)
    kept = booster.dump_model(num_iteration=best(epochs, learnt.problem).epoch)["tree_info"]
    classes, categories = math.prod(learnt.shape), _categories(job)
    sums = [Forest(kept[place::classes], categories=categories)(encoded.output) for place in range(classes)]
    outputs = ops.stack(sums, axis=-1) if learnt.shape else sums[0]
    return Fitted(keras.Model(encoded.inputs, ops.cast(learnt.answer(outputs), "float32")), epochs, ended)


def encoder(contract: Contract, statistics: Mapping[str, Column]) -> keras.Model:
    """What the trees see of a row.

    Args:
        contract: The inputs.
        statistics: Has every input.

    Returns:
        A model from raw features, one tensor [batch] an input in their order, to float32 [batch, width]: a number for
        each input but dates, then those of the dates.
    """
    texts = vocabularies(contract, statistics)
    raw = {one.name: keras.Input((), dtype=one.dtype) for one in contract.inputs}
    columns = [
        lookup(texts[one.name])(raw[one.name]) if one.name in texts else _number(raw[one.name], statistics[one.name])
        for one in contract.inputs
        if one.kind != "date"
    ]
    columns += [_number(age.days, age.scale) for age in date_parts.ages(contract, statistics, raw)]
    columns += [_place(one) for one in date_parts.places(contract, statistics, raw)]
    return keras.Model(list(raw.values()), ops.stack([ops.cast(column, "float32") for column in columns], axis=-1))


def _number(raw: keras.KerasTensor, column: Column) -> keras.KerasTensor:
    """The trees learn where a missing number goes where there are some to learn from; else it is the mean."""
    mean = column.mean if isinstance(column, Number) else 0.5
    return ops.where(ops.isfinite(raw), raw, np.float32(np.nan if column.missing else mean))


def _place(one: date_parts.Place) -> keras.KerasTensor:
    """Likewise; else it is the middle."""
    return ops.where(one.known, one.value, np.float32(np.nan if one.missing else (one.length - 1) / 2))


def _categories(job: TrainingJob) -> dict[int, int]:
    """The features that are texts, by their place, and how many values the encoder makes of each."""
    texts = vocabularies(job.contract, job.statistics)
    names = [one.name for one in job.contract.inputs if one.kind != "date"]
    return {place: len(texts[name]) + 1 for place, name in enumerate(names) if name in texts}


def _grown(
    spec: Trees, *, train: Examples, evaluation: Examples, job: TrainingJob, learnt: Objective
) -> "tuple[lightgbm.Booster, list[Epoch], str]":
    """All the trees, an epoch each time that they were measured, its number that of the trees, and why it ended."""
    boosting, problem, loss = library(), learnt.problem, learnt.boosting_loss
    settings = _settings(spec, job, learnt)
    data = boosting.Dataset(
        *_arrays(train, learnt), weight=job.weights, categorical_feature=list(_categories(job)), params=settings
    )
    booster = boosting.Booster(settings, data)
    booster.add_valid(boosting.Dataset(*_arrays(evaluation, learnt), reference=data, params=settings), "eval")

    def score(labels: np.ndarray, rows: np.ndarray) -> Callable[[np.ndarray, Any], tuple[str, float, bool]]:
        return lambda predicted, _: ("score", learnt.score(labels[rows], learnt.boosted(predicted[rows])), True)

    of_train = score(train.labels, measured_rows(train.labels, classes=len(job.contract.classes), seed=job.seed))
    of_eval = score(evaluation.labels, np.arange(evaluation.rows))

    job.tracker.tell([], best=None, unit="tree", epoch=0, epochs=spec.trees)
    epochs: list[Epoch] = []
    start, ended = time.monotonic(), ""
    while not ended:
        complete = any(booster.update() for _ in range(min(ROUNDS, spec.trees - booster.current_iteration())))
        grown = time.monotonic()
        ended = f"as no split is left that gains anything; min_rows is {spec.min_rows}" if complete else ""
        if epochs and epochs[-1].epoch == booster.current_iteration():
            break
        on_train = {name: value for _, name, value, _ in booster.eval_train(of_train)}
        on_eval = {name: value for _, name, value, _ in booster.eval_valid(of_eval)}
        measured = time.monotonic()
        one = Epoch(
            epoch=booster.current_iteration(),
            seconds=round(measured - start, 3),
            step_seconds=round(grown - start, 3),
            eval_seconds=round(measured - grown, 3),
            loss=on_train[loss],
            metric=problem.primary,
            score=on_train["score"],
            eval_loss=on_eval[loss],
            eval_score=on_eval["score"],
        )
        start = measured
        epochs.append(one)
        print(one, flush=True)  # noqa: T201 (the task's log)
        job.watch(epochs)
        if job.tracker.due:
            _tell(epochs, spec=spec, job=job)
        ended = ended or end(epochs, problem, patience=spec.patience, cap=spec.trees, unit="trees")
    return booster, epochs, ended


def _tell(epochs: list[Epoch], *, spec: Trees, job: TrainingJob) -> None:
    spent, last = sum(one.seconds for one in epochs), epochs[-1]
    job.tracker.tell(
        epochs,
        best=best(epochs, job.contract.problem),
        unit="tree",
        epoch=last.epoch,
        epochs=spec.trees,
        loss=last.loss,
        seconds=spent,
        left_seconds=spent * (spec.trees / last.epoch - 1),
    )


def _settings(spec: Trees, job: TrainingJob, learnt: Objective) -> dict[str, Any]:
    return {
        "objective": learnt.boosting,
        "num_class": math.prod(learnt.shape),
        "metric": learnt.boosting_loss,
        "num_leaves": spec.leaves,
        "learning_rate": spec.learning_rate,
        "min_data_in_leaf": spec.min_rows,
        "num_threads": cores(),
        "seed": job.seed,
        "deterministic": True,
        "force_col_wise": True,  # else it tries which is faster, and the last digits follow
        "verbosity": -1,
    }


def _arrays(read: Examples, learnt: Objective) -> tuple[list[np.ndarray], np.ndarray]:
    return [features for (features,) in read.in_order(BATCH_ROWS)], learnt.targets(read.labels)


def library() -> Any:
    """LightGBM, with threads that sleep where they wait.

    Raises:
        TrainingError: It cannot be loaded.
    """
    # Those that do not sleep stand in each other's way where cores are shared, as those of a pod are.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import lightgbm
    except OSError as error:
        raise TrainingError(
            f"model 'trees': LightGBM cannot be loaded ({error}); install OpenMP (Debian, Ubuntu: apt-get install "
            "libgomp1), or train another model"
        ) from error
    return lightgbm
