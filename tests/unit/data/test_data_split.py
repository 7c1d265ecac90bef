import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.contracts import dataset as origin
from cd4ml.data import split
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError

NAMES = ("train", "eval", "test")


class Dataset:
    """A dataset in a folder of its own, and its splits by name."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def ingest(self, table):
        pq.write_table(table, self.folder / "source.parquet")
        return ingest(str(self.folder / "source.parquet"), store=str(self.folder / "store"), name="players", key="id")

    def split(self, version, how, key="id"):
        files = [self.folder / str(version.version) / name for name in NAMES]
        self.parts = split.write_splits(
            version.uri,
            version=version.version,
            digest=version.digest,
            key=key,
            split=how,
            **dict(zip(NAMES, files, strict=True)),
        )
        return {name: pq.read_table(file) for name, file in zip(NAMES, files, strict=True)}


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path)


@pytest.fixture(scope="module")
def numbers():
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return pa.table(
        {
            "id": [f"p{number}" for number in range(5000)],
            "when": [start + timedelta(minutes=(number * 37) % 5000) for number in range(5000)],
            "name": ["x"] * 5000,
        }
    )


def ids(table):
    return set(table["id"].to_pylist())


def test_the_splits_hold_every_row_once_in_the_asked_fractions(dataset, numbers):
    parts = dataset.split(dataset.ingest(numbers), {"by": "key", "eval": 0.2, "test": 0.1})

    assert set.union(*map(ids, parts.values())) == ids(numbers)
    assert sum(part.num_rows for part in parts.values()) == numbers.num_rows
    assert parts["eval"].num_rows == pytest.approx(1000, abs=90)
    assert parts["test"].num_rows == pytest.approx(500, abs=70)


@pytest.mark.parametrize("how", [{}, {"seed": 7, "test": 0.4}, {"by": "time", "column": "when"}])
def test_a_row_is_found_on_the_side_that_it_was_written_to(dataset, numbers, how):
    version = dataset.ingest(numbers)
    drawn = split.Drawn(version.uri, version.version, "id", how)

    for name, rows in dataset.split(version, how).items():
        assert split.sides(drawn, {"id": rows["id"][3].as_py(), "name": "x"}) == [name]
    assert split.sides(drawn, {"name": "x"}) == sorted(NAMES)
    assert split.sides(drawn, {"id": "p1' OR '1'='1"}) == split.sides(drawn, {"other": "x"}) == []


def test_a_split_says_what_it_is(dataset, numbers):
    version = dataset.ingest(numbers)
    parts = dataset.split(version, {})

    assert dataset.parts[0].metadata == {
        "headline": " / ".join(f"{part.num_rows:,}" for part in parts.values()) + " rows",
        "split": "train",
        "rows": parts["train"].num_rows,
        "dataset": "players",
        "version": 0,
        "digest": version.digest,
    }
    assert origin.read(parts["test"].schema, "test") == origin.Origin("players", 0, version.digest)


def test_the_files_hold_plain_text_in_the_order_of_the_key(dataset, numbers):
    train = dataset.split(dataset.ingest(numbers), {})["train"]

    assert train.schema.field("name").type == pa.string()
    assert train["id"].to_pylist() == sorted(train["id"].to_pylist())


def test_splitting_again_writes_the_same_bytes(dataset, numbers):
    version = dataset.ingest(numbers)
    dataset.split(version, {})
    first = (dataset.folder / "0" / "train").read_bytes()
    dataset.split(version, {})

    assert (dataset.folder / "0" / "train").read_bytes() == first


def test_another_seed_is_another_split(dataset, numbers):
    version = dataset.ingest(numbers)

    assert ids(dataset.split(version, {"seed": 1})["test"]) != ids(dataset.split(version, {"seed": 2.0})["test"])


@settings(max_examples=12)
@given(
    keys=st.one_of(
        st.sets(st.integers(0, 10**9), min_size=60, max_size=120),
        st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=60, max_size=120),
    ),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_row_never_changes_sides_between_versions(keys, seed, data):
    keys = sorted(keys)
    fewer = data.draw(st.lists(st.sampled_from(keys), min_size=50, unique=True))
    how = {"by": "key", "eval": 0.3, "test": 0.3, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset(folder)
        before = dataset.split(dataset.ingest(pa.table({"id": fewer, "value": [1] * len(fewer)})), how)
        after = dataset.split(dataset.ingest(pa.table({"id": keys, "value": [2] * len(keys)})), how)

    for name in NAMES:
        assert ids(before[name]) <= ids(after[name])


def test_by_time_the_latest_rows_are_the_test(dataset, numbers):
    parts = dataset.split(dataset.ingest(numbers), {"by": "time", "column": "when", "eval": 0.2, "test": 0.1})
    moments = {name: part["when"].to_pylist() for name, part in parts.items()}

    assert max(moments["train"]) < min(moments["eval"]) < max(moments["eval"]) < min(moments["test"])
    assert [len(moments[name]) for name in NAMES] == [3500, 1000, 500]


def test_by_time_a_row_at_the_edge_is_on_the_earlier_side(dataset):
    when = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4, 5)]
    table = pa.table({"id": list("abcde"), "when": when})

    parts = dataset.split(dataset.ingest(table), {"by": "time", "column": "when", "eval": 0.25, "test": 0.25})

    assert {name: sorted(ids(part)) for name, part in parts.items()} == {
        "train": ["a", "b", "c"],
        "eval": ["d"],
        "test": ["e"],
    }


def test_the_name_of_a_column_may_have_one_letter_but_not_none():
    assert split.parse({"by": "time", "column": "t"}).column == "t"
    with pytest.raises(DataError, match="column"):
        split.parse({"by": "time", "column": ""})


def test_rows_of_one_moment_stay_together(dataset, numbers):
    days = [datetime(2026, 3, 1 + number % 10) for number in range(5000)]
    table = numbers.set_column(1, "when", [days])

    parts = dataset.split(dataset.ingest(table), {"by": "time", "column": "when", "eval": 0.15, "test": 0.15})

    moments = [set(part["when"].to_pylist()) for part in parts.values()]
    assert sum(map(len, moments)) == 10


def test_rows_without_a_time_cannot_be_split_by_it(dataset, numbers):
    table = numbers.set_column(1, "when", [[None, None, *numbers["when"].to_pylist()[2:]]])
    with pytest.raises(DataError, match="2 rows have no time in 'when'"):
        dataset.split(dataset.ingest(table), {"by": "time", "column": "when"})


def test_a_column_that_is_no_time_cannot_split_by_time(dataset, numbers):
    with pytest.raises(DataError, match="column 'name' holds no timestamps"):
        dataset.split(dataset.ingest(numbers), {"by": "time", "column": "name"})


def test_an_unknown_column_names_the_nearest(dataset, numbers):
    version = dataset.ingest(numbers)
    with pytest.raises(DataError, match="no column 'whn'; did you mean 'when'"):
        dataset.split(version, {"by": "time", "column": "whn"})
    with pytest.raises(DataError, match="no column 'ident'"):
        dataset.split(version, {}, key="ident")


def test_a_split_that_would_be_empty_is_refused_and_leaves_no_file(dataset, numbers):
    with pytest.raises(DataError, match="the 3 rows of version 0 leave none for"):
        dataset.split(dataset.ingest(numbers.slice(0, 3)), {"eval": 0.001, "test": 0.001})

    assert list((dataset.folder / "0").iterdir()) == []


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"by": "time", "column": "when"},
        {"by": "group", "column": "id"},
        {"by": "stratum", "columns": ["when"], "order": "when"},
    ],
    ids=lambda how: how.get("by", "key"),
)
@pytest.mark.parametrize("name", ['a "b"; DROP', "cd4ml_side", "data", ".id", "", "a.b", "ä", "new\nline", "*"])
def test_a_column_may_have_any_name(dataset, numbers, name, how):
    table = numbers.slice(0, 500).rename_columns(["id", "when", name])

    parts = dataset.split(dataset.ingest(table), how)

    assert parts["train"].column_names == ["id", "when", name]
    assert set.union(*map(ids, parts.values())) == ids(table)


def test_every_mistake_in_how_to_split_is_reported_at_once():
    with pytest.raises(DataError) as refused:
        split.parse({"by": "group", "evl": 0.1, "test": 2})

    assert str(refused.value).splitlines() == [
        "split: not as it should be",
        "  - test: Input should be less than 1, not 2",
        "  - column: missing",
        "  - evl: unknown; did you mean 'eval'?",
    ]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"by": "kye"}, "by: 'kye' is no way to split; did you mean 'key'"),
        ({"eval": 0.6, "test": 0.4}, "leave nothing to train on"),
        ({"by": "time", "column": "when", "eval": 0.6, "test": 0.4}, "leave nothing to train on"),
        ({"by": "time"}, "column: missing"),
        ({"by": "key", "column": "when"}, "column: unknown; there are by, eval, test, seed"),
        ({"eval": 0}, "eval: Input should be greater than 0"),
        ({"by": "time", "column": "when", "eval": "2026-13-01", "test": "2026-12-01"}, "'2026-13-01' is no moment"),
        ({"by": "time", "column": "when", "eval": "2026-03-01", "test": 0.1}, "both as shares of the rows, or both"),
        ({"by": "time", "column": "when", "eval": "2026-03-02", "test": "2026-03-02T00:00Z"}, "not before test"),
        ({"by": "stratum", "columns": [], "order": "when"}, "columns: .* at least 1 item"),
        (["key"], "valid dictionary"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(how, message):
    with pytest.raises(DataError, match=message):
        split.parse(how)


def test_by_group_all_rows_of_a_customer_are_on_one_side_and_stay_there(dataset, numbers):
    customers = pa.array([f"c{number % 400}" for number in range(5000)])
    table = numbers.set_column(2, "name", customers)
    how = {"by": "group", "column": "name", "eval": 0.2, "test": 0.2}

    before = dataset.split(dataset.ingest(table.slice(0, 3000)), how)
    after = dataset.split(dataset.ingest(table), how)

    sides = {name: set(part["name"].to_pylist()) for name, part in after.items()}
    assert sum(map(len, sides.values())) == len(set.union(*sides.values())) == 400
    assert len(sides["test"]) == pytest.approx(80, abs=25)
    assert all(ids(before[name]) <= ids(after[name]) for name in NAMES)


def test_rows_without_a_group_cannot_be_split_by_it(dataset, numbers):
    table = numbers.set_column(2, "name", [[None, *["x"] * 4999]])

    with pytest.raises(DataError, match="1 rows have no value in 'name'; drop them, or split by key"):
        dataset.split(dataset.ingest(table), {"by": "group", "column": "name"})


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_by_stratum_each_class_is_in_each_split_by_its_share(dataset, numbers, seed):
    rare = pa.array(["rare" if number % 100 == 3 else None if number % 10 == 1 else "often" for number in range(5000)])
    table = numbers.set_column(2, "name", rare)

    parts = dataset.split(
        dataset.ingest(table), {"by": "stratum", "columns": ["name"], "order": "when", "test": 0.2, "seed": seed}
    )

    for value, rows in (("rare", 50), (None, 500), ("often", 4450)):
        found = [part["name"].to_pylist().count(value) for part in parts.values()]
        assert found == pytest.approx([0.7 * rows, 0.1 * rows, 0.2 * rows], abs=2.5), value


def test_by_stratum_no_row_changes_sides_when_later_rows_come(dataset, numbers):
    table = numbers.set_column(2, "name", pa.array(["ab"[number % 2] for number in range(5000)]))
    later = table.filter(pc.greater(table["when"], pa.scalar(datetime(2026, 3, 3, tzinfo=UTC))))
    earlier = table.filter(pc.less_equal(table["when"], pa.scalar(datetime(2026, 3, 3, tzinfo=UTC))))
    how = {"by": "stratum", "columns": ["name"], "order": "when"}

    before = dataset.split(dataset.ingest(earlier), how)
    after = dataset.split(dataset.ingest(pa.concat_tables([later, earlier])), how)

    assert all(ids(before[name]) <= ids(after[name]) for name in NAMES)
    assert sum(part.num_rows for part in after.values()) == 5000


def test_from_moments_on_no_row_changes_sides(dataset, numbers):
    how = {"by": "time", "column": "when", "eval": "2026-03-03", "test": "2026-03-04T01:00+01:00"}

    before = dataset.split(dataset.ingest(numbers.slice(0, 3000)), how)
    after = dataset.split(dataset.ingest(numbers), how)

    assert all(ids(before[name]) <= ids(after[name]) for name in NAMES)
    moments = {name: part["when"].to_pylist() for name, part in after.items()}
    assert min(moments["eval"]) == datetime(2026, 3, 3, tzinfo=UTC)
    assert max(moments["eval"]) == datetime(2026, 3, 3, 23, 59, tzinfo=UTC)
    assert min(moments["test"]) == datetime(2026, 3, 4, tzinfo=UTC)


def test_moments_are_those_of_a_column_without_a_zone_too(dataset, numbers):
    naive = pa.array([datetime(2026, 3, 1) + timedelta(minutes=number) for number in range(5000)])
    how = {"by": "time", "column": "when", "eval": "2026-03-03", "test": "2026-03-04"}

    parts = dataset.split(dataset.ingest(numbers.set_column(1, "when", naive)), how)

    assert min(parts["test"]["when"].to_pylist()) == datetime(2026, 3, 4)


def test_another_content_than_was_ingested_is_refused(dataset, numbers):
    version = dataset.ingest(numbers)
    files = [dataset.folder / name for name in NAMES]

    with pytest.raises(DataError, match="version 0 is rows:.*, not sha256:other; run ingest_dataset again"):
        split.write_splits(
            version.uri,
            version=version.version,
            digest="sha256:other",
            key="id",
            split={},
            **dict(zip(NAMES, files, strict=True)),
        )
    assert not any(file.exists() for file in files)


def test_strata_of_one_row_are_spread_over_the_splits(dataset, numbers):
    parts = dataset.split(dataset.ingest(numbers), {"by": "stratum", "columns": ["id", "name"], "order": "when"})

    assert [part.num_rows for part in parts.values()] == pytest.approx([4000, 500, 500], abs=100)


def side(place):
    return "test" if place < 0.1 else "eval" if place < 0.2 else "train"


def hashed(digits, *values):
    """The first digits of a hash, as a number from 0 to 1."""
    return int(hashlib.md5("\x1f".join(values).encode()).hexdigest()[:digits], 16) / 16**digits


def test_a_row_is_where_its_hash_says_as_in_every_version_of_cd4ml(dataset, numbers):
    version = dataset.ingest(numbers)

    by_key = dataset.split(version, {"seed": 7})
    by_stratum = dataset.split(version, {"by": "stratum", "columns": ["id", "name"], "order": "when", "seed": 7})

    golden = (5**0.5 - 1) / 2
    for name in NAMES:
        assert {side(hashed(8, f"7:{id_}")) for id_ in by_key[name]["id"].to_pylist()} == {name}
        places = [golden + hashed(6, f"7:{id_}", "x") for id_ in by_stratum[name]["id"].to_pylist()]
        assert {side(place % 1) for place in places} == {name}


def test_six_places_of_the_hash_of_a_stratum_count_as_in_every_version_of_cd4ml(dataset, numbers):
    """With five the first of these would be eval, and with seven the second."""
    few = numbers.slice(0, 100)
    table = few.set_column(0, "id", [["p2450926", "p22990", *few["id"].to_pylist()[2:]]])

    parts = dataset.split(dataset.ingest(table), {"by": "stratum", "columns": ["id", "name"], "order": "when"})

    assert "p2450926" in ids(parts["train"])
    assert "p22990" in ids(parts["test"])


def test_the_rows_of_a_stratum_are_dealt_out_by_turns_of_the_golden_section(dataset, numbers):
    parts = dataset.split(dataset.ingest(numbers), {"by": "stratum", "columns": ["name"], "order": "when"})

    places = {row: (row * (5**0.5 - 1) / 2 + hashed(6, "0:x")) % 1 for row in range(1, 5001)}
    start = numbers["when"].to_pylist()[0]
    for name, part in parts.items():
        rows = [(when - start) // timedelta(minutes=1) + 1 for when in part["when"].to_pylist()]
        assert {side(places[row]) for row in rows} == {name}
