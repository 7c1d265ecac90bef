"""The features that a router captured as JSON by request, as columns of texts by row.

A value is as slices and keys have it (`number_texts`): `true`, `5` also of 5.0, a text as it is.
"""

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from cd4ml.contracts import number_texts

MANY = 2**16
"""Requests whose JSON is read at once."""
BEYOND = r"[\[, ]-?(9[2-9]\d{17}|\d{20})"
"""Whole numbers that may be of more than 64 bits, of which Arrow would make others that are near."""
LONG = r"[\[, ]-?\d{16,}\s*[,\]]"
"""Whole numbers that a float may not have exactly."""
_LISTS = pa.list_(pa.string())


def of_rows(features: pa.ChunkedArray, rows: npt.NDArray[np.int64]) -> pa.StructArray:
    """What each row had of each feature.

    Args:
        features: JSON of each request, as `captured.REQUESTS` has it: the values of its rows by name; null where
            nothing was captured, and what is no such JSON is as nothing.
        rows: How many each request has.

    Returns:
        A struct of texts by the names of the features, in order (struct [rows]), null where nothing was captured; a
        text is null where a request lacks the feature, or has it for more or fewer rows.
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
    nothing = features.is_null().to_numpy().repeat(rows)
    columns = [whole[name].combine_chunks() for name in names]
    return pa.StructArray.from_arrays(columns, names=names, mask=pa.array(nothing))


def are_lists(features: pa.ChunkedArray) -> bool:
    """Whether all that was captured as JSON are lists by name.

    Args:
        features: As `of_rows` takes them.
    """
    parts = [features.slice(begin, MANY).combine_chunks().drop_null() for begin in range(0, len(features), MANY)]
    return all(_are_lists(part) for part in parts if len(part))


def _are_lists(features: pa.StringArray) -> bool:
    try:
        table = _parsed(features)
    except (pa.ArrowInvalid, ValueError):
        return all(_is_lists(text) for text in features.to_pylist())
    lists = all(pa.types.is_list(one) or pa.types.is_null(one) for one in table.schema.types)
    return lists and table.num_rows == len(features)


def _is_lists(text: str) -> bool:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(read, dict) and all(isinstance(one, list | None) for one in read.values())


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
    found = None if pc.any(pc.match_substring_regex(features, BEYOND)).as_py() else _at_once(features)
    return _one_by_one(features) if found is None else found


def _at_once(features: pa.StringArray) -> dict[str, pa.ListArray] | None:
    """The same; None where Arrow cannot tell: a feature's values are of several kinds, or long beside fractions."""
    try:
        table = _parsed(features)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        lists = {name: one for name, one in columns.items() if pa.types.is_list(one.type)}
        if any(map(_is_long, lists.values())) and pc.any(pc.match_substring_regex(features, LONG)).as_py():
            return None
        texts = {name: _as_texts(one) for name, one in lists.items()}
    except (pa.ArrowInvalid, ValueError):
        return None
    return texts if table.num_rows == len(features) else None


def _is_long(lists: pa.ListArray) -> bool:
    """Whether there are floats that may be rounded, as whole numbers beside fractions are."""
    if not pa.types.is_floating(lists.type.value_type):
        return False
    return bool(pc.any(pc.greater_equal(pc.abs(lists.values), number_texts.EXACT)).as_py())


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
    first = _object(known[0].as_py()) if len(known) else {}
    lists = {name: values for name, values in first.items() if isinstance(values, list)}
    texts = [name for name, values in lists.items() if any(isinstance(value, str) for value in values)]
    return pa.schema([(name, _LISTS) for name in texts])


def _one_by_one(features: pa.StringArray) -> dict[str, pa.ListArray]:
    read = [_object(text) for text in features.to_pylist()]
    names = {name for one in read for name in one}
    return {_encodable(name): pa.array([_plain(one.get(name)) for one in read], _LISTS) for name in names}


def _object(text: str | None) -> dict[str, Any]:
    """What a text of JSON says by name; nothing where it says no such thing."""
    try:
        read = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _plain(values: Any) -> list[str | None] | None:
    return [_text(value) for value in values] if isinstance(values, list) else None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < number_texts.EXACT:
        return str(int(value))
    text: str = number_texts.texts(pa.array([value]))[0].as_py()
    return text


def _encodable(text: str) -> str:
    """A text as it is, or with `?` in place of what stands for no character, which JSON can have."""
    return text.encode(errors="replace").decode()


def _as_texts(lists: pa.ListArray) -> pa.ListArray:
    """Lists of one kind of values as those of texts.

    Raises:
        pa.ArrowInvalid: Of none that is a text, a number or a truth value.
    """
    kind = lists.type.value_type
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        raise pa.ArrowInvalid(f"{kind} is no value of a feature")
    return pa.ListArray.from_arrays(lists.offsets, number_texts.texts(lists.values), mask=lists.is_null())
