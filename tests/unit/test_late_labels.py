"""Labels that are brought in bulk: taken once, checked by row and field."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import captures
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from s3_server import S3Server
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts import hashes, model
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.late_labels import LABELS
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.errors import DataError, RegistryError
from cd4ml.monitoring import joined, of_no_row, taking, windows
from cd4ml.monitoring.joined import Bulk
from cd4ml.monitoring.taking import Where
from cd4ml.monitoring.windows import Span
from cd4ml.registry import labels_taken
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

OUTCOMES = "request_id,took\na,true\nb,false\nc,\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """With `uptake`, whose label is `false` or `true`, and `rent`, whose label is a number; outcomes lie beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    captures.publish(tmp_path / "store")
    model.write_contract(model.Contract("rent", (), (), {}, REGRESSION), tmp_path / "rent")
    version = Version("rent", 1, "sha256:1", "2026-01-01", "run", "", DatasetReference("flats", 0, "sha256:d"))
    FolderStore(tmp_path / "store").add_folder(
        version.folder, {"model": tmp_path / "rent", "version.json": version.text}
    )
    (tmp_path / "outcomes.csv").write_text(OUTCOMES)
    return "store"


def take(source: str = "outcomes.csv", model: str = "uptake@2", **where: Any) -> taking.Labels:
    return taking.take(model, source=source, store="store", where=Where(**where)).labels


def rows(labels: taking.Labels) -> list[dict[str, Any]]:
    return labels_taken.read(open_store("store"), labels).select(["request_id", "row", "key", "label"]).to_pylist()


def capture(requests: pa.Table, *, folder: str = "capture", hour: int = 0) -> None:
    """Collects the window of an hour with these requests of `uptake`."""
    day = Path(folder, "requests/2026-01-01")
    day.mkdir(parents=True, exist_ok=True)
    begin = captures.BEGIN + timedelta(hours=hour)
    at = [begin + timedelta(seconds=place) for place in range(len(requests))]
    pq.write_table(captures.with_column(requests, "at", at), day / f"{hour}.parquet")
    windows.collect("store", "uptake", Span(begin, begin + timedelta(hours=1)), capture=folder)


def test_labels_of_a_file_lie_in_the_store_and_rows_without_one_are_passed_over(store: str) -> None:
    taken = take()

    assert rows(taken) == [
        {"request_id": "a", "row": None, "key": None, "label": "true"},
        {"request_id": "b", "row": None, "key": None, "label": "false"},
    ]
    assert (taken.headline, taken.without) == ("2 labels by request", 1)
    assert labels_taken.read(open_store(store), taken).schema.equals(LABELS)
    assert labels_taken.every(open_store(store), "uptake") == [taken]


def test_labels_in_a_bucket_read_back(store: str, s3: S3Server) -> None:
    bucket = open_store("s3://cd4ml")
    captures.publish("s3://cd4ml")

    taken = taking.take("uptake@2", source="outcomes.csv", store="s3://cd4ml").labels

    assert labels_taken.read(bucket, taken)["label"].to_pylist() == ["true", "false"]


def test_a_file_in_which_no_row_has_a_label_is_refused_and_nothing_is_taken(store: str) -> None:
    Path("outcomes.csv").write_text("request_id,took\na,\nb,\n")

    with pytest.raises(DataError, match=r"outcomes\.csv: no row has a label yet"):
        take()
    assert not Path("store/labels").exists()


def test_labels_whose_taking_was_killed_are_taken_again(store: str, s3: S3Server) -> None:
    captures.publish("s3://cd4ml")
    first = taking.take("uptake@2", source="outcomes.csv", store="s3://cd4ml").labels
    left = {key for key in s3.objects if key.startswith("labels/") and not key.endswith(".writer")}
    for key in left:
        del s3.objects[key]

    again = taking.take("uptake@2", source="outcomes.csv", store="s3://cd4ml")

    assert not again.before
    assert again.labels.digest == first.digest
    assert len(labels_taken.read(open_store("s3://cd4ml"), again.labels)) == first.rows


