"""Rows that come beside those that a dataset has, or over them."""

import multiprocessing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.contracts.dataset import DatasetVersion, Mode
from cd4ml.data import erasure, table
from cd4ml.data.ingest import ingest
from cd4ml.data.versions import Datasets
from cd4ml.errors import DataError
from cd4ml.storage import open_store

JUNE = {"id": ["a", "b"], "spend": [1.5, 2.0]}
JULY = {"id": ["b", "c"], "spend": [9.0, 3.0]}


class Dataset:
    """A dataset in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = 0

    def take(self, content: dict[str, Any], mode: Mode = "", key: str = "id", **asked: str) -> DatasetVersion:
        self.files += 1
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"{self.files}.parquet"
        pq.write_table(pa.table(content), file)
        store = str(self.folder / "store")
        return ingest(str(file), store=store, name="players", key=key, mode=mode, **asked)

    def rows(self, version: DatasetVersion) -> list[dict[str, Any]]:
        found = table.rows_of_version(table.opened(version.uri, version.version)).read_all()
        return sorted(found.to_pylist(), key=lambda row: str(row))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def test_rows_are_added_to_those_that_are_there(dataset: Dataset) -> None:
    dataset.take(JUNE)

    found = dataset.take({"id": ["c"], "spend": [3.0]}, "append")

    assert (found.version, found.rows, found.mode) == (1, 3, "append")
    assert [row["id"] for row in dataset.rows(found)] == ["a", "b", "c"]


def test_a_row_that_is_there_is_not_added_again(dataset: Dataset) -> None:
    dataset.take(JUNE)

    with pytest.raises(DataError, match="key 'id': 1 rows .* as row 1 has that of a row that was there"):
        dataset.take(JULY, "append")


def test_what_was_added_is_not_added_twice(dataset: Dataset) -> None:
    dataset.take(JUNE, key="rows")
    once = dataset.take({"id": ["c"], "spend": [3.0]}, "append", key="rows")

    assert dataset.take({"id": ["c"], "spend": [3.0]}, "append", key="rows") == once


WIDE = {"id": [1, 2, 3], "day": [1, 1, 2], "spend": [1.5, None, 2.0], "city": ["Köln", None, ""]}
LATER = {"city": ["Bonn", "Köln"], "spend": [4.0, 1.5], "day": [3, 1], "id": [7, 1]}
OTHERS = {"id": [8], "day": [1], "spend": [1], "city": ["Bonn"]}


def _without_sums(version: DatasetVersion) -> None:
    """Makes a version one of before."""
    log = Path(version.uri) / "_delta_log" / f"{version.version:020}.json"
    text = log.read_text()
    assert version.sums in text
    log.write_text(text.replace(version.sums, ""))


def _files(version: DatasetVersion) -> set[str]:
    return set(table.opened(version.uri, version.version).file_uris())


@pytest.mark.parametrize(
    ("key", "came", "beside"),
    [
        ('["id", "day"]', {**LATER, "id": [7, 9]}, True),
        ('["id", "day"]', {**LATER, "id": [8, 9]}, True),
        ("rows", {**LATER, "city": ["Bonn", "Bonn"]}, True),
        ("rows", LATER, True),
        ("rows", OTHERS, False),
        ("id", {**LATER, "id": [7, 9]}, True),
        ("id", {"id": [7]}, False),
        ("id", {**WIDE, "id": [7, 8, 9], "visits": [1, 2, 3]}, False),
    ],
)
def test_rows_are_written_beside_those_that_are_there_as_if_all_were_written_anew(
    tmp_path: Path, key: str, came: dict[str, Any], beside: bool
) -> None:
    dataset, anew = Dataset(tmp_path / "beside"), Dataset(tmp_path / "anew")
    before = dataset.take(WIDE, key=key)
    _without_sums(anew.take(WIDE, key=key))

    found, expected = dataset.take(came, "append", key), anew.take(came, "append", key)

    assert (_files(before) < _files(found)) is beside
    assert dataset.rows(found) == anew.rows(expected)
    assert _told(found) == _told(expected)
    assert _told(dataset.take({**came, "id": [90 + one for one in came["id"]]}, "append", key)) == _told(
        anew.take({**came, "id": [90 + one for one in came["id"]]}, "append", key)
    )


def _told(version: DatasetVersion) -> DatasetVersion:
    """What is told of a version, wherever it lies."""
    return replace(version, uri="", source="", state="", arrived="")


def test_equal_rows_that_are_added_are_left_out_where_that_is_asked(dataset: Dataset) -> None:
    dataset.take(WIDE, key="rows", duplicates="drop")

    found = dataset.take(LATER, "append", key="rows", duplicates="drop")

    assert (found.rows, found.said) == (4, ("1 rows are equal to others, and left out",))
    assert len(dataset.rows(found)) == 4


def test_the_newest_of_all_rows_is_told_where_some_come_beside_others(dataset: Dataset) -> None:
    dataset.take({"id": ["a", "b"], "at": [datetime(2024, 5, 2), datetime(2999, 1, 1)]}, time_column="at")

    found = dataset.take({"id": ["c"], "at": [datetime(2024, 5, 1)]}, "append", time_column="at")

    told = (found.newest, found.ahead, found.last)
    assert told == ("2024-05-02T00:00:00+00:00", 1, "2999-01-01T00:00:00+00:00")
    assert len(_files(found)) == 2


def test_rows_that_were_erased_do_not_count_in_what_others_are_added_to(dataset: Dataset) -> None:
    dataset.take(JUNE)
    versions = Datasets(open_store(dataset.folder / "store")).find("players")
    erasure.erase(versions, column="id", values=["a"], reason="asked for")

    found = dataset.take({"id": ["c"], "spend": [3.0]}, "append")

    assert found.rows == len(dataset.rows(found)) == 2


def test_rows_take_the_place_of_those_of_the_same_key(dataset: Dataset) -> None:
    dataset.take(JUNE)

    found = dataset.take(JULY, "merge")

    assert {row["id"]: row["spend"] for row in dataset.rows(found)} == {"a": 1.5, "b": 9.0, "c": 3.0}


def test_rows_are_merged_by_several_columns(dataset: Dataset) -> None:
    dataset.take({"id": ["a", "a"], "day": [1, 2], "spend": [1, 2]}, key='["id", "day"]')

    found = dataset.take({"id": ["a"], "day": [2], "spend": [7]}, "merge", key='["id", "day"]')

    assert [(row["day"], row["spend"]) for row in dataset.rows(found)] == [(1, 1), (2, 7)]


def test_columns_that_come_or_go_are_missing_in_the_other_rows_and_said(dataset: Dataset) -> None:
    dataset.take(JUNE)

    found = dataset.take({"id": ["c"], "visits": [4]}, "append")

    assert dataset.rows(found)[-1] == {"id": "c", "spend": None, "visits": 4}
    assert found.said == (
        "'visits' is new: missing in the rows that were there",
        "'spend' is gone: missing in the rows that came",
    )


def test_a_column_of_another_type_is_refused_with_its_name(dataset: Dataset) -> None:
    dataset.take(JUNE)

    with pytest.raises(DataError, match="column 'spend' is string, and was double"):
        dataset.take({"id": ["c"], "spend": ["much"]}, "append")


def test_no_rows_are_merged_where_nothing_tells_them_apart(dataset: Dataset) -> None:
    dataset.take(JUNE, key="rows")

    with pytest.raises(DataError, match="mode: merge wants a key"):
        dataset.take(JULY, "merge", key="rows")


def test_a_table_that_lost_most_rows_is_refused_unless_that_is_meant(dataset: Dataset) -> None:
    dataset.take({"id": list("abcde")})

    with pytest.raises(DataError, match="has 2 of the 5 rows of version 0, and the others would be gone") as refused:
        dataset.take({"id": list("deklmn")})

    assert "`mode: append`" in str(refused.value)
    assert dataset.take({"id": list("deklmn")}, "replace").version == 1
    assert dataset.take({"id": list("demnop")}).version == 2


def test_a_table_without_a_key_is_refused_where_it_has_become_short(dataset: Dataset) -> None:
    dataset.take({"id": list("abcde")}, key="rows")

    with pytest.raises(DataError, match="has 2 of the 5 rows"):
        dataset.take({"id": list("xy")}, key="rows")


def _append(folder: str, name: str) -> None:
    file = Path(folder) / f"{name}.parquet"
    pq.write_table(pa.table({"id": [name], "spend": [0.5]}), file)
    ingest(str(file), store=f"{folder}/store", name="players", key="id", mode="append")


def test_of_many_that_add_at_once_none_is_lost(dataset: Dataset) -> None:
    dataset.take(JUNE)
    names = [f"at once {number}" for number in range(5)]
    context = multiprocessing.get_context("spawn")
    together = [context.Process(target=_append, args=(str(dataset.folder), name)) for name in names]
    for one in together:
        one.start()
    for one in together:
        one.join()

    latest = table.latest(str(dataset.folder / "store" / "datasets" / "players"))
    assert latest is not None
    assert [row["id"] for row in dataset.rows(latest)] == sorted(["a", "b", *names])


tables = st.dictionaries(st.integers(0, 12), st.none() | st.integers(-3, 3), min_size=1, max_size=8)


@settings(max_examples=20)
@given(before=tables, after=tables)
def test_merging_is_what_updating_a_mapping_is(
    tmp_path_factory: pytest.TempPathFactory, before: dict[int, Any], after: dict[int, Any]
) -> None:
    dataset = Dataset(tmp_path_factory.mktemp("drawn"))

    def content(rows: dict[int, Any]) -> dict[str, Any]:
        return {"id": list(rows), "value": pa.array(rows.values(), pa.int64())}

    dataset.take(content(before))
    found = dataset.take(content(after), "merge")

    assert {row["id"]: row["value"] for row in dataset.rows(found)} == before | after


def test_the_same_rows_with_another_key_have_what_later_tasks_tell_rows_apart_by(dataset: Dataset) -> None:
    dataset.take(JUNE)

    found = dataset.take(JUNE, "replace", key="rows")

    assert all(row[found.key_column] for row in dataset.rows(found))


def test_rows_that_were_replaced_are_added_when_they_come_again(dataset: Dataset) -> None:
    dataset.take(JUNE)
    dataset.take({"id": ["x"], "spend": [0.5]}, "replace")

    found = dataset.take(JUNE, "append")

    assert [row["id"] for row in dataset.rows(found)] == ["a", "b", "x"]


def test_rows_that_a_restored_version_lacks_are_added_again(dataset: Dataset) -> None:
    dataset.take(JUNE)
    dataset.take({"id": ["c"], "spend": [3.0]}, "append")
    versions = Datasets(open_store(dataset.folder / "store")).find("players")
    versions.restore("0")

    found = dataset.take({"id": ["c"], "spend": [3.0]}, "append")

    assert [row["id"] for row in dataset.rows(found)] == ["a", "b", "c"]


def test_another_mode_is_heeded_though_the_source_is_the_same(dataset: Dataset) -> None:
    dataset.take(JUNE)
    dataset.take(JULY, "merge")

    file = str(dataset.folder / f"{dataset.files}.parquet")
    found = ingest(file, store=str(dataset.folder / "store"), name="players", key="id", mode="replace")

    assert [row["id"] for row in dataset.rows(found)] == ["b", "c"]


def test_a_key_of_whole_numbers_is_the_same_among_other_numbers(dataset: Dataset) -> None:
    dataset.take({"id": [1, 2]})

    found = dataset.take({"id": [2.0, 3.0]}, "merge")

    assert sorted(row["id"] for row in dataset.rows(found)) == [1.0, 2.0, 3.0]


def test_a_whole_number_that_no_other_number_can_hold_is_told(dataset: Dataset) -> None:
    dataset.take({"id": [1, 2**53 + 1]})

    with pytest.raises(DataError, match="column 'id' is int64 in some rows, and double in others, which cannot hold"):
        dataset.take({"id": [1.0, 3.0]}, "merge")


def test_of_two_first_tables_at_once_none_is_lost(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    another = Dataset(dataset.folder)
    another.files = 10
    commits = table.commits

    def late(uri: str) -> list[table.Commit]:
        monkeypatch.setattr(table, "commits", commits)
        found = commits(uri)
        another.take({"id": ["z"], "spend": [0.1]}, "append")
        return found

    monkeypatch.setattr(table, "commits", late)

    found = dataset.take(JUNE, "append")

    assert [row["id"] for row in dataset.rows(found)] == ["a", "b", "z"]
