"""Texts that callers sent, in tables that a person opens in a spreadsheet: no text of theirs is a formula there."""

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.captured_values import NUMBER

_BEGINS = "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
"""A formula, in some spreadsheet; wide letters too."""


def written(rows: pa.Table) -> pa.Table:
    """Rows whose texts, where they would be formulas, begin with `'`, as a spreadsheet has texts."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            values = rows.column(place)
            formula = pc.and_not(
                pc.match_substring_regex(values, f"^'*{_BEGINS}"), pc.match_substring_regex(values, NUMBER)
            )
            quoted = pc.binary_join_element_wise("'", values, "")
            rows = rows.set_column(place, field.name, pc.if_else(formula, quoted, values))
    return rows


def read(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as they were before `written`."""
    return pc.replace_substring_regex(values, f"^'('*{_BEGINS})", r"\1")
