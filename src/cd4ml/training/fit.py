"""Fits a network: epochs until the eval split's score gets no better, then the best epoch's weights.

The score is the primary metric of the problem. An AUC is exact, that of the ranks: by thresholds, as Keras has it, that
of a rare event is wrong in its first digits.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import keras
import numpy as np
import tensorflow as tf

from cd4ml.contracts.problem import Problem
from cd4ml.errors import TrainingError
from cd4ml.names import amount, shown
from cd4ml.training.checkpoints import Checkpoints, State
from cd4ml.training.devices import Devices
from cd4ml.training.ending import at_sigterm
from cd4ml.training.examples import BUFFER_BYTES, Block, Examples
from cd4ml.training.objective import Objective
from cd4ml.training.shared import SharedAdam
from cd4ml.training.steps import Steps
from cd4ml.training.together import Alone
from cd4ml.training.tracking import Tracker
from cd4ml.training.trainers import Network

SLOWER, SLOWEST = 1 / 2, 1 / 64
"""What is left of the learning rate after an epoch without a better score, for smaller steps find what larger ones
miss; and the share of the first one that is always left."""
STEPS_PER_CALL = 16
"""Steps that TensorFlow takes before Python hears of them."""
FLAT_EPOCHS, FLAT = 3, 1e-5
"""A loss that moves less than this share over so many epochs is flat."""
LEARNT = 0.01
"""A loss that is lower than that of the first epoch by this share has learnt something."""
BLOCK_ROWS = 65_536
"""Rows that are predicted in a call, when an epoch is measured."""
MEASURED_ROWS = 50_000
"""Rows of the train split, drawn once, that its score is measured on; all where it has fewer."""
RARE_ROWS = 1000
"""Of them, those of the rarer class at least; all of that class where it has fewer."""


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those that are finite, for JSON knows no others."""
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


@dataclass(frozen=True)
class Epoch:
    """How an epoch went; one entry of a model's history."""

    epoch: int
    seconds: float
    loss: float
    """Of the train split while the epoch ran, weighted where its rows are."""
    metric: str
    """What the scores are."""
    score: float
    """Of the train split, or `MEASURED_ROWS` of it, with the weights at the end of the epoch as what follows."""
    eval_loss: float
    eval_score: float
    input_seconds: float | None = None
    """Of its seconds those in which it waited for rows; None where nobody knows."""
    step_seconds: float | None = None
    """Those in which it learnt."""
    eval_seconds: float | None = None
    """Those in which it was measured."""

    def __post_init__(self) -> None:
        given = (self.epoch, self.seconds, self.loss, self.score, self.eval_loss, self.eval_score)
        strange = [one for one in given if not isinstance(one, int | float)]
        if strange:
            raise TrainingError(f"Epoch: {shown(strange[0])} is no number; give numbers, NaN where one is not defined")

    def __str__(self) -> str:
        loss, eval_loss = (f"{one:.4f}" if math.isfinite(one) else "undefined" for one in (self.loss, self.eval_loss))
        score, eval_score = (
            amount(one) if math.isfinite(one) else "undefined" for one in (self.score, self.eval_score)
        )
        return (
            f"epoch {self.epoch}: loss {loss}, {self.metric} {score}; "
            f"eval loss {eval_loss}, {self.metric} {eval_score}; {self.seconds:.1f} s"
        )

    @property
    def entry(self) -> dict[str, float]:
        """As a model's history has it."""
        parts = {
            "input_seconds": self.input_seconds,
            "step_seconds": self.step_seconds,
            "eval_seconds": self.eval_seconds,
        }
        return finite(
            {
                "epoch": self.epoch,
                "seconds": self.seconds,
                **{name: seconds for name, seconds in parts.items() if seconds is not None},
                "loss": self.loss,
                self.metric: self.score,
                "eval_loss": self.eval_loss,
                f"eval_{self.metric}": self.eval_score,
            }
        )


def best(epochs: Sequence[Epoch], problem: Problem) -> Epoch:
    """The one whose weights, or trees, a model has."""
    chosen = min if problem.lower_is_better else max
    return chosen(epochs, key=lambda one: one.eval_score)


def end(epochs: Sequence[Epoch], problem: Problem, *, patience: int, cap: int, unit: str) -> str:
    """Why training ends after an epoch; empty where it goes on.

    Args:
        epochs: At least one.
        problem: Says which score is better.
        patience: How many of them, or trees, may be in vain.
        cap: How many there may be.
        unit: What is counted: `epochs` or `trees`.
    """
    kept, last = best(epochs, problem), epochs[-1]
    since = last.epoch - kept.epoch
    if since >= patience:
        return f"as {kept.metric} on eval got no better for {since} {unit if since > 1 else unit.removesuffix('s')}"
    if last.epoch >= cap:
        moving = "falling" if problem.lower_is_better else "rising"
        more = f", with {kept.metric} on eval still {moving}; raise {unit}" if len(epochs) > 1 > since else ""
        return f"by its cap of {cap} {unit}{more}"
    return ""


