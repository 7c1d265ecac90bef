"""A deployment on this machine is held by a file of the store."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from cd4ml.deployment import on_this_machine
from cd4ml.deployment.targets.machine import Machine
from cd4ml.errors import DeploymentError
from cd4ml.storage.folder import FolderStore


def test_who_cannot_hold_a_deployment_is_told_which_file_it_takes(tmp_path: Path) -> None:
    lock = tmp_path / ".serving" / "uptake" / "lock"
    lock.mkdir(parents=True)

    with (
        pytest.raises(DeploymentError, match=f"{lock}: cannot be written"),
        Machine(FolderStore(tmp_path), "uptake").turn(),
    ):
        pass


def test_who_may_only_read_the_store_leaves_what_others_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".serving" / "uptake" / "lock").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere

    assert on_this_machine.recover(FolderStore(tmp_path), "uptake") == ""


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with (
        pytest.raises(DeploymentError, match="lock: cannot be locked .*; keep the store on a file system with locks"),
        Machine(FolderStore(tmp_path), "uptake").turn(),
    ):
        pass
