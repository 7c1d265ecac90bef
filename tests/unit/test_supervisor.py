"""What a command started ends with it, and with whoever asked for it; real processes, really killed."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cd4ml import supervisor

FAMILY = "sleep {0} & (setsid sleep {0} &); (setsid env -i sleep {0} &); (setsid sh -c 'trap \"\" TERM; sleep {0}' &); "
"""A child, one in a session of its own, one without environment, and one that heeds no SIGTERM."""


@pytest.fixture
def seconds() -> Iterator[str]:
    """How long the processes of a test sleep, which tells them from all others; those that are left are ended."""
    mark = f"{3600 + os.getpid() + time.monotonic() % 1:.6f}"
    yield mark
    for one in _sleepers(mark):
        one.kill()


def test_the_code_is_that_of_the_command() -> None:
    assert _run("exit 3") == 3
    assert _run("kill -KILL $$") == 137


def test_a_command_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/nowhere/python\n")
    for mode, why in ((0o755, "No such file or directory"), (0o644, "Permission denied")):
        program.chmod(mode)
        ended = subprocess.run(_command([str(program)]), capture_output=True, text=True, timeout=60)

        assert ended.returncode == 127
        assert ended.stderr == f"{program}: cannot be started ({why})\n"


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -KILL $$"])
def test_the_whole_family_of_a_command_ends_with_it(seconds: str, end: str) -> None:
    _run(FAMILY.format(seconds) + "sleep 0.3; " + end)

    assert _sleepers(seconds) == []


def test_what_is_marked_outlives_the_command(seconds: str) -> None:
    _run(f"{supervisor.OUTLIVES}=x setsid sleep {seconds} & sleep 0.3")

    assert len(_sleepers(seconds)) == 1


def test_the_whole_family_ends_when_it_is_asked_to(seconds: str) -> None:
    process = subprocess.Popen(_command(["sh", "-c", FAMILY.format(seconds) + "wait"]))
    _wait_for(lambda: len(_sleepers(seconds)) >= 4)
    process.terminate()

    assert process.wait(20) == 128 + signal.SIGTERM
    assert _sleepers(seconds) == []


def test_the_whole_family_ends_with_the_process_that_asked_for_it(seconds: str) -> None:
    words = _command(["sh", "-c", FAMILY.format(seconds) + "wait"])
    words[words.index(str(os.getpid()))] = "$$"
    asking = subprocess.Popen(
        ["sh", "-c", " ".join("$$" if one == "$$" else shlex.quote(one) for one in words) + "; :"]
    )
    _wait_for(lambda: len(_sleepers(seconds)) >= 4)
    asking.kill()
    asking.wait()

    _wait_for(lambda: not _sleepers(seconds))


def test_a_process_that_ended_before_it_is_watched_runs_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    words = [str(ended.pid) if one == str(os.getpid()) else one for one in _command(["touch", str(tmp_path / "ran")])]

    assert subprocess.run(words).returncode != 0
    assert not (tmp_path / "ran").exists()


def test_orphans_of_a_supervisor_that_was_killed_end_with_those_who_adopted_them(seconds: str) -> None:
    """In a process of its own, for the one of the tests has other children."""
    program = f"""
import os, subprocess, time
from cd4ml import supervisor
supervisor.adopt_orphans()
process = subprocess.Popen(supervisor.command(["sh", "-c", {FAMILY.format(seconds) + "wait"!r}]))
time.sleep(1.5)
process.kill()
process.wait()
supervisor.end_family(0.5)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

    assert _sleepers(seconds) == []


def _command(words: list[str]) -> list[str]:
    """A supervisor that waits half a second and not fifteen."""
    program = (
        "import sys; from cd4ml import supervisor; supervisor.STOP_SECONDS = 0.5; "
        "sys.exit(supervisor.supervise(int(sys.argv[1]), sys.argv[2:]))"
    )
    return [sys.executable, "-c", program, str(os.getpid()), *words]


def _run(script: str) -> int:
    return subprocess.run(_command(["sh", "-c", script]), timeout=60).returncode


def _sleepers(seconds: str) -> list[psutil.Process]:
    return [
        one
        for one in psutil.process_iter(["cmdline", "status"])
        if one.info["cmdline"] == ["sleep", seconds] and one.info["status"] != psutil.STATUS_ZOMBIE
    ]


def _wait_for(condition: Callable[[], bool], limit: float = 15) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
