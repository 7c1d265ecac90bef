"""Runs a command, and lets nothing that it started outlive it, nor the process that asked for it.

    python -m cd4ml.supervisor PARENT COMMAND...

PARENT is the process that asks. When the command ends, and when PARENT ends or SIGTERM arrives before, all processes
that the command started end too: also those in a session of their own, and those whose own parent has ended. Each gets
the time to undo what it began. A process with the variable `OUTLIVES` in its environment is left to whoever started it.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence

import psutil

from cd4ml import parent as parent_of

OUTLIVES = "CD4ML_OUTLIVES_TASK"
STOP_SECONDS = 15.0
KILL_SECONDS = 5.0

_PR_SET_CHILD_SUBREAPER = 36


def command(words: Sequence[str]) -> list[str]:
    """The command that runs another one supervised, as long as this process lives."""
    return [sys.executable, "-P", "-m", "cd4ml.supervisor", str(os.getpid()), *words]


def supervise(parent: int, words: Sequence[str]) -> int:
    """Runs a command to its end, in a process that has no other children.

    Args:
        parent: The process that asks; the command ends with it.
        words: The command.

    Returns:
        Its exit code as a shell has it: 128 and more for a signal.
    """
    waited = {signal.SIGCHLD, signal.SIGTERM}
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a signal that is ignored is not waited for
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    adopt_orphans()
    parent_of.end_with(parent, signal.SIGTERM)
    supervisor = os.getpid()
    child = os.fork()  # this process has one thread
    if not child:
        _become(words, supervisor, waited)
    code = None
    while code is None and signal.sigwait(waited) != signal.SIGTERM:
        code = _ended(child)
    end_family(STOP_SECONDS)
    return 128 + signal.SIGTERM if code is None else code


def adopt_orphans(wanted: bool = True) -> None:
    """Makes this process the parent of every descendant whose own parent ends, or no longer."""
    parent_of.prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


def end_family(seconds: float, but: Collection[psutil.Process] = ()) -> None:
    """Ends all descendants of this process, which has adopted those that lost their parent.

    Args:
        seconds: How long they may take to undo what they began.
        but: Children to leave alone, with all of theirs.
    """
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, KILL_SECONDS)):
        told: set[psutil.Process] = set()
        deadline = time.monotonic() + limit
        while (family := _family(but)) and time.monotonic() < deadline:
            for member in family:
                if member not in told:
                    told.add(member)
                    with contextlib.suppress(psutil.Error):
                        member.send_signal(number)
            time.sleep(0.02)


def _family(but: Collection[psutil.Process]) -> list[psutil.Process]:
    """The descendants that are to end; those that have ended are reaped."""
    family = []
    for child in psutil.Process().children():
        if child not in but:
            family += [child, *_children_of(child)]
            _reap(child)
    return [one for one in family if _is_to_end(one)]


def _children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return children


def _reap(child: psutil.Process) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)


def _is_to_end(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and OUTLIVES not in process.environ()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _become(words: Sequence[str], supervisor: int, waited: Collection[signal.Signals]) -> None:
    try:
        parent_of.end_with(supervisor, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited)
        os.execvp(words[0], list(words))  # noqa: S606 (the command that was asked for, without a shell)
    except OSError as error:
        sys.stderr.write(f"{words[0]}: cannot be started ({error.strerror})\n")
        sys.stderr.flush()
    finally:
        os._exit(127)


def _ended(child: int) -> int | None:
    """The code of the child, once it has ended; orphans that have ended are reaped too."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
    return code if code is None or code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
