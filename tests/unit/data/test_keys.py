"""What tells rows apart: one column, several, or all of them; and which content is the same."""

import json
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.contracts.dataset import ROW_KEY, DatasetVersion, check_key, key_columns
from cd4ml.data import split, table
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError

Take = Callable[..., DatasetVersion]
ROWS = pa.table({"player": ["a", "a", "b"], "month": [1, 2, 1], "x": [1.5, None, 2.5]})


@pytest.fixture
def take(tmp_path: Path) -> Take:
    def ingested(content: pa.Table, key: Any, **arguments: Any) -> DatasetVersion:
        pq.write_table(content, tmp_path / "t.parquet")
        text = key if isinstance(key, str) else json.dumps(key)
        return ingest(str(tmp_path / "t.parquet"), store=str(tmp_path / "store"), name="t", key=text, **arguments)

    return ingested


def kept(version: DatasetVersion) -> pa.Table:
    return table.at_version(version.uri, version.version)[0].to_pyarrow_table()


def test_several_columns_tell_rows_apart_and_stay_columns(take: Take) -> None:
    version = take(ROWS, ["player", "month"])

    found = kept(version)
    assert found.select(ROWS.column_names).equals(ROWS)
    assert version.key_column == ROW_KEY
    assert len(set(found[ROW_KEY].to_pylist())) == 3
    with pytest.raises(DataError, match="key 'player': 1 rows .* as row 2 has that of row 1; .*key: rows"):
        take(ROWS, "player")
    with pytest.raises(DataError, match="key 'player' and 'month': 1 rows have .* as row [0-9] has that of row [0-9]"):
        take(pa.concat_tables([ROWS, ROWS.slice(0, 1)]), ["player", "month"])


def test_a_list_of_one_column_is_that_column(take: Take) -> None:
    version = take(ROWS.slice(1), ["player"])

    assert version.key_column == "player"
    assert ROW_KEY not in kept(version).column_names


def test_without_a_key_equal_rows_are_counted_and_kept_or_dropped_as_asked(take: Take) -> None:
    twice = pa.concat_tables([ROWS, ROWS.slice(0, 1), ROWS.slice(0, 1)])

    version = take(twice, "rows")
    assert (version.rows, version.said) == (5, ("2 rows are equal to others, and kept",))
    assert len(set(kept(version)[ROW_KEY].to_pylist())) == 3

    dropped = take(twice, "rows", duplicates="drop")
    assert (dropped.rows, dropped.said) == (3, ("2 rows are equal to others, and left out",))
    assert kept(dropped).select(ROWS.column_names).equals(ROWS)
    assert take(ROWS, "rows").digest == dropped.digest
    with pytest.raises(DataError, match="duplicates: 'dorp' is neither"):
        take(twice, "rows", duplicates="dorp")


def test_the_key_of_a_row_is_the_same_in_every_table(take: Take) -> None:
    first = dict(zip(ROWS["x"].to_pylist(), kept(take(ROWS, "rows"))[ROW_KEY].to_pylist(), strict=True))
    more = pa.concat_tables([pa.table({"player": ["c"], "month": [9], "x": [9.5]}), ROWS])

    again = kept(take(more, "rows"))

    assert dict(zip(again["x"].to_pylist()[1:], again[ROW_KEY].to_pylist()[1:], strict=True)) == first
    assert first[1.5] == "24dceb4b4e2b26bafd300e8f04a79bb3"


