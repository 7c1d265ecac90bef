"""How slices are called: `region=south`, or `gender=female,region=south` with the columns by alphabet.

Within the name of a column, what would end it is written as in a URL: the column `a,b` is `a%2Cb=south`. Values are
written as they are.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

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


def _quoted(column: str) -> str:
    return SPECIAL.sub(lambda found: quote(found[0], safe=""), column)
