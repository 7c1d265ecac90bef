"""Turns the rows of a request into the inputs of the model, or says which feature is wrong.

Everything here takes time that grows with the request and no faster, whatever a client sends.
"""

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException

from cd4ml.contracts.model import Contract, Input
from cd4ml.names import nearest

ROWS = 10_000
NAMES = 10_000
NAMES_COMPARED = 100
"""With more names than that in a request, none is proposed for a feature that lacks."""
NUMBERS = {int, float, bool, type(None)}
TEXTS = {str, type(None)}


def columns(message: Any, contract: Contract) -> dict[str, np.ndarray]:
    """The inputs of the signature, one array [rows] each; names that the contract does not have are ignored.

    Raises:
        SeldonMicroserviceException: The client's mistake, which it gets as HTTP 400, or 413 where it sends too much.
    """
    names, rows = _names_and_rows(message)
    try:
        values = dict(zip(names, zip(*rows, strict=True), strict=True))
    except ValueError as error:
        raise _bad(f"every row of data.ndarray must be a list of {len(names)} values, one a name") from error
    return {one.tensor: _array(_column(one.name, values), one) for one in contract.inputs}


def missing_row(contract: Contract) -> dict[str, np.ndarray]:
    """The inputs of one row that lacks every value."""
    return {one.tensor: _array([None], one) for one in contract.inputs}


def _names_and_rows(message: Any) -> tuple[list[str], list[Any]]:
    data = message.get("data") if isinstance(message, dict) else None
    names, rows = (data.get("names"), data.get("ndarray")) if isinstance(data, dict) else ([], [])
    if not (isinstance(names, list) and isinstance(rows, list) and _all(str, names) and _all(list, rows)):
        raise _bad('send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row')
    if len(rows) > ROWS or len(names) > NAMES:
        raise SeldonMicroserviceException(
            f"a request has {ROWS:,} rows and {NAMES:,} names at most, not {len(rows):,} and {len(names):,}; "
            "send the rows in several requests",
            status_code=413,
            reason="REQUEST_TOO_LARGE",
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise _bad(f"data.names has {min(twice)!r} more than once")
    return names, rows


def _all(kind: type, values: list[Any]) -> bool:
    return set(map(type, values)) == {kind}


def _column(name: str, values: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    if name in values:
        return values[name]
    proposal = f"; {nearest(name, values)}" if len(values) <= NAMES_COMPARED else ""
    raise _bad(f"feature {name!r} is not in data.names{proposal}")


def _array(column: Sequence[Any], one: Input) -> np.ndarray:
    values = np.fromiter(column, object, len(column))
    values[values == ""] = None
    wrong = set(map(type, values)) - (TEXTS if one.kind == "category" else NUMBERS)
    if wrong:
        raise _not_a_value(next(value for value in values if type(value) in wrong), one)
    return _texts(values, one) if one.kind == "category" else _numbers(values, one)


def _texts(values: np.ndarray, one: Input) -> np.ndarray:
    values[values == None] = ""  # noqa: E711 (elementwise)
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise _bad(f"feature {one.name!r}: a text with half of a surrogate pair is no Unicode") from error
    return values


def _numbers(values: np.ndarray, one: Input) -> np.ndarray:
    known = values != None  # noqa: E711 (elementwise)
    try:
        with np.errstate(over="ignore"):
            numbers = values.astype(np.float32)
    except OverflowError as error:
        raise _bad(f"feature {one.name!r}: a number is too large") from error
    fits = np.isin(numbers, (0, 1)) if one.kind == "boolean" else np.isfinite(numbers)
    wrong = values[known & ~fits]
    if len(wrong):
        raise _not_a_value(wrong[0], one)
    return numbers


def _not_a_value(value: Any, one: Input) -> SeldonMicroserviceException:
    wanted = {"category": "text", "number": "a finite number (float32)", "boolean": "a boolean"}[one.kind]
    return _bad(f"feature {one.name!r} takes {wanted} or null, not {reprlib.repr(value)}")


def _bad(message: str) -> SeldonMicroserviceException:
    return SeldonMicroserviceException(message)
