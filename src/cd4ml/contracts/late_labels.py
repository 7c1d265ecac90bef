"""Labels that come in bulk, long after the predictions: `labels/<model>/<digest>/` in the store, never changed.

labels.parquet    one row a label (`LABELS`)
labels.json       what they are (`Labels`)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.document import Document
from cd4ml.contracts.moments import of_text, text_of
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
BETWEEN = "\x1f"
"""What stands between values that are one text together."""
MOMENT = r"^\d{4}-\d{2}-\d{2}($|[T ]\d{2})"
"""A text that may be a date or time, as ISO 8601 has them with hyphens."""
TABLE, ABOUT = "labels.parquet", "labels.json"
CLOCKS = timedelta(seconds=30)
"""How far the clocks may be apart of those who write when requests and labels came."""


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


def matches(asked: pa.ChunkedArray, there: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The places of what is the same on both sides, each with each (int64 [pairs], twice); null is as nothing."""
    left, right = (one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one for one in (asked, there))
    both = pa.concat_arrays([right.cast(pa.string()), left.cast(pa.string())]).dictionary_encode()
    codes = both.indices.fill_null(-1).to_numpy().astype(np.int64)
    of_right, of_left = codes[: len(right)], codes[len(right) :]
    order = np.argsort(of_right, kind="stable")
    order = order[np.count_nonzero(of_right < 0) :]
    each = np.bincount(of_right[order], minlength=len(both.dictionary) + 1)
    begin = np.cumsum(each) - each
    times = np.where(of_left >= 0, each[of_left], 0)
    left_places = np.repeat(np.arange(len(of_left)), times)
    within = np.arange(len(left_places)) - np.repeat(np.cumsum(times) - times, times)
    return left_places, order[begin[of_left[left_places]] + within]


def row_places(
    row: pa.ChunkedArray, counts: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Which row each label is of that names a request.

    Args:
        row: As `LABELS` has it.
        counts: How many rows its request has (int64 [labels]).
        first: The place of the first of them (int64 [labels]).

    Returns:
        The place of the row (int64 [labels]), and whether its request has that row (bool [labels]).
    """
    number = row.fill_null(0).to_numpy().astype(np.int64)
    number = np.where((number == 0) & (counts == 1), 1, number)
    return first + number - 1, (number >= 1) & (number <= counts)


def one_text(values: Sequence[pa.Array]) -> pa.Array:
    """The values of a key as one text a row; null where a row lacks one of them."""
    return pc.binary_join_element_wise(*map(_comparable, values), BETWEEN)


def keys_of(labels: pa.Table, key: Sequence[str], names: Sequence[str]) -> pa.Array:
    """The keys of labels as one text each (`one_text`).

    Args:
        labels: As `LABELS` has them, by a key.
        key: Its features, as `Labels.key` has them.
        names: The same in the order of the texts.
    """
    values = labels["key"].combine_chunks()
    return one_text([pc.list_element(values, key.index(name)) for name in names])


def _comparable(values: pa.Array) -> pa.Array:
    """Texts, of which those that are dates or times have one form, however they were written."""
    coded = values.dictionary_encode()
    texts = coded.dictionary
    looks = pc.match_substring_regex(texts, MOMENT)
    if not pc.any(looks).as_py():
        return values
    same = [_of_moment(text) for text in texts.filter(looks).to_pylist()]
    return pc.replace_with_mask(texts, looks, pa.array(same, pa.string())).take(coded.indices)


def _of_moment(text: str) -> str:
    """A date or time in the form that reports have it in; what is none of the calendar as it is."""
    try:
        return text_of(of_text(text))
    except ValueError:
        return text
