"""A process of another environment that answers many questions (`cd4ml.demo.answering`)."""

import json
import subprocess
from pathlib import Path
from typing import Any, Self

from cd4ml import errors
from cd4ml.errors import Cd4mlError
from cd4ml.running import local


class Standing:
    """The process, as long as the context lasts.

    Args:
        environment: As `validate`.
        log: Takes what it prints.

    Raises:
        EnvironmentSetupError: The environment is not there, half made, or not what its lock names.
    """

    def __init__(self, environment: str, log: Path) -> None:
        local.check_made([environment])
        self._log = log
        program = local.environments() / environment / "bin" / "python"
        with log.open("wb") as said:
            self._process = subprocess.Popen(  # noqa: S603 (our own program, without a shell)
                [program, "-P", "-m", "cd4ml.demo.answering"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self, call: str, **given: Any) -> None:
        """Asks, and does not wait for the answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"call": call, "given": given}) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Waits for the answer.

        Raises:
            Cd4mlError: What is wrong, in its words.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            log = self._log.read_text(errors="replace")
            raise Cd4mlError(errors.raised(log) or f"{self._log}: the process has ended; the log says why")
        error: str = json.loads(line)["error"]
        if error:
            raise Cd4mlError(error)

    def ask(self, call: str, **given: Any) -> None:
        """Asks, and waits."""
        self.begin(call, **given)
        self.end()