def test_the_same_labels_are_taken_once_in_whatever_order_and_file(store: str) -> None:
    taken = take()
    Path("again.csv").write_text("took,request_id\nfalse,b\ntrue,a\n")

    assert take("again.csv") == taken
    assert labels_taken.every(open_store(store), "uptake") == [taken]


def test_other_labels_of_the_same_requests_are_others(store: str) -> None:
    first = take()
    Path("others.csv").write_text("request_id,took\na,false\nb,false\n")

    others = take("others.csv")

    assert others.digest != first.digest
    assert len(labels_taken.every(open_store(store), "uptake")) == 2


def test_labels_come_from_a_database_by_the_features_that_tell_whose_row_it_is(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect("outcomes.db") as database:
        database.execute("CREATE TABLE outcomes (player INTEGER, day TEXT, won TEXT)")
        database.executemany("INSERT INTO outcomes VALUES (?, ?, ?)", [(7, "mon", "true"), (8, "tue", "false")])

    monkeypatch.setenv("OUTCOMES", f"sqlite:///{Path('outcomes.db').absolute()}")
    taken = take('{"sql": {"url": "OUTCOMES", "table": "outcomes"}}', label="won", key=("player", "day"))

    assert rows(taken) == [
        {"request_id": None, "row": None, "key": ["7", "mon"], "label": "true"},
        {"request_id": None, "row": None, "key": ["8", "tue"], "label": "false"},
    ]
    assert taken.headline == "2 labels by player and day"


def test_a_quote_before_a_formula_is_that_of_a_spreadsheet_in_a_csv_alone(store: str) -> None:
    ids = ["'=z", "=z", "''=z"]
    outcomes = pa.table({"request_id": ids, "took": [True, False, True]})
    pq.write_table(outcomes, "outcomes.parquet")
    pacsv.write_csv(outcomes.slice(0, 1), "outcomes.csv")

    taken = {name: [one["request_id"] for one in rows(take(f"outcomes.{name}"))] for name in ("parquet", "csv")}

    assert taken == {"parquet": ids, "csv": ["=z"]}


def test_a_number_is_taken_as_such_and_with_the_time_at_which_it_was_known(store: str) -> None:
    Path("rents.csv").write_text("id,row,rent,known\na,1,5.0,2026-01-02T10:00:00\na,2,1250.5,2026-01-03T10:00:00\n")

    taken = take("rents.csv", "rent@1", request="id", row="row", known="known")

    table = labels_taken.read(open_store(store), taken)
    assert table["label"].to_pylist() == ["5", "1250.5"]
    assert table["row"].to_pylist() == [1, 2]
    assert [one.isoformat() for one in table["at"].to_pylist()] == [
        "2026-01-02T10:00:00+00:00",
        "2026-01-03T10:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([12345678901.0, 2.0**53 - 1, 7.0, -0.0], pa.float64()),
        ([12345678901, 2**53 - 1, 7, 0], pa.int64()),
        ([Decimal("12345678901.00"), Decimal(2**53 - 1), Decimal("7"), Decimal("-0.00")], pa.decimal128(20, 2)),
    ],
)
def test_a_number_of_many_digits_is_the_key_of_its_rows_of_whatever_type_it_is(
    store: str, values: list[Any], type_: pa.DataType
) -> None:
    pq.write_table(pa.table({"customer": pa.array(values, type_), "took": [True] * 4}), "outcomes.parquet")
    about = take("outcomes.parquet", key=("customer",))
    row = {"at": captures.BEGIN, "request_id": "a", "arm": "old", "version": "2", "mirrored": False}
    said = {"features": json.dumps({"customer": [12345678901, 2**53 - 1, 7, 0, 8]})}
    answers = pa.Table.from_pylist([{**row, **said, "outputs": ["probability"], "predictions": [0.5] * 5}], REQUESTS)

    bulk = Bulk(labels_taken.read(open_store(store), about), about.key)
    found = joined.join(answers, classes=("false", "true"), bulk=[bulk])

    assert found.rows["label"].to_pylist() == ["true"] * 4 + [None]


