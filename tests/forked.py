"""What a test does in a process of its own, which is killed."""

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any


def status_of(work: Callable[[], object]) -> int:
    """Does something in a process of its own; how that ended, as `os.waitpid` has it."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(process, 0)
    return status


def killing(does: Callable[..., Any], when: str) -> Callable[..., Any]:
    """What a function does, and the process is killed before or after."""

    def call(*given: Any, **named: Any) -> None:
        if when == "after":
            does(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return call
