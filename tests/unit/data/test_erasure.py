"""Rows of a person, taken out of all versions."""

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
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
from cd4ml.data.rows import Example
from cd4ml.data.versions import Dataset, Datasets
from cd4ml.errors import DataError
from cd4ml.registry import clock
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

JUNE = {"id": ["anna", "bert", "cleo"], "spend": [1.5, 2.0, 3.0]}
JULY = {"id": ["dora"], "spend": [3.0]}


class Players:
    """A dataset of three versions: June, with July, and June again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.take(JUNE)
        self.take(JULY, "append")
        self.take(JUNE, "replace")

    def take(self, content: dict[str, Any], mode: Mode = "") -> DatasetVersion:
        pq.write_table(pa.table(content), self.folder / "source.parquet")
        location = str(self.folder / "store")
        return ingest(str(self.folder / "source.parquet"), store=location, name="players", key="id", mode=mode)

    def at(self, folder: Path) -> "Players":
        """The same, as a copy of the folder has it."""
        copied = copy(self)
        copied.folder = folder
        return copied

    @property
    def dataset(self) -> Dataset:
        return Datasets(open_store(self.folder / "store")).find("players")

    def erase(self, *ids: str) -> Erasure:
        return erasure.erase(self.dataset, column="id", values=ids, reason="asked for")

    def ids(self) -> list[list[str]]:
        """Who is there after each commit."""
        dataset = self.dataset
        opened = [table.opened(dataset.uri, one.number) for one in dataset.commits]
        return [sorted(table.rows_of_version(one).read_all()["id"].to_pylist()) for one in opened]

    def bytes(self) -> bytes:
        """All that lies in the store."""
        return b"".join(file.read_bytes() for file in sorted((self.folder / "store").rglob("*")) if file.is_file())


@pytest.fixture
def players(tmp_path: Path) -> Players:
    return Players(tmp_path)


def _later(hours: list[float]) -> type[datetime]:
    """The time, so many hours later."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return cls.fromtimestamp(time.time() + 3600 * sum(hours), tz)

    return Later


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How much later it is than it is."""
    passed: list[float] = []
    monkeypatch.setattr(clock, "datetime", _later(passed))
    return passed


def test_a_person_is_in_no_version_any_more(players: Players) -> None:
    assert players.ids() == [["anna", "bert", "cleo"], ["anna", "bert", "cleo", "dora"], ["anna", "bert", "cleo"]]

    erased = players.erase("bert")

    assert players.ids() == [["anna", "cleo"], ["anna", "cleo", "dora"], *[["anna", "cleo"]] * 3]
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

    assert players.ids() == [["bert"]] * 5
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


def test_what_was_said_of_how_the_data_was_read_names_nobody_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cd4ml.data.ingest.without_values", with_values)
    (tmp_path / "codes.csv").write_text("id,spend\n0042,1\n0077,2\n")
    ingest(str(tmp_path / "codes.csv"), store=str(tmp_path / "store"), name="codes", key="id")
    dataset = Datasets(open_store(tmp_path / "store")).find("codes")
    assert any("'0042'" in line for line in dataset.latest.about.said)

    erasure.erase(dataset, column="id", values=["0042"], reason="asked for")

    after = Datasets(open_store(tmp_path / "store")).find("codes")
    assert not any("0042" in line for line in after.latest.about.said)
    assert b"0042" not in b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*.json"))


def with_values(said: Iterable[str | Example]) -> tuple[str, ...]:
    """Lines as versions of before had them."""
    return tuple(one if isinstance(one, str) else one.line for one in said)


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


def test_a_run_that_takes_the_old_rows_away_meanwhile_takes_those_that_are_left_away_too(
    players: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = deltalake.write_deltalake

    def erased_before(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        players.erase("bert")
        write(*args, **kwargs)

    monkeypatch.setattr(deltalake, "write_deltalake", erased_before)
    players.take({"id": ["anna", "cleo"], "spend": [9.0, 9.5]}, "replace")

    assert players.ids()[-1] == ["anna", "cleo"]
    assert players.dataset.latest.about.rows == 2
    assert b"bert" not in players.bytes()


def test_a_run_whose_file_is_taken_for_one_that_was_left_writes_it_again(
    players: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = deltalake.write_deltalake

    def failing(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        players.erase("bert")
        raise OSError("part-00000.parquet#1: no such file")

    monkeypatch.setattr(deltalake, "write_deltalake", failing)
    assert players.take({"id": ["emil"], "spend": [9.0]}, "replace").rows == 1

    assert players.ids()[-1] == ["emil"]
    assert write is deltalake.write_deltalake


def test_a_run_that_comes_meanwhile_waits_until_it_is_over(
    players: Players, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = [*players.dataset.commits]
    began = table.begin_erasing(players.dataset.uri, clock.moment() + timedelta(minutes=1))
    waits: list[float] = []

    def waited(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            table.end_erasing(players.dataset.uri, began)

    monkeypatch.setattr(time, "sleep", waited)
    players.take({"id": ["emil"], "spend": [1.0]}, "append")

    assert waits == [table.ASKED_EVERY] * 2
    assert capsys.readouterr().out.count("waiting for an erasure") == 1
    assert len(players.dataset.commits) == len(commits) + 3
    assert players.ids()[-1] == ["anna", "bert", "cleo", "emil"]


def test_an_erasure_that_takes_long_is_not_waited_for_for_ever(
    players: Players, monkeypatch: pytest.MonkeyPatch, hours: list[float]
) -> None:
    table.begin_erasing(players.dataset.uri, clock.moment() + timedelta(days=1))
    monkeypatch.setattr(time, "sleep", lambda _: hours.append(1.0))

    with pytest.raises(DataError, match="rows are being taken out of its versions, and that takes long; run again"):
        players.take(JULY, "append")
    with pytest.raises(DataError, match="that takes long"):
        players.erase("bert")
    with pytest.raises(DataError, match="that takes long"):
        players.dataset.restore("1")


def test_an_erasure_that_has_taken_longer_than_it_holds_the_dataset_changes_nothing_more(
    players: Players, monkeypatch: pytest.MonkeyPatch, hours: list[float]
) -> None:
    begin, before = table.begin_erasing, players.ids()

    def slow(*args: Any) -> int:
        number = begin(*args)
        hours.append(0.04)  # of the three minutes, less than one is left
        return number

    monkeypatch.setattr(table, "begin_erasing", slow)
    with pytest.raises(DataError, match="a step took longer than 0:02:00; run again: it goes on"):
        players.erase("bert")

    assert players.ids()[:3] == before


def test_the_dataset_is_held_for_as_long_as_an_erasure_takes(
    players: Players, monkeypatch: pytest.MonkeyPatch, hours: list[float]
) -> None:
    delete, held = fs.LocalFileSystem.delete_file, list[bool]()

    def slowly(self: fs.LocalFileSystem, path: str) -> None:
        delete(self, path)
        hours.append(1.5 / 60)
        [last] = deltalake.DeltaTable(players.dataset.uri).history(1)
        held.append(last[table.ERASING] > clock.now())

    for number in range(5):
        (players.folder / "store" / "datasets" / "players" / f"left-{number}.parquet").write_bytes(b"bert")
    with monkeypatch.context() as patched:
        patched.setattr(fs, "LocalFileSystem", type("Slow", (fs.LocalFileSystem,), {"delete_file": slowly}))
        players.erase("bert")

    assert held == [True] * len(held)
    assert len(held) >= 6
    assert b"bert" not in players.bytes()


def test_who_opens_a_version_while_rows_are_taken_out_opens_it_again(
    players: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, uri = table.opened, players.dataset.uri

    def erased_after(*args: Any) -> deltalake.DeltaTable:
        found = opened(*args)
        monkeypatch.setattr(table, "opened", opened)
        players.erase("bert")
        return found

    monkeypatch.setattr(table, "opened", erased_after)
    found, _ = table.at_version(uri, 1)

    assert sorted(table.rows_of_version(found).read_all()["id"].to_pylist()) == ["anna", "cleo", "dora"]


def test_a_checkpoint_that_is_written_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    players = Players(tmp_path)
    monkeypatch.setattr(erasure, "CHECKPOINT_EVERY", 3)
    late = deltalake.DeltaTable(players.dataset.uri)
    old = set(late.file_uris())
    hours: list[float] = []

    def meanwhile(_: float) -> None:
        hours.append(1)
        monkeypatch.setattr(clock, "datetime", _later(hours))
        late.create_checkpoint()

    monkeypatch.setattr(time, "sleep", meanwhile)
    monkeypatch.setattr(erasure, "TURN", timedelta(hours=2))
    players.erase("bert")

    assert hours
    assert old.isdisjoint(table.opened(players.dataset.uri, 2).file_uris())
    assert players.ids() == [["anna", "cleo"], ["anna", "cleo", "dora"], *[["anna", "cleo"]] * 3]


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


class KilledError(BaseException):
    """In place of a signal that nothing survives."""


class Dying:
    """A process that is killed before one of its effects, and has none after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self._left = after
        effects = ("move", "delete_file", "open_output_stream")
        dying = {name: self._counted(getattr(fs.LocalFileSystem, name)) for name in effects}
        monkeypatch.setattr(fs, "LocalFileSystem", type("DyingFileSystem", (fs.LocalFileSystem,), dying))
        for kind, name in ((deltalake.DeltaTable, "create_write_transaction"), (FolderStore, "add")):
            monkeypatch.setattr(kind, name, self._counted(getattr(kind, name)))

    def _counted(self, done: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            if self._left < 1:
                raise KilledError
            self._left -= 1
            return done(*args, **kwargs)

        return change


def long_used(folder: Path) -> tuple[Players, list[list[str]], list[list[str]]]:
    """A dataset of many commits, with what killed runs have left; who is there, and who is to be."""
    players = Players(folder)
    players.take({"id": ["zoe"], "spend": [4.0]}, "replace")
    players.dataset.restore("1")
    players.take({"id": ["bert", "emil"], "spend": [5.0, 6.0]}, "merge")
    deltalake.DeltaTable(players.dataset.uri).create_checkpoint()
    players.take({"id": ["fred"], "spend": [7.0]}, "append")
    for left in ("part-1.parquet", "part-2.parquet#1", "_delta_log/_commit_1.json.tmp"):
        (folder / "store" / "datasets" / "players" / left).write_bytes(b"bert")
    whole = players.ids()
    return players, whole, [[name for name in each if name != "bert"] for each in whole]


@pytest.mark.parametrize("others_first", [False, True])
def test_killed_at_any_effect_every_version_is_whole_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: list[float], others_first: bool
) -> None:
    before, whole, without = long_used(tmp_path / "before")
    for effects in count():
        folder = tmp_path / str(effects)
        shutil.copytree(tmp_path / "before", folder)
        players = before.at(folder)
        with monkeypatch.context() as patched:
            Dying(patched, effects)
            try:
                players.erase("bert")
                break
            except KilledError:
                pass
        found = players.ids()[: len(whole)]
        assert all(one in expected for one, *expected in zip(found, whole, without, strict=True))
        hours.append(0.1)
        gone = set[str]()
        if others_first:
            latest = players.ids()[-1]
            players.take({"id": ["gina"], "spend": [8.0]}, "append")
            assert players.ids()[-1] == sorted([*latest, "gina"])
            found = players.ids()
            players.erase("anna")
            gone = {"anna"}
            after = players.ids()[: len(found)]
            assert not any("bert" in now and "bert" not in then for then, now in zip(found, after, strict=True))
        with suppress(DataError):  # nothing is left to erase
            players.erase("bert")
        assert players.ids()[: len(whole)] == [sorted({*each} - gone) for each in without]
        assert b"bert" not in players.bytes()
        assert players.dataset.store.children("erasures/players")
        assert all(one.about.rows for one in players.dataset.commits)
    assert effects > 20
