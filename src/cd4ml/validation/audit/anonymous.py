"""How many rows stand alone by what others may know of a person: k-anonymity, as counts."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from cd4ml.contracts.findings import Anonymity
from cd4ml.names import words
from cd4ml.validation.audit import codes
from cd4ml.validation.on_disk import Table

KNOWN = re.compile(
    r"(^|_)(age|alter|birth_?\w*|dob|year_of_birth|gender|sex|geschlecht|zip|zip_?code|post_?code|postal_?code|plz|"
    r"city|town|village|county|municipality|nationality|citizenship|ethnicity|race|religion|marital(_?status)?|"
    r"native_country|country_of_birth|education|occupation|profession|job|job_title)($|_)"
)
"""Names of columns of which a neighbour, an employer or a public list knows the values."""
FEW = 5


def measure(table: Table, *, sensitive: Iterable[str], passed_over: Sequence[str]) -> Anonymity | None:
    """Counts the rows that share what may be known of a person.

    Args:
        table: The whole dataset.
        sensitive: Columns that count as well.
        passed_over: The label, the key and the times of rows, which nobody else knows.

    Returns:
        None where there is no such column.
    """
    asked = [name for name in table.column_names if name not in passed_over]
    chosen = [name for name in asked if KNOWN.search(words(name)) or name in sensitive]
    if not chosen or not table.num_rows:
        return None
    numbered = [codes.numbered(table.column(name)) for name in chosen]
    places = pa.table(
        {**{str(place): one for place, one in enumerate(numbered)}, "rows": np.ones(table.num_rows, np.int64)}
    )
    rows = places.group_by(places.column_names[:-1]).aggregate([("rows", "sum")])["rows_sum"].to_numpy()
    return Anonymity(
        columns=tuple(chosen),
        smallest=int(rows.min()),
        alone=int((rows == 1).sum()),
        fewer_than_five=int(rows[rows < FEW].sum()),
        rows=table.num_rows,
    )
