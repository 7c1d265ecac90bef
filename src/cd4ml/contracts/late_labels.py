"""Labels that come in bulk, long after the predictions: `labels/<model>/<digest>/` in the store, never changed.

labels.parquet    one row a label (`LABELS`)
labels.json       what they are (`Labels`)
"""

from dataclasses import dataclass

import pyarrow as pa

from cd4ml.contracts.document import Document
from cd4ml.names import counted

LABELS = pa.schema(
    [
        ("request_id", pa.string()),  # the request that they are of; null where a key says which rows
        ("row", pa.int32()),  # of the request, from 1; null: the only one
        ("key", pa.list_(pa.string())),  # the row's values of the columns of `Labels.key`, as text; else null
        ("label", pa.string()),  # a class of the model, or a number as text
        ("at", pa.timestamp("us", "UTC")),  # when it was known, or taken where nobody says
    ]
)
TABLE, ABOUT = "labels.parquet", "labels.json"


@dataclass(frozen=True)
class Labels(Document, kind="cd4ml/Labels", remedy="take the labels again"):
    """Labels that were taken at once."""

    model: str
    version: int
    """Whose contract says what a label can be."""
    digest: str
    """Tells them from all others, whatever the order of the rows."""
    rows: int
    column: str
    """The source's that had the labels."""
    source: str
    """Where they come from, as JSON."""
    taken_at: str
    """ISO 8601, UTC."""
    key: tuple[str, ...] = ()
    """The features that tell which rows they are of; none where request ids do."""
    known: str = ""
    """The column that says when each was known; empty where there is none."""
    without: int = 0
    """Rows of the source that had no label yet."""
    by: str = ""
    """The person who gave them, as they say themselves; empty where another system did."""

    @property
    def folder(self) -> str:
        """Its name in the store."""
        return f"labels/{self.model}/{self.digest}"

    @property
    def headline(self) -> str:
        """How many labels, by what."""
        return f"{counted(self.rows, 'label')} by {' and '.join(self.key) or 'request'}"
