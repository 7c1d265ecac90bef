"""A version of a dataset, and where a split comes from: kept inside its file, so that whoever reads the file knows."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cd4ml.contracts.document import Document

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"cd4ml"


@dataclass(frozen=True)
class DatasetVersion(Document, kind="cd4ml/DatasetVersion", remedy="run ingest_dataset again"):
    """One version of a dataset, as `ingest_dataset` tells of it."""

    name: str
    uri: str
    """Where the Delta Lake table lies."""
    version: int
    rows: int
    digest: str
    """Of the content, whatever the file or the order of rows and columns."""

    @property
    def headline(self) -> str:
        """How many rows, and which version."""
        return f"{self.rows:,} rows, version {self.version}"


@dataclass(frozen=True)
class Origin(Document, kind="cd4ml/Origin", remedy="run split_dataset again"):
    """The version of the dataset that a split is part of."""

    dataset: str
    version: int
    digest: str


def stamp(schema: "pa.Schema", origin: Origin) -> "pa.Schema":
    """The schema with the origin in its metadata."""
    return schema.with_metadata({METADATA_KEY: json.dumps(asdict(origin))})


def read(schema: "pa.Schema", place: str) -> Origin | None:
    """What `stamp` wrote; None where the file is no split of a dataset.

    Args:
        schema: Of the file.
        place: The file, for errors.

    Raises:
        DocumentError: What is stamped is no origin.
    """
    content = (schema.metadata or {}).get(METADATA_KEY)
    return Origin.parse(content, place) if content else None
