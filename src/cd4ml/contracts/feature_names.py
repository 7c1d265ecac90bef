"""How the table of windows calls features, for Delta Lake takes no two names that differ by case alone.

A feature is called there as it is captured, but for one that is called as another there but for case: it has a number
behind its name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

import pyarrow as pa

BEFORE_NUMBER = "\x1f"
"""What stands in the table between a name and its number."""


def stored(names: Iterable[str], there: Sequence[str]) -> dict[str, str]:
    """What features are called in a table.

    Args:
        names: As they are captured.
        there: What the table calls its features so far.

    Returns:
        By name; no two differ by case alone, neither from another nor from one that is there.
    """
    known = {captured(one): one for one in there}
    taken = {one.lower() for one in there}
    found = {}
    for name in names:
        new = (one for one in _candidates(name) if one.lower() not in taken)
        found[name] = known[name] if name in known else next(new)
        taken.add(found[name].lower())
    return found


def captured(name: str) -> str:
    """How a feature is captured that a table calls so."""
    return name.rpartition(BEFORE_NUMBER)[0] if BEFORE_NUMBER in name else name


def as_stored(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with their features called as in a table of such a schema."""
    return _renamed(rows, stored(_features(rows.schema), _features(schema)))


def as_captured(rows: pa.Table) -> pa.Table:
    """Rows of a table with their features called as they are captured."""
    return _renamed(rows, {one: captured(one) for one in _features(rows.schema)})


def of_table(names: Iterable[str], schema: pa.Schema) -> dict[str, str]:
    """What features are called in a table of such a schema; those that it does not have as they are."""
    there = {captured(one): one for one in _features(schema)}
    return {name: there.get(name, name) for name in names}


def _features(schema: pa.Schema) -> list[str]:
    return [one.name for one in schema.field("features").type] if "features" in schema.names else []


def _renamed(rows: pa.Table, names: Mapping[str, str]) -> pa.Table:
    if all(old == new for old, new in names.items()):
        return rows
    place = rows.schema.get_field_index("features")
    fields = [one.with_name(names[one.name]) for one in rows.schema.field(place).type]
    parts = [
        pa.StructArray.from_arrays([one.field(at) for at in range(len(fields))], fields=fields, mask=one.is_null())
        for one in rows["features"].chunks
    ]
    return rows.set_column(place, "features", pa.chunked_array(parts, pa.struct(fields)))


def _candidates(name: str) -> Iterator[str]:
    """What a feature may be called in a table, the plainest first."""
    if BEFORE_NUMBER not in name:
        yield name
    yield from (f"{name}{BEFORE_NUMBER}{number}" for number in count(1))
