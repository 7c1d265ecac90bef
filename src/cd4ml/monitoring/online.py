"""Online learning: the last layer of a published model learns on from labelled rows, each predicted before it teaches.

Time is that of production. A row is predicted when it was asked, by the weights that had learnt from the labels that
were known before that moment, and teaches when its label became known. Rows teach in batches, by when their labels
became known: a batch moves the weights once its last label is known. So no prediction has seen the label of its row, or
one that became known later, however late labels come.

One step is one of normalised stochastic gradient descent: the mean gradient of the batch's loss, by the mean squared
length of what the layer is given, times the learning rate. It is NumPy on one core, in float64, and so the same to the
byte each time, also where it goes on from a checkpoint.
"""

import bisect
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import document, model
from cd4ml.contracts.document import Content
from cd4ml.contracts.evaluation import CANDIDATE, CHAMPION
from cd4ml.contracts.learning import (
    ABOUT,
    LEARNT,
    MODEL,
    MOMENTS,
    OF_WINDOW,
    PREDICTED,
    ROWS,
    Checkpoint,
    Learning,
    Lesson,
)
from cd4ml.contracts.lineage import FILE, Lineage
from cd4ml.contracts.model import Contract
from cd4ml.errors import TrainingError
from cd4ml.names import counted
from cd4ml.replies import reply
from cd4ml.storage import S3, arrow, local_path
from cd4ml.training import environment, last_layer
from cd4ml.training.checkpoints import State, packed, unpacked
from cd4ml.training.devices import Devices
from cd4ml.training.last_layer import LastLayer

LEARNING_RATE = 0.2
BATCH = 32
EVERY = 10_000
"""Rows between two checkpoints."""
FEWEST = 100
"""Rows to learn from."""
RUN_AWAY = 10.0
"""Times the published model's loss; beyond, learning has run away."""
FOLDER = "learning"
_ENCODED = 2**17
"""Rows that are encoded at once; what is gone on from is encoded in the same parts."""


