"""`cd4ml datasets`, as a user gives it."""

import io
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml import cli
from cd4ml.cli.application import console
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.record import Judgement, RunRecord
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.data.ingest import ingest
from cd4ml.storage import open_store

JUNE = {"player": ["p1", "p2", "p3"], "spend": [1.5, 2.0, 2.5], "region": ["north", "south", "south"]}
JULY = {"player": ["p2", "p3", "p4"], "spend": [2.0, 9.0, 0.5], "region": ["south", "south", "east"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run, beside a store with two versions of a dataset and another dataset."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    take("players", JUNE, owner="growth")
    take("players", JULY, owner="growth")
    take("parcels", {"player": ["x"], "weight": [1]})
    return tmp_path


def take(name: str, content: dict[str, Any], **how: Any) -> DatasetVersion:
    pq.write_table(pa.table(content), f"{name}.parquet")
    return ingest(f"{name}.parquet", store="store", name=name, key="player", **how)


class Said:
    """Runs commands, and gives what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str) -> str:
        self._monkeypatch.setattr(sys, "argv", ["cd4ml", "datasets", *words])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        self.code = ended.value.code
        output = self._capsys.readouterr()
        return " ".join((output.out + output.err).split())


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    return Said(capsys, monkeypatch)


def test_each_dataset_is_listed_with_its_latest_version(folder: Path, said: Said) -> None:
    listed = said("list")

    assert "players 1 3 " in listed
    assert "growth" in listed
    assert "parcels 0 1 " in listed


def test_the_history_has_the_newest_first(folder: Path, said: Said) -> None:
    said("tag", "players", "audited", "0")

    history = said("history", "players")

    assert history.index(" 1 20") < history.index(" 0 20")
    assert history.endswith("3 audited")


def test_the_history_keeps_names_in_one_piece_in_a_narrow_window(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 40)
    run, tag = "promotion-uptake-20261129-104157", "audited-by-the-board-of-directors"
    take("parcels", {"player": ["y"], "weight": [2]}, run=run, mode="replace")
    said("tag", "parcels", tag)

    assert f" 1 replace {run} {tag}" in said("history", "parcels")


def test_a_version_is_shown_by_its_number_a_tag_or_as_the_latest(folder: Path, said: Said) -> None:
    assert said("tag", "players", "audited", "0") == "players: version 0 is audited"
    assert said("show", "players", "audited").startswith("version 0 of players, 3 rows")
    latest = said("show", "players")

    assert latest.startswith("version 1 of players, 3 rows")
    assert "owner growth" in latest
    assert 'source {"file":"players.parquet"}' in latest
    assert "key player" in latest
    assert latest.endswith("column type player string spend double region string")


def test_a_tag_moves_on_and_is_no_number(folder: Path, said: Said) -> None:
    said("tag", "players", "audited", "0")
    said("tag", "players", "audited", "1")

    assert said("show", "players", "audited").startswith("version 1 ")
    assert "'7' says which version it is already; choose another tag" in said("tag", "players", "7")
    assert "'latest' says which version" in said("tag", "players", "latest")
    assert said.code == 1


def test_a_difference_is_told_with_examples(folder: Path, said: Said) -> None:
    difference = said("diff", "players", "0")

    assert difference == (
        "added 1 rows, as p4 removed 1 rows, as p1 changed 1 rows; 1 are the same "
        "column rows key before after spend 1 p3 2.5 9.0"
    )


def test_a_difference_tells_columns_that_came_went_and_changed_their_type(folder: Path, said: Said) -> None:
    take("parcels", {"player": ["x"], "size": [1.5]})
    take("parcels", {"player": ["x"], "size": ["1.5"]})

    assert said("diff", "parcels", "0", "1") == (
        "added 0 rows removed 0 rows changed 0 rows; 1 are the same new columns size gone columns weight"
    )
    retyped = said("diff", "parcels", "1")
    assert "retyped size: was double, is string" in retyped
    assert "new columns" not in retyped


def test_a_value_that_is_missing_is_told_so(folder: Path, said: Said) -> None:
    take("parcels", {"player": ["x"], "weight": pa.array([None], pa.int64())})

    assert said("diff", "parcels", "0").endswith("column rows key before after weight 1 x 1 missing")


def test_an_earlier_version_becomes_the_latest_again(folder: Path, said: Said) -> None:
    assert said("restore", "players", "0") == "players: version 0 is the latest again, 3 rows"

    assert said("show", "players").startswith("version 0 of players")
    assert "version 0 is the latest already" in said("restore", "players", "0")
    assert f"{said('history', 'players')} ".count(" 3 ") == 3
    assert take("players", JULY, owner="growth").version == 1


def test_datasets_are_found_by_name_column_owner_and_tag(folder: Path, said: Said) -> None:
    said("tag", "parcels", "audited")

    assert said("search", "GROWTH") == "dataset found players owner growth"
    assert said("search", "player", "weight") == "dataset found parcels column player, column weight"
    assert said("search", "audit").endswith("parcels tag audited")
    assert "no dataset has 'nothing'" in said("search", "nothing")


def test_a_person_is_erased_by_what_the_standard_input_says(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("p1\np2\n"))
    assert "Missing option '--reason'" in said("erase", "players")
    assert "erased 2 rows of version 0 erased 1 rows of version 1" in said("erase", "players", "--reason", "asked for")
    assert said("diff", "players", "0").startswith("added 1 rows, as p4 removed 0 rows")


def test_an_erasure_by_another_column_tells_which_models_were_trained_on_the_rows(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = take("players", JULY, owner="growth").digest
    about = DatasetReference("players", 1, digest)
    version = Version("uptake", 3, "sha256:m", "2026-01-01", "run-1", "", about)
    open_store("store").add_folder(version.folder, {"version.json": version.text})
    shown = said("show", "players")
    assert "models uptake 3 " in shown

    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n\n"))
    assert "no values are given; write them to the standard input" in said("erase", "players", "--reason", "asked")
    assert said.code == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO("  east \n\n"))
    assert said("erase", "players", "--reason", "asked", "--column", "region") == (
        "erased 1 rows of version 1 models trained on them: uptake 3"
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("x"))
    assert said("erase", "parcels", "--reason", "asked").endswith("models trained on them: none that is published")


def test_a_version_is_shown_with_what_its_gate_said_and_how_it_came(folder: Path, said: Said) -> None:
    take("players", JUNE | {"spend": [0.0, 0.0, 0.0]}, owner="growth", run="run-7", revision="abc")
    record = RunRecord("training", "run-7", "run-7", gates=(Judgement("check_dataset", False, "3 anomalies [found]"),))
    open_store("store").add("runs/training/run-7/summary.json", record.text)

    shown = said("show", "players")

    assert "key player run run-7 code abc" in shown
    assert "gate failed: 3 anomalies [found]" in shown


def test_the_catalogue_is_made_anew_in_the_store(folder: Path, said: Said) -> None:
    said("tag", "players", "audited", "0")

    assert said("catalogue") == f"wrote {folder}/store/catalogue/index.html"
    index = (folder / "store" / "catalogue" / "index.html").read_text()
    assert all(word in index for word in ("players", "parcels", "growth", "weight", "2 datasets in the store"))
    assert "audited" in (folder / "store" / "catalogue" / "datasets" / "players.html").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "player"], "no dataset 'player'; did you mean 'players'?"),
        (["show", "players", "2"], "no version '2'; there are 0, 1, latest"),
        (["diff", "players", "0", "--key", "id"], "version 0 has no column 'id'"),
        (["list", "--store", "elsewhere"], "holds no dataset"),
        (["tag", "players", "a/b"], "cannot be a name"),
    ],
)
def test_what_is_not_there_is_told(folder: Path, said: Said, words: list[str], told: str) -> None:
    assert told in said(*words)
    assert said.code == 1
