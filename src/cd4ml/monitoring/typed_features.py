"""Captured features, which are texts, as the columns that the model was trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import moments
from cd4ml.contracts.model import Input

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
HASH = "^[0-9a-f]{64}$"
TRUTHS = {"true": "1", "false": "0"}


@dataclass(frozen=True)
class Typed:
    """One feature of some rows."""

    values: pa.Array
    """Null where there is none, or none of this kind: float64, bool, string, or timestamp of microseconds, UTC."""
    unreadable: npt.NDArray[np.bool_]
    """[rows]: those with a value that is of another kind."""

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """[rows]: those without a value."""
        return _flags(self.values.is_null()) & ~self.unreadable


def is_hashed(texts: pa.Array) -> bool:
    """Whether the values of a feature were captured as hashes, as those of personal data are; string [rows]."""
    return texts.null_count < len(texts) and bool(pc.all(pc.match_substring_regex(texts, HASH)).as_py())


def typed(texts: pa.Array, one: Input) -> Typed:
    """What the model takes of the captured values of a feature.

    Args:
        texts: As `cd4ml.monitoring.captured_features` has them (string [rows]); an empty one is missing.
        one: The feature.
    """
    given = pc.if_else(pc.equal(texts, ""), None, texts)
    if one.is_text:
        return Typed(given, np.zeros(len(given), bool))
    values = _moments(given) if one.kind == "date" else _numbers(given)
    if one.kind == "boolean":
        values = pc.if_else(pc.is_in(values, value_set=pa.array([0.0, 1.0])), values, None).cast(pa.bool_())
    return Typed(values, _flags(values.is_null()) & ~_flags(given.is_null()))


def as_before(values: pa.Array, before: pa.DataType) -> pa.Array:
    """Numbers as the reference has them: rounded as they are there, or whole where all of them are; all else as it is.

    Args:
        values: Of `Typed`.
        before: The type of the reference's column.
    """
    if not pa.types.is_floating(values.type):
        return values
    if pa.types.is_floating(before):
        return values.cast(before, safe=False)
    try:
        return values.cast(pa.int64()) if pa.types.is_integer(before) else values
    except pa.ArrowInvalid:  # some have fractions
        return values


def _numbers(texts: pa.Array) -> pa.Array:
    plain = texts
    for word, digit in TRUTHS.items():
        plain = pc.if_else(pc.equal(plain, word), digit, plain)
    return pc.if_else(pc.match_substring_regex(plain, NUMBER), plain, None).cast(pa.float64())


def _moments(texts: pa.Array) -> pa.Array:
    """Each text is read once, however many rows have it."""
    coded = texts.dictionary_encode()
    found = pa.array([_moment(text) for text in coded.dictionary.to_pylist()], pa.int64())
    return found.take(coded.indices).cast(pa.timestamp("us", "UTC"))


def _moment(text: str) -> int | None:
    try:
        return moments.of_text(text)
    except ValueError:
        return None


def _flags(values: pa.Array) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = values.to_numpy(zero_copy_only=False).astype(bool)
    return flags
