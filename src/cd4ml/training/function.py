"""A team's own function: called within bounds; and what it gives is looked at before it is written.

A model must give what the contract of its problem says for every row, be it alone or among others, with or without
values, and the same once it is saved and loaded.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import keras
import numpy as np
import tensorflow as tf

from cd4ml.contracts.model import Contract
from cd4ml.errors import Cd4mlError, TrainingError
from cd4ml.names import counted, lasting, shown
from cd4ml.training import code, examples, export, objective
from cd4ml.training.examples import Examples
from cd4ml.training.features import LARGEST
from cd4ml.training.fit import Epoch
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.trainers import Function

MOST_PRINTED = 2**20
"""Characters that a function may print; the log has no more of them."""
AGAIN_SECONDS = 1.0
"""How often a function is told that its time is up, for a bare `except` of it may take the first word."""
LAST_SECONDS = 5.0
"""How long it is told so; then the process ends, for a loop with a bare `except`, or a library, hears of nothing."""
CHECKED_ROWS = 256
"""Rows by which a model is looked at."""


def train(spec: Function, job: TrainingJob) -> Fitted:
    """Calls a function, and makes sure that what it gives is a model that can be served.

    Raises:
        TrainingError: The function cannot be used, or what it gives cannot.
    """
    name = spec.function
    print(f"function {name}, {job.contract.model['code']}", flush=True)  # noqa: T201 (the task's log)
    start = time.monotonic()
    with _bounded(spec):
        function = code.load(name, source=spec.source, folder=job.workspace / "code")
        given = function(replace(job, settings=spec.settings))
        seconds = round(time.monotonic() - start, 3)
        fitted = given if isinstance(given, Fitted) else None
        model = _whole(fitted.model if fitted else given, name, job.contract)
        _check_rows(model, name, job)
        epochs = fitted.epochs if fitted else [_measured(model, name, job=job, seconds=seconds)]
    if not fitted:
        print(*epochs, flush=True)  # noqa: T201 (the task's log)
    return replace(fitted or Fitted(model, epochs), model=model)


@contextmanager
def _bounded(spec: Function) -> Iterator[None]:
    """Ends what takes too long, drops what is printed without end, and tells what is raised."""
    name = spec.function
    out, err = (_Short(stream, name) for stream in (sys.stdout, sys.stderr))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _ended_in_time(spec):
            yield
    except (Cd4mlError, KeyboardInterrupt):
        raise
    except _TimeIsUpError as error:
        raise _too_long(spec, code.place(error)) from error
    except BaseException as error:  # what a team's own code raises can be anything
        if isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
            raise
        raise TrainingError(f"{name}: {code.place(error)}: {code.said(error)}; mend it") from error


class _TimeIsUpError(BaseException):
    """No `Exception`, which the function may catch."""


@contextmanager
def _ended_in_time(spec: Function) -> Iterator[None]:
    def end(_: int, __: FrameType | None) -> NoReturn:
        raise _TimeIsUpError

    seconds = 60 * spec.minutes
    last = threading.Timer(seconds + LAST_SECONDS, _end_process, [spec, threading.get_ident()])
    last.daemon = True
    last.start()
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        last.cancel()


def _end_process(spec: Function, thread: int) -> NoReturn:
    """Ends this process, whose thread no error gets out of, and says where that is."""
    frames = traceback.extract_stack(sys._current_frames()[thread])
    traceback.print_exception(_too_long(spec, code.place_among(frames)), file=sys.__stderr__)
    os._exit(1)


def _too_long(spec: Function, place: str) -> TrainingError:
    return TrainingError(
        f"{spec.function}: has not ended within {lasting(timedelta(minutes=spec.minutes))}; it was at {place}; "
        "have it do less, or raise `minutes`"
    )


class _Short:
    """A stream that ends what is written to it when it is too much."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name, self._left = stream, name, MOST_PRINTED

    def write(self, text: str) -> int:
        """Writes a text, or the part of it that is not too much."""
        if self._left > 0:
            self._stream.write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._stream.write(f"\n{self._name} has printed {MOST_PRINTED:,} characters; the rest is left out\n")
        return len(text)

    def close(self) -> None:
        """Leaves the stream to those whose it is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _whole(given: Any, name: str, contract: Contract) -> keras.Model:
    """What a function gave as a model from raw features to what the problem asks for."""
    raw = [keras.Input((), dtype=one.dtype) for one in contract.inputs]
    model = _Loaded(Path(given), name, contract) if isinstance(given, str | Path) else given
    if not isinstance(model, keras.layers.Layer):
        raise TrainingError(
            f"{name}: gave {shown(given)}, which is no model; return a keras.Model, the path of a SavedModel, or what "
            "job.network gives"
        )
    by_name = isinstance(getattr(model, "input", None), dict)
    inputs = {one.tensor: tensor for one, tensor in zip(contract.inputs, raw, strict=True)} if by_name else raw
    try:
        found = keras.Model(raw, model(inputs, training=False))
    except Exception as error:  # what a model does of a team's own can be anything
        raise TrainingError(
            f"{name}: its model cannot be asked ({code.said(error)}); it has to take "
            f"{counted(len(raw), 'feature')} in the order of job.features, each a tensor [batch], or all by name"
        ) from error
    shape = (None, *contract.shape)
    if found.output_shape != shape or found.outputs[0].dtype != "float32":
        remedy = (
            f"the {contract.output} of the {contract.shape[0]} classes by row, in the order of job.contract.classes"
            if contract.shape
            else f"a {contract.output} a row; keras.ops.squeeze(x, -1) takes a last dimension away"
        )
        raise TrainingError(
            f"{name}: its model gives {found.outputs[0].dtype} of the shape {found.output_shape}; have it give float32 "
            f"of the shape {shape}, {remedy}"
        )
    return found


class _Loaded(keras.layers.Layer):  # type: ignore[misc]
    """A SavedModel, by its signature."""

    def __init__(self, folder: Path, name: str, contract: Contract) -> None:
        super().__init__()
        try:
            self.saved = tf.saved_model.load(str(folder))
            self.signature = self.saved.signatures["serving_default"]
        except (OSError, KeyError, ValueError) as error:
            raise TrainingError(
                f"{name}: gave {str(folder)!r}, which holds no SavedModel with the signature serving_default "
                f"({code.said(error)}); return the folder of one"
            ) from error
        self.contract = contract
        takes, gives = set(self.signature.structured_input_signature[1]), set(self.signature.structured_outputs)
        wanted = {one.tensor for one in contract.inputs}
        if takes != wanted or contract.output not in gives:
            raise TrainingError(
                f"{name}: the signature of its SavedModel takes {', '.join(sorted(takes))} and gives "
                f"{', '.join(sorted(gives))}; have it take {', '.join(sorted(wanted))}, the tensors of job.features, "
                f"and give {contract.output}"
            )

    def call(self, raw: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:  # noqa: ARG002 (Keras')
        """As Keras has it."""
        named = {one.tensor: tensor for one, tensor in zip(self.contract.inputs, raw, strict=True)}
        return self.signature(**named)[self.contract.output]


def _check_rows(model: keras.Model, name: str, job: TrainingJob) -> None:
    """Asks for some rows of eval and one without values: all at once, one alone, and the model that was saved."""
    rows = _rows(job)
    try:
        found = model(rows, training=False).numpy()
        alone = model([one[:1] for one in rows], training=False).numpy()
        folder = job.workspace / "saved"
        export.save(folder, job.contract, model)
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        named = {one.tensor: tensor for one, tensor in zip(job.contract.inputs, rows, strict=True)}
        saved = signature(**named)[job.contract.output].numpy()
    except Exception as error:  # as above
        raise TrainingError(f"{name}: its model cannot be asked or saved ({code.said(error)}); mend it") from error
    _check_range(found[:-1], name, job.contract)
    if not np.isfinite(found[-1]).all():
        raise TrainingError(
            f"{name}: its model gives {found[-1]} for a row without values (NaN of numbers, an empty text, the least "
            "int64 of dates); have it take them, as job.encoder() does"
        )
    same = job.problem.tolerance(found)
    for other, what in ((found[:1] - alone, "for a row alone"), (found - saved, "once it is saved and loaded")):
        if not np.all(np.abs(other) <= same[: len(other)]):
            raise TrainingError(
                f"{name}: its model predicts otherwise {what}: by {np.nanmax(np.abs(other)):.3g}; have a prediction "
                "follow from the values of its row and from weights alone"
            )


def _rows(job: TrainingJob) -> list[tf.Tensor]:
    inputs = examples.first(job.eval, job.contract, CHECKED_ROWS)
    return [tf.concat([rows, [one.missing]], 0) for one, rows in zip(job.contract.inputs, inputs, strict=True)]


def _check_range(found: np.ndarray, name: str, contract: Contract) -> None:
    last = "softmax" if contract.shape else "sigmoid"
    has_classes = contract.problem.has_classes
    low, high, remedy = (0, 1, f"end it with a {last}, and ") if has_classes else (-LARGEST, LARGEST, "")
    wrong = ~((found >= low) & (found <= high))
    if contract.shape and not wrong.any() and (unlike := contract.problem.wrong(found)).any():
        raise TrainingError(
            f"{name}: its model gives {contract.output} that sum to {found[unlike][0].sum():g}; end it with a softmax "
            "over the classes"
        )
    if wrong.any():
        raise TrainingError(
            f"{name}: its model gives {found[wrong][0]:g} as a {contract.output}, which is not from {low:g} to "
            f"{high:g}; {remedy}look whether the loss stayed finite"
        )


def _measured(model: keras.Model, name: str, *, job: TrainingJob, seconds: float) -> Epoch:
    """How good a model is on both splits, as the one epoch of its history."""
    found: dict[str, float] = {}
    splits = {"": job.train, "eval_": job.eval}
    rows = {prefix: Examples(split, contract=job.contract, encoded=model) for prefix, split in splits.items()}
    learnt = objective.of(job.contract, rows[""].labels)
    for prefix, read in rows.items():
        answers = np.concatenate([part for (part,) in read.in_order(read.rows)])
        _check_range(answers, name, job.contract)
        outputs = learnt.outputs(answers)
        found |= {f"{prefix}score": learnt.score(read.labels, outputs)}
        found |= {f"{prefix}loss": learnt.loss(read.labels, outputs)}
    return Epoch(epoch=1, seconds=seconds, metric=job.problem.primary, **found)
