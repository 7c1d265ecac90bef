"""What changed from one version of a dataset to another: rows by their key, values by column."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import deltalake
import pyarrow as pa

from cd4ml.contracts.dataset import ROW_KEY
from cd4ml.data import table
from cd4ml.data.queries import query, quoted
from cd4ml.errors import DataError
from cd4ml.names import nearest

SHOWN = 5
"""Columns of a row that is an example."""
EXAMPLES = 3
"""Of each change, where nothing else is asked."""
WITH_EXAMPLES = 20
"""Columns of which examples are looked for, those with the most changes first."""


@dataclass(frozen=True)
class Example:
    """A value that changed, as text; None where it is missing."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Changed:
    """A column whose values changed in rows that both versions have."""

    column: str
    rows: int
    examples: Sequence[Example]


@dataclass(frozen=True)
class Difference:
    """What changed; rows are told apart by their key."""

    added: int
    removed: int
    changed: int
    """Rows that both versions have, and in which a value is another."""
    same: int
    added_keys: Sequence[str]
    """The first ones."""
    removed_keys: Sequence[str]
    columns: Sequence[Changed]
    """Those with the most changes first."""
    new_columns: Sequence[str]
    gone_columns: Sequence[str]
    retyped: dict[str, tuple[str, str]]
    """Columns whose type is another: what it was, and is. Their values are compared as text."""


def between(uri: str, *, before: int, after: int, key: Sequence[str], examples: int = EXAMPLES) -> Difference:
    """Compares two versions.

    Args:
        uri: Where the dataset's table lies.
        before: The one version.
        after: The other.
        key: The columns that tell rows apart.
        examples: Of each change. 0 looks for none, which is most of the time.

    Raises:
        DataError: There is no such version, or it has no such key.
    """
    old, new = (table.at_version(uri, version)[0] for version in (before, after))
    for version, one in ((before, old), (after, new)):
        names = [field.name for field in one.schema().fields]
        for name in key:
            if name not in names:
                raise DataError(f"{uri}: version {version} has no column {name!r}; {nearest(name, names)}")
    comparison = _EqualRows if list(key) == [ROW_KEY] else _Comparison
    return comparison(old, new, key, examples=examples).difference()


