"""What changed between two versions of a dataset."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.data import differences
from cd4ml.data.differences import Changed, Difference, Example
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError

BEFORE = {"id": ["a", "b", "c"], "age": [31, None, 44], "region": ["north", "south", "south"]}


def add_versions(uri: str, *, before: pa.Table, after: pa.Table) -> None:
    deltalake.write_deltalake(uri, before)
    deltalake.write_deltalake(uri, after, mode="overwrite", schema_mode="overwrite")


@pytest.fixture
def between(tmp_path: Path) -> Callable[..., Difference]:
    uri = str(tmp_path / "datasets" / "players")

    def compare(before: dict[str, Any], after: dict[str, Any], key: tuple[str, ...] = ("id",)) -> Difference:
        add_versions(uri, before=pa.table(before), after=pa.table(after))
        return differences.between(uri, before=0, after=1, key=key)

    return compare


def test_rows_are_told_apart_by_their_key_whatever_their_order(between: Callable[..., Difference]) -> None:
    found = between(BEFORE, {"id": ["d", "c", "a"], "age": [19, 44, 32], "region": ["east", "south", "north"]})

    assert (found.added, found.removed, found.changed, found.same) == (1, 1, 1, 1)
    assert (found.added_keys, found.removed_keys) == (["d"], ["b"])
    assert found.columns == [Changed("age", 1, [Example("a", "31", "32")])]


def test_a_value_that_goes_or_comes_has_changed(between: Callable[..., Difference]) -> None:
    found = between(BEFORE, {**BEFORE, "age": [None, 30, 44]})

    assert found.columns == [Changed("age", 2, [Example("a", "31", None), Example("b", None, "30")])]


def test_columns_that_come_go_or_are_of_another_type_are_named(between: Callable[..., Difference]) -> None:
    after = {"id": ["a", "b", "c"], "age": ["31", None, "forty"], "Region": ["north", "south", "south"]}

    found = between(BEFORE, after)

    assert (found.new_columns, found.gone_columns) == (["Region"], ["region"])
    assert found.retyped == {"age": ("int64", "string")}
    assert found.columns == [Changed("age", 1, [Example("c", "44", "forty")])]


def test_several_columns_may_be_the_key_and_may_have_any_name(between: Callable[..., Difference]) -> None:
    before = {'the "key"': ["a", "a"], "day": [1, 2], "new": [1, 1]}

    found = between(before, {**before, "day": [1, 3]}, ('the "key"', "day"))

    assert (found.added_keys, found.removed_keys, found.same) == (["a, 3"], ["a, 2"], 1)


def test_equal_rows_are_counted_one_by_one(tmp_path: Path) -> None:
    for cells in (["a", "a", "a", "b", "c"], ["a", "b", "b", "d"]):
        (tmp_path / "t.csv").write_text("x\n" + "".join(f"{one}\n" for one in cells))
        version = ingest(str(tmp_path / "t.csv"), store=str(tmp_path / "store"), name="t", key="rows", mode="replace")

    found = differences.between(version.uri, before=0, after=1, key=[version.key_column])

    assert (found.added, found.removed, found.changed, found.same) == (2, 3, 0, 2)
    assert (sorted(found.added_keys), sorted(found.removed_keys)) == (["(b)", "(d)"], ["(a)", "(c)"])


@pytest.mark.parametrize("twice", ["before", "after"])
def test_a_key_that_does_not_tell_rows_apart_is_told(between: Callable[..., Difference], twice: str) -> None:
    tables = {"before": BEFORE, "after": BEFORE} | {twice: {**BEFORE, "id": ["a", "a", "c"]}}

    with pytest.raises(DataError, match="'id' does not tell the 3 rows of a version apart; name more columns"):
        between(**tables)


def test_a_version_without_the_key_is_told(between: Callable[..., Difference]) -> None:
    with pytest.raises(DataError, match="version 1 has no column 'id'; did you mean 'i_d'"):
        between(BEFORE, {"i_d": ["a"], "age": [31], "region": ["north"]})


def test_the_columns_that_changed_most_come_first_with_a_few_examples(between: Callable[..., Difference]) -> None:
    keys = {"id": list(range(50))}
    before = keys | {f"c{number}": [0] * 50 for number in range(30)}
    after = keys | {f"c{number}": [1] * number + [0] * (50 - number) for number in range(30)}

    found = between(before, after)

    assert [one.rows for one in found.columns] == list(range(29, 0, -1))
    assert [len(one.examples) for one in found.columns] == [3] * 20 + [0] * 9


rows = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.none() | st.integers(-5, 5), st.none() | st.text(st.characters(codec="utf-8"), max_size=3)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25)
@given(before=rows, after=rows)
def test_it_counts_what_a_walk_over_the_rows_counts(
    before: dict[int, tuple[Any, Any]], after: dict[int, tuple[Any, Any]]
) -> None:
    def columns(content: dict[int, tuple[Any, Any]]) -> pa.Table:
        numbers, texts = zip(*content.values(), strict=True)
        return pa.table(
            {"id": list(content), "number": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.string())}
        )

    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/datasets/drawn"
        add_versions(uri, before=columns(before), after=columns(after))
        found = differences.between(uri, before=0, after=1, key=["id"])

    both = before.keys() & after.keys()
    assert (found.added, found.removed) == (len(after.keys() - both), len(before.keys() - both))
    assert found.changed == sum(before[key] != after[key] for key in both)
    assert found.same == len(both) - found.changed
    by_place = [sum(before[key][place] != after[key][place] for key in both) for place in (0, 1)]
    assert {one.column: one.rows for one in found.columns} == {
        name: count for name, count in zip(("number", "text"), by_place, strict=True) if count
    }
