import functools
import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from cd4ml.data import table as tables
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError, StorageError

PLAYERS = pa.table(
    {
        "player": ["p1", "p2", "p3"],
        "age": [31, None, 44],
        "offered_at": [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)],
        "took": [True, False, True],
    }
)


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def parquet(tmp_path):
    def write(table, name="players.parquet"):
        pq.write_table(table, tmp_path / name)
        return str(tmp_path / name)

    return write


def test_a_source_may_be_an_object_in_json(store, parquet):
    path = parquet(PLAYERS)

    assert ingest(json.dumps({"file": path}), store=store, name="players", key="player") == ingest(
        path, store=store, name="players", key="player"
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{file: a.csv}", "source: is no object in JSON"),
        ('{"fil": "a.csv"}', "source: names no source; write an object such as {file: PATH}; did you mean 'file'?"),
        ("", "source: is empty"),
    ],
)
def test_a_source_of_no_kind_is_told(store, source, told):
    assert told in refusal(source, store)


def refusal(source, store, key="player", time_column=""):
    with pytest.raises(DataError) as refused:
        ingest(source, store=store, name="players", key=key, time_column=time_column)
    return str(refused.value)


def test_a_table_becomes_version_0_of_a_delta_table(parquet, store):
    ingested = ingest(parquet(PLAYERS), store=store, name="players", key="player", time_column="offered_at")

    assert (ingested.version, ingested.rows) == (0, 3)
    assert ingested.metadata["headline"] == "3 rows, version 0"
    assert ingested.uri == f"{store}/datasets/players"
    assert deltalake.DeltaTable(ingested.uri).to_pyarrow_table().to_pylist() == PLAYERS.to_pylist()


def test_the_same_content_makes_no_new_version_whatever_its_order(parquet, store):
    first = ingest(parquet(PLAYERS), store=store, name="players", key="player")
    shuffled = PLAYERS.take([2, 0, 1]).select(["took", "age", "player", "offered_at"])

    again = ingest(parquet(shuffled), store=store, name="players", key="player")
    assert (again.version, again.digest) == (first.version, first.digest)
    assert len(deltalake.DeltaTable(first.uri).history()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        PLAYERS.slice(0, 2),
        PLAYERS.set_column(1, "age", [[31, 0, 44]]),
        PLAYERS.rename_columns(["player", "years", "offered_at", "took"]),
        PLAYERS.set_column(1, "age", [pa.array(["31", None, "44"])]),
    ],
    ids=["a row less", "missing became zero", "renamed", "another type"],
)
def test_changed_content_is_a_new_version_and_the_old_one_still_reads(parquet, store, changed):
    first = ingest(parquet(PLAYERS), store=store, name="players", key="player")
    second = ingest(parquet(changed), store=store, name="players", key="player")

    assert (second.version, second.rows) == (1, changed.num_rows)
    assert second.digest != first.digest
    assert tables.at_version(first.uri, 1)[0].to_pyarrow_table().to_pylist() == changed.to_pylist()
    old, known = tables.at_version(first.uri, 0)
    assert old.to_pyarrow_table().to_pylist() == PLAYERS.to_pylist()
    assert known.digest == first.digest


def test_no_version_is_ever_cleaned_away(parquet, store):
    for rows in range(1, 13):
        ingested = ingest(parquet(pa.table({"id": list(range(rows))})), store=store, name="numbers", key="id")
    table = deltalake.DeltaTable(ingested.uri)
    table.create_checkpoint()
    a_year_ago = (datetime.now(UTC) - timedelta(days=365)).timestamp()
    for log in Path(ingested.uri, "_delta_log").glob("*.json"):
        os.utime(log, (a_year_ago, a_year_ago))
    table.cleanup_metadata()
    table.vacuum(dry_run=False)

    assert tables.at_version(ingested.uri, 0)[0].to_pyarrow_table().num_rows == 1


