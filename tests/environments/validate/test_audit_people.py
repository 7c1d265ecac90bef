import numpy as np
import pyarrow as pa
import pytest
from audited import alarms, clean, examined, having

from cd4ml.contracts.findings import Anonymity
from cd4ml.validation import groups, personal

RANDOM = np.random.default_rng(4)
TABLE = clean(2)
ROWS = len(TABLE)


def asked(table, *columns):
    return {"sensitive": {column: groups.values_of(table[column]) for column in columns}, "exclude": columns}


def test_a_feature_that_tells_a_sensitive_column_is_named_with_how_well_all_tell_it():
    gender = RANDOM.choice(["female", "male"], ROWS)
    name = np.where(RANDOM.random(ROWS) < 0.9, gender == "male", RANDOM.random(ROWS) < 0.5)
    height = np.where(gender == "male", 180, 165) + RANDOM.normal(0, 7, ROWS)
    table = having(TABLE, gender=gender, title=np.where(name, "Mr", "Ms"), height=height)

    (finding,) = alarms(table, **asked(table, "gender"))
    found = examined(table, **asked(table, "gender")).proxies

    assert (finding.kind, finding.severity, finding.column) == ("proxy", "warning", "gender")
    assert "'title' 0.9" in finding.message
    assert "'height' 0.9" in finding.message
    assert found[0].by == ""
    assert found[0].auc > max(proxy.auc for proxy in found[1:]) > 0.9
    assert all(proxy.interval[0] <= proxy.auc <= proxy.interval[1] for proxy in found)


def test_features_that_say_nothing_of_a_sensitive_column_raise_no_alarm():
    table = having(TABLE, gender=RANDOM.choice(["female", "male", "other"], ROWS, p=[0.5, 0.4, 0.1]))

    assert alarms(table, **asked(table, "gender")) == []
    assert [proxy.group for proxy in examined(table, **asked(table, "gender")).proxies if not proxy.by] == [
        "female",
        "male",
        "other",
    ]


def test_a_sensitive_column_is_no_proxy_of_itself():
    table = having(TABLE, gender=RANDOM.choice(["female", "male"], ROWS))

    assert alarms(table, **{**asked(table, "gender"), "exclude": []}) == []


def test_the_rows_that_stand_alone_by_what_others_know_are_counted():
    table = pa.table(
        {
            "age": [30, 30, 30, 30, 30, 41, 41, None, 50],
            "zipCode": ["a", "a", "a", "a", "a", "b", "b", "c", "c"],
            "spend": np.arange(9.0),
            "key": np.arange(9),
            "label": [True, False, True] * 3,
        }
    )

    assert examined(table).anonymity == Anonymity(("age", "zipCode"), 1, alone=2, fewer_than_five=4, rows=9)
    assert examined(table.drop(["age", "zipCode"])).anonymity is None


def test_what_two_sensitive_columns_make_is_counted_with_an_interval():
    outcome = pa.chunked_array([pa.array([1, 0, 1, 1] * 100, pa.int8())])
    values = {"a": pa.chunked_array([["x", "y"] * 200]), "b": pa.chunked_array([["p"] * 399 + ["q"]])}

    found = groups.cross(values, outcome)

    assert [(group.column, group.value, group.rows) for group in found] == [
        ("a × b", "x × p", 200),
        ("a × b", "y × p", 199),
        ("a × b", "y × q", 1),
    ]
    assert found[0].label_rate == 1
    assert found[0].interval == pytest.approx((0.981, 1), abs=1e-3)
    rate, note = sorted(groups.examine([], found), key=lambda one: -one.value)
    assert (rate.kind, rate.severity, rate.column) == ("label_balance", "note", "a × b")
    assert (note.kind, note.severity) == ("representation", "note")
    assert note.message.startswith("a × b: of the groups that both make, 1 of fewer than 30 rows")


def numbers(right, count=200, digits=11):
    """Different numbers with the check digits of a kind."""
    found = set()
    while len(found) < count:
        number = str(RANDOM.integers(10 ** (digits - 1), 10**digits))
        if right(number):
            found.add(number)
    return sorted(found)


def test_national_numbers_are_told_by_their_check_digits():
    from idnumbers.nationalid import BRA, DEU

    for kind in (BRA.CPFNumber, DEU.TaxID):
        values = numbers(kind.validate)
        for column in (values, [int(value) for value in values]):
            (finding,) = personal.examine(pa.table({"number": column}))
            assert "look like national numbers of persons" in finding.message


FORMS = {
    "account": (["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"] * 50, True),
    "account_before_a_break": (["DE89370400440532013000\n", "\tGB82WEST12345698765432\f"] * 50, True),
    "account_wrong": (["DE89 3704 0044 0532 0130 01", "GB83WEST12345698765432"] * 50, False),
    "number": ([f"{1 + place % 600:03}-{1 + place % 90:02}-{4000 + place}" for place in range(300)], True),
    "order": ([str(10**10 + 7 * place) for place in range(300)], False),
    "draw": ([str(one) for one in RANDOM.integers(10**8, 10**9, 300)], False),
    "short": ([f"+1 {place}" for place in range(100, 400)], False),
    "dob": (pa.array([place * 86_400 for place in range(300)], pa.timestamp("s")), True),
    "birth_date": (pa.array([place % 40 * 86_400 for place in range(300)], pa.timestamp("s")), True),
    "first": ([f"n{place}" for place in range(300)], True),
    "Name": ([f"n{place}" for place in range(300)], True),
    "Geburtsdatum": ([f"n{place}" for place in range(300)], True),
    "first_seen": (list(range(300)), False),
    "platform_name": ([f"n{place}" for place in range(300)], False),
    "offered_at": (pa.array([place * 86_400 for place in range(300)], pa.timestamp("s")), False),
}


@pytest.mark.parametrize("column", FORMS)
def test_personal_data_is_told_by_its_check_digits_or_by_the_name_of_its_column(column):
    values, found = FORMS[column]

    assert len(personal.examine(pa.table({column: values}))) == found
