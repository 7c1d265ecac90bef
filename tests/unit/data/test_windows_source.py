"""Windows of production as a source: labelled rows with the columns and types of the dataset."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import captures
import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import model
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError
from cd4ml.monitoring import taking, window_table, windows
from cd4ml.monitoring.windows import Span
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

PLAYERS = pa.table(
    {
        "player": ["a", "b"],
        "offered_at": pa.array([captures.BEGIN, captures.BEGIN], pa.timestamp("us", "UTC")),
        "gender": ["female", "male"],
        "income": [1.5, 2.5],
        "took": [True, False],
    }
)
COLUMNS = {"player": "request", "offered_at": "at"}


@pytest.fixture
def store(tmp_path: Path) -> str:
    """With the dataset `players`, `uptake@1` trained on it, and two windows of an hour, a request a second."""
    location = str(tmp_path / "store")
    pq.write_table(PLAYERS, tmp_path / "players.parquet")
    data = ingest(str(tmp_path / "players.parquet"), store=location, name="players", key="player")
    with tempfile.TemporaryDirectory() as folder:
        inputs = model.inputs({"gender": "category", "income": "number"})
        model.write_contract(model.Contract("took", ("false", "true"), inputs, {}), folder)
        reference = DatasetReference("players", data.version, data.digest)
        version = Version("uptake", 1, "sha256:1", "2026-01-01", "run", "", reference)
        FolderStore(location).add_folder(version.folder, {"model": Path(folder), "version.json": version.text})
    captures.write_labelled(tmp_path / "capture", 7200, captures.Right(came=(0.5, 0.5)))
    for span in captures.spans(captures.BEGIN, captures.BEGIN + timedelta(hours=2), timedelta(hours=1)):
        windows.collect(location, "uptake", span, capture=str(tmp_path / "capture"))
    return location


def take(store: str, **settings: Any) -> DatasetVersion:
    source = {"windows": f"{store}/windows/uptake", "columns": COLUMNS, **settings}
    return ingest(json.dumps(source), store=store, name="players", key="player", mode="merge")


def rows(version: DatasetVersion) -> pa.Table:
    return deltalake.DeltaTable(version.uri).to_pyarrow_table().sort_by("player")


def test_labelled_rows_of_windows_come_beside_those_of_the_dataset_in_its_types(store: str) -> None:
    requests, feedback = captures.labelled(7200, captures.Right(came=(0.5, 0.5)))
    asked = {one["request_id"]: one for one in requests.to_pylist()}
    told = {one["request_id"]: one for one in feedback.to_pylist()}
    clocks = timedelta(seconds=30)
    labels = {name: one["labels"] for name, one in told.items() if one["at"] + clocks >= asked[name]["at"]}

    found = rows(take(store))

    came = {one["player"]: one for one in found.to_pylist() if "#" in one["player"]}
    assert found.schema.equals(PLAYERS.schema)
    assert came.keys() == {f"{one}#1" for one in labels}
    for name, row in came.items():
        request = asked[name.removesuffix("#1")]
        assert row["offered_at"] == request["at"]
        assert row["took"] == (labels[request["request_id"]] == ["true"])
        assert (row["gender"], row["income"]) == (json.loads(request["features"])["gender"][0], None)


def test_windows_that_are_taken_again_change_nothing(store: str) -> None:
    first = take(store)

    assert take(store).version == first.version
    assert take(store, until="2026-01-05T00:00:00Z").digest == first.digest


def test_a_version_says_of_how_many_rows_a_person_gave_the_label_and_when(store: str, tmp_path: Path) -> None:
    open_ = rows_without_label(store)[:3]
    pq.write_table(pa.table({"request_id": [*open_, "nothing"], "took": [True] * 4}), tmp_path / "labels.parquet")
    given = taking.take("uptake@1", source=str(tmp_path / "labels.parquet"), store=store, by="a reader").labels
    span = Span(captures.BEGIN, captures.BEGIN + timedelta(hours=1))
    windows.collect(store, "uptake", span, capture=str(tmp_path / "capture"))

    said = take(store).said

    assert f"3 rows with a label by a reader, taken {given.taken_at} ({given.folder})" in said


def rows_without_label(store: str) -> list[str]:
    """The ids of the requests of the first window that have none."""
    opened = open_store(store)
    found = window_table.rows(opened, window_table.every(opened, "uptake")[0])
    return [one["request_id"] for one in found.to_pylist() if one["label"] is None]


def test_a_feature_that_is_called_as_another_but_for_case_is_learnt_from(store: str, tmp_path: Path) -> None:
    asked, _ = captures.captured(2, captures.Arms(), seed=1, unit=None)
    begin = captures.BEGIN + timedelta(hours=3)
    asked = captures.with_column(asked, "at", [begin] * 2)
    asked = captures.with_column(asked, "features", ['{"Income": ["9"], "income": ["7"]}'] * 2)
    pq.write_table(asked, tmp_path / "capture/requests/2026-01-01/030001-a.parquet")
    pq.write_table(pa.table({"request_id": asked["request_id"], "took": [True] * 2}), tmp_path / "labels.parquet")
    taking.take("uptake@1", source=str(tmp_path / "labels.parquet"), store=store)
    windows.collect(store, "uptake", Span(begin, begin + timedelta(hours=1)), capture=str(tmp_path / "capture"))

    found = rows(take(store)).to_pylist()

    assert [one["income"] for one in found if one["player"].startswith("1-")] == [7.0, 7.0]


def test_rows_without_any_feature_are_left_out_and_counted(store: str, tmp_path: Path) -> None:
    asked, _ = captures.captured(3, captures.Arms(), seed=1, unit=None)
    begin = captures.BEGIN + timedelta(hours=3)
    asked = captures.with_column(asked, "at", [begin] * 3)
    asked = captures.with_column(asked, "features", [None, '{"income": [null]}', None])
    pq.write_table(asked, tmp_path / "capture/requests/2026-01-01/030001-a.parquet")
    pq.write_table(pa.table({"request_id": asked["request_id"], "took": [True] * 3}), tmp_path / "labels.parquet")
    taking.take("uptake@1", source=str(tmp_path / "labels.parquet"), store=store)
    windows.collect(store, "uptake", Span(begin, begin + timedelta(hours=1)), capture=str(tmp_path / "capture"))

    found = take(store)

    came = [one for one in rows(found).to_pylist() if one["player"].startswith("1-")]
    assert [(one["player"], one["income"]) for one in came] == [(f"{asked['request_id'][1].as_py()}#1", None)]
    assert "2 rows left out: none of their features was captured" in found.said


def test_rows_are_those_of_the_windows_until_a_moment(store: str) -> None:
    until = captures.BEGIN + timedelta(hours=1)

    found = rows(take(store, until=until.isoformat()))

    late = [one for one in found.to_pylist() if one["offered_at"] > until]
    assert not late
    assert len(found) > len(PLAYERS)


@pytest.mark.parametrize(
    ("column", "odd", "said"),
    [
        ("income", ["much", "31.5", "", "7"] + ["1"] * 6, "1 row without 'income', which is no double there"),
        ("income", [f"{place:064x}" for place in range(10)], "10 rows without 'income', which was captured as a hash"),
        ("gender", ["f", "m"] * 2 + [f"{place:064x}" for place in range(6)], "6 rows without 'gender', which was capt"),
    ],
)
def test_values_that_the_column_cannot_have_are_missing_and_counted(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, odd: list[str], said: str
) -> None:
    requests, feedback = captures.labelled(10)
    wrong = [json.dumps({column: [one]}) for one in odd]
    later = [one + timedelta(hours=5) for one in requests["at"].to_pylist()]
    folder = tmp_path / "more"
    for name, table in {
        "requests": captures.with_column(captures.with_column(requests, "features", wrong), "at", later),
        "feedback": captures.with_column(feedback, "at", [one + timedelta(hours=6) for one in later]),
    }.items():
        (folder / name / "2026-01-01").mkdir(parents=True)
        ids = [f"odd-{one}" for one in table["request_id"].to_pylist()]
        pq.write_table(captures.with_column(table, "request_id", ids), folder / name / "2026-01-01/0.parquet")
    begin = captures.BEGIN + timedelta(hours=5)
    windows.collect(store, "uptake", Span(begin, begin + timedelta(hours=1)), capture=str(folder))

    found = rows(take(store)).to_pylist()

    came = [one[column] for one in found if one["offered_at"] >= begin]
    kept = [None if one in ("much", "") or len(one) == 64 else one for one in odd]
    numbers = [one and float(one) for one in kept] if column == "income" else kept
    assert sorted(came, key=str) == sorted(numbers, key=str)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"windows": "store/elsewhere/uptake"}, "holds no windows; write STORE/windows/MODEL"),
        ({"columns": {"player": "row"}}, "columns.player: .*'request' or 'at'"),
        ({"columns": {"nobody": "request"}}, "columns.nobody: .* has no such column"),
        ({"until": "2026-01-01"}, "until: .*offset"),
        ({"columns": {}}, "player"),
    ],
)
def test_what_cannot_be_meant_is_told(store: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        take(store, **settings)