@dataclass(frozen=True)
class Pace:
    """How fast is learnt."""

    learning_rate: float = LEARNING_RATE
    """The part of a row's error that a batch of rows like it takes away."""
    batch: int = BATCH
    """Rows that are predicted, and then teach, at once."""
    every: int = EVERY
    """Rows between two checkpoints; taken down to a multiple of `batch`."""

    def __post_init__(self) -> None:
        """Makes sure that anything is learnt.

        Raises:
            TrainingError: A number is not above 0.
        """
        for name in ("learning_rate", "batch", "every"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name}: {getattr(self, name)!r}; write a number above 0")

    @property
    def batches(self) -> int:
        """Of rows between two checkpoints."""
        return max(self.every // self.batch, 1)


def learn(lesson: Path, *, store: str, output: Path, pace: Pace = Pace(), rows: int = 0) -> Learning:
    """Learns from a lesson, or goes on with what was begun; writes the folder (`cd4ml.contracts.learning`).

    Args:
        lesson: Its folder.
        store: Takes the checkpoints.
        output: The folder to write.
        pace: How fast is learnt.
        rows: Where to stop: back to the last checkpoint after at most so many rows; 0: after all.

    Raises:
        TrainingError: The model has no last layer that can learn on; the rows are too few, or of one class; learning
            runs away; or `rows` are fewer than the first checkpoint is after.
    """
    about = Lesson.read(lesson / ABOUT)
    layer = LastLayer(lesson / MODEL)
    stream = _Stream.of(lesson, layer, pace)
    key = _key(about, lesson, pace)
    kept = _Kept(store, f"{FOLDER}/{about.model}/{key}")
    ended = _run(stream, layer, kept=kept, until=_until(rows, stream, pace))
    return _write(output, about=about, lesson=lesson, layer=layer, stream=stream, ended=ended, key=key)


@dataclass(frozen=True)
class _Stream:
    """The rows, by when they were asked, and the order in which they teach."""

    pace: Pace
    inputs: np.ndarray
    """float32 [rows, width]: what the layer is given."""
    added: np.ndarray
    """float32 [rows, outputs]."""
    targets: np.ndarray
    """float64 [rows, outputs]: what the outputs' answers should be."""
    answer: Callable[[np.ndarray], np.ndarray]
    """From outputs to answers, [rows, outputs] both."""
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """From outputs and targets, to the loss of each row."""
    order: np.ndarray
    """int64 [rows]: the rows, by when their labels became known."""
    begins: np.ndarray
    """int64 [batches + 2]: from which row on the rows are predicted by what so many batches have taught."""

    @classmethod
    def of(cls, lesson: Path, layer: LastLayer, pace: Pace) -> "_Stream":
        """Reads a lesson.

        Raises:
            TrainingError: Its rows are too few, or of one class, or not in their order.
        """
        contract = layer.contract
        table, asked, known = pq.read_table(lesson / ROWS), *_moments(lesson / MOMENTS)
        if len(table) < FEWEST:
            raise TrainingError(
                f"{counted(len(table), 'labelled row')} to learn from, and {FEWEST} are the fewest; collect more "
                "windows, or wait for their labels"
            )
        labels = contract.labels(table)
        _check_labels(labels, contract)
        if (np.diff(asked) < 0).any():
            raise TrainingError(f"{lesson / MOMENTS}: not in the order of time; gather the lesson again")
        targets, answer, loss = _learnt(layer, labels)
        parts = [layer.given(table.slice(begin, _ENCODED)) for begin in range(0, len(table), _ENCODED)]
        inputs, added = (np.concatenate([getattr(one, name) for one in parts]) for name in ("inputs", "added"))
        order, begins = _order(asked, known, pace.batch)
        return cls(pace, inputs, added, targets, answer, loss, order, begins)

    @property
    def batches(self) -> int:
        """That teach."""
        return len(self.begins) - 2

    def outputs(self, rows: slice | np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """What the layer gives for some rows, float64 [rows, outputs]."""
        found: np.ndarray = self.inputs[rows].astype(np.float64) @ kernel + bias + self.added[rows]
        return found


def _order(asked: np.ndarray, known: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """In which order rows teach, and which rows are predicted by what how many batches have taught.

    Args:
        asked: When each row was asked, int64 [rows], rising.
        known: When its label became known, likewise.
        batch: Rows that teach at once.
    """
    known = np.maximum(known, asked)
    order = np.argsort(known, kind="stable")
    last = np.minimum(np.arange(batch, len(order) + batch, batch), len(order)) - 1
    before = np.searchsorted(known[order[last]], asked, side="left")  # batches known before a row was asked
    begins = np.searchsorted(before, np.arange(len(last) + 2), side="left")
    return order, begins


def _moments(file: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(file)
    asked, known = (table[name].cast(pa.int64()).to_numpy() for name in ("asked", "known"))
    return asked, known


def _check_labels(labels: np.ndarray, contract: Contract) -> None:
    if labels.min() == labels.max():
        label = repr(contract.classes[int(labels[0])]) if contract.classes else f"{labels[0]:g}"
        raise TrainingError(
            f"every one of {len(labels):,} rows has the label {label}, which teaches no model to tell rows apart; "
            "collect more windows, or see why no other label comes"
        )


def _learnt(layer: LastLayer, labels: np.ndarray) -> tuple[np.ndarray, Callable[..., Any], Callable[..., Any]]:
    """The targets, the answers and the loss, as training has them (`cd4ml.training.objective`)."""
    contract = layer.contract
    if contract.shape:
        return np.eye(len(contract.classes))[labels.astype(np.int64)], _softmax, _log_loss
    if contract.classes:
        return labels.astype(np.float64)[:, None], _sigmoid, _cross_entropy
    # The answer is the output times a deviation, plus a mean.
    low, high = layer.answers(np.array([[0.0], [1.0]])).astype(np.float64)
    return ((labels - low) / (high - low))[:, None], lambda outputs: outputs, _squared


def _sigmoid(outputs: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * outputs))
    return found


def _softmax(outputs: np.ndarray) -> np.ndarray:
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found


def _cross_entropy(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    found: np.ndarray = (np.logaddexp(0.0, outputs) - targets * outputs)[:, 0]
    return found


def _log_loss(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    below = outputs - outputs.max(axis=1, keepdims=True)
    found: np.ndarray = np.log(np.exp(below).sum(axis=1)) - (targets * below).sum(axis=1)
    return found


def _squared(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    found: np.ndarray = ((outputs - targets) ** 2)[:, 0]
    return found


def _until(rows: int, stream: _Stream, pace: Pace) -> int:
    """The batch to stop after."""
    if not rows:
        return stream.batches
    places: list[int] = [*range(pace.batches, stream.batches, pace.batches), stream.batches]
    counts = [min(one * pace.batch, len(stream.order)) for one in places]
    place = bisect.bisect_right(counts, rows) - 1
    if place < 0:
        raise TrainingError(
            f"--back-to: there is no checkpoint after {rows:,} rows or fewer, the first is after {counts[0]:,}; name "
            "that or more, or write a smaller --every"
        )
    return places[place]


@dataclass
class _Course:
    """How far learning is."""

    kernel: np.ndarray
    bias: np.ndarray
    batch: int
    """Batches that have taught."""
    outputs: list[np.ndarray]
    """Of the rows that were predicted so far, by checkpoint."""
    checkpoints: list[Checkpoint]

    @property
    def predicted(self) -> int:
        """Rows that were predicted so far."""
        return sum(map(len, self.outputs))


class _Kept:
    """The checkpoints of one learning: `learning/MODEL/KEY/ROWS`, the same bytes whoever writes them."""

    def __init__(self, store: str, name: str) -> None:
        self._place = f"{store.rstrip('/')}/{name}"
        self._folder = arrow.folder(self._place if store.startswith(S3) else local_path(self._place))

    def read(self, rows: int) -> State | None:
        """The checkpoint after some rows; None where it is not there, or not whole."""
        try:
            with self._folder.open_input_stream(str(rows)) as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrainingError(f"{self._place}: cannot be read ({error}); mend the store, and learn again") from error
        digest, content = content[:64], content[64:]
        if hashlib.sha256(content).hexdigest().encode() != digest:
            _tell(f"the checkpoint {self._place}/{rows} is broken; it is made again")
            return None
        return unpacked(content)

    def write(self, rows: int, state: State) -> None:
        """Writes the checkpoint after some rows, whole or not at all."""
        content = packed(state)
        try:
            arrow.write(self._folder, str(rows), hashlib.sha256(content).hexdigest().encode() + content)
        except OSError as error:
            raise TrainingError(
                f"{self._place}: cannot be written ({error}); mend the store, and learn again"
            ) from error


def _run(stream: _Stream, layer: LastLayer, *, kept: _Kept, until: int) -> _Course:
    course = _Course(layer.kernel.astype(np.float64), layer.bias.astype(np.float64), 0, [], [])
    served = course.kernel.copy(), course.bias.copy()
    for end in [*range(stream.pace.batches, until, stream.pace.batches), until]:
        rows = min(end * stream.pace.batch, len(stream.order))
        state = kept.read(rows)
        if state is not None:
            course.kernel, course.bias, outputs = state.arrays
            course.checkpoints.append(Checkpoint(**state.progress))
        else:
            outputs = _taught(stream, course, end)
            course.checkpoints.append(_checkpoint(stream, course, outputs, served=served, rows=rows))
            kept.write(rows, State(vars(course.checkpoints[-1]), [course.kernel, course.bias, outputs]))
            one = course.checkpoints[-1]
            _tell(f"{rows:,} rows: loss {_said(one.loss)} before each taught, {_said(one.served_loss)} as published")
        course.outputs.append(outputs)
        course.batch = end
    return course


def _taught(stream: _Stream, course: _Course, end: int) -> np.ndarray:
    """Goes on until some batches have taught; the outputs of the rows that were predicted meanwhile, in their order."""
    pace, kernel, bias = stream.pace, course.kernel, course.bias
    first, last = course.predicted, int(stream.begins[end + (end == stream.batches)])
    found = np.empty((last - first, len(bias)))
    at, rows = first, len(stream.order)
    with np.errstate(over="ignore", invalid="ignore"):
        for batch in range(course.batch, end):
            after = int(stream.begins[batch + 1])
            if after > at:  # these were asked before the labels of this batch were known
                found[at - first : after - first] = stream.outputs(slice(at, after), kernel, bias)
                at = after
            own = stream.order[batch * pace.batch : min((batch + 1) * pace.batch, rows)]
            inputs = stream.inputs[own].astype(np.float64)
            error = stream.answer(inputs @ kernel + bias + stream.added[own]) - stream.targets[own]
            step = pace.learning_rate / (len(own) + np.einsum("ij,ij->", inputs, inputs))
            kernel = kernel - step * (inputs.T @ error)
            bias = bias - step * error.sum(axis=0)
        if last > at:
            found[at - first :] = stream.outputs(slice(at, last), kernel, bias)
    course.kernel, course.bias = kernel, bias
    return found


def _checkpoint(
    stream: _Stream, course: _Course, outputs: np.ndarray, *, served: tuple[np.ndarray, np.ndarray], rows: int
) -> Checkpoint:
    """How good what was predicted is, beside the published model.

    Raises:
        TrainingError: Learning has run away.
    """
    first = course.predicted
    begin = max(first, int(stream.begins[1]))  # before, nothing had taught
    judged = slice(begin, first + len(outputs))
    count = max(0, judged.stop - judged.start)
    if not count:
        return Checkpoint(rows, 0, None, None)
    targets = stream.targets[judged]
    with np.errstate(over="ignore", invalid="ignore"):
        loss = float(stream.loss(outputs[begin - first :], targets).mean())
        own = float(stream.loss(stream.outputs(judged, *served), targets).mean())
    weights = np.concatenate([course.kernel.ravel(), course.bias])
    if not np.isfinite(weights).all() or not loss <= RUN_AWAY * max(own, 1e-9):
        rate = stream.pace.learning_rate
        raise TrainingError(
            f"learning has run away by row {rows:,}: a loss of {loss:g} where the published model has {own:g}; write "
            f"a learning rate of {rate / 10:g} or less in place of {rate:g}"
        )
    return Checkpoint(rows, count, loss, own)


def _write(
    output: Path, *, about: Lesson, lesson: Path, layer: LastLayer, stream: _Stream, ended: _Course, key: str
) -> Learning:
    output.mkdir(parents=True, exist_ok=True)
    layer.write(output / MODEL, kernel=ended.kernel, bias=ended.bias)
    Lineage(
        seed=0,
        inputs={f"{OF_WINDOW}{one.window}": one.digest for one in about.windows},
        environment=environment.here([Path(__file__), Path(last_layer.__file__)], Devices()),
        started_from=about.digest,
    ).write(output / MODEL / FILE)
    begin = int(stream.begins[1])
    outputs = np.concatenate(ended.outputs)[begin:]
    judged = slice(begin, begin + len(outputs))
    published = stream.outputs(judged, layer.kernel.astype(np.float64), layer.bias.astype(np.float64))
    pq.write_table(pq.read_table(lesson / ROWS)[judged], output / ROWS)
    predicted = {CANDIDATE: layer.answers(outputs), CHAMPION: layer.answers(published)}
    pq.write_table(pa.table({name: _column(one) for name, one in predicted.items()}), output / PREDICTED)
    found = Learning(
        model=about.model,
        version=about.version,
        started_from=about.digest,
        digest=model.digest(output / MODEL),
        key=key,
        learning_rate=stream.pace.learning_rate,
        batch=stream.pace.batch,
        rows=ended.checkpoints[-1].rows,
        checkpoints=tuple(ended.checkpoints),
        passed_over=about.passed_over,
        windows=about.windows,
        table_version=about.table_version,
    )
    found.write(output / MODEL / LEARNT)
    return found.write(output / LEARNT)


def _column(answers: np.ndarray) -> pa.Array:
    """Answers as a column, float32, or a list of them of one length."""
    flat = pa.array(answers.ravel(), pa.float32())
    return flat if answers.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, answers.shape[1])


def _key(about: Lesson, lesson: Path, pace: Pace) -> str:
    """Tells a learning from every other: the model, the rows, the pace and the code are the same."""
    parts = [
        about.digest,
        *(document.digest(lesson / name) for name in (ROWS, MOMENTS)),
        repr(pace),
        *(document.digest(file) for file in (__file__, last_layer.__file__)),
        np.__version__,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _said(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.4g}"


def _tell(what: str) -> None:
    print(what, flush=True)  # noqa: T201 (the task's log)


def main(folder: str, store: str, asked: str) -> int:
    """Learns from `lesson` of a folder into `learnt`, and prints what came of it; the exit status.

    Args:
        folder: Holds the lesson.
        store: Takes the checkpoints.
        asked: As JSON the fields of a `Pace`, and `rows`: where to stop.
    """
    place, told = Path(folder), json.loads(asked)
    rows = told.pop("rows", 0)

    def found() -> Content:
        return learn(place / "lesson", store=store, output=place / "learnt", pace=Pace(**told), rows=rows).content

    return reply(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
