"""What the order of things tells: keys in whose order the label changes, and values written after the event."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.findings import Finding, percent
from cd4ml.contracts.shares import share_interval
from cd4ml.validation.audit import codes
from cd4ml.validation.audit.areas import of_codes
from cd4ml.validation.audit.sample import Sample
from cd4ml.validation.on_disk import Table

TELLING = 0.6
"""The area that an order must surely have to be a signal: rates that drift with time stay below."""
PARTS = 16
"""In which the keys are looked at, so that what comes back with every few rows is no order."""
DIGITS = 15
"""The last ones of a key in text, as float64 holds them."""
LATE = 0.01
"""The share of rows with a later moment from which on it is no slip."""


def of_key(key: pa.ChunkedArray, sample: Sample) -> Iterator[Finding]:
    """Finds that rows with near keys have the same label, as where one class was appended to the other.

    Args:
        key: Of the rows that are looked at.
        sample: These rows.
    """
    area = of_codes(codes.bins(as_numbers(key), PARTS), sample.outcome, sample.dealt)
    if area.low < TELLING:
        return
    message = (
        f"the order of the key tells the label with AUC {area}: rows were gathered class by class, or the key holds "
        "more than a number; a model must not see it, and columns that were filled in the same order tell it too"
    )
    yield Finding("leak", "warning", "all", "", area.value, message, area.interval)


def after_the_event(table: Table, time_column: str, exclude: Sequence[str]) -> Iterator[Finding]:
    """Finds moments that are later than that of the row.

    Args:
        table: The whole dataset.
        time_column: When each row came to be; empty where that is not known.
        exclude: Columns of which it is known.
    """
    if not time_column:
        return
    event = codes.microseconds(table.column(time_column))
    for name in table.column_names:
        if name in (time_column, *exclude) or not pa.types.is_timestamp(table.schema.field(name).type):
            continue
        moments = codes.microseconds(table.column(name))
        there = ~np.isnan(moments) & ~np.isnan(event)
        rows, late = int(there.sum()), int((moments[there] > event[there]).sum())
        if late < LATE * rows or late <= 1:
            continue
        share = late / rows
        message = (
            f"column {name!r} is later than {time_column!r} in {percent(share)} of the rows that have both: unless it "
            "was planned, it was written after the event; so may be what was written with it: `exclude` all of it"
        )
        yield Finding("leak", "warning", "all", name, share, message, share_interval(share, rows))


def as_numbers(key: pa.ChunkedArray) -> np.ndarray:
    """Keys as numbers, float64 [rows]: of a text its last digits, NaN where it has none."""
    if not pa.types.is_string(key.type):
        return codes.as_numbers(key)
    digits = pc.utf8_slice_codeunits(pc.replace_substring_regex(key, "[^0-9]", ""), -DIGITS)
    return codes.as_numbers(pc.if_else(pc.equal(digits, ""), None, digits))
