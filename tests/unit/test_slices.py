"""How slices are called: whatever the name of a column, it is read as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts import slices

VALUES = st.text(st.characters(exclude_characters=",=", exclude_categories=["Cs", "Z", "C"]), min_size=1)


def test_a_slice_is_named_by_its_columns_in_the_order_of_the_alphabet():
    assert slices.name_of({"region": "south", "gender": "female"}) == "gender=female,region=south"


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("home region", "home region=*"),
        ("price/unit", "price/unit=*"),
        ("x%", "x%=*"),
        ("", "=*"),
        ("a=b", "a%3Db=*"),
        ("a,b", "a%2Cb=*"),
        (" a ", "%20a%20=*"),
        ("100%25", "100%2525=*"),
    ],
)
def test_what_would_end_the_name_of_a_column_is_written_as_in_a_url(column, name):
    assert slices.name_of({column: "*"}) == name
    assert slices.values_of(name) == {column: "*"}


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, min_size=1, max_size=3))
def test_the_name_of_a_slice_is_read_as_it_was_written(values):
    assert slices.values_of(slices.name_of(values)) == values
    assert slices.columns_of(slices.key_of(values)) == tuple(sorted(values))


def test_a_value_may_have_commas():
    assert slices.values_of("city=Washington, DC,region=south") == {"city": "Washington, DC", "region": "south"}


def test_a_person_may_leave_spaces():
    assert slices.values_of("gender = female, region = south") == {"gender": "female", "region": "south"}
    assert slices.columns_of("region, gender") == ("gender", "region")