Watch = Callable[[Sequence[Epoch]], None]
"""Is told all epochs so far after each."""


def unwatched(_: Sequence[Epoch]) -> None:
    """Where nobody wants to know."""


@dataclass(frozen=True)
class Course:
    """How a training went."""

    epochs: Sequence[Epoch]
    ended: str
    """Why it ended, as the log says it."""


def fit(
    network: keras.Model,
    *,
    exact: keras.Model,
    devices: Devices,
    train: Examples,
    evaluation: Examples,
    spec: Network,
    seed: int,
    objective: Objective,
    checkpoints: Checkpoints | None,
    tracker: Tracker,
    watch: Watch = unwatched,
) -> Course:
    """Trains the network in place and prints a line an epoch.

    Args:
        network: Gives the outputs of the objective; made on these devices.
        exact: The same on one device in float32: itself, or another whose weights become its own.
        devices: What to compute on.
        train: What it learns from; its weights count in the loss alone.
        evaluation: Says when to stop, and which epoch's weights to keep.
        spec: The hyperparameters.
        seed: Of the order of the rows.
        objective: What is learnt; its problem says what the score of an epoch is.
        checkpoints: What it goes on from where it was ended before, and where it keeps how far it is.
        tracker: Takes word of how far it is.
        watch: Is told all epochs so far after each, and ends the training where it raises.

    Returns:
        The epochs; `exact` has the weights of the one with the best `eval_score`.

    Raises:
        TrainingError: The loss is no longer a finite number, or the memory is too small.
        SystemExit: SIGTERM has arrived; what can be kept is.
    """
    batch = spec.batch(train.rows)
    with devices.strategy.scope():
        adam = SharedAdam if devices.together.strategy else keras.optimizers.Adam
        optimizer = adam(spec.learning_rate)
        steps = Steps(network, exact=exact, objective=objective, optimizer=optimizer, batch=batch)
    try:
        measure = _Measure(steps, sample=_sample(train, seed), evaluation=evaluation)
        training = _Training(
            steps,
            train=train,
            measure=measure,
            spec=spec,
            seed=seed,
            checkpoints=checkpoints,
            tracker=tracker,
            watch=watch,
            together=devices.together,
        )
        asked = threading.Event()
        with at_sigterm(lambda *_: asked.set()):  # training ends where it can go on: between two steps
            course = training.run(asked.is_set)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        smaller = f"try a batch_size of {batch // 2}" if batch > 1 else "take a smaller network"
        raise TrainingError(f"out of memory at a batch_size of {batch}: {smaller}{devices.memory()}") from error
    print(f"ended {course.ended}", flush=True)  # noqa: T201 (the task's log)
    return course


