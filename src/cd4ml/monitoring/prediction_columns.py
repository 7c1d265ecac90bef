"""What a model gave, as columns that can be compared: a number, or of several classes the first and how sure it is."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.model import Contract
from cd4ml.errors import DataError

DIGITS = 5
"""By which predictions are told apart: what runs elsewhere gives other last digits."""
CLASS, PROBABILITY = "predicted class", "probability of the predicted class"


def of_window(rows: pa.Table, contract: Contract) -> pa.Table:
    """The predictions of a window's rows.

    Args:
        rows: As `cd4ml.contracts.window.ROWS` has them.
        contract: Of the version that gave them.

    Raises:
        DataError: They are no predictions of such a model.
    """
    names = pc.unique(pc.list_value_length(rows["predictions"])).to_pylist()
    outputs = list(rows["outputs"][0].as_py() or ()) if len(rows) else []
    if names != [len(contract.names)]:
        raise DataError(f"the answers have {names} numbers a row, and the version gives {len(contract.names)}")
    flat = pc.list_flatten(rows["predictions"].combine_chunks()).to_numpy(zero_copy_only=False)
    values = np.asarray(flat, np.float64).reshape(len(rows), len(contract.names))
    if not contract.shape:
        return of_outputs(values[:, 0], contract)
    if sorted(outputs) != sorted(contract.names):
        raise DataError(f"the answers name the outputs {outputs}, and the version gives {list(contract.names)}")
    return of_outputs(values[:, [outputs.index(name) for name in contract.names]], contract)


def of_outputs(values: np.ndarray, contract: Contract) -> pa.Table:
    """What a model gave, float [rows], or [rows, classes]."""
    if values.ndim == 1:
        return pa.table({contract.output: _rounded(values)})
    first = values.argmax(axis=1)
    texts = pa.array(contract.names, pa.string()).take(pa.array(first))
    return pa.table({CLASS: texts, PROBABILITY: _rounded(values[np.arange(len(values)), first])})


def _rounded(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    order = np.floor(np.log10(np.abs(values), out=np.zeros_like(values), where=values != 0))
    step = 10.0 ** np.clip(order - DIGITS + 1, -300, 300)
    rounded: np.ndarray = np.round(values / step) * step
    return rounded
