"""The splits as training takes them: straight from Parquet in columns, encoded, with their labels as numbers.

A split is encoded once and kept in memory where it fits (`CACHE_BYTES`), else read and encoded anew each time that it
is gone through, on threads beside what takes it. The rows come in the same order either way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from cd4ml.contracts import model, question
from cd4ml.contracts.model import Contract
from cd4ml.contracts.question import Question
from cd4ml.errors import DataError, TrainingError
from cd4ml.training.ahead import ahead
from cd4ml.training.features import LARGEST
from cd4ml.training.order import Order, Piece, joined
from cd4ml.training.request import Request
from cd4ml.training.split import opened, readable, told, unreadable

CACHE_BYTES = 768 * 2**20
"""A split that is no larger when it is encoded stays in memory."""
BUFFER_BYTES = 64 * 2**20
"""Encoded rows that are shuffled together; of a split that is streamed, two such buffers are in memory."""
READ_BYTES = 8 * 2**20
"""Encoded rows that are made at a time."""
MOST_ROWS, FEWEST_ROWS = 65_536, 256
"""Likewise in rows, whatever their width."""


@dataclass(frozen=True)
class Block:
    """Some rows, encoded."""

    inputs: list[np.ndarray]
    """What the encoder gives: float32 [rows, width], then int64 [rows] for each embedded text."""
    labels: np.ndarray
    """[rows], as the problem numbers them."""
    weights: np.ndarray | None
    """What each row counts, float32 [rows]; None where all count the same."""


def columns(split: Path) -> pa.Schema:
    """The columns of a split.

    Raises:
        TrainingError: The file is not Parquet.
    """
    with opened(split) as file:
        return file.schema_arrow


def rows(split: Path) -> int:
    """How many rows a split has.

    Raises:
        TrainingError: The file is not Parquet.
    """
    with opened(split) as file:
        return int(file.metadata.num_rows)


def asked(request: Request) -> Question:
    """What the label of a training asks for (`cd4ml.contracts.question`).

    Raises:
        TrainingError: The column cannot be the label, or can be read in two ways.
    """
    split, label = Path(request.train), request.label
    try:
        with opened(split) as file, readable(split, f"the column {label!r}"):
            distinct = [_distinct(batch) for batch in file.iter_batches(MOST_ROWS, columns=[label])]
            values = pa.concat_tables([file.schema_arrow.empty_table(), *distinct], promote_options="default")
            return question.ask(
                values, label, problem=request.problem, positive=request.positive, classes=request.classes
            )
    except DataError as error:
        raise TrainingError(str(error)) from error


def whole(split: Path, contract: Contract) -> tuple[list[tf.Tensor], np.ndarray]:
    """A split as the model takes it, whole in memory.

    Returns:
        The raw features, one tensor [rows] an input in their order, and the label, [rows].

    Raises:
        TrainingError: It cannot be read, or its columns are not what the contract names.
    """
    names = [contract.label, *(one.name for one in contract.inputs)]
    with opened(split) as file, readable(split, "its columns"), told(split):
        table = file.read(columns=names)
        return [tensor(values) for values in model.columns(table, contract).values()], contract.labels(table)


def first(split: Path, contract: Contract, most: int) -> list[tf.Tensor]:
    """The first rows of a split as the model takes them: the raw features, one tensor [rows] an input in their order.

    Raises:
        TrainingError: They cannot be read, or their columns are not what the contract names.
    """
    names = [one.name for one in contract.inputs]
    with opened(split) as file, readable(split, "its columns"), told(split):
        batches = islice(file.iter_batches(most, columns=names), 1)
        empty = file.schema_arrow.empty_table().select(names)
        table = pa.concat_tables([empty, *(pa.Table.from_batches([one]) for one in batches)], promote_options="default")
        return [tensor(values) for values in model.columns(table, contract).values()]


def answers(split: Path, *, contract: Contract, served: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a split, [rows], as the problem numbers them, and what a model gives for its rows."""
    read = Examples(split, contract=contract, encoded=served)
    return read.labels, np.concatenate([part for (part,) in read.in_order(MOST_ROWS)])


def _distinct(batch: pa.RecordBatch) -> pa.Table:
    """The values of a label, each once."""
    return pa.table({name: pc.unique(batch.column(name)) for name in batch.schema.names})


