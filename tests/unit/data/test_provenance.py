"""Where the rows of a version come from, and what has changed since one before."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts.provenance import Provenance
from cd4ml.contracts.reference import Reference, stamp
from cd4ml.data import provenance
from cd4ml.data.ingest import ingest

JUNE = {"id": ["a", "b", "c"], "spend": [1.0, 2.0, 3.0]}
JULY = {"id": ["b", "c", "d", "e"], "spend": [2.0, 9.0, 4.0, 5.0]}
AUGUST = {"id": ["b", "c", "d", "e"], "spend": [2.0, 9.0, 4.0, 6.0], "region": ["n", "s", "n", "s"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def take(content: dict[str, Any], key: str = "id") -> int:
    pq.write_table(pa.table(content), "players.parquet")
    return ingest("players.parquet", store="store", name="players", key=key).version


def of_version(version: int, *, trained_on: int | None = None, dataset: str = "players") -> Provenance:
    before = Path("before")
    before.write_bytes(b"")
    if trained_on is not None:
        kept = Reference(dataset, trained_on, "train", rows=1, drawn=1)
        rows = pa.table({"spend": [1.0]})
        pq.write_table(rows.cast(stamp(rows.schema, kept)), before)
    return provenance.of_version("store/datasets/players", version, before=before)


def counts(found: Provenance) -> tuple[int, ...]:
    assert found.changes
    return found.changes.since, found.changes.added, found.changes.removed, found.changes.changed, found.changes.same


def test_a_version_is_compared_with_the_one_before(folder: Path) -> None:
    take(JUNE)

    found = of_version(take(JULY))

    assert counts(found) == (0, 2, 1, 1, 1)
    assert found.changes
    assert found.changes.columns == {"spend": 1}
    assert found.source == '{"file":"players.parquet"}'


def test_a_version_is_compared_with_the_one_that_the_last_model_was_trained_on(folder: Path) -> None:
    for month in (JUNE, JULY, AUGUST):
        take(month)

    found = of_version(2, trained_on=0)

    assert counts(found) == (0, 2, 1, 1, 1)
    assert found.changes
    assert found.changes.new_columns == ("region",)
    assert counts(of_version(2, trained_on=0, dataset="others")) == (1, 0, 0, 1, 3)


def test_what_is_said_of_a_version_stays_when_others_come_and_it_is_the_latest_again(folder: Path) -> None:
    take(JUNE)
    take(JULY)
    before = of_version(1)
    take(AUGUST)

    assert take(JULY) == 1
    assert of_version(1) == before


def test_the_first_version_is_compared_with_none(folder: Path) -> None:
    found = of_version(take(JUNE))

    assert (found.changes, found.uncompared) == (None, "it is the first version")


def test_a_version_without_the_key_of_now_is_not_compared_and_it_is_said(folder: Path) -> None:
    take({"id": ["a"], "spend": [1.0]})

    found = of_version(take({"number": ["a"], "spend": [1.0]}, key="number"))

    assert found.changes is None
    assert "version 0 has no column 'number'" in found.uncompared


def test_rows_that_only_all_of_their_values_tell_apart_are_counted(folder: Path) -> None:
    take({"x": ["a", "a", "b"]}, key="rows")

    assert counts(of_version(take({"x": ["a", "b", "c"]}, key="rows"))) == (0, 1, 1, 0, 2)


def test_a_key_of_another_type_is_compared_as_text(folder: Path) -> None:
    take({"id": [1, 2], "spend": [1.0, 2.0]})

    found = of_version(take({"id": ["2", "k3"], "spend": [2.5, 3.0]}))

    assert counts(found) == (0, 1, 1, 1, 0)


def test_a_large_version_is_left_to_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MOST_ROWS", 3)
    take(JUNE)

    found = of_version(take(JULY))

    assert found.changes is None
    assert found.uncompared == "it has more than 3 rows; `cd4ml datasets diff players 0 1` compares them"
