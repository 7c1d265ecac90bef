"""Drops, hashes and puts into buckets what a dataset is not to hold, batch by batch, before anything is written."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from cd4ml.contracts.dataset import Masked
from cd4ml.contracts.hashes import hashed, too_short
from cd4ml.data import masks
from cd4ml.data.masks import Buckets, Hash, Mask
from cd4ml.data.sources.credentials import credential
from cd4ml.errors import DataError
from cd4ml.names import nearest

_FINGERPRINT = b"cd4ml: which key is this?"


class Masking:
    """What becomes of the columns of a table.

    Args:
        wanted: By column what becomes of it.

    Raises:
        DataError: A secret key is not set, or too short to be one.
    """

    def __init__(self, wanted: Mapping[str, Mask]) -> None:
        self._masks = wanted
        self._keys = {name: _key(mask.hash) for name, mask in wanted.items() if isinstance(mask, Hash)}

    @property
    def record(self) -> tuple[Masked, ...]:
        """What a version says of it."""
        return tuple(self._record(name, mask) for name, mask in sorted(self._masks.items()))

    def left(self, schema: pa.Schema, source: str) -> pa.Schema:
        """A table's columns without those that are dropped, of which nothing is asked.

        Raises:
            DataError: One that is named is not there.
        """
        for name in self._masks:
            if name not in schema.names:
                raise DataError(f"{source}: columns: no column {name!r} is there; {nearest(name, schema.names)}")
        return pa.schema([field for field in schema if self._masks.get(field.name) != masks.DROP])

    def schema(self, schema: pa.Schema, source: str) -> pa.Schema:
        """The columns of a plain table as they become.

        Raises:
            DataError: One holds what cannot become that.
        """
        for name in self._masks:
            if name not in schema.names and self._masks[name] != masks.DROP:
                raise DataError(f"{source}: columns.{name}: holds what no version can hold; drop it")
        for field in schema:
            if refused := _refused(field.type, self._masks.get(field.name)):
                raise DataError(f"{source}: columns.{field.name}: {refused}")
        return pa.schema([field.with_type(pa.string()) if field.name in self._masks else field for field in schema])

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Plain rows as they become."""
        columns = [self._masked(field.name, batch.column(field.name)) for field in batch.schema]
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names) if self._masks else batch

    def _record(self, name: str, mask: Mask) -> Masked:
        found = Masked(name, masks.how(mask))
        match mask:
            case Hash(hash=key):
                return replace(found, key=key, fingerprint=_fingerprint(self._keys[name]))
            case Buckets(buckets=edges):
                return replace(found, edges=tuple(map(str, edges)))
        return found

    def _masked(self, name: str, column: pa.Array) -> pa.Array:
        match self._masks.get(name):
            case Hash():
                texts = column.cast(pa.string()).dictionary_encode()
                hashed = pa.array(_hashes(self._keys[name], texts.dictionary.to_pylist()), pa.string())
                return hashed.take(texts.indices)
            case Buckets(buckets=edges):
                return _bucketed(column, edges)
        return column


UNMASKED = Masking({})


def hashes(values: Sequence[str], masked: Masked) -> list[str]:
    """What stands in a version for values of a column that it has hashed.

    Args:
        values: As the source has them, as text.
        masked: How the version has them.

    Raises:
        DataError: The key that it was hashed with is not set, or another has its name.
    """
    key = _key(masked.key)
    if _fingerprint(key) != masked.fingerprint:
        raise DataError(
            f"{masked.key}: is another key than the one that {masked.column!r} was hashed with, whose fingerprint is "
            f"{masked.fingerprint}; set it to that one"
        )
    return _hashes(key, values)


def _key(name: str) -> bytes:
    key = credential(name, use="columns are hashed with")
    if wrong := too_short(name, key):
        raise DataError(wrong)
    return key.encode()


def _fingerprint(key: bytes) -> str:
    """What tells a key from others, and nothing else of it."""
    return hmac.digest(key, _FINGERPRINT, "sha256").hex()[:8]


def _hashes(key: bytes, values: Sequence[str]) -> list[str]:
    return [hashed(key, value) for value in values]


def _refused(type_: pa.DataType, mask: Mask | None) -> str:
    """Why a column of a type cannot become what it is to; empty where it can."""
    types = pa.types
    match mask:
        case Hash():
            if not (types.is_string(type_) or types.is_integer(type_)):
                return f"holds {type_}, and only texts and whole numbers are hashed; drop it, or put it into buckets"
        case Buckets(buckets=edges):
            of_moments = isinstance(edges[0], str)
            if of_moments and not types.is_timestamp(type_):
                return f"holds {type_}, and the edges of its buckets are moments; say how it is read by `types`"
            if not of_moments and not (types.is_integer(type_) or types.is_floating(type_)):
                return f"holds {type_}, and the edges of its buckets are numbers; say how it is read by `types`"
    return ""


def _bucketed(column: pa.Array, edges: Sequence[float] | Sequence[str]) -> pa.Array:
    if isinstance(edges[0], str):
        moments = [datetime.fromisoformat(str(one)) for one in edges]
        first, numbers = "before", np.array(moments, "datetime64[us]").astype(np.int64)
        column = column.cast(pa.int64())
    else:
        first, numbers = "below", np.array(edges)
    names = [
        f"{first} {edges[0]}",
        *(f"{low} to {first} {high}" for low, high in pairwise(edges)),
        f"from {edges[-1]}",
    ]
    missing = column.is_null().to_numpy(zero_copy_only=False)
    places = np.searchsorted(numbers, column.fill_null(0).to_numpy(zero_copy_only=False), side="right")
    return pa.array(names).take(pa.array(places, mask=missing))
