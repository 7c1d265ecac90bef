"""How a version of a dataset came to be, for its report."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.document import Document


@dataclass(frozen=True)
class RowChanges:
    """What is another in a version than in one before it, as counts; rows are told apart by their key."""

    since: int
    """The version before."""
    added: int
    removed: int
    changed: int
    """Rows that both versions have, and in which a value is another."""
    same: int
    columns: Mapping[str, int]
    """Rows in which the value of a column is another; those with the most first."""
    new_columns: tuple[str, ...]
    gone_columns: tuple[str, ...]
    retyped: Mapping[str, tuple[str, str]]
    """Columns whose type is another: what it was, and is."""


@dataclass(frozen=True)
class Provenance(Document, kind="cd4ml/Provenance", remedy="run split_dataset again"):
    """Where the rows of a version come from, how they were read, and what has changed."""

    source: str
    """As JSON; empty for a version that was written before it kept its source."""
    mode: str
    """How its rows came: `cd4ml.contracts.dataset.Mode`."""
    said: tuple[str, ...] = ()
    """How it was read, a line each; may hold values."""
    changes: RowChanges | None = None
    uncompared: str = ""
    """Why there are no changes."""
