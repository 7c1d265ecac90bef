"""Asks a module of the library that needs what this environment does not hold, in a process of the one that does."""

import json
import subprocess
from typing import Any

from cd4ml import errors
from cd4ml.errors import DataError
from cd4ml.running import local

MOST_SAID = 500
"""Characters of the last line of a module that crashed."""


class CrashedError(Exception):
    """A module neither answered nor told what is wrong."""

    def __init__(self, module: str, code: int, log: str) -> None:
        """Says what it ended with, negative for a signal, and what it wrote last."""
        super().__init__(f"{module} ended with {code}: {log}")
        self.code = code
        self.told = errors.raised(log)
        """The words of the error that it ended with; empty where it was another."""
        self.last = log.strip().rpartition("\n")[-1][:MOST_SAID]
        """The last line of it; empty where it wrote none."""


def ask(environment: str, module: str, *words: str, seconds: float | None = None) -> Any:
    """What a module prints as JSON in its last line.

    Args:
        environment: As `validate`.
        module: As `cd4ml.validation.schema_changes`; where it ends with 1 it prints `{"error": ...}`.
        words: Its arguments.
        seconds: How long it may take; as long as it likes where None.

    Raises:
        DataError: What the module says is wrong.
        TimeoutExpired: It took longer, and was ended.
        CrashedError: It ended in another way.
        EnvironmentSetupError: The environment is not there, half made, or not what its lock names.
    """
    local.check_made([environment])
    command = [str(local.environments() / environment / "bin" / "python"), "-P", "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)  # noqa: S603 (our own)
    if done.returncode not in (0, 1) or not done.stdout:
        raise CrashedError(module, done.returncode, done.stderr)
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except ValueError as error:  # something else was printed after it, or in its line
        last = f"the last that it printed is not what was found: {done.stdout.splitlines()[-1]}"
        raise CrashedError(module, done.returncode, last) from error
    if done.returncode:
        raise DataError(said["error"])
    return said
