"""What is not finished is its maker's for as long as that lives, and then nobody's."""

import errno
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cd4ml.storage import scratch
from cd4ml.storage.folder import FolderStore

HOLD = (
    "import sys, pathlib; from cd4ml.storage import scratch\n"
    "with scratch.folder(pathlib.Path(sys.argv[1]), 'a-') as made: "
)


def test_a_folder_is_there_as_long_as_its_context(tmp_path: Path) -> None:
    with scratch.folder(tmp_path, "a-") as made:
        (made / "file").touch()
        assert made.parent == tmp_path
        assert made.name.startswith("a-")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_holds_is_not_removed(tmp_path: Path) -> None:
    with scratch.folder(tmp_path, "a-") as made:
        subprocess.run([sys.executable, "-c", HOLD + "scratch.clean(made.parent, 'a-')", tmp_path], check=True)
        assert scratch.clean(tmp_path, "a-") == 0
        assert made.exists()


def test_the_folder_of_a_process_that_was_killed_is_removed(tmp_path: Path) -> None:
    program = HOLD + "(made / 'file').touch(); import os; os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", program, tmp_path])
    (tmp_path / "b-other").mkdir()
    (tmp_path / "a-link").symlink_to(tmp_path / "b-other")
    (tmp_path / "a-file").touch()

    assert killed.returncode == -9
    assert scratch.clean(tmp_path, "a-") == 1
    assert {one.name for one in tmp_path.iterdir()} == {"b-other", "a-link", "a-file"}


def test_the_folder_of_another_user_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a-other").mkdir()
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)

    assert scratch.clean(tmp_path, "a-") == 0
    assert (tmp_path / "a-other").exists()


def test_where_folders_cannot_be_locked_they_are_made_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)

    with scratch.folder(tmp_path, "a-") as made:
        assert scratch.clean(tmp_path, "a-") == 0
        assert made.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_nobody_loses_a_folder_while_others_clean(tmp_path: Path) -> None:
    def work(_: int) -> bool:
        with scratch.folder(tmp_path) as made:
            scratch.clean(tmp_path)
            (made / "file").write_text("x")
            return (made / "file").read_text() == "x"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert list(tmp_path.iterdir()) == []


def test_the_half_copy_of_a_writer_that_was_killed_is_removed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    program = """
import os, sys
from cd4ml.storage.folder import FolderStore

class Killing(dict):
    def items(self):
        yield "text", "x"
        os.kill(os.getpid(), 9)

FolderStore(sys.argv[1]).add_folder("models/a/1", Killing())
"""
    killed = subprocess.run([sys.executable, "-c", program, store.root])
    assert killed.returncode == -9
    assert len(list(store.root.glob(".unfinished/*/content/text"))) == 1

    store.clean()

    assert list((store.root / ".unfinished").iterdir()) == []
    store.add_folder("models/a/1", {"text": "x"})
