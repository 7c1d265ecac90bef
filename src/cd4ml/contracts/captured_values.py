"""Captured values of features, which are texts, as what a model or a column of its dataset takes."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import hashes, moments
from cd4ml.contracts.columns import is_text
from cd4ml.contracts.model import Input

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
MANY_DIGITS = r"^-?\d{16,20}$"
"""Whole numbers of which a float may not have all digits."""
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

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """Those of what is no text, of moments the microseconds since 1970: [rows], NaN where there is none."""
        values = self.values.cast(pa.int64()) if pa.types.is_timestamp(self.values.type) else self.values
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def by_feature(rows: pa.Table) -> dict[str, pa.Array]:
    """The captured values of each feature by its name (string [rows]); none where none was captured.

    Args:
        rows: Of windows (`cd4ml.contracts.window`).
    """
    if "features" not in rows.column_names:
        return {}
    column = rows["features"]
    whole = pa.concat_arrays([pa.array([], column.type), *column.chunks])
    return {field.name: values for field, values in zip(column.type, whole.flatten(), strict=True)}


def have_features(rows: pa.Table | pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """[rows]: those of which anything was captured; no feature of the others is known, which is not a missing value.

    Args:
        rows: Likewise.
    """
    if "features" not in rows.schema.names:
        return np.zeros(rows.num_rows, bool)
    return np.asarray(rows.column("features").is_valid(), bool)


def is_hashed(texts: pa.Array | pa.ChunkedArray) -> bool:
    """Whether the values of a feature were captured as hashes, as those of personal data are; string [rows]."""
    return texts.null_count < len(texts) and bool(pc.all(pc.match_substring_regex(texts, hashes.PATTERN)).as_py())


def look_hashed(texts: pa.Array) -> pa.Array:
    """Which values of a feature look as hashes do, bool [rows]: some, where hashing began in between."""
    return pc.fill_null(pc.match_substring_regex(texts, hashes.PATTERN), False)


def typed(texts: pa.Array, one: Input) -> Typed:
    """What the model takes of the captured values of a feature.

    Args:
        texts: As `cd4ml.contracts.captured_features` has them (string [rows]); an empty one is missing.
        one: The feature.
    """
    if one.is_text:
        return _read(texts, lambda given: given)
    return _read(texts, {"date": _moments, "boolean": _truths}.get(one.kind, _numbers))


def of_type(texts: pa.Array, type_: pa.DataType) -> Typed:
    """What a column of a dataset takes of the captured values of a feature.

    Args:
        texts: As those of `typed`.
        type_: The column's; a date takes the day of a moment, in UTC.
    """
    return _read(texts, lambda given: _of_type(given, type_))


def _read(texts: pa.Array, as_values: Callable[[pa.Array], pa.Array]) -> Typed:
    given = pc.if_else(pc.equal(texts, ""), None, texts)
    values = as_values(given)
    return Typed(values, _flags(values.is_null()) & ~_flags(given.is_null()))


def _of_type(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    if is_text(type_):
        return texts.cast(type_)
    if moments.is_moment(type_):
        return _in_unit(_moments(texts), type_)
    if pa.types.is_boolean(type_):
        return _truths(texts)
    if pa.types.is_integer(type_):
        return _whole(texts, type_)
    if pa.types.is_floating(type_):
        found = _numbers(texts).cast(type_, safe=False)
        return pc.if_else(pc.is_finite(found), found, None)
    coded = texts.dictionary_encode()
    return pa.array([_as_is(text, type_) for text in coded.dictionary], type_).take(coded.indices)


def _in_unit(values: pa.Array, type_: pa.DataType) -> pa.Array:
    if getattr(type_, "unit", "") == "ns":  # which cannot hold all years
        values = pc.if_else(pc.less(pc.abs(values.cast(pa.int64())), 2**63 // 1000), values, None)
    zone = getattr(type_, "tz", None)
    return values.cast(pa.timestamp("us", zone)).cast(type_, safe=False)


def _whole(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    numbers, ends = _numbers(texts).to_numpy(zero_copy_only=False), np.iinfo(type_.to_pandas_dtype())
    fits = (np.floor(numbers) == numbers) & (numbers >= float(ends.min)) & (numbers < float(ends.max) + 1)
    values = pa.array(np.where(fits, numbers, 0).astype(ends.dtype), type_, mask=~fits)
    digits = pc.match_substring_regex(texts, MANY_DIGITS)
    exact = pc.if_else(digits, texts, None).cast(pa.decimal128(20))
    least, most = (pa.scalar(Decimal(int(end)), exact.type) for end in (ends.min, ends.max))
    within = pc.and_(pc.greater_equal(exact, least), pc.less_equal(exact, most))
    return pc.if_else(pc.fill_null(digits, False), pc.if_else(within, exact, None).cast(type_), values)


def _as_is(text: pa.Scalar, type_: pa.DataType) -> object:
    try:
        return pa.array([text.as_py()], pa.string()).cast(type_)[0].as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _numbers(texts: pa.Array) -> pa.Array:
    plain = texts
    for word, digit in TRUTHS.items():
        plain = pc.if_else(pc.equal(plain, word), digit, plain)
    return pc.if_else(pc.match_substring_regex(plain, NUMBER), plain, None).cast(pa.float64())


def _truths(texts: pa.Array) -> pa.Array:
    values = _numbers(texts)
    return pc.if_else(pc.is_in(values, value_set=pa.array([0.0, 1.0])), values, None).cast(pa.bool_())


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
