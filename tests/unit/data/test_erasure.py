"""Rows of a person, taken out of all versions."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from cd4ml.contracts.dataset import DatasetVersion, Mode
from cd4ml.contracts.erasure import Erasure
from cd4ml.data import erasure, table
from cd4ml.data.ingest import ingest
from cd4ml.data.versions import Dataset, Datasets
from cd4ml.errors import DataError
from cd4ml.storage import open_store

JUNE = {"id": ["anna", "bert", "cleo"], "spend": [1.5, 2.0, 3.0]}
JULY = {"id": ["dora"], "spend": [3.0]}


class Players:
    """A dataset of three versions: June, with July, and June again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.take(JUNE)
        self.take(JULY, "append")
        self.take(JUNE, "replace")

    def take(self, content: dict[str, Any], mode: Mode = "") -> DatasetVersion:
        pq.write_table(pa.table(content), self.folder / "source.parquet")
        location = str(self.folder / "store")
        return ingest(str(self.folder / "source.parquet"), store=location, name="players", key="id", mode=mode)

    @property
    def dataset(self) -> Dataset:
        return Datasets(open_store(self.folder / "store")).find("players")

    def erase(self, *ids: str) -> Erasure:
        return erasure.erase(self.dataset, column="id", values=ids, reason="asked for")

    def ids(self) -> list[list[str]]:
        """Who is there after each commit."""
        opened = [table.opened(self.dataset.uri, one.number) for one in self.dataset.commits]
        return [sorted(table.rows_of_version(one).read_all()["id"].to_pylist()) for one in opened]

    def bytes(self) -> bytes:
        """All that lies in the store."""
        return b"".join(file.read_bytes() for file in sorted((self.folder / "store").rglob("*")) if file.is_file())


@pytest.fixture
def players(tmp_path: Path) -> Players:
    return Players(tmp_path)


def test_a_person_is_in_no_version_any_more(players: Players) -> None:
    assert players.ids() == [["anna", "bert", "cleo"], ["anna", "bert", "cleo", "dora"], ["anna", "bert", "cleo"]]

    erased = players.erase("bert")

    assert players.ids() == [["anna", "cleo"], ["anna", "cleo", "dora"], ["anna", "cleo"], ["anna", "cleo"]]
    assert erased.rows == {"0": 1, "1": 1}
    assert erased.headline == "2 rows of 2 versions"
    assert b"bert" not in players.bytes()


def test_the_record_names_no_value(players: Players) -> None:
    players.erase("bert", "dora")

    store = players.dataset.store
    [name] = store.children("erasures/players")
    text = store.read(f"erasures/players/{name}")
    record = Erasure.parse(text, name)
    assert (record.dataset, record.column, record.subjects, record.reason) == ("players", "id", 2, "asked for")
    assert not any(value in text for value in ("bert", "dora"))


def test_the_least_and_the_most_of_a_column_are_in_no_log(players: Players) -> None:
    players.erase("anna", "cleo", "dora")

    assert players.ids() == [["bert"]] * 4
    assert not any(name in players.bytes() for name in (b"anna", b"cleo", b"dora"))


def test_what_was_erased_does_not_come_back_from_the_same_source(players: Players) -> None:
    players.erase("bert")

    assert players.take(JUNE, "replace").version == 0
    assert players.ids()[-1] == ["anna", "cleo"]


def test_rows_go_on_being_added_after_it(players: Players) -> None:
    players.erase("bert")

    players.take({"id": ["emil"], "spend": [1.0]}, "append")

    assert players.ids()[-1] == ["anna", "cleo", "emil"]


def test_who_is_in_no_version_is_told_and_nothing_changes(players: Players) -> None:
    before = players.bytes()

    with pytest.raises(DataError, match="no version has a row with such a value in 'id'"):
        players.erase("zoe")
    with pytest.raises(DataError, match="no version has a column 'idd'; did you mean 'id'"):
        erasure.erase(players.dataset, column="idd", values=["anna"], reason="")
    assert players.bytes() == before


