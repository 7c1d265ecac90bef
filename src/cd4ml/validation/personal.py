"""Personal data in a table: columns whose name or values tell who a person is.

Few alarms and true ones: values count only in a known form, a name only where the values differ from row to row.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.findings import Finding, percent

SAMPLE_ROWS = 10_000
SOME = 0.01
"""The share of a column's values from which on a form is no accident."""
MANY_VALUES = 100

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_INTERNATIONAL = r"\+[0-9]{1,3}[ ()./-]*([0-9]{2,4}[ ()./-]*){2,4}"
_NORTH_AMERICAN = r"\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}"
FORMS = {
    "e-mail addresses": r"\b[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b",
    "phone numbers": rf"^\s*({_INTERNATIONAL}|{_NORTH_AMERICAN})\s*$",
    "IP addresses": rf"^\s*({_OCTET}\.){{3}}{_OCTET}\s*$",
}
CARD_NUMBER = r"^\s*[3-6][0-9]{3}([ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}\s*$"
NAMES = re.compile(
    r"(^|_)(e_?mail|phone|telephone|(ip|home|street|postal|e_?mail)_address|(credit_?)?card_(number|no)|iban|ssn|"
    r"social_security|passport|(first|last|full|sur|family|given)_?name|date_of_birth|birth_?(date|day)|dob)($|_)"
)


def examine(table: pa.Table) -> list[Finding]:
    """Finds columns of personal data, by a sample of the rows."""
    places = np.linspace(0, table.num_rows - 1, min(table.num_rows, SAMPLE_ROWS)).astype(np.int64)
    sample = table.take(pa.array(places))
    return [finding for name in table.column_names for finding in _column(name, sample.column(name))]


def _column(name: str, column: pa.ChunkedArray) -> list[Finding]:
    values = column.drop_null()
    if not len(values) or not (pa.types.is_string(values.type) or pa.types.is_integer(values.type)):
        return []
    text = values.cast(pa.string())
    shares = {form: pc.mean(pc.match_substring_regex(text, pattern)).as_py() for form, pattern in FORMS.items()}
    shares["card numbers"] = _card_numbers(text)
    form, share = max(shares.items(), key=lambda one: one[1])
    if share >= SOME:
        return [_finding(name, share, f"{percent(share)} of the values look like {form}")]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()
    if NAMES.search(words) and pc.count_distinct(text).as_py() > min(MANY_VALUES, len(text) / 2):
        return [_finding(name, None, "its name says so")]
    return []


def _finding(column: str, value: float | None, reason: str) -> Finding:
    message = (
        f"column {column!r} seems to be personal data: {reason}; "
        "drop it at the source, or keep a hash of it, or allow it by the limit `personal_data`"
    )
    return Finding("personal_data", "warning", "all", column, value, message)


def _card_numbers(text: pa.ChunkedArray) -> float:
    """The share of values that are card numbers: in their form, and with the check digit of Luhn.

    One number in ten has that check digit by chance, so most of those in the form must have it.
    """
    formed = text.filter(pc.match_substring_regex(text, CARD_NUMBER))
    if not len(formed):
        return 0.0
    padded = pc.utf8_lpad(pc.replace_substring_regex(formed, r"[^0-9]", ""), 20, "0")
    digits = np.array(padded.to_pylist(), "S20").view(np.uint8).reshape(-1, 20) - ord("0")
    doubled = digits[:, ::2] * 2
    sums = (doubled - 9 * (doubled > 9)).sum(axis=1) + digits[:, 1::2].sum(axis=1)
    right = int((sums % 10 == 0).sum())
    return right / len(text) if right > 0.9 * len(formed) else 0.0
