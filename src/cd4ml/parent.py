"""Processes that end with the one that started them, also where that is killed."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, number: signal.Signals) -> None:
    """Has this process get a signal when its parent ends, and ends it where that has happened already."""
    prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


def prctl(option: int, value: int) -> None:
    """Asks the kernel for something of this process."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
