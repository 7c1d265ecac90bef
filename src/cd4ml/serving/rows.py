"""Turns the values of a request into the inputs of the model, or says which feature is wrong.

Every protocol ends here. All of it takes time that grows with the request and no faster, whatever a client sends.
"""

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from cd4ml.contracts import moments
from cd4ml.contracts.model import Contract, Input, Kind, features
from cd4ml.names import nearest
from cd4ml.serving.application import RefusedError, bad, too_large

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 10_000
NAMES = 10_000
MOST_NUMBERS = 500_000
"""Of an answer in JSON; a router takes one of 8 MiB."""
NAMES_COMPARED = 100
"""With more names than that in a request, none is proposed for a feature that lacks."""
NUMBERS = frozenset({int, float, bool, type(None)})
"""The types of values that NumPy makes numbers of: of None it makes NaN."""
TEXTS = frozenset({str})
TAKES: Mapping[Kind, str] = {
    "category": "text",
    "text": "text",
    "number": "a finite number (float32)",
    "boolean": "a boolean",
    "date": "a date or time as ISO 8601",
}
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Inputs:
    """The rows of one request, as the model takes them."""

    numbers: np.ndarray
    """float32 [rows, features that are no text], NaN for missing."""
    texts: np.ndarray
    """object [rows, features that are text], "" for missing."""
    dates: np.ndarray
    """int64 [rows, features that are dates], as `Input` has them."""
    missing: Mapping[str, int]
    """By feature that has any: the rows that lack a value."""
    unknown: Mapping[str, int]
    """By feature that has any: the rows whose text training did not know."""
    outside: Mapping[str, int] = field(default_factory=dict)
    """By feature that has any: the rows whose number is less or greater than any that training saw."""

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.numbers)

    def part(self, start: int, end: int) -> "Inputs":
        """Some of the rows, as the model takes them."""
        if self.rows <= end - start:
            return self
        return Inputs(self.numbers[start:end], self.texts[start:end], self.dates[start:end], {}, {})


class Encoder:
    """Makes inputs of columns.

    Args:
        contract: Of the model.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._numbers, self._texts, self._dates = (
            [one for one in contract.inputs if one.dtype == dtype] for dtype in ("float32", "string", "int64")
        )
        self._boolean = [place for place, one in enumerate(self._numbers) if one.kind == "boolean"]
        ranges = [one.range or (-np.inf, np.inf) for one in self._numbers]
        self._least, self._greatest = np.array(ranges, np.float32).reshape(-1, 2).T
        self._known = {one.name: {"", *one.vocabulary} for one in self._texts if one.vocabulary is not None}

    @property
    def tensors(self) -> tuple[list[str], list[str], list[str]]:
        """What the signature calls the columns of numbers, those of texts, and those of dates."""
        numbers, texts, dates = ([one.tensor for one in some] for some in (self._numbers, self._texts, self._dates))
        return numbers, texts, dates

    def inputs(self, columns: Mapping[str, Sequence[Any]], rows: int, place: str) -> Inputs:
        """The inputs of the columns that the model knows; all others are ignored.

        Args:
            columns: By name, as many values each as there are rows.
            rows: How many, one at least.
            place: Where the names stand in a request, for complaints.

        Raises:
            RefusedError: A feature lacks, or has a value that it does not take; the client's mistake.
        """
        numbers = [_column(one.name, columns, place) for one in self._numbers]
        texts = [_column(one.name, columns, place) for one in self._texts]
        if not NUMBERS.issuperset(map(type, chain.from_iterable(numbers))):
            numbers = [_numbers(column, one) for column, one in zip(numbers, self._numbers, strict=True)]
        if not TEXTS.issuperset(map(type, chain.from_iterable(texts))):
            texts = [_texts(column, one) for column, one in zip(texts, self._texts, strict=True)]
        dates = [_moments(_column(one.name, columns, place), one) for one in self._dates]
        return self._inputs(rows, numbers=numbers, texts=texts, dates=dates)

    def inputs_of_table(self, table: "pa.Table") -> Inputs:
        """The inputs of a table; NaN is a missing value in it, as null is.

        Raises:
            DataError: A column is missing or of a type that the model does not take.
            RefusedError: A column has a value that the feature does not take.
        """
        arrays = features(table, self._contract)
        texts = [arrays[one.tensor].tolist() for one in self._texts]
        numbers, dates = ([arrays[one.tensor] for one in some] for some in (self._numbers, self._dates))
        return self._inputs(len(table), numbers=numbers, texts=texts, dates=dates)

    def missing_rows(self, rows: int) -> Inputs:
        """Rows that lack every value."""
        return self.inputs({one.name: [None] * rows for one in self._contract.inputs}, rows, "")

    def _inputs(
        self, rows: int, *, numbers: Sequence[Any], texts: Sequence[Sequence[str]], dates: Sequence[Any]
    ) -> Inputs:
        values = np.array(numbers, np.float64).reshape(len(numbers), rows)
        gaps = np.isnan(values)
        fits = (np.abs(values) <= LARGEST) | gaps
        fits[self._boolean] &= ((values == 0) | (values == 1) | gaps)[self._boolean]
        if not fits.all():
            feature, row = divmod(int(np.argmin(fits)), rows)
            value = numbers[feature][row]
            raise _not_a_value(value.item() if isinstance(value, np.generic) else value, self._numbers[feature])
        missing = self._counted(gaps.sum(axis=1)) if gaps.any() else {}
        unknown = {}
        for one, column in zip(self._texts, texts, strict=True):
            if "" in column:
                missing[one.name] = column.count("")
            strange = _strange(column, self._known.get(one.name))
            if strange:
                unknown[one.name] = strange
        moment = np.array(dates, np.int64).reshape(len(dates), rows)
        for one, lacking in zip(self._dates, (moment == moments.MISSING).sum(axis=1).tolist(), strict=True):
            if lacking:
                missing[one.name] = lacking
        words = np.array(texts, object).reshape(len(texts), rows)
        taken = values.T.astype(np.float32, order="C")
        moment, words = np.ascontiguousarray(moment.T), np.ascontiguousarray(words.T)
        return Inputs(taken, words, moment, missing, unknown, self._outside(taken))

    def _outside(self, numbers: np.ndarray) -> Mapping[str, int]:
        """How many of the model's numbers, float32 [rows, features], training has seen none as small or as great as."""
        outside = (numbers < self._least) | (numbers > self._greatest)
        return self._counted(outside.sum(axis=0)) if outside.any() else {}

    def _counted(self, counts: np.ndarray) -> dict[str, int]:
        """By feature that is a number: those above zero."""
        return {one.name: count for one, count in zip(self._numbers, counts.tolist(), strict=True) if count}


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


