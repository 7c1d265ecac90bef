"""What one version answered within a window, and what came to be true: captured texts and lists as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.captured_values import NUMBER, by_feature
from cd4ml.contracts.model import Contract
from cd4ml.evaluation.rows import MISSING


@dataclass(frozen=True)
class Answers:
    """Rows whose answer is one."""

    rows: pa.Table
    """As `cd4ml.contracts.window.ROWS` has them."""
    outputs: np.ndarray
    """What was predicted, float32 [rows], or [rows, classes] of three classes and more, in the order of the model's."""
    labels: np.ndarray
    """[rows], as the problem has them; whatever where there is none."""
    labelled: np.ndarray
    """Whether a row has a label that the model could have predicted, bool [rows]."""
    strange: int
    """Rows whose answer is none, which are left out."""
    others: int
    """Labels that are no class of this model, as where another version has further ones."""

    def texts(self, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """The captured features that are called so, as slices have their values; those that are not captured aside."""
        known = by_feature(self.rows)
        return {name: pa.chunked_array([_or_missing(known[name])]) for name in columns if name in known}


def _or_missing(texts: pa.Array) -> pa.Array:
    """Captured texts, of which an empty one is missing, as it is to the model (string [rows])."""
    return pc.if_else(pc.fill_null(pc.equal(texts, ""), True), MISSING, texts)


def of(rows: pa.Table, contract: Contract) -> Answers:
    """Reads the answers of a version.

    Args:
        rows: Its own, as `cd4ml.contracts.window.ROWS` has them.
        contract: Of the version.
    """
    outputs, told = _outputs(rows, contract)
    told[told] = ~contract.problem.wrong(outputs[told])
    kept = rows.filter(pa.array(told))
    labels, labelled, others = _labels(kept["label"], contract)
    return Answers(kept, outputs[told], labels, labelled, len(rows) - len(kept), others)


def _outputs(rows: pa.Table, contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """What was predicted ([rows, *shape]), and whether it has all the outputs of the model (bool [rows])."""
    names = pa.array(contract.names, pa.string())
    size = len(names)
    predictions, outputs = (rows[name].combine_chunks() for name in ("predictions", "outputs"))
    told = _of_size(predictions, size) & _of_size(outputs, size)
    values = pc.list_flatten(predictions.filter(pa.array(told))).to_numpy(zero_copy_only=False).reshape(-1, size)
    of = pc.list_flatten(outputs.filter(pa.array(told)))
    places = pc.index_in(of, names).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64).reshape(-1, size)
    unnamed = pc.index_in(of, names).is_null().to_numpy(zero_copy_only=False).reshape(-1, size).any(axis=1)
    wrong = unnamed | (np.sort(places, axis=1) != np.arange(size)).any(axis=1)
    found = np.full((len(rows), size), np.nan, np.float32)
    ordered = np.empty_like(values)
    np.put_along_axis(ordered, places, values, axis=1)
    found[told] = np.where(wrong[:, None], np.nan, ordered)
    told[told] = ~wrong
    return found if contract.shape else found[:, 0], told


def _of_size(lists: pa.ListArray, size: int) -> np.ndarray:
    right = pc.fill_null(pc.equal(pc.list_value_length(lists), size), False)
    flags: np.ndarray = right.to_numpy(zero_copy_only=False).copy()
    return flags


def _labels(label: pa.ChunkedArray, contract: Contract) -> tuple[np.ndarray, np.ndarray, int]:
    if contract.classes:
        places = pc.index_in(label, pa.array(contract.classes, pa.string()))
        values = pc.if_else(pc.is_valid(label), places, None)
    else:
        values = pc.if_else(pc.match_substring_regex(label, NUMBER), label, None).cast(pa.float64())
    labelled = pc.is_valid(values).to_numpy()
    others = len(label) - label.null_count - int(labelled.sum())
    kind = pa.float32() if len(contract.classes) == 2 else pa.int64() if contract.classes else pa.float64()
    return values.fill_null(0).cast(kind).to_numpy(), labelled, others
