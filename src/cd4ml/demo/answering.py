"""Answers one question after another in the environment that it runs in, so that what loads slowly is loaded once."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from cd4ml.errors import Cd4mlError

CALLS: Mapping[str, tuple[str, str]] = {
    "compare": ("cd4ml.monitoring.drift", "compare_each"),
    "measure": ("cd4ml.monitoring.quality", "measure_each"),
    "predict": ("cd4ml.demo.predicting", "predict"),
}
"""What can be asked for: the module and its function, which gives nothing that is answered."""


def main() -> int:
    """Reads a question a line, and answers each with a line; whatever else is printed goes to the log."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps({"error": _error(asked["call"], asked["given"])}) + "\n")
        answers.flush()
    return 0


def _error(call: str, given: Mapping[str, Any]) -> str:
    """Does what is asked for; what is wrong, in words, or nothing."""
    module, name = CALLS[call]
    function: Callable[..., object] = getattr(import_module(module), name)
    try:
        function(**given)
    except Cd4mlError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
