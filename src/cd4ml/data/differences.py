"""What changed from one version of a dataset to another: rows by their key, values by column."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import deltalake
import pyarrow as pa

from cd4ml.data import table
from cd4ml.data.queries import query, quoted
from cd4ml.errors import DataError
from cd4ml.names import nearest

EXAMPLES = 3
"""Of each change."""
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


def between(uri: str, *, before: int, after: int, key: Sequence[str]) -> Difference:
    """Compares two versions.

    Args:
        uri: Where the dataset's table lies.
        before: The one version.
        after: The other.
        key: The columns that tell rows apart.

    Raises:
        DataError: There is no such version, or it has no such key.
    """
    old, new = (table.at_version(uri, version)[0] for version in (before, after))
    for version, one in ((before, old), (after, new)):
        names = [field.name for field in one.schema().fields]
        for name in key:
            if name not in names:
                raise DataError(f"{uri}: version {version} has no column {name!r}; {nearest(name, names)}")
    return _Comparison(old, new, key).difference()


class _Comparison:
    def __init__(self, old: deltalake.DeltaTable, new: deltalake.DeltaTable, key: Sequence[str]) -> None:
        self._tables = {"old": old, "new": new}
        self._before, self._after = (pa.schema(one.schema().to_arrow()) for one in (old, new))
        self._key = key
        self._values = [name for name in self._after.names if name in self._before.names and name not in key]

    def difference(self) -> Difference:
        one = quoted(self._key[0])
        both = f"old.{one} IS NOT NULL AND new.{one} IS NOT NULL"
        changes = {name: f"{both} AND {self._differs(name)}" for name in self._values}
        counts = [
            f"count(*) FILTER (WHERE {condition})"
            for condition in (
                f"old.{one} IS NULL",
                f"new.{one} IS NULL",
                both,
                " OR ".join(f"({change})" for change in changes.values()) or "false",
                *changes.values(),
            )
        ]
        added, removed, kept, changed, *by_column = self._rows(counts)[0]
        found = sorted(zip(self._values, by_column, strict=True), key=lambda each: -each[1])
        columns = [
            Changed(name, rows, self._examples(name, changes[name]) if place < WITH_EXAMPLES else ())
            for place, (name, rows) in enumerate(found)
            if rows
        ]
        return Difference(
            added=added,
            removed=removed,
            changed=changed,
            same=kept - changed,
            added_keys=self._keys("new", f"old.{one} IS NULL") if added else (),
            removed_keys=self._keys("old", f"new.{one} IS NULL") if removed else (),
            columns=columns,
            new_columns=[name for name in self._after.names if name not in self._before.names],
            gone_columns=[name for name in self._before.names if name not in self._after.names],
            retyped=dict(self._retyped()),
        )

    def _retyped(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for name in self._values:
            before, after = self._before.field(name).type, self._after.field(name).type
            if before != after:
                yield name, (str(before), str(after))

    def _differs(self, name: str) -> str:
        if self._before.field(name).type == self._after.field(name).type:
            return f"old.{quoted(name)} IS DISTINCT FROM new.{quoted(name)}"
        return f"{self._text('old', name)} IS DISTINCT FROM {self._text('new', name)}"

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
        on = " AND ".join(f"old.{quoted(name)} = new.{quoted(name)}" for name in self._key)
        order = ", ".join(f"{first}.{quoted(name)}" for name in self._key)
        end = f" ORDER BY {order} LIMIT {EXAMPLES}" if first else ""
        sql = f"SELECT {columns} FROM old FULL JOIN new ON {on} WHERE {condition}{end}"  # noqa: S608 (names are quoted)
        found = query(sql, **self._tables).read_all()
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))
