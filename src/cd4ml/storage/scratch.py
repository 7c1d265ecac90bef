"""Folders for work that is not finished: each is held by the process that made it, and what nobody holds is removed."""

import contextlib
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A new folder, this process's own for as long as the context lasts, then removed.

    Raises:
        OSError: It cannot be made.
    """
    while True:
        path = parent / f"{prefix}{uuid.uuid4().hex[:16]}"
        path.mkdir(mode=0o700)
        held = _held(path)
        if held is not None:
            break  # else `clean` has taken it for one that was left, between the two lines above
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def clean(parent: Path, prefix: str = "") -> int:
    """Removes the folders that were left by processes of this user which have ended; how many."""
    removed = 0
    for path in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another's, or gone in the meantime
            if _is_ours(path.lstat()) and (held := _held(path, wait=False)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(held)
                removed += 1
    return removed


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _held(path: Path, wait: bool = True) -> int | None:
    """Holds a folder by the lock on it; None where it has gone or is another's."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if path.exists() and path.stat().st_ino == os.fstat(held).st_ino:
            return held
    except OSError:
        if wait:  # a file system without such locks: `clean` gets none either, and leaves the folder
            return held
    os.close(held)
    return None