class Examples:
    """One split, encoded.

    A training goes through it by `blocks`, a measurement by `in_order`. To go on with a training that was interrupted
    after some batches of an epoch, ask `blocks` for the same epoch with `start`, the number of these batches: it gives
    exactly the batches that were left, and of a split that is streamed reads nothing before the buffer that they begin
    in.
    """

    rows: int
    labels: np.ndarray
    """[rows], as the problem numbers them, in the order of the file."""

    def __init__(
        self, split: Path, *, contract: Contract, encoded: keras.Model, weights: np.ndarray | None = None
    ) -> None:
        """Opens a split; reads it, where it is kept in memory, else its labels alone.

        Args:
            split: A Parquet file.
            contract: The label and the inputs.
            encoded: The encoder (`cd4ml.training.network`).
            weights: What each row counts, float32 [rows], in the order of the file.

        Raises:
            TrainingError: It has no rows, one label or one that is too large, or its columns are not what the contract
                names.
        """
        self.split, self.contract, self.weights = split, contract, weights
        self._encode = tf.function(
            lambda *raw: keras.tree.flatten(encoded(list(raw))),
            input_signature=[tf.TensorSpec([None], one.dtype) for one in contract.inputs],
        )
        self._columns = [
            (tensor.shape[1:], np.dtype(keras.backend.standardize_dtype(tensor.dtype))) for tensor in encoded.outputs
        ]
        with opened(split) as file, told(split):
            self._groups, self._identity = _groups(file), _identity(split)
            self.rows = sum(self._groups)
            if not self.rows:
                raise TrainingError(f"{split}: no rows; give the split a larger share of the data")
            model.columns(file.schema_arrow.empty_table(), contract)
            self.labels = self._read_labels(file)
        self._cache = next(self._filled(self._stream(self._whole), [self.rows])) if self._fits else None

    @property
    def width(self) -> int:
        """Bytes of an encoded row."""
        return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self._columns)

    @property
    def cached(self) -> bool:
        """Whether it is kept in memory."""
        return self._cache is not None

    def blocks(
        self, *, batch: int, batches: int, seed: int, epoch: int, start: int = 0, worker: int = 0, workers: int = 1
    ) -> Iterator[Block]:
        """The rows of an epoch, shuffled, in blocks of some batches each; made on a thread ahead of their use.

        The order of the rows is a pure function of the file, the width of an encoded row, and `batch`, `seed`, `epoch`,
        `worker` and `workers`; whether the split is kept in memory, `batches` and `start` do not change it.

        Args:
            batch: Rows of a batch; the last one of the epoch may have fewer, all others have as many.
            batches: Batches of a block, at most; the rows of a block, `batch` by `batch`, are its batches.
            seed: Of the training.
            epoch: Its number.
            start: The batch to begin with, counted from 0; those before it are left out.
            worker: Which of the workers this is, from 0; their rows are different ones, and they have equally many.
            workers: How many take part in the epoch.

        Raises:
            TrainingError: The file can no longer be read, or is another than it was.
        """
        order = self._order(batch, seed=seed, epoch=epoch, worker=worker, workers=workers)
        return ahead(self._blocks(order, start=start * batch, size=batch * batches), 2)

    def batches(self, batch: int, workers: int = 1) -> int:
        """How many batches of so many rows an epoch has, for each worker."""
        return -(-(self.rows // workers) // batch)

    def in_order(self, size: int) -> Iterator[list[np.ndarray]]:
        """All encoded rows in the order of the file, so that they fit `labels`.

        Args:
            size: Rows that are given at a time, at most.

        Raises:
            TrainingError: As `blocks`.
        """
        parts = iter([self._cache]) if self._cache else ahead(self._stream(self._whole), 1)
        for inputs in parts:
            for start in range(0, len(inputs[0]), size):
                yield [one[start : start + size] for one in inputs]

    @property
    def _fits(self) -> bool:
        return self.rows * self.width <= CACHE_BYTES

    @property
    def _whole(self) -> list[Piece]:
        return [Piece(group, 0, rows) for group, rows in enumerate(self._groups)]

    def _order(self, batch: int, *, seed: int, epoch: int, worker: int, workers: int) -> Order:
        buffer = max(1, BUFFER_BYTES // (self.width * batch)) * batch
        return Order(groups=self._groups, seed=seed, epoch=epoch, worker=worker, workers=workers, buffer=buffer)

    def _blocks(self, order: Order, *, start: int, size: int) -> Iterator[Block]:
        first, skipped = divmod(start, order.buffer)
        starts = np.cumsum([0, *self._groups])
        for number, (pieces, inputs) in enumerate(self._buffers(order, first), first):
            places = order.shuffled(number)
            rows = np.concatenate([np.arange(one.start, one.stop) + starts[one.group] for one in pieces])[places]
            taken = rows if self._cache else places
            for begin in range(skipped, len(rows), size):
                part = slice(begin, begin + size)
                yield Block(
                    [np.take(one, taken[part], axis=0) for one in inputs],
                    self.labels[rows[part]],
                    None if self.weights is None else self.weights[rows[part]],
                )
            skipped = 0

    def _buffers(self, order: Order, first: int) -> Iterator[tuple[list[Piece], list[np.ndarray]]]:
        """The pieces of each buffer from the first on, and where its rows are: the cache, or its own in their order."""
        buffers = list(order.buffers(first))
        if self._cache:
            return zip(buffers, repeat(self._cache))
        stream = self._stream(joined(chain.from_iterable(buffers)))
        sizes = [sum(one.rows for one in pieces) for pieces in buffers]
        return zip(buffers, ahead(self._filled(stream, sizes), 1), strict=True)

    def _filled(self, stream: Iterator[list[np.ndarray]], sizes: Sequence[int]) -> Iterator[list[np.ndarray]]:
        """The rows of a stream in arrays of these sizes."""
        encoded, used = [np.empty(0)], 0
        for size in sizes:
            inputs = [np.empty((size, *shape), dtype) for shape, dtype in self._columns]
            start = 0
            while start < size:
                if used == len(encoded[0]):
                    encoded, used = next(stream), 0
                count = min(size - start, len(encoded[0]) - used)
                for array, values in zip(inputs, encoded, strict=True):
                    array[start : start + count] = values[used : used + count]
                start, used = start + count, used + count
            yield inputs

    def _stream(self, pieces: Sequence[Piece]) -> Iterator[list[np.ndarray]]:
        """The encoded rows of these pieces, in their order."""
        names = [one.name for one in self.contract.inputs]
        with opened(self.split) as file:
            if (_groups(file), _identity(self.split)) != (self._groups, self._identity):
                raise TrainingError(f"{self.split}: is another file than when training began; begin again")
            for table in self._read(file, names, pieces):
                yield self._encoded(table)

    def _encoded(self, table: pa.Table) -> list[np.ndarray]:
        raw = model.columns(table, self.contract).values()
        return [one.numpy() for one in self._encode(*(tensor(values) for values in raw))]

    def _read_labels(self, file: pq.ParquetFile) -> np.ndarray:
        tables = self._read(file, [self.contract.label], self._whole)
        labels = np.concatenate([self.contract.labels(table) for table in tables])
        if max(abs(labels.min()), abs(labels.max())) > LARGEST:
            raise TrainingError(
                f"{self.split}: label {self.contract.label!r}: some of its numbers are beyond {LARGEST:g}; give it in "
                "a larger unit, or clean the source"
            )
        if labels.min() == labels.max():
            classes = self.contract.classes
            label = repr(classes[int(labels[0])]) if classes else f"{labels[0]:g}"
            raise TrainingError(
                f"{self.split}: every row has the label {label}, which tells no model from another; give the split a "
                "larger share of the data"
            )
        return labels

    def _read(self, file: pq.ParquetFile, names: Sequence[str], pieces: Sequence[Piece]) -> Iterator[pa.Table]:
        """The columns of pieces in their order, of which the first and the last alone may be less than a row group."""
        at_once = min(max(READ_BYTES // self.width, FEWEST_ROWS), MOST_ROWS)
        groups = [one.group for one in pieces]
        skipped, left = pieces[0].start, sum(one.rows for one in pieces)
        try:
            for batch in file.iter_batches(at_once, row_groups=groups, columns=names):
                part = batch[skipped : skipped + left]
                skipped, left = max(skipped - len(batch), 0), left - len(part)
                if len(part):
                    yield pa.Table.from_batches([part])
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.split, f"row group {_broken(file, groups)}", error) from error


def _identity(split: Path) -> tuple[int, int, int]:
    """Another where the file was replaced or written to."""
    found = split.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _groups(file: pq.ParquetFile) -> list[int]:
    """The rows of each row group."""
    return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]


def _broken(file: pq.ParquetFile, groups: Sequence[int]) -> int:
    """The first that cannot be read."""
    for group in groups[:-1]:
        try:
            file.read_row_group(group)
        except (OSError, pa.ArrowException):
            return group
    return groups[-1]


def tensor(values: np.ndarray | pa.ChunkedArray) -> tf.Tensor:
    """A column as a tensor [rows]: a text that is there often becomes one object of Python and no more."""
    if isinstance(values, np.ndarray):
        return tf.constant(values)
    coded = pc.dictionary_encode(values).combine_chunks()
    return tf.gather(tf.constant(coded.dictionary.to_numpy(zero_copy_only=False), tf.string), coded.indices.to_numpy())
