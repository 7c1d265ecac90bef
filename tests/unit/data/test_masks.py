"""Columns that are dropped, hashed or put into buckets before anything is kept of them."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts.dataset import DatasetVersion, Masked
from cd4ml.data import table
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError

KEY = "the key of these tests"
PEOPLE = pa.table(
    {
        "email": ["anna@example.org", "bert@example.org", "cleo@example.org"],
        "name": ["Anna", "Bert", "Cleo"],
        "age": [17, 18, None],
        "joined": [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6, 12)],
        "number": [7, 8, 9],
    }
)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "People":
    monkeypatch.setenv("PEPPER", KEY)
    return People(tmp_path)


class People:
    """A source, and the store that takes it."""

    def __init__(self, folder: Path) -> None:
        self.store, self.file = folder / "store", folder / "people.parquet"
        self.write(PEOPLE)

    def write(self, content: pa.Table) -> None:
        pq.write_table(content, self.file)

    def take(self, key: str = "number", source: str = "", **how: Any) -> DatasetVersion:
        return ingest(source or str(self.file), store=str(self.store), name="people", key=key, **how)

    def rows(self, version: DatasetVersion) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = (
            table.rows_of_version(table.opened(version.uri, version.version)).read_all().to_pydict()
        )
        return found

    def bytes(self) -> bytes:
        """All that lies in the store."""
        return b"".join(file.read_bytes() for file in sorted(self.store.rglob("*")) if file.is_file())


def digest(value: str) -> str:
    return hmac.new(KEY.encode(), value.encode(), hashlib.sha256).hexdigest()


def test_a_column_is_dropped_another_hashed_and_others_are_put_into_buckets(people: People) -> None:
    version = people.take(
        columns={
            "name": "drop",
            "email": {"hash": "PEPPER"},
            "age": {"buckets": [18, 30.5]},
            "joined": {"buckets": ["2026-06-01", "2026-12-01T12:00"]},
        }
    )

    assert people.rows(version) == {
        "email": [digest(one) for one in PEOPLE["email"].to_pylist()],
        "age": ["below 18", "18 to below 30.5", None],
        "joined": ["before 2026-06-01", *["2026-06-01 to before 2026-12-01T12:00"] * 2],
        "number": [7, 8, 9],
    }


def test_edges_that_come_from_kfp_are_those_that_were_written(people: People) -> None:
    written = people.take(columns={"age": {"buckets": [18, 30.5]}})
    through_kfp = people.take(columns={"age": {"buckets": [18.0, 30.5]}})

    assert through_kfp == written
    assert people.rows(written)["age"] == ["below 18", "18 to below 30.5", None]


def test_the_version_says_what_became_of_its_columns(people: People, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"name": "drop", "email": {"hash": "PEPPER"}, "age": {"buckets": [18, 30]}}
    version = people.take(columns=columns)

    age, email, name = table.commits(version.uri)[-1].about.masked
    assert (age, name) == (Masked("age", "bucketed", edges=("18", "30")), Masked("name", "dropped"))
    assert (email.column, email.how, email.key) == ("email", "hashed", "PEPPER")
    lines = ["dropped 'name'", f"hashed 'email' with the key PEPPER ({email.fingerprint})"]
    lines += ["put 'age' into buckets, with edges at 18, 30"]
    assert sorted(version.said) == sorted(lines)
    assert all(line in capsys.readouterr().out for line in lines[:1])


def test_neither_values_nor_the_key_reach_the_store(people: People) -> None:
    people.take(columns={"name": "drop", "email": {"hash": "PEPPER"}})

    stored = people.bytes()
    assert b"Anna" not in stored
    assert b"anna@example.org" not in stored
    assert KEY.encode() not in stored


def test_a_hashed_key_tells_rows_apart_as_before(people: People) -> None:
    columns = {"email": {"hash": "PEPPER"}}
    people.take("email", columns=columns)
    people.write(PEOPLE.slice(2).set_column(2, "age", pa.array([50])))

    merged = people.take("email", columns=columns, mode="merge")

    assert sorted(people.rows(merged)["age"]) == [17, 18, 50]
    people.write(pa.concat_tables([PEOPLE, PEOPLE.slice(1, 1)]))
    with pytest.raises(DataError, match="1 rows have the key of another row, as row 4 has that of row 2"):
        people.take("email", columns=columns)


def test_what_is_missing_stays_missing(people: People) -> None:
    people.write(pa.table({"number": [1, 2], "email": [None, "a@example.org"]}))

    assert people.rows(people.take(columns={"email": {"hash": "PEPPER"}}))["email"] == [None, digest("a@example.org")]


def test_a_column_without_any_value_stays_so(people: People) -> None:
    people.write(pa.table({"number": [1, 2], "email": pa.nulls(2, pa.string())}))

    assert people.rows(people.take(columns={"email": {"hash": "PEPPER"}}))["email"] == [None, None]


@pytest.mark.parametrize("mask", [{"hash": "PEPPER"}, {"buckets": [1]}])
def test_a_column_that_no_version_can_hold_is_not_said_to_be_hashed_or_in_buckets(people: People, mask: Any) -> None:
    people.write(pa.table({"number": [1, 2], "photo": [b"\xff", b"\xfe"], "tags": [[1], [2]]}))

    for name in ("photo", "tags"):
        with pytest.raises(DataError, match=f"columns.{name}: holds what no version can hold; drop it"):
            people.take(columns={name: mask})
    assert people.take(columns={"photo": "drop"}).masked


def test_a_whole_number_is_hashed_as_its_text(people: People) -> None:
    version = people.take(columns={"number": {"hash": "PEPPER"}})

    assert people.rows(version)["number"] == [digest("7"), digest("8"), digest("9")]


def test_an_unchanged_source_is_read_again_when_its_columns_are_asked_for_otherwise(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = people.take()
    hashed = people.take(columns={"email": {"hash": "PEPPER"}})
    again = people.take(columns={"email": {"hash": "PEPPER"}})
    monkeypatch.setenv("PEPPER", "another key, of the same name")
    rotated = people.take(columns={"email": {"hash": "PEPPER"}})

    assert [plain.version, hashed.version, again.version, rotated.version] == [0, 1, 1, 2]


def test_rows_that_stay_have_to_be_masked_as_those_that_come(people: People) -> None:
    people.take()

    with pytest.raises(DataError, match=r"columns.name: the rows of version 0, which stay with `mode: append`"):
        people.take(columns={"name": "drop"}, mode="append")


def test_a_key_that_is_hashed_from_now_on_loses_no_rows(people: People) -> None:
    people.take("email")

    assert people.take("email", columns={"email": {"hash": "PEPPER"}}).version == 1


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"nam": "drop"}, "columns: no column 'nam' is there; did you mean 'name'?"),
        ({"name": {"buckets": [1]}}, "columns.name: holds string, and the edges of its buckets are numbers"),
        ({"age": {"buckets": ["2026-01-01"]}}, "columns.age: holds int64, and the edges of its buckets are moments"),
        ({"joined": {"hash": "PEPPER"}}, "only texts and whole numbers are hashed"),
        ({"number": "drop"}, "columns.number: cannot be dropped, for it is named as `key`; hash it"),
        ({"name": "hash"}, "columns: not as it should be\n  - name: 'hash' is none; write `drop`, `{hash: NAME}` or"),
        ({"name": {"hash": "s3cr3t!"}}, "name.hash: is no name of an environment variable"),
        ({"name": {"hash": "NOWHERE"}}, "NOWHERE is not set, which columns are hashed with; set this environment"),
        ({"name": {"hash": "WEAK"}}, "WEAK: is shorter than 16 characters"),
        ({"age": {"buckets": [30, 18]}}, "age.buckets: [30, 18] are not in ascending order"),
        ({"age": {"buckets": [18, "2026-01-01"]}}, "age.buckets: [18, '2026-01-01'] are no edges"),
        ({"age": {"buckets": []}}, "age.buckets: [] are no edges"),
        ({"age": {"buckets": [1e300]}}, "age.buckets: [1e+300] are no edges"),
    ],
)
def test_what_cannot_be_done_is_told(
    people: People, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("WEAK", "qwerty")

    with pytest.raises(DataError) as refused:
        people.take(columns=columns)

    assert told in str(refused.value)
    assert "qwerty" not in str(refused.value)
    assert not people.store.exists()


@pytest.mark.parametrize(("mask", "word"), [("drop", "dropped"), ({"buckets": ["2026-06-01"]}, "bucketed")])
def test_the_time_column_stays_as_it_is(people: People, mask: Any, word: str) -> None:
    with pytest.raises(DataError, match=f"columns.joined: cannot be {word}, for it is named as `time_column`"):
        people.take(columns={"joined": mask}, time_column="joined")


def test_of_a_dropped_column_nothing_is_asked(people: People) -> None:
    long = pa.array(["x" * 2_000_000] * 3)
    people.write(PEOPLE.append_column("notes", long).append_column("NUMBER", PEOPLE["number"]))

    version = people.take(columns={"notes": "drop", "NUMBER": "drop"})

    assert list(people.rows(version)) == PEOPLE.column_names


def source(folder: Path, text: str, **how: Any) -> str:
    (folder / "people.csv").write_text(text)
    return json.dumps({"file": str(folder / "people.csv"), **how})


def test_how_a_column_was_read_is_said_without_its_values(people: People, tmp_path: Path) -> None:
    text = "number,zip,phone,code\n1,01067,0351 1,007\n2,01099,0351 2,008\n"

    version = people.take(source=source(tmp_path, text), columns={"zip": "drop", "phone": {"hash": "PEPPER"}})

    assert any(line.startswith("column 'zip' stays text: '#####' (2 of the first 2") for line in version.said)
    assert "010" not in "".join(version.said)
    assert "0351" not in "".join(version.said)


def test_a_later_row_that_widens_a_column_is_said_without_its_value(people: People, tmp_path: Path) -> None:
    rows = "".join(f"{number},{number}\n" for number in range(900_000))

    version = people.take(source=source(tmp_path, f"number,phone\n{rows}900000,call Anna\n"), columns={"phone": "drop"})

    assert any(line.startswith("column 'phone' stays text: 'aaaa aaaa' (row 900001 of") for line in version.said)
    assert version.rows == 900_001


@pytest.mark.parametrize(
    ("text", "how", "told"),
    [
        ("number,age\n1,17\n2,Anna\n", {"types": {"age": "whole"}}, "row 2, column 'age': 'aaaa' is no whole"),
        ("number,age\n1,17\n2,Anna,x\n", {}, "row 2 has 3 cells, and the header 2; mend it"),
    ],
)
def test_an_error_shows_no_value_of_such_a_column(
    people: People, tmp_path: Path, text: str, how: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError) as refused:
        people.take(source=source(tmp_path, text, **how), columns={"age": {"buckets": [18]}})

    assert told in str(refused.value)
    assert "Anna" not in str(refused.value)
