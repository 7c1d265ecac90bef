"""What the catalogue of a store knows of a version of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.document import Document
from cd4ml.contracts.record import Judgement


@dataclass(frozen=True)
class Catalogued(Document, kind="cd4ml/Catalogued", remedy="make it again by `cd4ml datasets catalogue`"):
    """A version of a dataset."""

    about: DatasetVersion
    """What it is; without how it was read, which may show values."""
    columns: Mapping[str, str]
    """By name their types."""
    since: str = ""
    """When it became the latest, to the microsecond: another may in the same second."""
    judged: Judgement | None = None
    """What the gate of the data said last."""