def test_the_same_numbers_are_the_same_labels_in_columns_of_any_width(store: str) -> None:
    values = [0.0, 0.1, 5.0, 1e10]
    for name, type_, zero in (("a", pa.float64(), 0.0), ("b", pa.float32(), -0.0)):
        table = pa.table({"request_id": list("abcd"), "rent": pa.array([zero, *values[1:]], type_)})
        pq.write_table(table, f"{name}.parquet")

    first = take("a.parquet", "rent@1")

    assert [one["label"] for one in rows(first)] == ["0", "0.1", "5", "10000000000"]
    assert take("b.parquet", "rent@1") == first


def test_a_label_with_a_date_was_known_at_the_end_of_that_day_and_by_now_at_the_latest(store: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    today = before.date()
    Path("outcomes.csv").write_text(f"request_id,took,decided\na,true,2026-03-01\nb,false,{today}\nc,,\n")

    taken = take(known="decided")

    first, second = labels_taken.read(open_store(store), taken)["at"].to_pylist()
    assert first == datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)
    assert before <= second <= datetime.now(UTC)
    assert (taken.rows, taken.without) == (2, 1)
    assert take(known="decided") == taken


@pytest.mark.parametrize("later", [timedelta(minutes=1), timedelta(days=2)])
def test_a_label_that_is_known_later_than_now_is_refused_by_row_and_field(store: str, later: timedelta) -> None:
    moment = datetime.now(UTC) + later
    text = f"{moment:%Y-%m-%d}" if later.days else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    past = "2026-03-01" if later.days else "2026-03-01T00:00:00Z"
    Path("outcomes.csv").write_text(f"request_id,took,at\na,true,{past}\nb,false,{text}\nc,true,{text}\nd,,{text}\n")

    with pytest.raises(
        DataError, match=r"row 2, field 'at': .* is later than now, so it is not known yet, and so it is"
    ) as told:
        take(known="at")
    assert "with 2 of 4 rows" in str(told.value)


def test_a_timestamp_of_a_table_is_the_key_of_the_row_whose_caller_sent_it_as_text(store: str) -> None:
    Path("outcomes.csv").write_text("asked_at,took\n2026-02-28T09:30:00Z,true\n2026-03-01T00:00:00Z,false\n")
    about = take(key=("asked_at",))
    texts = ["2026-02-28T10:30:00+01:00", "2026-03-01", "2026-03-02"]
    row = {"at": datetime(2026, 3, 1, tzinfo=UTC), "request_id": "a", "arm": "old", "version": "2", "mirrored": False}
    said = {"features": json.dumps({"asked_at": texts}), "outputs": ["probability"], "predictions": [0.5] * 3}
    answers = pa.Table.from_pylist([{**row, **said}], REQUESTS)

    bulk = Bulk(labels_taken.read(open_store(store), about), about.key)
    found = joined.join(answers, classes=("false", "true"), bulk=[bulk])

    assert found.rows["label"].to_pylist() == ["true", "false", None]


@pytest.mark.parametrize(
    ("content", "model", "where", "said"),
    [
        (
            "request_id,took\na,true\nb,maybe\nc,perhaps\n",
            "uptake@2",
            {},
            "row 2, field 'took': 'maybe' is neither 'false' nor 'true', and so it is with 2 of 3 rows",
        ),
        ("request_id,took\na,1\nb,2\n", "uptake@2", {}, "row 2, field 'took': 2 is neither 'false' nor 'true'"),
        ("request_id,took\na,true\n,false\n", "uptake@2", {}, "row 2, field 'request_id': missing; mend the source"),
        ("request_id,rent\na,5\nb,cheap\n", "rent@1", {}, "row 2, field 'rent': 'cheap' is no number"),
        ("request_id,rent\na,true\nb,false\n", "rent@1", {}, "row 1, field 'rent': true is no number"),
        ("request_id,rent\na,5\nb,inf\n", "rent@1", {}, "row 2, field 'rent': "),
        (
            "request_id,took,row\na,true,1\nb,true,0\n",
            "uptake@2",
            {"row": "row"},
            "row 2, field 'row': 0 is no number of a row, from 1",
        ),
        (
            "request_id,took,at\na,true,2026-01-02\nb,true,soon\n",
            "uptake@2",
            {"known": "at"},
            "row 2, field 'at': 'soon' is no moment as ISO 8601 has them (2026-02-28, 2026-02-28T09:30:00Z); mend",
        ),
        ("request_id,took,at\na,true,01/12/2026\n", "uptake@2", {"known": "at"}, "'01/12/2026' is no moment as ISO"),
        ("request_id,took,at\na,true,1764500000\n", "uptake@2", {"known": "at"}, "1764500000 is no moment as ISO"),
        ("id,took\na,true\n", "uptake@2", {}, "has no column 'request_id' with the ids of requests; name the one"),
        ("request_id,tok\na,true\n", "uptake@2", {}, "column 'took' is not in the table; did you mean 'tok'?"),
        ("player,took\n,true\n8,false\n", "uptake@2", {"key": ("player",)}, "row 1, field 'player': missing"),
    ],
)
def test_what_is_no_label_of_the_model_is_told_by_row_and_field_and_nothing_is_taken(
    store: str, content: str, model: str, where: dict[str, Any], said: str
) -> None:
    Path("wrong.csv").write_text(content)

    with pytest.raises(DataError) as told:
        take("wrong.csv", model, **where)

    assert said in str(told.value)
    assert str(told.value).startswith("wrong.csv: ")
    assert labels_taken.every(open_store(store), model.partition("@")[0]) == []