class _Training:
    """A training, which can go on in another process: all that tells how far it is lies in its checkpoints."""

    def __init__(
        self,
        steps: Steps,
        *,
        train: Examples,
        measure: "_Measure",
        spec: Network,
        seed: int,
        checkpoints: Checkpoints | None,
        tracker: Tracker,
        watch: Watch,
        together: Alone,
    ) -> None:
        self.steps, self.train, self.measure = steps, train, measure
        self.together = together
        self.spec, self.seed, self.checkpoints, self.tracker = spec, seed, checkpoints, tracker
        self.watch = watch
        self.problem = steps.objective.problem
        self.batches = train.batches(steps.batch)
        self.epochs: list[Epoch] = []
        self.kept: list[np.ndarray] = steps.network.get_weights()
        """The weights of the best epoch."""
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.step, self.losses, self.seconds = 0, 0.0, 0.0
        """Of the epoch that runs: steps, the sum of the losses of their rows, and how long it has taken."""
        self.waited, self.learnt = 0.0, 0.0
        """Of its seconds: those in which it waited for rows, and those of its steps."""

    def run(self, asked: Callable[[], bool]) -> Course:
        """Trains to the end, and gives the network the weights of the best epoch."""
        self._go_on()
        self.steps.draw_apart()
        self._tell()
        while not (ended := self._end()):
            self._epoch(asked)
        self.steps.exact.set_weights(self.kept)
        return Course(self.epochs, ended)

    def _epoch(self, asked: Callable[[], bool]) -> None:
        number, batch = len(self.epochs) + 1, self.steps.batch
        start = time.monotonic() - self.seconds
        blocks = self.train.blocks(batch=batch, batches=STEPS_PER_CALL, seed=self.seed, epoch=number, start=self.step)
        for block in self._waiting(blocks):
            begun = time.monotonic()
            self.losses += self.steps.take(block)
            self.learnt += time.monotonic() - begun
            self.step += -(-len(block.labels) // batch)
            self.seconds = time.monotonic() - start
            self._check_finite(self.losses)
            if self._out_of_time:
                break
            self._keep(asked)
        loss = self.losses / min(self.step * batch, self.train.rows)
        measured = self.measure.epoch(number, loss=loss, start=start, between=lambda: self._keep(asked))
        found = replace(measured, input_seconds=round(self.waited, 3), step_seconds=round(self.learnt, 3))
        found = self._as_first(found)
        self._check_finite(found.eval_loss)
        print(found, flush=True)  # noqa: T201 (the task's log)
        self.epochs.append(found)
        if best(self.epochs, self.problem) is found:
            self.kept = self.steps.network.get_weights()
        else:
            rate = float(self.steps.optimizer.learning_rate.value.numpy()) * SLOWER
            self.steps.optimizer.learning_rate = max(rate, self.spec.learning_rate * SLOWEST)
        self._begin_epoch()
        self.watch(self.epochs)
        self._keep(asked)

    def _as_first(self, found: Epoch) -> Epoch:
        """How the epoch went for the first of the workers, by which all of them go."""
        told = self.together.of_first(State(asdict(found), []))
        assert told
        return Epoch(**told.progress)

    def _waiting(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks, with the time that each was waited for counted."""
        while True:
            begun = time.monotonic()
            block = next(blocks, None)
            self.waited += time.monotonic() - begun
            if block is None:
                return
            yield block

    def _end(self) -> str:
        """Why training ends now; empty where it goes on."""
        if not self.epochs:
            return ""
        if self._out_of_time:
            return f"by its budget of {self.spec.minutes:g} minutes, in epoch {len(self.epochs)}"
        if self._is_flat:
            if self.epochs[-1].loss < (1 - LEARNT) * self.epochs[0].loss:
                return f"as the loss has settled: {self.epochs[-1].loss:.4f} for {FLAT_EPOCHS} epochs"
            return (
                f"by a flat loss: {self.epochs[-1].loss:.4f} for {FLAT_EPOCHS} epochs; change learning_rate (it is "
                f"{self.spec.learning_rate:g}), or look whether the features say anything about the label"
            )
        return end(self.epochs, self.problem, patience=self.spec.patience, cap=self.spec.epochs, unit="epochs")

    @property
    def _out_of_time(self) -> bool:
        return self.spec.minutes is not None and self.together.any(self._spent >= 60 * self.spec.minutes)[0]

    @property
    def _spent(self) -> float:
        """How many seconds it has trained, in all attempts together."""
        return sum(one.seconds for one in self.epochs) + self.seconds

    @property
    def _is_flat(self) -> bool:
        losses = [one.loss for one in self.epochs[-FLAT_EPOCHS:]]
        return len(losses) == FLAT_EPOCHS and max(losses) - min(losses) <= FLAT * max(losses)

    @property
    def _place(self) -> str:
        return f"epoch {len(self.epochs) + 1}, step {self.step} of {self.batches}"

    @property
    def _variables(self) -> list[keras.Variable]:
        """All that a step changes: weights, the state of what is random in them, and the optimizer's own."""
        return [*self.steps.network.variables, *self.steps.optimizer.variables]

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"epoch {len(self.epochs) + 1}: the loss is {loss} after step {self.step} of {self.batches}; lower "
                f"learning_rate (it is {self.spec.learning_rate:g})"
            )

    def _go_on(self) -> None:
        """Takes up what was kept of this training, where something was."""
        variables = self._variables
        like = [*(one.value.numpy() for one in variables), *self.kept]
        state = self.together.of_first(self.checkpoints.latest(like) if self.checkpoints else None)
        if state is None:
            return
        for variable, value in zip(variables, state.arrays, strict=False):
            variable.assign(value)
        self.kept = list(state.arrays[len(variables) :])
        self.epochs = [Epoch(**one) for one in state.progress["epochs"]]
        self.step, self.losses, self.seconds, self.waited, self.learnt = (
            state.progress[name] for name in ("step", "losses", "seconds", "waited", "learnt")
        )
        print(f"goes on from {self._place}", flush=True)  # noqa: T201 (the task's log)

    def _keep(self, asked: Callable[[], bool]) -> None:
        """Tells and keeps how far it is where the time has come; where it was asked to end, it does."""
        if self.tracker.due:
            self._tell()
        ends, is_due = self.together.any(asked(), self.checkpoints is not None and self.checkpoints.due)
        if ends or is_due:
            self._save()
            (ends,) = self.together.any(asked())  # which may have been meanwhile
        if ends:
            print(f"told to end, at {self._place}", flush=True)  # noqa: T201 (the task's log)
            raise SystemExit(128 + signal.SIGTERM)

    def _save(self) -> None:
        if not self.checkpoints:
            return
        values = [one.value.numpy() for one in self._variables]
        progress = {
            "epochs": [asdict(one) for one in self.epochs],
            "step": self.step,
            "losses": self.losses,
            "seconds": self.seconds,
            "waited": self.waited,
            "learnt": self.learnt,
        }
        if self.checkpoints.save(State(progress, [*values, *self.kept])):
            print(f"checkpoint at {self._place}", flush=True)  # noqa: T201 (the task's log)

    def _tell(self) -> None:
        rows = self.step * self.steps.batch
        self.tracker.tell(
            self.epochs,
            best=best(self.epochs, self.problem) if self.epochs else None,
            epoch=min(len(self.epochs) + 1, self.spec.epochs),
            epochs=self.spec.epochs,
            step=self.step,
            steps=self.batches,
            loss=self.losses / min(rows, self.train.rows) if rows else None,
            rows_per_second=rows / self.seconds if rows else None,
            seconds=self._spent,
            left_seconds=self._left,
        )

    @property
    def _left(self) -> float | None:
        """How many seconds there are to come at most; None before the first steps."""
        taken = len(self.epochs) * self.batches + self.step
        if not taken:
            return None
        left = self._spent * (self.spec.epochs * self.batches / taken - 1)
        return left if self.spec.minutes is None else max(0.0, min(left, 60 * self.spec.minutes - self._spent))


def _sample(train: Examples, seed: int) -> Block:
    """Rows of the train split as an epoch 0 has them, taken until there are enough, also of each of two classes."""
    size = min(MEASURED_ROWS, train.rows, max(2, BUFFER_BYTES // train.width))
    if len(train.contract.classes) != 2:  # a mean over the rows, which needs no more than a part of them
        first = next(train.blocks(batch=size, batches=1, seed=seed, epoch=0))
        return Block(first.inputs, first.labels, None)
    left = _of_each_class(np.bincount(train.labels.astype(np.int64), minlength=2), size)
    parts: list[Block] = []
    for block in train.blocks(batch=size, batches=1, seed=seed, epoch=0):
        places = np.concatenate([np.flatnonzero(block.labels == label)[:count] for label, count in enumerate(left)])
        parts.append(Block([one[places] for one in block.inputs], block.labels[places], None))
        left -= np.bincount(parts[-1].labels.astype(np.int64), minlength=2)
        if not left.any():
            break
    inputs = [np.concatenate(one) for one in zip(*(part.inputs for part in parts), strict=True)]
    return Block(inputs, np.concatenate([part.labels for part in parts]), None)


def measured_rows(labels: np.ndarray, *, classes: int, seed: int) -> np.ndarray:
    """The places of the train rows that a score is measured on, int64: `MEASURED_ROWS`, or all where there are fewer.

    Args:
        labels: [rows], as the problem numbers them.
        classes: How many it has.
        seed: Of the training.
    """
    size = min(MEASURED_ROWS, len(labels))
    drawn = np.random.default_rng(seed).permutation(len(labels))
    if classes != 2:  # as in `_sample`
        return drawn[:size]
    taken = _of_each_class(np.bincount(labels.astype(np.int64), minlength=2), size)
    return np.concatenate([drawn[labels[drawn] == label][:count] for label, count in enumerate(taken)])


def _of_each_class(counts: np.ndarray, size: int) -> np.ndarray:
    """How many rows of each class a sample has: by their shares, but enough of the rarer one.

    Args:
        counts: int64 [2], the rows of each class, each at least one.
        size: The rows of the sample, at least two.
    """
    rarer = int(counts.argmin())
    share = size * int(counts[rarer]) // int(counts.sum())
    taken = np.full(2, min(int(counts[rarer]), max(share, min(RARE_ROWS, size // 2))))
    taken[1 - rarer] = size - taken[rarer]
    return taken


@dataclass(frozen=True)
class _Measure:
    """Measures the epochs."""

    steps: Steps
    sample: Block
    """Of the train split."""
    evaluation: Examples

    def epoch(self, epoch: int, *, loss: float, start: float, between: Callable[[], None]) -> Epoch:
        """How an epoch went; its `eval_loss` may be no number. What is done `between` two parts may end it."""

        def parts() -> Iterable[list[np.ndarray]]:
            for part in self.evaluation.in_order(BLOCK_ROWS):
                between()
                yield part

        begun = time.monotonic()
        objective, outputs = self.steps.objective, self.steps.outputs(parts())
        return Epoch(
            epoch=epoch,
            loss=loss,
            metric=objective.problem.primary,
            score=objective.score(self.sample.labels, self.steps.outputs([self.sample.inputs])),
            eval_loss=objective.loss(self.evaluation.labels, outputs),
            eval_score=objective.score(self.evaluation.labels, outputs),
            eval_seconds=round(time.monotonic() - begun, 3),
            seconds=round(time.monotonic() - start, 3),
        )
