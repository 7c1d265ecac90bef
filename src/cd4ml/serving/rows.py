"""Turns the rows of a request into the inputs of the model, or says which feature is wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException

from cd4ml.model import Contract, Input
from cd4ml.names import nearest

NUMBERS = {int, float, bool, type(None)}
TEXTS = {str, type(None)}


def columns(message: Any, contract: Contract) -> dict[str, np.ndarray]:
    """The inputs of the signature, one array [rows] each; names that the contract does not have are ignored.

    Raises:
        SeldonMicroserviceException: The client's mistake, which it gets as HTTP 400.
    """
    names, rows = _names_and_rows(message)
    try:
        values = dict(zip(names, zip(*rows, strict=True), strict=True))
    except ValueError as error:
        raise _bad(f"every row of data.ndarray must be a list of {len(names)} values, one a name") from error
    return {one.tensor: _array(values[_known(one.name, names)], one) for one in contract.inputs}


def missing_row(contract: Contract) -> dict[str, np.ndarray]:
    """The inputs of one row that lacks every value."""
    return {one.tensor: _array([None], one) for one in contract.inputs}


def _names_and_rows(message: Any) -> tuple[list[str], list[Any]]:
    data = message.get("data") if isinstance(message, dict) else None
    names, rows = (data.get("names"), data.get("ndarray")) if isinstance(data, dict) else ([], [])
    if not (isinstance(names, list) and isinstance(rows, list) and _all(str, names) and _all(list, rows)):
        raise _bad('send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row')
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise _bad(f"data.names has {sorted(twice)[0]!r} more than once")
    return names, rows


def _all(kind: type, values: list[Any]) -> bool:
    return set(map(type, values)) == {kind}


def _known(name: str, names: Sequence[str]) -> str:
    if name in names:
        return name
    raise _bad(f"feature {name!r} is not in data.names; {nearest(name, names)}")


def _array(column: Sequence[Any], one: Input) -> np.ndarray:
    values = np.fromiter(column, object, len(column))
    values[values == ""] = None
    wrong = set(map(type, values)) - (TEXTS if one.kind == "category" else NUMBERS)
    if wrong:
        wanted = "text" if one.kind == "category" else f"a {one.kind}"
        example = next(value for value in values if type(value) in wrong)
        raise _bad(f"feature {one.name!r} takes {wanted} or null, not {example!r}")
    if one.kind == "category":
        values[values == None] = ""  # noqa: E711 (elementwise)
        return values
    try:
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    except OverflowError as error:
        raise _bad(f"feature {one.name!r}: a number is too large") from error


def _bad(message: str) -> SeldonMicroserviceException:
    return SeldonMicroserviceException(message)