def test_what_a_row_says_that_has_no_label_is_of_no_account(store: str) -> None:
    Path("outcomes.csv").write_text(
        "request_id,row,took,at\na,1.0,true,2026-01-02\n,,,\n,first,,soon\nb,2.0,false,2026-01-03\n"
    )

    taken = take(row="row", known="at")

    assert rows(taken) == [
        {"request_id": "a", "row": 1, "key": None, "label": "true"},
        {"request_id": "b", "row": 2, "key": None, "label": "false"},
    ]
    assert taken.without == 2


@pytest.mark.parametrize("number", [1.5, -1.0, float("nan"), 1e300])
def test_a_number_with_a_fraction_or_beyond_all_rows_is_none_of_a_row(store: str, number: float) -> None:
    given = pa.table({"request_id": ["a", "b"], "row": [1.0, number], "took": [True, False]})
    pq.write_table(given, "outcomes.parquet")

    with pytest.raises(DataError, match="row 2, field 'row': .*no number of a row, from 1; mend the source"):
        take("outcomes.parquet", row="row")


@pytest.mark.parametrize(
    ("content", "where", "said"),
    [
        (
            "request_id,took\na,true\n,\na,false\n",
            {},
            "rows 1 and 3, field 'took': 'true' and 'false' of the same request (of one with",
        ),
        (
            "request_id,row,took\na,1,true\na,2,true\na,2,false\n",
            {"row": "row"},
            "rows 2 and 3, field 'took': 'true' and",
        ),
        ("day,took\n2026-02-28,true\n2026-02-28T00:00:00Z,false\n", {"key": ("day",)}, "'false' of the same key; mend"),
        (
            "player,took,at\n7,true,2026-02-28\n8,true,2026-02-28\n7,true,2026-03-01\n7,false,2026-02-28\n",
            {"key": ("player",), "known": "at"},
            "rows 1 and 4, field",
        ),
    ],
)
def test_of_two_rows_that_contradict_each_other_none_is_taken(
    store: str, content: str, where: dict[str, Any], said: str
) -> None:
    Path("both.csv").write_text(content)

    with pytest.raises(DataError, match=r"^both\.csv: .* nothing was taken$") as told:
        take("both.csv", **where)

    assert said in str(told.value)
    assert labels_taken.every(open_store(store), "uptake") == []


