"""The rows that a published version keeps, for later ones to be held against."""

from pathlib import Path

import pytest

from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.data import references
from cd4ml.errors import RegistryError
from cd4ml.storage.folder import FolderStore


def publish(store: Path, version: int, data: str, rows: str | None = "rows") -> None:
    published = Version(
        name="uptake",
        version=version,
        digest=f"sha256:{version}",
        published_at="2026-11-20T10:00:00+00:00",
        run="run-1",
        revision="abc",
        dataset=DatasetReference("players", version, data),
    )
    kept = {} if rows is None else {"reference.parquet": rows}
    FolderStore(store).add_folder(published.folder, {**kept, "version.json": published.text})


def last(store: Path, data: str) -> str:
    return references.last(str(store), name="uptake", dataset_digest=data)[0].removeprefix(f"{store}/")


def test_a_first_model_has_no_reference(tmp_path: Path) -> None:
    assert references.last(str(tmp_path), name="uptake", dataset_digest="a") == ("", "")


def test_the_reference_is_that_of_the_last_version_on_other_data(tmp_path: Path) -> None:
    publish(tmp_path, 1, "a")
    publish(tmp_path, 2, "b")

    assert last(tmp_path, "c") == "models/uptake/2/reference.parquet"
    assert last(tmp_path, "a") == "models/uptake/2/reference.parquet"


def test_a_run_that_repeats_the_last_one_is_held_against_the_same_rows(tmp_path: Path) -> None:
    publish(tmp_path, 1, "a")
    before = last(tmp_path, "b")
    publish(tmp_path, 2, "b")
    publish(tmp_path, 3, "b")

    assert last(tmp_path, "b") == before == "models/uptake/1/reference.parquet"


def test_a_version_that_keeps_no_rows_is_no_reference(tmp_path: Path) -> None:
    publish(tmp_path, 1, "a")
    publish(tmp_path, 2, "b", rows=None)

    assert last(tmp_path, "c") == ""


def test_a_reference_is_copied_and_none_is_an_empty_file(tmp_path: Path) -> None:
    publish(tmp_path / "store", 1, "a", rows="these rows")
    found = references.last(str(tmp_path / "store"), name="uptake", dataset_digest="b")

    references.copy(*found, tmp_path / "in" / "before")
    references.copy("", "", tmp_path / "in" / "none")

    assert (tmp_path / "in" / "before").read_text() == "these rows"
    assert (tmp_path / "in" / "none").read_bytes() == b""


def test_a_reference_that_has_changed_is_not_handed_on(tmp_path: Path) -> None:
    publish(tmp_path / "store", 1, "a")
    uri, _ = references.last(str(tmp_path / "store"), name="uptake", dataset_digest="b")

    with pytest.raises(RegistryError, match="has changed since this run began"):
        references.copy(uri, "sha256:other", tmp_path / "before")
    assert not (tmp_path / "before").exists()
