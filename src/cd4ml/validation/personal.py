"""Personal data in a table: columns whose name or values tell who a person is.

Few alarms and true ones: values count only in a known form, with their check digits where they have some, a name only
where the values differ from row to row. No value is ever told.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.dataset import Masked
from cd4ml.contracts.findings import Finding, percent
from cd4ml.names import words
from cd4ml.validation.on_disk import Table

SAMPLE_ROWS = 10_000
SOME = 0.01
"""The share of a column's values from which on a form is no accident."""
MANY_VALUES = 100
MANY_DAYS = 10
"""Of moments, which stand for nothing else."""
CHECKED = 200
"""Values of a column that are checked one by one."""
RIGHT = 0.9
"""The share of these that must pass: one number in ten has the right check digit by chance."""
FEWEST_NATIONAL = 20
"""Different values, for it to be no chance that those of one state pass."""
FIRST_LOOK = 3
"""Values after which most states are ruled out."""

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_INTERNATIONAL = r"\+[0-9]{1,3}[ ()./-]*([0-9]{2,4}[ ()./-]*){2,4}"
_NORTH_AMERICAN = r"\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}"
FORMS = {
    "e-mail addresses": r"\b[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b",
    "IP addresses": rf"^\s*({_OCTET}\.){{3}}{_OCTET}\s*$",
}
PHONE = rf"^\s*({_INTERNATIONAL}|{_NORTH_AMERICAN})\s*$"
IBAN = r"^\s*[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7} ?[A-Z0-9]{0,4}\s*$"
NATIONAL = r"^[A-Z0-9][A-Z0-9 ./-]{6,20}$"
CARD_NUMBER = r"^\s*[3-6][0-9]{3}([ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}\s*$"
NAMES = re.compile(
    r"(^|_)(e_?mail|phone|telephone|telefon|mobile_(no|number)|(ip|home|street|postal|e_?mail)_address|"
    r"(credit_?)?card_(number|no)|iban|ssn|social_security|passport|tax_id|driv(er|ing)s?_licen[cs]e|user_?name|"
    r"(first|last|full|sur|middle|maiden|family|given|nick|customer|client|patient|person|employee|contact)_?name|"
    r"forename|vorname|nachname|prenom|apellidos?|date_of_birth|birth_?(date|day)|dob|geburts(tag|datum))($|_)"
    r"|^(name|names|first|last|address|street|nom|nombre)$"
)
WITHOUT_CHECK_DIGITS = {"USA": "SocialSecurityNumber", "GBR": "NationalInsuranceNumber"}
"""National numbers whose form alone is like no other."""
OF_COMPANIES = re.compile("Entity|Business|Unified|UID|Fiscal(?!Code)")


def examine(table: Table, masked: Sequence[Masked] = ()) -> list[Finding]:
    """Finds columns of personal data, by a sample of the rows.

    Args:
        table: The rows.
        masked: The columns that it does not hold as its source has them; of one that is hashed it is but noted.
    """
    places = np.linspace(0, table.num_rows - 1, min(table.num_rows, SAMPLE_ROWS)).astype(np.int64)
    sample = table.take(pa.array(places))
    hashed = {one.column: one for one in masked if one.how == "hashed"}
    found = [finding for name in table.column_names for finding in _column(name, sample.column(name))]
    return [_of_hashed(hashed[one.column]) if one.column in hashed else one for one in found]


def _column(name: str, column: pa.ChunkedArray) -> list[Finding]:
    values = column.drop_null()
    if not len(values) or pa.types.is_boolean(values.type):
        return []
    if pa.types.is_string(values.type) or pa.types.is_integer(values.type):
        form, share = max(_shares(values.cast(pa.string())).items(), key=lambda one: one[1])
        if share >= SOME:
            return [_finding(name, share, f"{percent(share)} of the values look like {form}")]
    many = MANY_DAYS if pa.types.is_timestamp(values.type) else MANY_VALUES
    if NAMES.search(words(name)) and pc.count_distinct(values).as_py() > min(many, len(values) / 2):
        return [_finding(name, None, "its name says so")]
    return []


