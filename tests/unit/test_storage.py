"""The store: whole or not at all, and never changed."""

import threading
from pathlib import Path

import pytest

from cd4ml.errors import StorageError
from cd4ml.storage import AlreadyStoredError
from cd4ml.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_a_text_reads_back_and_is_never_replaced(store: FolderStore) -> None:
    store.add("models/uptake/1.json", "first")

    with pytest.raises(AlreadyStoredError, match="models/uptake/1.json is already there"):
        store.add("models/uptake/1.json", "second")
    assert store.read("models/uptake/1.json") == "first"


def test_a_folder_is_stored_whole(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "weights").write_bytes(b"\x00\x01")
    (tmp_path / "rows").write_text("rows")

    store.add_folder("models/uptake/1", {"model": tmp_path / "model", "rows": tmp_path / "rows", "card.md": "# card"})

    assert store.children("models/uptake/1") == ["card.md", "model", "rows"]
    assert store.path("models/uptake/1/model/deep/weights").read_bytes() == b"\x00\x01"


def test_a_folder_that_cannot_be_stored_leaves_nothing(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write models/uptake/1"):
        store.add_folder("models/uptake/1", {"card.md": "# card", "model": tmp_path / "not there"})

    assert store.children("models/uptake") == []
    assert list((store.root / ".unfinished").iterdir()) == []


def test_of_two_that_take_one_name_at_once_one_is_told(store: FolderStore) -> None:
    outcomes: list[str] = []

    def add(content: str) -> None:
        try:
            store.add_folder("models/uptake/1", {"card.md": content})
            outcomes.append("stored")
        except AlreadyStoredError:
            outcomes.append("refused")

    threads = [threading.Thread(target=add, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused"] * 7 + ["stored"]


def test_a_missing_object_is_named(store: FolderStore) -> None:
    with pytest.raises(StorageError, match="cannot read models/none/1.json"):
        store.read("models/none/1.json")


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="is a file; name a folder"):
        FolderStore(tmp_path / "file")


@pytest.mark.parametrize("name", ["../outside", "models/../../outside", "/etc/passwd", "models//1", ".hidden", ""])
def test_a_name_that_leaves_the_store_is_refused(store: FolderStore, name: str) -> None:
    with pytest.raises(StorageError, match="cannot be a name"):
        store.add(name, "text")
