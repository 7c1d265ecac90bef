"""What a test does in a process of its own, which is killed."""

import os
import signal
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import pytest

SECONDS = 300
"""How long a process may take."""


def status_of(work: Callable[[], object]) -> int:
    """Does something in a process of its own; how that ended, as `os.waitpid` has it."""
    process = os.fork()
    if process == 0:
        signal.alarm(SECONDS)  # ends it even where it waits for a lock that a thread held as it forked
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGALRM, f"not done in {SECONDS} s"
    return status


def killing(does: Callable[..., Any], when: str) -> Callable[..., Any]:
    """What a function does, and the process is killed before or after."""

    def call(*given: Any, **named: Any) -> None:
        if when == "after":
            does(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return call


def dies_before(change: int, patch: pytest.MonkeyPatch, changes: Iterable[tuple[Any, str]]) -> None:
    """Has this process be killed when it is about to make its change of that number.

    Args:
        change: From 1.
        patch: What patches.
        changes: The functions by which it changes something, each of a class or module by its name.
    """
    left = iter(range(1, change))

    def mortal(does: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return does(*given, **named)

        return call

    for where, name in changes:
        patch.setattr(where, name, mortal(getattr(where, name)))