def check_numbers(rows: int, names: Sequence[str], most: int = MOST_NUMBERS) -> None:
    """Makes sure that an answer is not too large.

    Args:
        rows: That are asked about.
        names: Of what is given for one.
        most: The numbers of an answer.

    Raises:
        RefusedError: It would be.
    """
    if rows * len(names) > most:
        raise too_large(
            f"an answer has {most:,} numbers at most, and each row gives {len(names):,}, one a class; send "
            f"{most // len(names):,} rows at most in a request"
        )


def check_names(names: Sequence[str], place: str) -> None:
    """Makes sure that no name is there twice.

    Raises:
        RefusedError: One is.
    """
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise bad(f"{place} has {min(twice)!r} more than once")


def _column(name: str, columns: Mapping[str, Sequence[Any]], place: str) -> Sequence[Any]:
    if name in columns:
        return columns[name]
    proposal = f"; {nearest(name, columns)}" if len(columns) <= NAMES_COMPARED else ""
    raise bad(f"feature {name!r} is not in {place}{proposal}")


def _numbers(column: Sequence[Any], one: Input) -> Sequence[float | None]:
    """The values, None for missing."""
    known = [None if value == "" else value for value in column]
    if not NUMBERS.issuperset(map(type, known)):
        raise _not_a_value(next(value for value in known if type(value) not in NUMBERS), one)
    return known


def _strange(column: Sequence[str], known: set[str] | None) -> int:
    """How many values are not known, where anyone says which are."""
    return 0 if known is None or known.issuperset(column) else sum(value not in known for value in column)


def _texts(column: Sequence[Any], one: Input) -> Sequence[str]:
    """The values, "" for missing."""
    known = ["" if value is None else value for value in column]
    if not TEXTS.issuperset(map(type, known)):
        raise _not_a_value(next(value for value in known if type(value) is not str), one)
    return known


def _moments(column: Sequence[Any], one: Input) -> Sequence[int]:
    """The values as the model takes them."""
    found = []
    for row, value in enumerate(column, 1):
        try:
            found.append(moments.of_text(value) if value not in (None, "") else moments.MISSING)
        except (ValueError, TypeError) as error:
            raise _not_a_value(value, one, f" in row {row:,}") from error
    return found


def _not_a_value(value: Any, one: Input, place: str = "") -> RefusedError:
    return bad(f"feature {one.name!r} takes {TAKES[one.kind]} or null, not {reprlib.repr(value)}{place}")
