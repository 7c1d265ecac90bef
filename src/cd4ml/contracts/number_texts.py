"""Numbers as texts, by which features and labels are told apart: one text for one value, of whatever type it is."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXACT = 2.0**53
"""From here on a float stands for several whole numbers."""
_PLAIN = 1e10
"""Below, Arrow writes whole ones without an exponent."""


def texts(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Values as texts: `true`; `5` also of 5.0; whole numbers below 2^53 without an exponent; 0 of -0; a text as it is.

    Args:
        values: Of any type that has texts.

    Raises:
        pa.ArrowNotImplementedError: Values of the type have none.
    """
    if isinstance(values, pa.ChunkedArray):
        return pa.chunked_array([texts(one) for one in values.chunks], pa.string())
    if pa.types.is_decimal(values.type):
        return _of_decimals(values)
    if not pa.types.is_floating(values.type):
        return values.cast(pa.string())
    wide = widened(values)
    plain, numbers = wide.cast(pa.string()), wide.fill_null(0).to_numpy()
    whole = (np.floor(numbers) == numbers) & (np.abs(numbers) < EXACT)
    other = whole & ((np.abs(numbers) >= _PLAIN) | (np.signbit(numbers) & (numbers == 0)))
    if not other.any():
        return plain
    return pc.replace_with_mask(plain, pa.array(other), pa.array(numbers[other].astype(np.int64)).cast(pa.string()))


def widened(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Numbers as float64; of narrow floats that of their shortest text, so that 0.1 is 0.1 at any width."""
    if pa.types.is_floating(values.type) and not pa.types.is_float64(values.type):
        values = values.cast(pa.float32()).cast(pa.string())
    return values.cast(pa.float64(), safe=False)


def _of_decimals(values: pa.Array) -> pa.Array:
    """Without zeros at the end of a fraction; whole ones exactly, however long."""
    plain = pc.replace_substring_regex(values.cast(pa.string()), r"^([^.E]*)\.0*$", r"\1")
    is_whole = pc.match_substring_regex(plain, r"^-?\d+$")
    return pc.if_else(is_whole, pc.replace_substring_regex(plain, "^-0$", "0"), texts(values.cast(pa.float64())))
