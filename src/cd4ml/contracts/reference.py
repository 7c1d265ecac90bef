"""What is kept of the rows that a model was trained on, for later rows to be compared with: a sample, in Parquet.

The file names its origin in its metadata. It holds neither the key nor personal data.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from cd4ml.contracts.document import Document

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"cd4ml.reference"


@dataclass(frozen=True)
class Reference(Document, kind="cd4ml/Reference", remedy="train and publish the model again"):
    """Where a sample of rows comes from, and what of its columns is kept."""

    dataset: str
    version: int
    """Of the dataset."""
    split: str
    rows: int
    """That it was drawn from."""
    drawn: int
    """Rows of the sample."""
    patterns: tuple[str, ...] = ()
    """Columns of text that differs from row to row, of which the form alone is kept: `a9` of `p00017`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that are not kept, each with the reason."""

    @property
    def name(self) -> str:
        """In words: `train of version 3`."""
        return f"{self.split} of version {self.version}"


def stamp(schema: "pa.Schema", reference: Reference) -> "pa.Schema":
    """The schema of a sample, with where it comes from in its metadata."""
    return schema.with_metadata({METADATA_KEY: json.dumps(asdict(reference))})


def read(schema: "pa.Schema", place: str) -> Reference:
    """What `stamp` wrote.

    Args:
        schema: Of the sample.
        place: Where it lies, for errors.

    Raises:
        DocumentError: It is no such sample.
    """
    return Reference.parse((schema.metadata or {}).get(METADATA_KEY, b"null"), place)
