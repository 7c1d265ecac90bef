"""How the processes of a training end: they are told to by SIGTERM, and have the time to keep how far they are."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def at_sigterm(act: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Acts when SIGTERM arrives, as a cluster sends it, and as before once the context has ended."""
    before = signal.signal(signal.SIGTERM, act)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave(number: int, _: FrameType | None) -> NoReturn:
    """Leaves whatever runs, with what is cleaned up at its end; acts on a signal."""
    raise SystemExit(128 + number)


def end(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Ends a process, which has so long to end by itself; whether it did, or had ended before."""
    if process.poll() is not None:
        return True
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
