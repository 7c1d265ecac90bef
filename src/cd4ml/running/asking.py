"""Asks a module of the library that needs what this environment does not hold, in a process of the one that does."""

import json
import subprocess
from typing import Any

from cd4ml.errors import DataError
from cd4ml.running import local


def ask(environment: str, module: str, *words: str) -> Any:
    """What a module prints as JSON in its last line.

    Args:
        environment: As `validate`.
        module: As `cd4ml.validation.schema_changes`; where it ends with 1 it prints `{"error": ...}`.
        words: Its arguments.

    Raises:
        DataError: What the module says is wrong.
        EnvironmentSetupError: The environment is not there, half made, or not what its lock names.
    """
    local.check_made([environment])
    command = [str(local.environments() / environment / "bin" / "python"), "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own program)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr}")
    said = json.loads(done.stdout.splitlines()[-1])
    if done.returncode:
        raise DataError(said["error"])
    return said