def test_two_rows_of_a_request_and_two_moments_of_a_key_may_differ_and_one_label_may_come_twice(store: str) -> None:
    Path("rows.csv").write_text("request_id,row,took\na,1,true\na,2,false\na,1,true\n")
    Path("moments.csv").write_text("player,took,at\n7,true,2026-02-28\n7,false,2026-03-01\n")

    assert take("rows.csv", row="row").rows == 3
    assert take("moments.csv", key=("player",), known="at").rows == 2


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        (["2026-02-28 10:00+05:30", "2026-02-28 10:00"], ["2026-02-28T04:30:00+00:00", "2026-02-28T10:00:00+00:00"]),
        (["2026-02-28", "2026-02-28T10:00+01:00"], ["2026-02-28T00:00:00+00:00", "2026-02-28T09:00:00+00:00"]),
    ],
)
@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_moments_with_and_without_an_offset_may_stand_in_one_column(
    store: str, texts: list[str], known: list[str], format_: str
) -> None:
    given = pa.table({"request_id": ["a", "b"], "took": [True, False], "at": texts})
    pq.write_table(given, "outcomes.parquet")
    pacsv.write_csv(given, "outcomes.csv")

    table = labels_taken.read(open_store(store), take(f"outcomes.{format_}", known="at"))

    assert [one.isoformat() for one in table["at"].to_pylist()] == known


def test_dates_that_are_texts_are_the_ends_of_these_days(store: str) -> None:
    given = pa.table({"request_id": ["a", "b"], "took": [True, False], "at": ["2026-02-28", "2026-03-01"]})
    pq.write_table(given, "outcomes.parquet")
    pacsv.write_csv(given, "outcomes.csv")

    assert take("outcomes.parquet", known="at") == take("outcomes.csv", known="at")


def test_a_moment_that_is_still_to_come_is_shown_as_iso_has_it(store: str) -> None:
    Path("outcomes.csv").write_text("request_id,took,at\na,true,2999-12-09T10:00:00Z\n")

    with pytest.raises(DataError, match=r"field 'at': 2999-12-09T10:00:00\+00:00 is later than now"):
        take(known="at")


def test_labels_of_a_model_that_is_not_there_are_refused(store: str) -> None:
    with pytest.raises(RegistryError):
        take(model="nothing@1")


def test_a_parquet_file_with_a_truth_value_has_the_labels_of_these_words(store: str) -> None:
    pq.write_table(pa.table({"request_id": ["a", "b"], "took": [True, False]}), "outcomes.parquet")

    assert [row["label"] for row in rows(take("outcomes.parquet"))] == ["true", "false"]


@pytest.mark.parametrize("where", [{}, {"key": ("request_id",)}])
def test_an_id_that_is_no_text_is_told_with_its_type(store: str, where: dict[str, Any]) -> None:
    pq.write_table(pa.table({"request_id": [b"a", b"b"], "took": [True, False]}), "outcomes.parquet")

    with pytest.raises(DataError, match="column 'request_id' holds binary, .* give it as text"):
        take("outcomes.parquet", **where)


@pytest.mark.parametrize("words", [("1", "0", "1"), ("1.0", "0.0", ""), ("TRUE", "FALSE", "TRUE")])
def test_one_and_zero_are_labels_where_the_classes_are_true_and_false(store: str, words: tuple[str, ...]) -> None:
    lines = (f"{name},{word}\n" for name, word in zip("abc", words, strict=True))
    Path("outcomes.csv").write_text("request_id,took\n" + "".join(lines))

    assert [row["label"] for row in rows(take())][:2] == ["true", "false"]


def test_of_a_wide_table_only_what_is_needed_is_read(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "MOST_BYTES", 2**16)
    wide = {f"wide {place}": ["x" * 1000] * 100 for place in range(20)}
    pq.write_table(pa.table({**wide, "took": [True] * 100, "request_id": map(str, range(100))}), "wide.parquet")

    assert take("wide.parquet").rows == 100


@pytest.mark.parametrize(("rows_at_most", "bytes_at_most"), [(999, 2**30), (20_000_000, 900_000)])
@pytest.mark.parametrize("packed", [True, False])
def test_more_than_fits_is_told_before_it_is_read(
    store: str, monkeypatch: pytest.MonkeyPatch, rows_at_most: int, bytes_at_most: int, packed: bool
) -> None:
    monkeypatch.setattr(taking, "MOST_ROWS", rows_at_most)
    monkeypatch.setattr(taking, "MOST_BYTES", bytes_at_most)
    ids = pa.array(["x" * 1000] * 1000)
    table = pa.table({"request_id": ids.dictionary_encode() if packed else ids, "took": [True] * 1000})
    pq.write_table(table, "bomb.parquet")

    with pytest.raises(DataError, match=r"^bomb.parquet: has more than .* take it in parts, for nothing was taken"):
        take("bomb.parquet")

    assert labels_taken.every(open_store(store), "uptake") == []