def test_rows_without_a_key_column_are_split_and_equal_ones_are_on_one_side(take: Take, tmp_path: Path) -> None:
    rows = pa.table({"n": [number // 2 for number in range(600)]})
    version = take(rows, "rows")

    parts = split.write_splits(
        version.uri,
        version=version.version,
        digest=version.digest,
        key=version.key_column,
        split={},
        **{name: tmp_path / name for name in ("train", "eval", "test")},
    )

    assert sum(part.rows for part in parts) == 600
    sides = [set(pq.read_table(tmp_path / name)["n"].to_pylist()) for name in ("train", "eval", "test")]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_a_column_that_is_called_rows_can_be_the_key(take: Take) -> None:
    content = pa.table({"rows": [1, 2]})

    assert take(content, ["rows"]).key == ("rows",)
    with pytest.raises(DataError, match=r"has a column 'rows'; write `key: \[rows\]`"):
        take(content, "rows")


@pytest.mark.parametrize("key", [[], ["a", "a"], [1], 3, "", ["a", ""], "\ud800", ["a", "\ud800"], "[]"])
def test_what_is_no_key_is_told(key: Any) -> None:
    with pytest.raises(DataError, match="is no key; write the name|names a column twice"):
        check_key(key)


@pytest.mark.parametrize(
    ("key", "columns"), [("[id]", ["[id]"]), ('["a"]', ["a"]), ('["a", "b"]', ["a", "b"]), ("7", ["7"]), ("rows", [])]
)
def test_a_key_is_understood(key: str, columns: list[str]) -> None:
    assert key_columns(check_key(key)) == columns


# ------------------------------------------------------------------------------------------------------------------


def test_content_is_known_again_by_a_digest_of_before(take: Take, tmp_path: Path) -> None:
    uri, content = str(tmp_path / "store" / "datasets" / "t"), ROWS.slice(1)
    properties = deltalake.CommitProperties(custom_metadata={table.DIGEST: "sha256:before", table.COMMIT: "1"})
    deltalake.write_deltalake(uri, content.take([1, 0]), commit_properties=properties)

    same = take(content, "player")
    assert (same.version, same.digest) == (0, "sha256:before")
    assert table.at_version(uri, 0)[1].digest == "sha256:before"

    changed = take(content.slice(1), "player")
    assert (changed.version, changed.digest.partition(":")[0]) == (1, "rows")


def test_a_version_records_where_it_came_from_and_how(take: Take, tmp_path: Path) -> None:
    version = take(ROWS, ["player", "month"], run="run-7", revision="abc")

    commit = table.latest(version.uri)
    assert commit == version
    assert (commit.run, commit.revision, commit.key, commit.rows) == ("run-7", "abc", ("player", "month"), 3)
    assert json.loads(commit.source) == {"file": str(tmp_path / "t.parquet")}
    assert "bytes of" in commit.state


def test_a_source_that_has_not_changed_is_not_read_again_unless_it_is_asked_otherwise(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = str(tmp_path / "t.csv"), str(tmp_path / "store")
    Path(source).write_text("id,n\n1,5\n")
    first = ingest(source, store=store, name="t", key="id")
    read: list[str] = []
    rows = pa.csv.open_csv
    monkeypatch.setattr("pyarrow.csv.open_csv", lambda *given, **named: (read.append("read"), rows(*given, **named))[1])

    assert ingest(source, store=store, name="t", key="id") == first
    assert read == []

    assert ingest(json.dumps({"file": source, "types": {"n": "text"}}), store=store, name="t", key="id").version == 1
    assert read


# ------------------------------------------------------------------------------------------------------------------

VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=20),
    pa.large_string(): st.text(max_size=20),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["", "a", "ü"]),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("s", "UTC"): st.integers(-62_135_596_800, 253_402_300_799),
    pa.time64("us"): st.times(),
    pa.null(): st.none(),
    pa.list_(pa.int64()): st.lists(st.integers(0, 9), max_size=2),
    pa.binary(): st.binary(max_size=4),
    pa.uint64(): st.integers(0, 2**64 - 1),
}
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from([*string.ascii_letters])


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 6))
    columns = draw(st.lists(st.tuples(NAMES, st.sampled_from([*VALUES])), max_size=5))
    return pa.table(
        [
            pa.array(range(rows), pa.int64()),
            *(
                pa.array(draw(st.lists(st.none() | VALUES[type_], min_size=rows, max_size=rows)), type_)
                for _, type_ in columns
            ),
        ],
        ["id", *(name for name, _ in columns)],
    )


def as_kept(content: pa.Table) -> pa.Table:
    """The table as a version holds it: plain types, and without what has none."""
    plain = {
        pa.uint32(): pa.int64(),
        pa.large_string(): pa.string(),
        pa.dictionary(pa.int32(), pa.string()): pa.string(),
        pa.date32(): pa.timestamp("us"),
        pa.timestamp("s", "UTC"): pa.timestamp("us", "UTC"),
        pa.time64("us"): pa.string(),
        pa.null(): pa.string(),
        pa.uint64(): pa.int64(),
    }
    left_out = (pa.list_(pa.int64()), pa.binary())
    content = content.select([place for place, field in enumerate(content.schema) if field.type not in left_out])
    return content.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in content.schema]))


@settings(max_examples=60)
@given(content=tables())
def test_any_table_comes_back_equal_or_is_refused_with_the_name_of_a_column(content: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with pa.OSFile(f"{folder}/t.arrow", "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
            writer.write_table(content)
        refusal = ""
        try:
            version = ingest(f"{folder}/t.arrow", store=f"{folder}/store", name="t", key="id")
        except DataError as error:
            refusal = str(error)
        if refusal:
            assert any(repr(name) in refusal for name in content.column_names)
        else:
            assert kept(version).equals(as_kept(content))


@settings(max_examples=40)
@given(content=tables(), seed=st.randoms())
def test_the_digest_is_that_of_the_rows_whatever_their_order(content: pa.Table, seed: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        digests = []
        order = list(range(content.num_rows))
        for _ in range(2):
            with pa.OSFile(f"{folder}/t.arrow", "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
                writer.write_table(content.take(order))
            try:
                digests.append(ingest(f"{folder}/t.arrow", store=f"{folder}/store", name="t", key="id").digest)
            except DataError:
                return
            seed.shuffle(order)
        assert digests[0] == digests[1]
