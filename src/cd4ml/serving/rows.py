"""Turns the values of a request into the inputs of the model, or says which feature is wrong.

Every protocol ends here. All of it takes time that grows with the request and no faster, whatever a client sends.
"""

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cd4ml.contracts.model import Contract, Input
from cd4ml.names import nearest
from cd4ml.serving.application import RefusedError, bad, too_large

ROWS = 10_000
NAMES = 10_000
NAMES_COMPARED = 100
"""With more names than that in a request, none is proposed for a feature that lacks."""
NUMBERS = frozenset({int, float, bool})
TEXTS = frozenset({str})
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Inputs:
    """The rows of one request, as the model takes them."""

    numbers: np.ndarray
    """float32 [rows, features that are no text], NaN for missing."""
    texts: np.ndarray
    """object [rows, features that are text], "" for missing."""
    missing: Mapping[str, int]
    """By feature that has any: the rows that lack a value."""

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.numbers)


class Encoder:
    """Makes inputs of columns.

    Args:
        contract: Of the model.
    """

    def __init__(self, contract: Contract) -> None:
        self._numbers = [one for one in contract.inputs if one.kind != "category"]
        self._texts = [one for one in contract.inputs if one.kind == "category"]

    @property
    def tensors(self) -> tuple[list[str], list[str]]:
        """What the signature calls the columns of numbers and those of texts."""
        return [one.tensor for one in self._numbers], [one.tensor for one in self._texts]

    def inputs(self, columns: Mapping[str, Sequence[Any]], rows: int, place: str) -> Inputs:
        """The inputs of the columns that the model knows; all others are ignored.

        Args:
            columns: By name, as many values each as there are rows.
            rows: How many, one at least.
            place: Where the names stand in a request, for complaints.

        Raises:
            RefusedError: A feature lacks, or has a value that it does not take; the client's mistake.
        """
        numbers = np.empty((rows, len(self._numbers)), np.float32)
        texts = np.empty((rows, len(self._texts)), object)
        missing = {}
        for place_of_it, one in enumerate(self._numbers):
            numbers[:, place_of_it], lacking = _numbers(_column(one.name, columns, place), one)
            if lacking:
                missing[one.name] = lacking
        for place_of_it, one in enumerate(self._texts):
            texts[:, place_of_it], lacking = _texts(_column(one.name, columns, place), one)
            if lacking:
                missing[one.name] = lacking
        return Inputs(numbers, texts, missing)

    def missing_rows(self, rows: int) -> Inputs:
        """Rows that lack every value."""
        features = (*self._numbers, *self._texts)
        return self.inputs({one.name: [None] * rows for one in features}, rows, "")


def check_size(rows: int, names: int) -> None:
    """Makes sure that a request is not too large.

    Raises:
        RefusedError: It has more rows or names than are taken at once.
    """
    if rows > ROWS or names > NAMES:
        raise too_large(
            f"a request has {ROWS:,} rows and {NAMES:,} names at most, not {rows:,} and {names:,}; "
            "send the rows in several requests"
        )


def check_names(names: Sequence[str], place: str) -> None:
    """Makes sure that no name is there twice.

    Raises:
        RefusedError: One is.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad(f"{place} has {min(twice)!r} more than once")


def _column(name: str, columns: Mapping[str, Sequence[Any]], place: str) -> Sequence[Any]:
    if name in columns:
        return columns[name]
    proposal = f"; {nearest(name, columns)}" if len(columns) <= NAMES_COMPARED else ""
    raise bad(f"feature {name!r} is not in {place}{proposal}")


def _numbers(column: Sequence[Any], one: Input) -> tuple[np.ndarray, int]:
    """The values, float32 [rows], and how many are missing."""
    lacking = 0
    if not NUMBERS.issuperset(map(type, column)):
        lacking = sum(value is None or value == "" for value in column)
        known = [value for value in column if value is not None and value != ""]
        if not NUMBERS.issuperset(map(type, known)):
            raise _not_a_value(next(value for value in known if type(value) not in NUMBERS), one)
        column = [np.nan if value is None or value == "" else value for value in column]
    try:
        values = np.array(column, np.float64)
    except OverflowError as error:
        raise bad(f"feature {one.name!r}: a number is too large") from error
    fits = np.isin(values, (0, 1)) if one.kind == "boolean" else np.abs(values) <= LARGEST
    if np.count_nonzero(fits) + lacking < len(values):
        strange = ~fits & ~np.isnan(values) if lacking else ~fits
        raise _not_a_value(column[int(np.argmax(strange))], one)
    return values.astype(np.float32), lacking


def _texts(column: Sequence[Any], one: Input) -> tuple[Sequence[str], int]:
    """The values, and how many are missing."""
    if not TEXTS.issuperset(map(type, column)):
        known = [value for value in column if value is not None]
        if not TEXTS.issuperset(map(type, known)):
            raise _not_a_value(next(value for value in known if type(value) is not str), one)
        column = [value or "" for value in column]
    return column, column.count("")


def _not_a_value(value: Any, one: Input) -> RefusedError:
    wanted = {"category": "text", "number": "a finite number (float32)", "boolean": "a boolean"}[one.kind]
    return bad(f"feature {one.name!r} takes {wanted} or null, not {reprlib.repr(value)}")