def test_what_was_said_of_how_the_data_was_read_names_nobody_any_more(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("id,spend\n0042,1\n0077,2\n")
    ingest(str(tmp_path / "codes.csv"), store=str(tmp_path / "store"), name="codes", key="id")
    dataset = Datasets(open_store(tmp_path / "store")).find("codes")
    assert any("'0042'" in line for line in dataset.latest.about.said)

    erasure.erase(dataset, column="id", values=["0042"], reason="asked for")

    after = Datasets(open_store(tmp_path / "store")).find("codes")
    assert not any("0042" in line for line in after.latest.about.said)
    assert b"0042" not in b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*.json"))


def test_a_person_is_found_by_a_key_that_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEPPER", "the key of these tests")
    pq.write_table(pa.table(JUNE), tmp_path / "source.parquet")
    how = {"store": str(tmp_path / "store"), "name": "players", "key": "id"}
    ingest(str(tmp_path / "source.parquet"), **how)
    ingest(str(tmp_path / "source.parquet"), **how, columns={"id": {"hash": "PEPPER"}})
    dataset = Datasets(open_store(tmp_path / "store")).find("players")

    erased = erasure.erase(dataset, column="id", values=["bert"], reason="asked for")

    assert (erased.rows, erased.subjects) == ({"0": 1, "1": 1}, 1)
    monkeypatch.setenv("PEPPER", "another key of the same name")
    with pytest.raises(DataError, match="PEPPER: is another key than the one that 'id' was hashed with"):
        erasure.erase(dataset, column="id", values=["cleo"], reason="asked for")


def test_a_run_that_has_read_the_rows_before_does_not_bring_them_back(
    players: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    erasures: list[Erasure] = []

    def erased_before(*args: Any, **kwargs: Any) -> DatasetVersion:
        if not erasures:
            erasures.append(players.erase("bert"))
        return add_version(*args, **kwargs)

    add_version = table.add_version
    monkeypatch.setattr(table, "add_version", erased_before)

    players.take({"id": ["emil"], "spend": [1.0]}, "append")

    assert erasures
    assert players.ids()[-1] == ["anna", "cleo", "emil"]
    assert b"bert" not in players.bytes()


class KilledError(Exception):
    """In place of a signal that nothing survives."""


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_takes_the_old_rows_away_meanwhile_takes_those_that_are_left_away_too(
    players: Players, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    write, commit_again = deltalake.write_deltalake, table.commit_again

    def opened_before(*args: Any, **kwargs: Any) -> None:
        def written_before(uri: str) -> None:
            monkeypatch.undo()
            write(*args, **kwargs)
            commit_again(uri)
            if killed:
                raise KilledError

        monkeypatch.setattr(table, "commit_again", written_before)
        with suppress(KilledError):
            players.erase("bert")

    monkeypatch.setattr(deltalake, "write_deltalake", opened_before)
    players.take({"id": ["anna", "cleo"], "spend": [9.0, 9.5]}, "replace")
    if killed:
        with pytest.raises(DataError, match="no version has a row with such a value"):
            players.erase("bert")

    assert players.ids()[-2:] == [["anna", "cleo"]] * 2
    assert players.dataset.latest.about.rows == 2
    assert b"bert" not in players.bytes()


def test_when_the_rows_of_a_version_came_to_be_is_told_no_more(tmp_path: Path) -> None:
    store, source = tmp_path / "store", tmp_path / "source.parquet"

    def take(**days: int) -> DatasetVersion:
        at = [datetime(2026, 5, day, tzinfo=UTC) for day in days.values()]
        pq.write_table(pa.table({"id": list(days), "at": at}), source)
        return ingest(str(source), store=str(store), name="visits", key="id", time_column="at", mode="replace")

    def dataset() -> Dataset:
        return Datasets(open_store(store)).find("visits")

    take(anna=1, bert=2)
    take(anna=1, cleo=3)
    erasure.erase(dataset(), column="id", values=["bert"], reason="asked for")

    times = {one.about.version: one.about.newest for one in dataset().commits}
    assert times == {0: "", 1: "2026-05-03T00:00:00+00:00"}
    assert b"2026-05-02" not in b"".join(file.read_bytes() for file in store.rglob("*") if file.is_file())
    assert take(anna=1, cleo=3).newest == "2026-05-03T00:00:00+00:00"  # the latest still, and nothing gone of it
    for _ in range(2):  # made the latest again, and then the latest already
        back = take(anna=1, bert=2)
        assert (back.version, back.newest, dataset().latest.about.newest) == (0, "", "")
    assert take(anna=1).newest == "2026-05-01T00:00:00+00:00"


@pytest.mark.parametrize("writes", range(12))
def test_killed_at_any_write_every_version_is_whole_and_the_next_one_goes_on(
    players: Players, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    whole = players.ids()
    without = [[name for name in each if name != "bert"] for each in whole]
    left = [writes]

    def counted(done: Callable[..., Any]) -> Callable[..., Any]:
        def change(self: Any, *args: Any) -> Any:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            return done(self, *args)

        return change

    class Dying(fs.LocalFileSystem):
        move = counted(fs.LocalFileSystem.move)
        delete_file = counted(fs.LocalFileSystem.delete_file)

    with monkeypatch.context() as patched:
        patched.setattr(fs, "LocalFileSystem", Dying)
        try:
            players.erase("bert")
        except KilledError:
            assert all(found in expected for found, *expected in zip(players.ids()[:3], whole, without, strict=True))
    with suppress(DataError):  # nothing is left to erase
        players.erase("bert")
    assert players.ids()[:3] == without
    assert b"bert" not in players.bytes()
    assert players.dataset.store.children("erasures/players")


def test_the_latest_version_is_committed_again_after_a_run_that_was_faster(
    players: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, opened = players.dataset.uri, table.opened

    def open_and_be_overtaken(uri: str, version: int | None = None) -> deltalake.DeltaTable:
        found = opened(uri, version)
        monkeypatch.setattr(table, "opened", opened)
        players.take(JULY, "replace")
        return found

    monkeypatch.setattr(table, "opened", open_and_be_overtaken)
    table.commit_again(uri)

    assert players.ids()[-2:] == [["dora"], ["dora"]]
