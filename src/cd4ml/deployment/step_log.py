"""What a rollout says of its steps in the log of its task, for people and for whoever watches the run.

rollout: steps: raise; verify; traffic 10; route
rollout: begins: raise, 2026-11-29T18:21:37+00:00
rollout: so far:
  error_rate: ...
rollout: passed: raise, 3.2 s, it answers at http://127.0.0.1:9001
"""

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from cd4ml.registry import clock

SO_FAR = "rollout: so far:"
"""How a message begins that says what is known so far."""
RAISE = "raise"
"""What comes before the steps of a strategy: the release is brought up."""
_LINE = re.compile(r"(?:^|\]: )rollout: (steps|begins|so far|passed): ?(.*)$")
"""As it is said, or behind what the program that runs a task puts before it."""

log = logging.getLogger(__name__)


def plan(steps: Sequence[str]) -> None:
    """Says which steps there will be."""
    log.info("rollout: steps: %s", "; ".join(steps))


@contextmanager
def step(name: str) -> Iterator[list[str]]:
    """Says that a step begins, and that it has passed where the context ends well.

    Yields:
        Takes what came of it.
    """
    log.info("rollout: begins: %s, %s", name, clock.now())
    started, said = time.monotonic(), list[str]()
    yield said
    log.info("rollout: passed: %s, %.1f s, %s", name, time.monotonic() - started, "; ".join(said))


def so_far(known: Sequence[str]) -> None:
    """Says what is known so far, while a step goes on."""
    log.info("%s%s", SO_FAR, "".join(f"\n  {one}" for one in known))


@dataclass
class Seen:
    """A step, as far as it is."""

    name: str
    state: Literal["waiting", "running", "passed"] = "waiting"
    began: datetime | None = None
    took: float = 0.0
    """Seconds, of one that has passed."""
    said: list[str] = field(default_factory=list)
    """What came of it, or what is known so far."""

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        if self.state == "running" and self.began:
            return (clock.exact() - self.began).total_seconds()
        return self.took


class Followed:
    """The steps that a log tells of, which is read on each time.

    Args:
        file: The log; it may not be there yet.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._read, self._rest = file, 0, ""
        self._steps: list[Seen] = []
        self._listing = False

    def steps(self) -> list[Seen]:
        """All steps, as far as they are; empty where it tells of none."""
        try:
            with self._file.open(encoding="utf-8", errors="replace") as log_file:
                log_file.seek(self._read)
                lines = (self._rest + log_file.read()).split("\n")
                self._read = log_file.tell()
        except FileNotFoundError:
            return []
        self._rest = lines.pop()
        for line in lines:
            self._take(line)
        return self._steps

    def _take(self, line: str) -> None:
        found = _LINE.search(line)
        running = next((one for one in self._steps if one.state == "running"), None)
        if not found:
            if self._listing and running and line.startswith("  "):
                running.said.append(line.strip())
            else:
                self._listing = False
            return
        what, rest = found.groups()
        self._listing = what == "so far"
        if what == "steps":
            self._steps = [Seen(name) for name in rest.split("; ")]
        elif what == "begins":
            name, _, at = rest.rpartition(", ")
            for one in self._steps:
                if one.state == "waiting" and one.name == name:
                    one.state, one.began = "running", datetime.fromisoformat(at)
                    break
        elif running and what == "so far":
            running.said = []
        elif running:
            took, _, said = rest.removeprefix(f"{running.name}, ").partition(" s, ")
            running.state, running.took = "passed", float(took)
            running.said = running.said or [said]
