"""How slices are called: `region=south`, or `gender=female,region=south` with the columns by alphabet.

Within the name of a column, what would end it is written as in a URL: the column `a,b` is `a%2Cb=south`. Values are
written as they are.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote

OVERALL = "overall"
"""The slice of all rows."""
ANY = "*"
SPECIAL = re.compile(r"[=,]|%(?=[0-9A-Fa-f]{2})|^\s|\s$")


def name_of(values: Mapping[str, str]) -> str:
    """The name of the slice that has these values, or `*` for any, by column."""
    return ",".join(f"{_quoted(column)}={values[column]}" for column in sorted(values))


def key_of(columns: Iterable[str]) -> str:
    """What the groups of these columns are called together: `gender,region`."""
    return ",".join(map(_quoted, sorted(columns)))


def values_of(name: str) -> dict[str, str]:
    """The value, or `*`, by column that the name of a slice asks for; a value may have commas."""
    parts = (part.partition("=") for part in re.split(",(?=[^,]*=)", name))
    return {unquote(column.strip()): value.strip() for column, _, value in parts}


def columns_of(key: str) -> tuple[str, ...]:
    """The columns, by alphabet, that `key_of` or a person names together."""
    return tuple(sorted(unquote(column.strip()) for column in key.split(",")))


@dataclass(frozen=True)
class Pattern:
    """Slices as a person names them: `overall`, `region=south`, or `region=*` for each region."""

    name: str
    """As it was written."""
    values: Mapping[str, str] = field(compare=False)
    """The value, or `*` for any, by column; none for `overall`."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Reads a name.

        Raises:
            ValueError: It names no slice.
        """
        if name != OVERALL and "=" not in name:
            raise ValueError(
                f"{name!r} is no slice; write {OVERALL}, or a column with its value or *, such as region=*"
            )
        return cls(name, {} if name == OVERALL else values_of(name))

    @classmethod
    def each(cls, columns: Iterable[str]) -> Self:
        """Each slice that these columns make together."""
        return cls.parse(name_of(dict.fromkeys(columns, ANY)))

    @property
    def columns(self) -> tuple[str, ...]:
        """By alphabet."""
        return tuple(sorted(self.values))

    def among(self, slices: Mapping[str, Mapping[str, str]]) -> list[str]:
        """The names of the slices that it stands for.

        Args:
            slices: The value by column, by name.
        """
        if self.name in slices and ANY not in self.values.values():
            return [self.name]  # whatever commas there are in its values
        return [name for name, values in slices.items() if self.values.keys() == values.keys() and self._has(values)]

    def covers(self, other: "Pattern") -> bool:
        """Whether every slice of the other one is one of this."""
        return self.columns == other.columns and self._has(other.values)

    def __str__(self) -> str:
        """As it was written."""
        return self.name

    def _has(self, values: Mapping[str, str]) -> bool:
        return all(value in (ANY, values[column]) for column, value in self.values.items())


def _quoted(column: str) -> str:
    return SPECIAL.sub(lambda found: quote(found[0], safe=""), column)
