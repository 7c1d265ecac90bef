"""Checkpoints: what a training goes on from, whatever has become of the files."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cd4ml.training.checkpoints import Checkpoints, State

ARRAYS = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64), np.array([1, 2], np.uint32))


def state(step: int) -> State:
    return State({"step": step, "loss": 0.1 + 0.2}, [one + one.dtype.type(step) for one in ARRAYS])


def opened(store: Path, key: str = "key") -> Checkpoints:
    return Checkpoints(str(store), key)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A store with the checkpoints of the steps 2 and 3 of a training."""
    checkpoints = opened(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(state(step))
    return tmp_path


def files(store: Path) -> list[Path]:
    return sorted(file for file in (store / "checkpoints").rglob("*") if file.is_file())


def step_of(store: Path, key: str = "key") -> int | None:
    found = opened(store, key).latest(ARRAYS)
    return None if found is None else found.progress["step"]


def test_a_training_goes_on_from_the_last_of_two_to_the_bit(kept: Path) -> None:
    found = opened(kept).latest(ARRAYS)

    assert found is not None
    assert found.progress == {"step": 3, "loss": 0.1 + 0.2}
    for array, expected in zip(found.arrays, state(3).arrays, strict=True):
        assert (array.dtype, array.tobytes()) == (expected.dtype, expected.tobytes())
    assert [file.name for file in files(kept)] == ["0", "1"]


def test_a_training_that_nothing_was_kept_of_begins(tmp_path: Path) -> None:
    assert opened(tmp_path / "new").latest(ARRAYS) is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["cut short", "another bit", "nothing that was written by it"])
def test_a_broken_one_is_told_and_the_one_before_is_taken(kept: Path, capsys, damage: str) -> None:
    last = kept / "checkpoints" / "key" / "1"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"cut short": content[:100], "another bit": content}.get(damage, b"x" * 200))

    assert step_of(kept) == 2
    assert f"the checkpoint {last} is broken (" in capsys.readouterr().out


def test_what_is_written_after_a_broken_one_takes_its_place(kept: Path) -> None:
    (kept / "checkpoints" / "key" / "1").write_bytes(b"broken")
    checkpoints = opened(kept)
    assert checkpoints.latest(ARRAYS) is not None
    checkpoints.save(state(5))

    assert step_of(kept) == 5
    (kept / "checkpoints" / "key" / "1").unlink()
    assert step_of(kept) == 2


def test_one_of_another_training_is_told_and_passed_over(kept: Path, capsys) -> None:
    (kept / "checkpoints" / "key").rename(kept / "checkpoints" / "other")

    assert step_of(kept, "other") is None
    assert capsys.readouterr().out.count("is of another training; it is passed over") == 2


def test_one_of_another_network_is_told_and_passed_over(kept: Path, capsys) -> None:
    assert opened(kept).latest([np.zeros((2, 4), np.float32), *ARRAYS[1:]]) is None
    assert "is of another training" in capsys.readouterr().out


def test_one_of_other_numbers_is_told_and_passed_over(kept: Path, capsys) -> None:
    assert opened(kept).latest([ARRAYS[0].astype(np.float16), *ARRAYS[1:]]) is None
    assert "is of another training" in capsys.readouterr().out


def test_trainings_do_not_see_each_other_s(kept: Path) -> None:
    opened(kept, "second").save(state(9))

    assert (step_of(kept), step_of(kept, "second"), step_of(kept, "third")) == (3, 9, None)


def test_the_last_one_is_left_once_training_is_done_and_what_nobody_took_up_for_30_days_goes(kept: Path) -> None:
    for key, days in (("second", 29), ("third", 31)):
        opened(kept, key).save(state(9))
        ago = time.time() - 24 * 3600 * days
        os.utime(kept / "checkpoints" / key / "1", (ago, ago))
    checkpoints = opened(kept)
    checkpoints.latest(ARRAYS)
    checkpoints.settle()

    assert step_of(kept) == 3
    assert [str(file.relative_to(kept)) for file in files(kept)] == ["checkpoints/key/1", "checkpoints/second/1"]
    assert not (kept / "checkpoints" / "third").exists()


def test_what_cannot_be_cleaned_away_is_told_and_ends_no_training(kept: Path, capsys) -> None:
    unfinished = kept / "checkpoints" / "key" / ".unfinished-1"
    unfinished.mkdir()
    os.utime(unfinished, (0, 0))

    assert step_of(kept) is None
    assert f"the checkpoints in {unfinished.parent} cannot be listed (" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_on_a_full_disk_training_goes_on_with_what_was_kept_before(kept: Path, capsys) -> None:
    checkpoints = opened(kept)
    checkpoints.latest(ARRAYS)
    folder = kept / "checkpoints" / "key"
    folder.rename(kept / "away")
    folder.symlink_to("/dev/full")
    checkpoints.save(state(4))
    folder.unlink()
    (kept / "away").rename(folder)

    told = capsys.readouterr().out
    assert f"no checkpoint could be written to {folder} (" in told
    assert "training goes on, and tries again later" in told
    assert step_of(kept) == 3
    checkpoints.save(state(5))
    assert step_of(kept) == 5


def test_a_store_that_is_away_ends_no_training(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-mine")
    checkpoints = Checkpoints("s3://cd4ml", "key")

    assert checkpoints.latest(ARRAYS) is None
    checkpoints.save(state(1))
    checkpoints.settle()

    told = capsys.readouterr().out
    assert "the checkpoints in s3://cd4ml/checkpoints/key cannot be listed" in told
    assert "no checkpoint could be written to s3://cd4ml/checkpoints/key" in told
    assert "secret-of-mine" not in told


def test_one_is_due_when_the_last_is_long_enough_ago(tmp_path: Path) -> None:
    assert not Checkpoints(str(tmp_path), "key", every_seconds=60).due
    assert Checkpoints(str(tmp_path), "key", every_seconds=0).due


def test_a_writer_that_was_killed_leaves_the_two_that_are_whole(kept: Path) -> None:
    unfinished = kept / "checkpoints" / "key" / ".unfinished-1"
    unfinished.write_bytes(b"half")
    os.utime(unfinished, (0, 0))

    assert step_of(kept) == 3
    assert not unfinished.exists()
