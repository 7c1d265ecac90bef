"""The features that a router captured as JSON by request, as columns of texts by row.

A value is as slices and keys have it: `true`, `5` also of 5.0, a text as it is.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

MANY = 2**16
"""Requests whose JSON is read at once."""
_LISTS = pa.list_(pa.string())


def of_rows(features: pa.ChunkedArray, rows: npt.NDArray[np.int64]) -> pa.StructArray:
    """What each row had of each feature.

    Args:
        features: JSON of each request, as `captured.REQUESTS` has it: the values of its rows by name; null where
            nothing was captured.
        rows: How many each request has.

    Returns:
        A struct of texts by the names of the features, in order (struct [rows]); null where a request lacks a feature,
        or has it for more or fewer rows.
    """
    parts = [
        _of_some(features.slice(begin, MANY).combine_chunks(), rows[begin : begin + MANY])
        for begin in range(0, len(features), MANY)
    ]
    names = sorted({name for part in parts for name in part.column_names})
    schema = pa.schema([(name, pa.string()) for name in names])
    total = int(rows.sum())
    if not names:
        return pa.StructArray.from_arrays([], fields=[], mask=pa.array(np.zeros(total, bool)))
    empty = schema.empty_table()
    whole = pa.concat_tables([empty, *parts], promote_options="default").combine_chunks()
    return pa.StructArray.from_arrays([whole[name].combine_chunks() for name in names], names=names)


def _of_some(features: pa.StringArray, rows: npt.NDArray[np.int64]) -> pa.Table:
    """The rows of some requests, a column of texts a feature."""
    total = int(rows.sum())
    columns = {name: _by_row(lists, rows) for name, lists in _lists(features).items()}
    if not columns:
        return pa.table({"": pa.nulls(total)}).select([])
    return pa.table(columns)


def _by_row(lists: pa.ListArray, rows: npt.NDArray[np.int64]) -> pa.Array:
    fits = pc.fill_null(pc.equal(pc.list_value_length(lists), pa.array(rows)), False)
    flags = fits.to_numpy(zero_copy_only=False)
    values = pc.list_flatten(lists.filter(fits))
    if flags.all():
        return values
    here = np.repeat(flags, rows)
    places = np.cumsum(here) - 1
    return values.take(pa.array(places, mask=~here))


def _lists(features: pa.StringArray) -> dict[str, pa.ListArray]:
    """The lists of each feature, as texts."""
    try:
        table = _parsed(features)
        lists = {name: table[name].combine_chunks() for name in table.column_names}
        return {name: _as_texts(one) for name, one in lists.items() if pa.types.is_list(one.type)}
    except pa.ArrowInvalid:  # values of a feature are of several kinds, or a list is in a list
        return _one_by_one(features)


def _parsed(features: pa.StringArray) -> pa.Table:
    """One row a request, a column a feature."""
    lines = pa.concat_arrays([pc.binary_join_element_wise(features.fill_null("{}"), "", "\n")])
    lengths = pc.binary_length(lines).to_numpy()
    text = memoryview(lines.buffers()[2])[: int(lengths.sum())]
    return arrow_json.read_json(
        io.BytesIO(text),
        read_options=arrow_json.ReadOptions(block_size=max(1 << 20, 2 * int(lengths.max()))),
        parse_options=arrow_json.ParseOptions(explicit_schema=_schema(features)),
    )


def _schema(features: pa.StringArray) -> pa.Schema:
    """Of features that are texts, as the first request tells: else those that look like moments would become such."""
    known = features.drop_null()
    first: dict[str, Any] = json.loads(known[0].as_py()) if len(known) else {}
    texts = [name for name, values in first.items() if any(isinstance(value, str) for value in values)]
    return pa.schema([(name, _LISTS) for name in texts])


def _one_by_one(features: pa.StringArray) -> dict[str, pa.ListArray]:
    read = [json.loads(text) if text else {} for text in features.to_pylist()]
    names = {name for one in read for name in one}
    return {name: pa.array([_plain(one.get(name)) for one in read], _LISTS) for name in names}


def _plain(values: Sequence[Any] | None) -> list[str | None] | None:
    return None if values is None else [_text(value) for value in values]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value)
    text: str = pa.array([value]).cast(pa.string())[0].as_py()
    return text


def _as_texts(lists: pa.ListArray) -> pa.ListArray:
    """Lists of one kind of values as those of texts.

    Raises:
        pa.ArrowInvalid: Of none that is a text, a number or a truth value.
    """
    kind = lists.type.value_type
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        raise pa.ArrowInvalid(f"{kind} is no value of a feature")
    return pa.ListArray.from_arrays(lists.offsets, lists.values.cast(pa.string()), mask=lists.is_null())