def test_content_that_comes_back_is_the_version_that_it_was_and_the_latest_again(parquet, store):
    files = [parquet(table, f"{number}.parquet") for number, table in enumerate((PLAYERS, PLAYERS.slice(1), PLAYERS))]
    first, second, third = (ingest(file, store=store, name="players", key="player") for file in files)

    assert (first.version, second.version, third.version) == (0, 1, 0)
    assert third.digest == first.digest
    assert deltalake.DeltaTable(first.uri).to_pyarrow_table().num_rows == 3
    again = ingest(files[2], store=store, name="players", key="player")
    assert again == third
    fourth = ingest(parquet(PLAYERS.slice(2)), store=store, name="players", key="player", mode="replace")
    assert tables.at_version(fourth.uri, fourth.version)[0].to_pyarrow_table().num_rows == 1


def test_a_csv_file_is_read_with_its_types(tmp_path, store):
    pacsv.write_csv(PLAYERS, tmp_path / "players.csv")

    ingested = ingest(
        str(tmp_path / "players.csv"), store=store, name="players", key="player", time_column="offered_at"
    )

    kept = deltalake.DeltaTable(ingested.uri).to_pyarrow_table()
    assert kept.to_pylist() == PLAYERS.to_pylist()


@pytest.mark.parametrize("missing", ["", "null", "NULL", "NaN", "nan"])
def test_in_csv_an_empty_cell_and_null_are_missing_and_na_is_a_value(tmp_path, store, missing):
    (tmp_path / "players.csv").write_text(f"player,country,age\np1,NA,31\np2,{missing},{missing}\n")

    ingested = ingest(str(tmp_path / "players.csv"), store=store, name="players", key="player")

    kept = deltalake.DeltaTable(ingested.uri).to_pyarrow_table().sort_by("player").to_pydict()
    assert kept == {"player": ["p1", "p2"], "country": ["NA", None], "age": [31, None]}


def test_nan_is_missing_and_infinity_is_kept_for_validation_to_find(parquet, store):
    table = pa.table({"player": ["p1", "p2", "p3"], "spend": [float("nan"), float("inf"), 1.0]})

    ingested = ingest(parquet(table), store=store, name="players", key="player")

    assert deltalake.DeltaTable(ingested.uri).to_pyarrow_table()["spend"].to_pylist() == [None, float("inf"), 1.0]


def test_types_that_the_store_lacks_keep_their_values(parquet, store):
    table = pa.table(
        {
            "id": pa.array([200, 255], pa.uint8()),
            "text": pa.array(["a", "b"]).dictionary_encode(),
            "empty": pa.nulls(2),
            "day": pa.array([0, 1], pa.date32()),
            "price": pa.array([150, 275]).cast(pa.decimal128(21, 2)),
            "moment": pa.array([1_000, 2_000], pa.timestamp("ns", tz="Europe/Berlin")),
        }
    )

    kept = deltalake.DeltaTable(ingest(parquet(table), store=store, name="n", key="id").uri).to_pyarrow_table()

    assert kept["id"].to_pylist() == [200, 255]
    assert kept["text"].to_pylist() == ["a", "b"]
    assert kept["empty"].to_pylist() == [None, None]
    assert kept["price"].to_pylist() == [150.0, 275.0]
    assert str(kept.schema.field("moment").type) == "timestamp[us, tz=UTC]"


def test_a_missing_file_is_named(store):
    assert refusal("/nowhere/players.parquet", store).startswith("/nowhere/players.parquet: no such file")


def test_an_empty_file_is_refused(tmp_path, store):
    (tmp_path / "players.csv").touch()
    assert "is empty" in refusal(str(tmp_path / "players.csv"), store)


@pytest.mark.parametrize("name", ["players.parquet", "players.csv"])
def test_a_table_without_rows_is_refused(tmp_path, parquet, store, name):
    source = parquet(PLAYERS.slice(0, 0))
    if name.endswith("csv"):
        source = str(tmp_path / name)
        (tmp_path / name).write_text("player,age\n")
    assert "has no rows" in refusal(source, store)


