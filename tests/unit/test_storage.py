"""The store: whole or not at all, and never changed."""

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.errors import StorageError
from cd4ml.storage import AlreadyStoredError, Pointer, PointerMovedError, check_name, check_uri, open_store
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


def test_bytes_and_files_read_back_as_they_were(store: FolderStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5_000
    (tmp_path / "file").write_bytes(content)
    store.add("runs/bytes", content)
    store.add("runs/file", tmp_path / "file")
    store.add_folder("runs/1", {"bytes": content, "lines": "a\r\nb"})

    with store.open("runs/file") as stream:
        assert (stream.read(3), stream.read()) == (content[:3], content[3:])
    assert store.read_bytes("runs/bytes") == store.read_bytes("runs/1/bytes") == content
    assert store.read_bytes("runs/1/lines") == b"a\r\nb"
    with pytest.raises(AlreadyStoredError, match="runs/file is already there"):
        store.add("runs/file", tmp_path / "file")


def test_what_is_no_text_is_told(store: FolderStore) -> None:
    store.add("runs/bytes", b"\xff\xfe")

    with pytest.raises(StorageError, match="runs/bytes is no text in UTF-8"):
        store.read("runs/bytes")


def test_a_folder_is_no_object(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write runs/1: no such file"):
        store.add("runs/1", tmp_path)


def test_hidden_files_are_no_names(store: FolderStore) -> None:
    store.add("models/uptake/1", "text")
    (store.root / "models" / ".DS_Store").write_text("")

    assert store.children("models") == ["uptake"]
    assert list(store.below("models")) == ["models/uptake/1"]


def test_all_that_lies_below_a_name_is_told_with_its_times(store: FolderStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    store.add("runs/training/a/begun.json", "{}")
    store.add("runs/training/b/tasks/one.json", "{}")

    found = store.below("runs")

    assert sorted(found) == ["runs/training/a/begun.json", "runs/training/b/tasks/one.json"]
    assert all(before < time < before + timedelta(minutes=1) for time in found.values())
    assert store.below("deployments") == {}


POINTERS = ("aliases/champion", "aliases/challenger")
MOVES = st.lists(st.tuples(st.sampled_from(POINTERS), st.text(max_size=5), st.booleans()), max_size=8)


@settings(max_examples=25)
@given(MOVES)
def test_a_pointer_stands_where_the_last_who_knew_it_moved_it(moves: list[tuple[str, str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        values: dict[str, list[str]] = {name: [] for name in POINTERS}
        for name, value, is_known in moves:
            stands = store.pointer(name)
            if is_known:
                assert store.move(name, value, stands) == Pointer(value, len(values[name]) + 1)
                values[name].append(value)
            elif stands:  # as one who asked before the last move
                before = Pointer(values[name][-2], stands.version - 1) if stands.version > 1 else None
                with pytest.raises(PointerMovedError, match=f"{name} has been moved by another"):
                    store.move(name, value, before)

        assert {name: store.pointer(name) for name in POINTERS} == {
            name: Pointer(moved[-1], len(moved)) if moved else None for name, moved in values.items()
        }


def test_each_move_of_eight_writers_is_won_by_one(store: FolderStore) -> None:
    won: list[Pointer] = []

    def move(writer: int) -> None:
        for _ in range(20):
            try:
                won.append(store.move("aliases/champion", str(writer), store.pointer("aliases/champion")))
            except PointerMovedError:
                continue

    writers = [threading.Thread(target=move, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sorted(one.version for one in won) == list(range(1, len(won) + 1))
    assert store.pointer("aliases/champion") == max(won, key=lambda one: one.version)


def _move_for_ever(folder: Path) -> None:
    store = FolderStore(folder)
    while True:
        stands = store.pointer("aliases/champion")
        store.move("aliases/champion", "x" * 100_000, stands)


def test_a_writer_that_is_killed_leaves_a_whole_pointer_that_others_move_on(store: FolderStore) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        before = store.pointer("aliases/champion")
        writer = context.Process(target=_move_for_ever, args=(store.root,))
        writer.start()
        while store.pointer("aliases/champion") == before:
            time.sleep(0.001)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()

        stands = store.pointer("aliases/champion")
        assert stands
        assert stands.value == "x" * 100_000
        assert store.move("aliases/champion", "mine", stands).version == stands.version + 1


def test_a_name_may_have_128_characters(store: FolderStore) -> None:
    assert check_name("n" * 128) == "n" * 128
    for name in ("n" * 129, ".hidden", "a b", "", "ä", "a\n"):
        with pytest.raises(StorageError, match="cannot be a name: use letters, digits"):
            check_name(name)


@pytest.mark.parametrize("path", ["", "  ", "~nobody-of-this-name/x", "a\0b", "x" * 256, "a/" + "ä" * 128])
def test_what_is_no_path_is_told(path: str) -> None:
    for ask in (check_uri, open_store):
        with pytest.raises(StorageError):
            ask(path)
    assert check_uri("x" * 255) == "x" * 255


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


def test_what_somebody_put_there_whose_name_no_object_can_have_is_not_listed(store: FolderStore) -> None:
    store.add("runs/training/1/begun.json", "{}")
    for name in ("copy of 1", "²", ".hidden", "x" * 200):
        (store.root / "runs" / name).mkdir()
        (store.root / "runs" / "training" / name).write_text("")

    assert store.children("runs") == ["training"]
    assert store.children("runs/training") == ["1"]


def test_a_pointer_heeds_numbers_alone(store: FolderStore) -> None:
    store.move("aliases/uptake/champion", "3", expected=None)
    for name in ("02", "2.0", "²", "٣"):
        (store.root / "aliases" / "uptake" / "champion" / name).write_text("4")

    assert store.pointer("aliases/uptake/champion") == Pointer("3", 1)