def test_the_command_takes_and_lists(store: str) -> None:
    run = CliRunner()

    first = run.invoke(app, ["labels", "take", "uptake@2", "outcomes.csv", "--store", store])
    listed = run.invoke(app, ["labels", "list", "uptake", "--store", store])

    assert (first.exit_code, listed.exit_code) == (0, 0)
    assert "2 labels by request" in first.output
    assert "1 row without a label yet" in first.output
    assert "outcomes.csv" in listed.output
    assert "of no row" in listed.output
    [taken] = labels_taken.every(open_store(store), "uptake")
    assert taken.digest in listed.output


def test_of_labels_by_request_it_is_told_how_many_are_of_no_row_so_far(store: str) -> None:
    opened, known = open_store(store), captures.captured(2, captures.Arms(), seed=0, unit=None)[0]
    ids = known["request_id"].to_pylist()
    pq.write_table(pa.table({"request_id": [*ids, "x", "y", "z"], "took": [True] * 5}), "some.parquet")
    taken = take("some.parquet")
    assert of_no_row.taken(opened, "uptake", [taken]) == {taken.digest: 5}

    capture(known)

    assert of_no_row.taken(opened, "uptake", [taken]) == {taken.digest: 3}


def test_a_label_of_a_row_that_its_request_does_not_have_is_told_to_be_of_none(store: str) -> None:
    asked = captures.captured(2, captures.Arms(), seed=0, unit=None)[0]
    capture(captures.with_column(asked, "predictions", [[0.5, 0.25], [0.5]]))
    two, one = asked["request_id"].to_pylist()
    Path("rows.csv").write_text(f"request_id,row,took\n{two},1,true\n{two},2,true\n{two},3,true\n{one},7,true\n")
    Path("alone.csv").write_text(f"request_id,took\n{two},true\n{one},true\n")
    taken = [take("rows.csv", row="row"), take("alone.csv")]

    counts = of_no_row.taken(open_store(store), "uptake", taken)

    assert [counts[labels.digest] for labels in taken] == [2, 1]


def test_of_labels_by_key_it_is_told_how_many_have_one_that_no_row_has(store: str) -> None:
    opened = open_store(store)
    asked = captures.captured(3, captures.Arms(), seed=0, unit=None)[0]
    said = [{"player": [7]}, {"player": [12345678901], "day": ["2026-01-02"]}, {"day": ["2026-01-03"]}]
    texts = captures.with_column(asked, "features", [json.dumps(one) for one in said])
    capture(texts.slice(0, 1))
    capture(texts.slice(1), hour=1)
    Path("outcomes.csv").write_text(
        "player,day,took\n7,2026-01-01,true\n7,2026-01-02,true\n12345678901,2026-01-02,true\n8,2026-01-03,true\n"
    )
    taken = [take(key=key) for key in (("player",), ("day",), ("day", "player"))]

    counts = of_no_row.taken(opened, "uptake", taken)

    assert [counts[one.digest] for one in taken] == [1, 1, 3]


def test_of_feedback_it_is_told_how_many_labels_are_of_no_row_also_where_nothing_was_taken(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = ["labels", "list", "uptake", "--store", store]
    asked = captures.captured(2, captures.Arms(), seed=0, unit=None)[0]
    minutes, hour = [captures.BEGIN + timedelta(minutes=one) for one in range(3)], captures.BEGIN + timedelta(hours=1)
    said = [[minutes[0], "0-0", ["true"]], [minutes[1], "0-9", ["true", "false"]], [hour, "0-8", ["true"]]]
    said.append([minutes[2], "0-1", None])
    rows_ = [dict(zip(("at", "request_id", "labels"), one, strict=True)) for one in said]
    feedback = Path("store/captures/uptake/feedback/2026-01-01/0.parquet")
    feedback.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows_, FEEDBACK), feedback)
    run = CliRunner()
    before = run.invoke(app, listed)

    capture(asked, folder="store/captures/uptake")
    alone = run.invoke(app, listed)
    take()
    beside = run.invoke(app, listed)

    assert "no labels of uptake were taken" in str(before.exception)
    line = "feedback 3 labels came until 2026-01-01 01:00 UTC, the end of the last window; 2 of no request with a row"
    assert alone.output.startswith(line)
    assert line in beside.output
    assert "outcomes.csv" in beside.output