def test_a_truncated_parquet_file_is_refused(tmp_path, parquet, store):
    source = parquet(PLAYERS)
    content = (tmp_path / "players.parquet").read_bytes()
    (tmp_path / "players.parquet").write_bytes(content[: len(content) // 2])
    assert "damaged or cut short" in refusal(source, store)


def test_a_broken_csv_file_is_refused_with_its_line(tmp_path, store):
    (tmp_path / "players.csv").write_text("player,age\np1,3\np2,4,5\n")
    assert "row 2 has 3 cells, and the header 2; mend it" in refusal(str(tmp_path / "players.csv"), store)


def test_a_file_of_another_format_is_refused(tmp_path, store):
    (tmp_path / "players.xlsx").write_text("x")
    assert "of no known format; give a file that ends in .csv, .tsv" in refusal(str(tmp_path / "players.xlsx"), store)


def test_a_column_of_nested_values_is_left_out_and_said(parquet, store):
    table = PLAYERS.append_column("tags", pa.array([["a"], [], ["b"]]))

    ingested = ingest(parquet(table), store=store, name="players", key="player")

    assert ingested.said == ("left out 'tags', which holds list<element: string>",)
    assert "tags" not in deltalake.DeltaTable(ingested.uri).to_pyarrow_table().column_names
    assert "key column 'tags' holds list" in refusal(parquet(table), store, key="tags")


def test_a_column_that_is_there_twice_is_refused(parquet, store):
    table = pa.table([["p1"], [1], [2]], ["player", "age", "age"])
    assert "column 'age' is there more than once" in refusal(parquet(table), store)


def test_columns_that_differ_by_case_alone_are_refused_with_their_names(parquet, store):
    table = pa.table([["p1"], [1], [2]], ["player", "Alter", "alter"])
    assert "columns 'Alter' and 'alter' differ by case alone" in refusal(parquet(table), store)


def test_a_name_that_parquet_would_cut_is_refused(parquet, store, tmp_path):
    source = parquet(PLAYERS, "players.arrow").replace(".parquet", ".arrow")
    with pa.OSFile(source, "wb") as sink, pa.ipc.new_file(sink, (table := pa.table({"a\0b": [1]})).schema) as writer:
        writer.write_table(table)
    assert "column 'a\\x00b' has a NUL in its name" in refusal(source, store)


@pytest.mark.parametrize("key", [".id", "", "[id]", "a.b", "größe", 'a "b"'])
def test_a_key_may_have_any_name(parquet, store, key):
    table = pa.table({key: ["p2", "p1"], "age": [31, 44]})

    ingested = ingest(parquet(table), store=store, name="players", key=key)

    assert deltalake.DeltaTable(ingested.uri).to_pyarrow_table().equals(table)


def test_a_missing_key_column_names_the_nearest(parquet, store):
    assert refusal(parquet(PLAYERS), store, key="playr").endswith("has no key column 'playr'; did you mean 'player'?")


def test_rows_without_a_key_are_counted(parquet, store):
    table = PLAYERS.set_column(0, "player", [["p1", None, None]])
    assert "row 2 has no key 'player', and 2 of 3 rows from row 1 on have none" in refusal(parquet(table), store)


def test_repeated_keys_are_counted_with_an_example(parquet, store):
    table = PLAYERS.set_column(0, "player", [["p1", "p2", "p2"]])
    assert "key 'player': 1 rows have the key of another row, as row 3 has" in refusal(parquet(table), store)


def test_a_missing_time_column_names_the_nearest(parquet, store):
    assert "did you mean 'offered_at'?" in refusal(parquet(PLAYERS), store, time_column="ofered_at")


def test_a_time_column_without_timestamps_is_refused(parquet, store):
    assert "time column 'age' holds int64, not timestamps" in refusal(parquet(PLAYERS), store, time_column="age")


@pytest.mark.parametrize("name", ["", "../players", ".hidden"])
def test_a_name_that_leaves_the_store_is_refused(parquet, store, name):
    with pytest.raises(StorageError, match="cannot be a name"):
        ingest(parquet(PLAYERS), store=store, name=name, key="player")


def test_a_store_that_cannot_be_written_is_named(tmp_path, parquet):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StorageError, match="store: is a file; name a folder"):
        ingest(parquet(PLAYERS), store=str(tmp_path / "store"), name="players", key="player")


@pytest.mark.parametrize("error", [OSError, deltalake.exceptions.DeltaError])
@pytest.mark.parametrize("versions", [0, 1])
def test_why_a_version_cannot_be_written_is_told(parquet, store, monkeypatch, versions, error):
    for _ in range(versions):
        ingest(parquet(PLAYERS), store=store, name="players", key="player")

    def full(*_, **__):
        raise error("no space left\non the device")

    monkeypatch.setattr(deltalake, "write_deltalake", full)

    said = refusal(parquet(PLAYERS.slice(1)), store)
    assert said.endswith("players: cannot be written (no space left); mend the store, or name another")


def test_who_finds_that_another_has_just_made_the_table_adds_to_it(parquet, store, monkeypatch):
    write = deltalake.write_deltalake

    def beaten(uri, *_, **__):
        monkeypatch.setattr(deltalake, "write_deltalake", write)
        write(uri, PLAYERS)
        raise deltalake.exceptions.DeltaError("a table is there already")

    monkeypatch.setattr(deltalake, "write_deltalake", beaten)

    assert ingest(parquet(PLAYERS), store=store, name="players", key="player").version == 1


def test_a_damaged_log_is_named(parquet, store):
    uri = ingest(parquet(PLAYERS), store=store, name="players", key="player").uri
    Path(f"{uri}/_delta_log/{1:020}.json").write_text("{")
    assert f"{uri}: cannot be read" in refusal(parquet(PLAYERS), store)


def test_a_version_that_is_not_there_is_refused(parquet, store):
    uri = ingest(parquet(PLAYERS), store=store, name="players", key="player").uri
    with pytest.raises(DataError, match="has no version 4; its versions are 0 to 0"):
        tables.at_version(uri, 4)
    with pytest.raises(DataError, match="no dataset here"):
        tables.at_version(f"{uri}2", 0)


def test_a_writer_that_never_gets_through_says_so(parquet, store, monkeypatch):
    def beaten(*_, **__):
        raise deltalake.exceptions.CommitFailedError("beaten")

    monkeypatch.setattr(deltalake, "write_deltalake", beaten)
    assert "other runs write to it at the same time; run again" in refusal(parquet(PLAYERS), store)


def test_runs_at_once_make_one_version_of_one_content_and_lose_none(parquet, store):
    sources = [parquet(PLAYERS.slice(0, rows), f"{rows}.parquet") for rows in (1, 2, 2, 2)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        players = functools.partial(ingest, store=store, name="players", key="player")
        ingested = pool.map(players, sources, chunksize=1)

    assert all(tables.at_version(one.uri, one.version)[0].to_pyarrow_table().num_rows == one.rows for one in ingested)
    versions = [
        tables.at_version(ingested[0].uri, number)[1].digest for number in range(max(i.version for i in ingested) + 1)
    ]
    assert all(now != before for now, before in zip(versions[1:], versions, strict=False))


def test_a_decimal_of_more_digits_than_a_number_holds_is_told(parquet, store):
    long = pa.table({"player": ["p1"], "code": pa.array([Decimal(12345678901234567890)], pa.decimal128(38, 0))})

    with pytest.raises(DataError, match="'code': a number has more digits than a number holds"):
        ingest(parquet(long), store=store, name="players", key="player")
