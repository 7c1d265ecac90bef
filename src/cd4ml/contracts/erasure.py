"""What is kept of an erasure: that rows were taken out of all versions of a dataset, and nothing of what they held."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.document import Document


@dataclass(frozen=True)
class Erasure(Document, kind="cd4ml/Erasure", remedy="it is a record alone; nothing reads it but people"):
    """An erasure that has been done."""

    dataset: str
    at: str
    """ISO 8601, UTC."""
    reason: str
    column: str
    """By whose values the rows were found; the values are not kept."""
    subjects: int
    """How many values were asked for."""
    rows: Mapping[str, int]
    """By version of the dataset: the rows that were taken out of it."""
    models: tuple[str, ...]
    """The published models, as `NAME VERSION`, that were trained on versions that held them."""

    @property
    def headline(self) -> str:
        """How many rows of how many versions."""
        return f"{sum(self.rows.values()):,} rows of {len(self.rows)} versions"
