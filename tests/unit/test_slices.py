"""How slices are called: whatever the name of a column, it is read as it was written."""

import json

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


SLICES = {
    "overall": {},
    "region=south": {"region": "south"},
    "region=north": {"region": "north"},
    "gender=female,region=south": {"gender": "female", "region": "south"},
    "city=Washington, state=DC": {"city": "Washington, state=DC"},
}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("overall", ["overall"]),
        ("region=south", ["region=south"]),
        ("region=*", ["region=south", "region=north"]),
        ("region = *", ["region=south", "region=north"]),
        ("region=west", []),
        ("region=*,gender=female", ["gender=female,region=south"]),
        ("gender=*,region=north", []),
        ("city=Washington, state=DC", ["city=Washington, state=DC"]),
        ("city=*", ["city=Washington, state=DC"]),
    ],
)
def test_a_pattern_stands_for_the_slices_that_have_its_values(pattern, names):
    assert slices.Pattern.parse(pattern).among(SLICES) == names


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("region=*", "region=south", True),
        ("region=*", "region=*", True),
        ("region=south", "region=*", False),
        ("region=*", "gender=female,region=south", False),
        ("overall", "region=south", False),
        ("overall", "overall", True),
    ],
)
def test_a_pattern_covers_another_of_the_same_columns(wide, narrow, covers):
    assert slices.Pattern.parse(wide).covers(slices.Pattern.parse(narrow)) is covers


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, min_size=1, max_size=3))
def test_each_slice_of_some_columns_has_just_these(values):
    pattern = slices.Pattern.each(values)

    assert pattern.columns == tuple(sorted(values))
    assert pattern.among({"it": values, "other": {**values, "one more": "x"}, "overall": {}}) == ["it"]


@pytest.mark.parametrize("name", ["south", "north", "overalls", ""])
def test_what_names_no_slice_is_no_pattern(name):
    with pytest.raises(ValueError, match=f"'{name}' is no slice; write overall, or a column with its value"):
        slices.Pattern.parse(name)


def test_a_pattern_is_known_by_its_name_wherever_that_was_read():
    read = json.loads('["overall", "region = *"]')
    patterns = [slices.Pattern.parse(name) for name in read]

    assert [dict(pattern.values) for pattern in patterns] == [{}, {"region": "*"}]
    assert len({*patterns, *map(slices.Pattern.parse, read)}) == 2
