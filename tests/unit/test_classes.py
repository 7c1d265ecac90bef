"""The label of two classes: which values it may have, which one is positive, and what is told of any other."""

import re
from random import Random

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.class_labels import differing
from cd4ml.errors import DataError


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([True, False, True], ("false", "true")),
        ([1, 0, 1], ("0", "1")),
        ([1.0, 0.0, 1.0], ("0", "1")),
        (["yes", "no", "yes"], ("no", "yes")),
    ],
)
def test_two_values_that_read_in_one_way_are_classes(values: list[object], classes: tuple[str, str]) -> None:
    table = pa.table({"took": values})

    assert BINARY.classes(table, "took") == classes
    assert BINARY.labels(table, "took", classes).tolist() == [1, 0, 1]
    assert BINARY.labels(table, "took", classes).dtype == "float32"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["a", "a"], "every row is 'a', so there is nothing to tell apart; give rows of other classes"),
        (pa.nulls(2, pa.string()), "no row has one; name another column, or fill it in"),
        (["a", "b", "c"], "3 values ('a', 'b', 'c') where two are needed; group them into two, or write `prob"),
        (["won", "lost", ""], "'lost', 'won' do not say which one is to be predicted"),
        (list("abcdef"), "6 values ('a', 'b', 'c', 'd', 'e', ...) where two are needed"),
        (list("abcde"), "5 values ('a', 'b', 'c', 'd', 'e') where two are needed"),
        ([1, 2], "'1', '2' do not say which one is to be predicted"),
        ([0.0, 2.0], "'0', '2' do not say which one is to be predicted"),
    ],
)
def test_what_is_not_two_classes_is_told(values: object, told: str) -> None:
    with pytest.raises(DataError) as refused:
        BINARY.classes(pa.table({"took": values}), "took")

    assert str(refused.value).startswith("label 'took': ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["lost", None, None], "2 of 3 rows have none; drop these rows from the source"),
        (["lost", "", " \t"], "2 of 3 rows have none; drop these rows from the source"),
        (["lost", "won", "drawn"], "'drawn' is neither 'lost' nor 'won'; clean the source"),
        (pa.array([0, 1], pa.timestamp("s")), "timestamp[s] cannot be a label; give 0 and 1, booleans, or two words"),
        ([0.5, 1.0], "give 0 and 1, booleans, or two words"),
        ([0.0, 1.0, float("inf")], "1 of 3 rows have none that is finite; drop these rows from the source"),
    ],
)
def test_a_row_without_one_of_the_classes_is_told(values: object, told: str) -> None:
    with pytest.raises(DataError) as refused:
        BINARY.labels(pa.table({"took": values}), "took", ("lost", "won"))

    assert str(refused.value).startswith("label 'took': ")
    assert told in str(refused.value)


SOME = st.lists(st.sampled_from("abcde"), unique=True)


@given(SOME, SOME)
def test_in_what_classes_differ_is_said_by_each_that_one_of_both_lacks(one: list[str], other: list[str]) -> None:
    assume(set(one) != set(other))

    said = differing(one, other)

    has, _, lacks = said.partition("lacks")
    assert set(re.findall("'(.)'", has)) == set(one) - set(other)
    assert set(re.findall("'(.)'", lacks)) == set(other) - set(one)


@given(SOME, st.randoms())
def test_in_what_an_order_differs_is_said_by_the_first_place(one: list[str], random: Random) -> None:
    other = random.sample(one, len(one))
    assume(one != other)

    said = differing(one, other)

    found, wanted = re.findall("'(.)'", said)
    assert one[: one.index(found)] == other[: other.index(wanted)]
    assert (one.index(found), found) == (other.index(wanted), one[other.index(wanted)])
