"""The values of a label that names classes, as text."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cd4ml.contracts.columns import column, is_text
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NAMED = 5
"""How many values an error names."""
_TRUTHS = {"0": "false", "1": "true"}
"""How labels may say so too, of which tensors and spreadsheets have numbers alone."""


def texts(table: "pa.Table", label: str, *, remedy: str) -> "pa.ChunkedArray":
    """The label's column as text, null where it is blank or not finite: `false`/`true`, `0`/`1`, or as it is.

    Args:
        table: Has the column.
        label: Its name.
        remedy: What to give where it is of another type, or has a fraction.

    Raises:
        DataError: The column is missing, or names no classes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = without_blanks(column(table, label))
    try:
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_finite(values), values, None).cast(pa.int64())
        kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_null, is_text)
        if any(one(values.type) for one in kinds):
            return values.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(f"label {label!r}: {error}; {remedy}") from error
    raise DataError(f"label {label!r}: {values.type} cannot be a label; {remedy}")


def of_value(value: Any) -> str | None:
    """A value of JSON as slices and classes have it: `true`, `1`, or as it is; None of null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def of_json(label: str | None) -> str | None:
    """A label as classes have it, of its JSON; None where it is none."""
    try:
        found = of_value(json.loads(label or ""))
    except (ValueError, RecursionError):
        return None
    return found if found is None or _is_text(found) else None


def of_classes(label: str | None, classes: Sequence[str]) -> str | None:
    """A label as classes have it: where these are `false` and `true`, `0` and `1` are so too."""
    return _TRUTHS.get(label or "", label) if _are_truths(classes) else label


def all_of_classes(labels: "pa.Array | pa.ChunkedArray", classes: Sequence[str]) -> "pa.Array | pa.ChunkedArray":
    """Labels as `of_classes` has each (string [rows])."""
    import pyarrow.compute as pc

    for digit, word in _TRUTHS.items() if _are_truths(classes) else ():
        labels = pc.if_else(pc.equal(labels, digit), word, labels)
    return labels


def _are_truths(classes: Sequence[str]) -> bool:
    return [*classes] == [*_TRUTHS.values()]


def _is_text(text: str) -> bool:
    """Whether it has no half characters, which JSON can have and nobody writes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_blanks(values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """A column, of which texts that are empty or only spaces are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_text(values.type):
        return values
    values = values.cast(pa.string())
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)


def distinct(table: "pa.Table", label: str, *, remedy: str) -> list[str]:
    """The classes of a label, sorted.

    Raises:
        DataError: As `texts`; or there are none, or one.
    """
    import pyarrow.compute as pc

    values = sorted(pc.unique(texts(table, label, remedy=remedy).drop_null()).to_pylist())
    if len(values) < 2:
        raise DataError(
            f"label {label!r}: every row is {values[0]!r}, so there is nothing to tell apart; give rows of other "
            "classes"
            if values
            else f"label {label!r}: no row has one; name another column, or fill it in"
        )
    return values


def places(table: "pa.Table", label: str, classes: tuple[str, ...], *, remedy: str) -> "np.ndarray":
    """The place of each row's class among the classes, int64 [rows].

    Raises:
        DataError: As `texts`; or a row has no label, or one of no class.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = texts(table, label, remedy=remedy)
    if values.null_count:
        finite = " that is finite" if pa.types.is_floating(column(table, label).type) else ""
        raise DataError(
            f"label {label!r}: {values.null_count:,} of {len(values):,} rows have none{finite}; "
            "drop these rows from the source"
        )
    found = pc.index_in(values, pa.array(classes, pa.string()))
    if found.null_count:
        strange = values.filter(pc.is_null(found))[0].as_py()
        known = f"neither {classes[0]!r} nor {classes[1]!r}" if len(classes) == 2 else f"none of {shown(classes)}"
        raise DataError(
            f"label {label!r}: {strange!r} is {known}; clean the source, or train on rows that have this value"
        )
    numbers: np.ndarray = found.cast(pa.int64()).to_numpy()
    return numbers


def differing(given: Sequence[str], wanted: Sequence[str]) -> str:
    """In what some classes differ from those that are wanted, by their names and places.

    Args:
        given: Other classes, or the same in another order.
        wanted: Those of the model that is compared with.
    """
    more, less = ([one for one in some if one not in others] for some, others in ((given, wanted), (wanted, given)))
    said = [f"{what} {shown(names)}" for what, names in (("has also", more), ("lacks", less)) if names]
    if said:
        return " and ".join(said)
    place = next(place for place, both in enumerate(zip(given, wanted, strict=True)) if len({*both}) > 1)
    return f"has them in another order, the first of which is {given[place]!r} where {wanted[place]!r} is to be"


def shown(values: "tuple[str, ...] | list[str]") -> str:
    """The first of some values, for an error."""
    return ", ".join(map(repr, values[:NAMED])) + (", ..." if len(values) > NAMED else "")
