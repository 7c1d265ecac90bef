"""A version of a dataset, and where a split comes from: kept inside its file, so that whoever reads the file knows."""

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from cd4ml.contracts.document import Document
from cd4ml.errors import DataError
from cd4ml.names import shown

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"cd4ml"


ROWS = "rows"
"""What is written as the key of a table whose rows nothing tells apart but all of their values."""
Duplicates = Literal["keep", "drop"]
"""What becomes of equal rows where the key is `rows`."""
Mode = Literal["", "replace", "append", "merge"]
"""How rows that come go together with those that a dataset has; where nothing is said they take their place, unless
most of those would be lost."""
How = Literal["dropped", "hashed", "bucketed"]
"""What becomes of a column that a version does not hold as its source has it."""
ROW_KEY = "cd4ml_row"
"""The column that a table gets whose rows no single column tells apart: a digest of what does."""


def key_columns(key: str) -> list[str]:
    """The columns that tell rows apart; none where all of them do.

    Args:
        key: The name of a column, several as a list in JSON, or `rows`.
    """
    if key == ROWS:
        return []
    try:
        found = json.loads(key) if key.startswith("[") else key
    except ValueError:
        found = key  # a column may be called so
    return [str(name) for name in found] if isinstance(found, list) else [key]


def check_key(key: Any) -> Any:
    """Makes sure that this can be a key.

    Raises:
        DataError: It is neither a text nor a list of different ones.
    """
    columns = key_columns(key) if isinstance(key, str) and key.startswith("[") else key
    several = columns if isinstance(columns, list) else [columns]
    if not several or not all(isinstance(one, str) and one and _is_unicode(one) for one in several):
        raise DataError(f"{shown(key)} is no key; write the name of a column, a list of names, or `{ROWS}`")
    if len(set(several)) < len(several):
        raise DataError(f"{shown(key)} names a column twice; name each once")
    return key


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair cannot."""
    return text.encode(errors="replace").decode() == text


@dataclass(frozen=True)
class Masked:
    """A column that a version does not hold as its source has it."""

    column: str
    how: How
    key: str = ""
    """The name of the secret key that its values are hashed with."""
    fingerprint: str = ""
    """Tells that key from others that have had its name."""
    edges: tuple[str, ...] = ()
    """Of its buckets."""

    def __str__(self) -> str:
        match self.how:
            case "hashed":
                return f"hashed {self.column!r} with the key {self.key} ({self.fingerprint})"
            case "bucketed":
                return f"put {self.column!r} into buckets, with edges at {', '.join(self.edges)}"
        return f"dropped {self.column!r}"


@dataclass(frozen=True)
class DatasetVersion(Document, kind="cd4ml/DatasetVersion", remedy="run ingest_dataset again"):
    """One version of a dataset, as `ingest_dataset` tells of it, and as its commit keeps it."""

    name: str
    uri: str
    """Where the Delta Lake table lies, whose log has the schema."""
    version: int
    rows: int
    digest: str
    """Of the content, whatever the file or the order of rows and columns."""
    source: str = ""
    """Where it came from, as JSON; with the query of a database."""
    state: str = ""
    """The source's ETag, digest, version or sizes and times; empty where only reading tells."""
    said: tuple[str, ...] = ()
    """How it was read: what was found by looking, a line each."""
    masked: tuple[Masked, ...] = ()
    """The columns that it does not hold as the source has them."""
    mode: str = ""
    """How its rows came: in the place of those before, beside them, or over them by key (`cd4ml.data.modes`)."""
    came: str = ""
    """The digest of the rows that came, where they were put together with those before."""
    key: tuple[str, ...] = ()
    """The columns that tell rows apart; none where all of them do."""
    duplicates: str = ""
    """What became of rows that are equal."""
    time_column: str = ""
    newest: str = ""
    """The time of the newest row, in UTC, of those that were no later than when they were read."""
    ahead: int = 0
    """Rows that were later than that."""
    last: str = ""
    """The time of the last of these; empty where there are none."""
    arrived: str = ""
    """When its content first came, in UTC; the log has it as the time of a commit."""
    owner: str = ""
    """Who answers for it."""
    run: str = ""
    revision: str = ""
    """Of the code."""
    cd4ml: str = ""
    """The version of cd4ml that read it."""
    sums: str = ""
    """Of the rows' hashes, which the digest is made of, so that rows can be added without those that are there
    (`cd4ml.data.digest`); versions before had none."""

    @property
    def headline(self) -> str:
        """How many rows, and which version."""
        return f"{self.rows:,} rows, version {self.version}"

    @property
    def without_times(self) -> "DatasetVersion":
        """The same where nothing tells when its rows came to be."""
        return replace(self, newest="", ahead=0, last="")

    @property
    def key_in_table(self) -> tuple[str, ...]:
        """The columns of the table by which its rows are told apart."""
        return self.key or (ROW_KEY,)

    @property
    def key_column(self) -> str:
        """The one column that tells rows apart, for later tasks."""
        return self.key[0] if len(self.key) == 1 else ROW_KEY


@dataclass(frozen=True)
class Origin(Document, kind="cd4ml/Origin", remedy="run split_dataset again"):
    """The version of the dataset that a split is part of."""

    dataset: str
    version: int
    digest: str
    masked: tuple[Masked, ...] = ()
    """The columns that it does not hold as its source has them."""


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
