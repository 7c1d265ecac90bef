"""The splits as training takes them: encoded once, in memory, with their labels as 0 and 1."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract
from cd4ml.contracts.problem import Problem
from cd4ml.errors import DataError, TrainingError
from cd4ml.training.split import opened

BATCH_ROWS = 65_536
"""Rows that are in memory as raw features at a time."""


@dataclass(frozen=True)
class Examples:
    """One split, encoded."""

    inputs: list[np.ndarray]
    """What the encoder gives: float32 [rows, width], then int64 [rows] for each embedded text."""
    labels: np.ndarray
    """float32 [rows]."""


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


def classes(split: Path, label: str, problem: Problem) -> tuple[str, ...]:
    """The values of the label as text, in the order of the problem.

    Raises:
        TrainingError: The column cannot be the label.
    """
    try:
        with opened(split) as file:
            return problem.classes(file.read(columns=[label]), label)
    except DataError as error:
        raise TrainingError(str(error)) from error


def read(split: Path, contract: Contract, encoded: keras.Model) -> Examples:
    """Reads a split in batches, so that only its encoded form is in memory as a whole.

    Raises:
        TrainingError: It has no rows, or its columns are not what the contract names.
    """
    with opened(split) as file:
        size = file.metadata.num_rows
        if not size:
            raise TrainingError(f"{split}: no rows; give the split a larger share of the data")
        inputs = [
            np.empty((size, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))
            for tensor in encoded.outputs
        ]
        labels = np.empty(size, np.float32)
        start = 0
        try:
            names = [contract.label, *(one.name for one in contract.inputs)]
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                table = pa.Table.from_batches([batch])
                part = slice(start, start + len(batch))
                labels[part] = contract.labels(table)
                outputs = encoded([tf.constant(values) for values in model.features(table, contract).values()])
                for array, values in zip(inputs, keras.tree.flatten(outputs), strict=True):
                    array[part] = values
                start += len(batch)
        except DataError as error:
            raise TrainingError(f"{split}: {error}") from error
    if labels.min() == labels.max():
        title = contract.problem.title(contract.problem.primary)
        raise TrainingError(
            f"{split}: every row has the label {contract.classes[int(labels[0])]!r}, so that no {title} can be "
            "computed; give the split a larger share of the data"
        )
    return Examples(inputs, labels)