def test_labels_by_a_key_that_is_personal_are_refused_and_nothing_of_it_is_kept(store: str, tmp_path: Path) -> None:
    inputs = (model.Input("age", "number"), model.Input("email", "text", personal=True))
    model.write_contract(model.Contract("took", ("false", "true"), inputs, {}), tmp_path / "letters")
    version = Version("letters", 1, "sha256:1", "2026-01-01", "run", "", DatasetReference("flats", 0, "sha256:d"))
    open_store(store).add_folder(version.folder, {"model": tmp_path / "letters", "version.json": version.text})
    Path("outcomes.csv").write_text("age,email,took\n7,a@example.org,true\n")

    with pytest.raises(DataError, match="key 'email': nothing was taken, for it is personal .* by request"):
        take(model="letters@1", key=("age", "email"))

    assert not Path("store/labels").exists()
    assert take(model="letters@1", key=("age",)).rows == 1


def test_labels_by_a_key_that_is_captured_hashed_are_refused_unless_it_is_hashed_in_them_too(store: str) -> None:
    plain, hashed = "7", hashes.hashed(b"a key of windows", "7")
    asked = captures.captured(2, captures.Arms(), seed=0, unit=None)[0]
    features = [json.dumps({"customer": [one], "day": ["mon"]}) for one in (plain, hashed)]
    told = captures.with_column(asked, "features", features)
    Path("outcomes.csv").write_text(f"customer,day,took\n{plain},mon,true\n")
    Path("hashed.csv").write_text(f"customer,day,took\n{hashed},mon,true\n")

    capture(told.slice(0, 1))
    assert take(key=("customer",)).rows == 1
    capture(told.slice(1), hour=1)

    with pytest.raises(DataError, match="key 'customer': nothing was taken, for the last window .* by request"):
        take(key=("day", "customer"))
    assert take("hashed.csv", key=("day", "customer")).rows == 1
    assert take(key=("day",)).rows == 1
    assert len(labels_taken.every(open_store(store), "uptake")) == 3


def test_a_key_that_no_window_has_is_refused_with_the_nearest_and_before_there_are_any_with_a_doubt(store: str) -> None:
    run = CliRunner()
    Path("outcomes.csv").write_text("palyer,player,took\n7,7,true\n")
    give = ["labels", "take", "uptake@2", "outcomes.csv", "--store", store, "--key"]

    before = run.invoke(app, [*give, "palyer"])
    asked = captures.captured(1, captures.Arms(), seed=0, unit=None)[0]
    capture(captures.with_column(asked, "features", ['{"player": [7], "team": ["red"]}']))
    after, right = (run.invoke(app, [*give, one]) for one in ("palyer", "player"))

    assert before.exit_code == 0
    assert "doubt    key 'palyer': the model has no such feature, and no window is collected yet" in before.output
    assert isinstance(after.exception, DataError)
    assert "no window of uptake has such a feature" in str(after.exception)
    assert "did you mean 'player'?" in str(after.exception)
    assert right.exit_code == 0
    assert "doubt" not in right.output
    assert [one.key for one in labels_taken.every(open_store(store), "uptake")] == [("palyer",), ("player",)]


def test_labels_that_were_taken_before_are_said_to_be_so_with_whoever_gave_them_first(store: str) -> None:
    run = CliRunner()
    give = ["labels", "take", "uptake@2", "outcomes.csv", "--store", store, "--by"]

    nobody, first, second = (run.invoke(app, [*give, name]) for name in (" ", "the first", "the second"))

    assert "--by" in str(nobody.exception)
    assert "2 labels by request" in first.output
    assert "by the first" in first.output
    assert "were taken before" in second.output
    assert "by the first" in " ".join(second.output.split())
    assert "the second" not in second.output
    assert [one.by for one in labels_taken.every(open_store(store), "uptake")] == ["the first"]
