"""Where a split comes from, kept inside its Parquet file, so that whoever reads the file knows."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"cd4ml"


@dataclass(frozen=True)
class Origin:
    """The version of the dataset that a split is part of."""

    dataset: str
    version: int
    digest: str


def stamp(schema: "pa.Schema", origin: Origin) -> "pa.Schema":
    """The schema with the origin in its metadata."""
    return schema.with_metadata({METADATA_KEY: json.dumps(asdict(origin))})


def read(schema: "pa.Schema") -> Origin | None:
    """What `stamp` wrote; None where the file is no split of a dataset."""
    content = (schema.metadata or {}).get(METADATA_KEY)
    return Origin(**json.loads(content)) if content else None
