"""Times as the registry writes them: ISO 8601, UTC, in seconds, so that the later one is the greater text.

The clock is that of the machine, unless somebody plays another time (`at`), as `cd4ml demo` does with a year.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cd4ml.errors import EnvironmentSetupError
from cd4ml.names import shown

AHEAD = "CD4ML_CLOCK_AHEAD"
"""The variable that says by how many seconds the clock is ahead of the machine's; what is started inherits it."""


def now() -> str:
    """The time."""
    return written(exact())


def moment() -> datetime:
    """The time, to compute with."""
    return datetime.fromisoformat(now())


def exact() -> datetime:
    """The time, with parts of a second."""
    return datetime.now(UTC) + timedelta(seconds=ahead())


def ahead() -> float:
    """By how many seconds the clock is ahead of the machine's; less than 0 where it is behind.

    Raises:
        EnvironmentSetupError: The variable says something else.
    """
    text = os.environ.get(AHEAD) or "0"
    try:
        seconds = float(text)
        datetime.now(UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise EnvironmentSetupError(
            f"{AHEAD}: {shown(text)} is no number of seconds, such as 7200; set it so"
        ) from error
    return seconds


def written(moment: datetime) -> str:
    """A moment, as the registry writes it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """Plays a time that begins with a moment and goes on from there, for this process and what it starts meanwhile."""
    before = os.environ.get(AHEAD)
    os.environ[AHEAD] = str((moment - datetime.now(UTC)).total_seconds())
    try:
        yield
    finally:
        if before is None:
            del os.environ[AHEAD]
        else:
            os.environ[AHEAD] = before
