"""A published model: a package that needs TensorFlow alone.

VERSION says where it comes from, CONTRACT what it takes. `predict` takes the columns by name and gives what CONTRACT
calls `output`, a row each: the probability of the second of its two classes, those of all of more than two in their
order, or a number. None and NaN are missing, and a date or time is one, or ISO 8601, in UTC where it has no offset:

    predict({"age": [31, None], "region": ["north", "south"]})
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999, in microseconds since 1970."""
FOLDER = Path(__file__).parent
VERSION = json.loads((FOLDER / "version.json").read_text(encoding="utf-8"))
CONTRACT = json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))


def digest() -> str:
    """Tells the files that predict from all others."""
    whole = hashlib.sha256()
    files = [FOLDER / "contract.json", *(file for file in (FOLDER / "saved_model").rglob("*") if file.is_file())]
    for name, file in sorted((file.relative_to(FOLDER).as_posix(), file) for file in files):
        whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


if digest() != VERSION["digest"]:
    raise ImportError(f"{FOLDER}: these are not the files of {VERSION['digest']}, which was published; export it again")
_loaded = tf.saved_model.load(str(FOLDER / "saved_model"))  # holds the variables of the signature


def predict(columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """The predictions, float32 [rows], or [rows, classes] of more than two."""
    given = {
        one.get("encoded") or one["name"]: _tensor(columns[one["name"]], one["kind"]) for one in CONTRACT["inputs"]
    }
    predictions: np.ndarray = _loaded.signatures["serving_default"](**given)[CONTRACT["output"]].numpy()
    return predictions


def _tensor(values: Sequence[Any], kind: str) -> tf.Tensor:
    if kind in ("category", "text"):
        return tf.constant(["" if value is None or value != value else str(value) for value in values], tf.string)
    if kind == "date":
        return tf.constant([_microseconds(value) for value in values], tf.int64)
    return tf.constant(np.asarray(values, np.float32))


def _microseconds(value: Any) -> int:
    """Since 1970 in UTC, of a date or time; it and its text may be given."""
    if value is None or value != value or value == "":
        return -(2**63)
    told = datetime.fromisoformat(str(value))
    since = told.replace(tzinfo=None) - datetime(1970, 1, 1) - (told.utcoffset() or timedelta())
    moment = since // timedelta(microseconds=1)
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{value} is beyond the years 1 to 9999 in UTC; mend it")
    return moment