def _finding(column: str, value: float | None, reason: str) -> Finding:
    message = (
        f"column {column!r} seems to be personal data: {reason}; no report shows its values, and no model learns "
        "them: drop or hash it by `columns`, allow it by the limit `personal_data`, or say in `waivers` why it is none"
    )
    return Finding("personal_data", "warning", "all", column, value, message)


def _of_hashed(masked: Masked) -> Finding:
    message = (
        f"column {masked.column!r} is hashed with the key {masked.key}, and is personal data to whoever has the key; "
        "no report shows its values, and no model learns them"
    )
    return Finding("personal_data", "note", "all", masked.column, None, message)


def _shares(text: pa.ChunkedArray) -> dict[str, float]:
    """The share of the values by the form that they have."""
    return {
        **{form: pc.mean(pc.match_substring_regex(text, pattern)).as_py() for form, pattern in FORMS.items()},
        "phone numbers": _checked(text, PHONE, _is_phone),
        "account numbers (IBAN)": _checked(text, IBAN, _is_iban),
        "card numbers": _checked(text, CARD_NUMBER, _is_card),
        "national numbers of persons": _national(text),
    }


def _checked(text: pa.ChunkedArray, pattern: str, right: Callable[[str], bool]) -> float:
    """The share of values that have a form, where nearly all of these also pass a check; else 0."""
    formed = text.filter(pc.match_substring_regex(text, pattern))
    return len(formed) / len(text) if _nearly_all(_some(formed), right) else 0.0


def _some(text: pa.ChunkedArray) -> dict[str, int]:
    """Different values, in an order that says nothing, and how often each occurs."""
    counts = text.value_counts()
    chosen = pa.array(np.random.default_rng(0).permutation(len(counts))[:CHECKED])
    some = (counts.field(name).take(chosen).to_pylist() for name in ("values", "counts"))
    return dict(zip(*some, strict=True))


def _nearly_all(some: Mapping[str, int], right: Callable[[str], bool]) -> bool:
    return sum(rows for value, rows in some.items() if right(value)) > RIGHT * sum(some.values())


def _is_phone(value: str) -> bool:
    import phonenumbers

    try:
        return bool(phonenumbers.is_possible_number(phonenumbers.parse(value, "US")))
    except phonenumbers.NumberParseException:
        return False


def _is_iban(value: str) -> bool:
    plain = "".join(value.split()).upper()
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _is_card(value: str) -> bool:
    """By the check digit of Luhn."""
    digits = [int(letter) for letter in value if letter.isdigit()][::-1]
    return sum(digits[::2] + [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]) % 10 == 0


def _national(text: pa.ChunkedArray) -> float:
    """The share of values that are numbers by which a state knows its people, of any one state."""
    formed = text.filter(pc.match_substring_regex(text, NATIONAL))
    some = _some(formed)
    if len(some) < FEWEST_NATIONAL:
        return 0.0
    for right in _national_numbers():
        if all(map(right, [*some][:FIRST_LOOK])) and _nearly_all(some, right):
            return len(formed) / len(text)
    return 0.0


@cache
def _national_numbers() -> Sequence[Callable[[str], bool]]:
    """Checks of the national numbers that are told from others: by check digits, or by a form that is theirs."""
    from idnumbers import nationalid

    kinds: dict[type, Callable[[str], bool]] = {}
    for module in pkgutil.iter_modules(nationalid.__path__):
        if not re.fullmatch("[A-Z]{3}", module.name):
            continue
        for name, kind in vars(importlib.import_module(f"{nationalid.__name__}.{module.name}")).items():
            known = WITHOUT_CHECK_DIGITS.get(module.name) == name
            if hasattr(kind, "METADATA") and not OF_COMPANIES.search(name) and (known or kind.METADATA.checksum):
                kinds[kind] = _never_raising(kind.validate)
    return list(kinds.values())


def _never_raising(validate: Callable[[str], bool]) -> Callable[[str], bool]:
    def right(value: str) -> bool:
        try:
            return bool(validate(value))
        except (ValueError, LookupError, TypeError, AttributeError):
            return False

    return right