class _Comparison:
    def __init__(
        self, old: deltalake.DeltaTable, new: deltalake.DeltaTable, key: Sequence[str], *, examples: int
    ) -> None:
        self._tables = {"old": old, "new": new}
        self._before, self._after = (pa.schema(one.schema().to_arrow()) for one in (old, new))
        self._key, self._most = key, examples
        self._values = [name for name in self._after.names if name in self._before.names and name not in key]

    def difference(self) -> Difference:
        changes = {name: f"{self._in_both()} AND {self._compared(name, 'IS DISTINCT FROM')}" for name in self._values}
        any_change = " OR ".join(f"({change})" for change in changes.values()) or "false"
        counts = [f"count(*) FILTER (WHERE {condition})" for condition in (any_change, *changes.values())]
        added, removed, kept, changed, *by_column = self._rows([*self._counts(), *counts])[0]
        self._check_key(old=removed + kept, new=added + kept)
        found = sorted(zip(self._values, by_column, strict=True), key=lambda each: -each[1])
        columns = [
            Changed(name, rows, self._examples(name, changes[name]) if self._most and place < WITH_EXAMPLES else ())
            for place, (name, rows) in enumerate(found)
            if rows
        ]
        return Difference(
            added=added,
            removed=removed,
            changed=changed,
            same=kept - changed,
            added_keys=self._keys("new", self._more_in("new")) if self._most and added else (),
            removed_keys=self._keys("old", self._more_in("old")) if self._most and removed else (),
            columns=columns,
            new_columns=[name for name in self._after.names if name not in self._before.names],
            gone_columns=[name for name in self._before.names if name not in self._after.names],
            retyped=dict(self._retyped()),
        )

    def _counts(self) -> list[str]:
        """How many rows came, went and are in both."""
        conditions = self._more_in("new"), self._more_in("old"), self._in_both()
        return [f"count(*) FILTER (WHERE {condition})" for condition in conditions]

    def _more_in(self, side: str) -> str:
        return f"{_other(side)}.{quoted(self._key[0])} IS NULL"

    def _in_both(self) -> str:
        return f"NOT ({self._more_in('old')} OR {self._more_in('new')})"

    def _table(self, side: str) -> str:
        return side

    def _check_key(self, **found: int) -> None:
        """Makes sure that no row of a version met several of the other, given the rows that were found of each."""
        for side, rows in found.items():
            there = self._tables[side].count()
            if rows != there:
                raise DataError(
                    f"{self._tables[side].table_uri}: {' and '.join(map(repr, self._key))} does not tell the {there:,} "
                    "rows of a version apart; name more columns, each by --key"
                )

    def _retyped(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for name in self._values:
            before, after = self._before.field(name).type, self._after.field(name).type
            if before != after:
                yield name, (str(before), str(after))

    def _compared(self, name: str, by: str) -> str:
        """The values of a column on both sides; as text, where their types differ."""
        same = self._before.field(name).type == self._after.field(name).type
        old, new = (f"{side}.{quoted(name)}" if same else self._text(side, name) for side in self._tables)
        return f"{old} {by} {new}"

    def _text(self, side: str, name: str) -> str:
        return f"CAST({side}.{quoted(name)} AS VARCHAR)"

    def _key_of(self, side: str) -> str:
        return "concat_ws(', ', " + ", ".join(self._text(side, name) for name in self._key) + ")"

    def _keys(self, side: str, condition: str) -> list[str]:
        return [key for (key,) in self._rows([self._key_of(side)], condition, first=side)]

    def _examples(self, name: str, change: str) -> list[Example]:
        wanted = [self._key_of("new"), self._text("old", name), self._text("new", name)]
        return [Example(*row) for row in self._rows(wanted, change, first="new")]

    def _rows(self, wanted: Sequence[str], condition: str = "true", *, first: str = "") -> list[tuple[Any, ...]]:
        """Rows of what both versions have together; where a side is named, the first ones by its key."""
        columns = ", ".join(f"{one} AS c{place}" for place, one in enumerate(wanted))
        on = " AND ".join(self._compared(name, "=") for name in self._key)
        old, new = map(self._table, self._tables)
        order = ", ".join(f"{first}.{quoted(name)}" for name in self._key)
        end = f" ORDER BY {order} LIMIT {self._most}" if first else ""
        sql = f"SELECT {columns} FROM {old} FULL JOIN {new} ON {on} WHERE {condition}{end}"  # noqa: S608 (names are quoted)
        found = query(sql, **self._tables).read_all()
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


class _EqualRows(_Comparison):
    """Rows that only all of their values tell apart: none changes, and of equal ones there may be several."""

    def __init__(
        self, old: deltalake.DeltaTable, new: deltalake.DeltaTable, key: Sequence[str], *, examples: int
    ) -> None:
        super().__init__(old, new, key, examples=examples)
        self._values = []

    def _counts(self) -> list[str]:
        old, new = _times("old"), _times("new")
        counts = f"greatest({new} - {old}, 0)", f"greatest({old} - {new}, 0)", f"least({old}, {new})"
        return [f"coalesce(sum({one}), 0)" for one in counts]

    def _keys(self, side: str, condition: str) -> list[str]:
        """The rows, as their first values: their digests say nothing to people."""
        digests = ", ".join(f"'{digest}'" for digest in super()._keys(side, condition))
        names = [field.name for field in self._tables[side].schema().fields if field.name != ROW_KEY][:SHOWN]
        values = ", ".join(f"coalesce(CAST({quoted(name)} AS VARCHAR), '')" for name in names)
        row = quoted(ROW_KEY)
        sql = f"SELECT DISTINCT {row}, concat_ws(', ', {values}) FROM {side} WHERE {row} IN ({digests}) ORDER BY {row}"  # noqa: S608 (names are quoted)
        return [f"({one})" for one in query(sql, **self._tables).read_all().column(1).to_pylist()]

    def _more_in(self, side: str) -> str:
        return f"{_times(side)} > {_times(_other(side))}"

    def _table(self, side: str) -> str:
        row = quoted(ROW_KEY)
        return f"(SELECT {row}, count(*) AS times FROM {side} GROUP BY {row}) AS {side}"  # noqa: S608 (a name of ours)


def _other(side: str) -> str:
    return "old" if side == "new" else "new"


def _times(side: str) -> str:
    return f"coalesce({side}.times, 0)"
