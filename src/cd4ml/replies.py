"""What a module prints that is asked from another environment (`cd4ml.running.asking`): JSON, in its last line."""

import json
from collections.abc import Callable
from typing import Any

from cd4ml.errors import Cd4mlError


def reply(find: Callable[[], Any], *wrong: type[Exception]) -> int:
    """Prints what is found, or `{"error": ...}`; the exit status.

    Args:
        find: Finds it, as JSON has it.
        wrong: Errors that a caller can mend, besides those of cd4ml.
    """
    mendable: tuple[type[Exception], ...] = (Cd4mlError, *wrong)
    try:
        found = find()
    except mendable as error:
        found, status = {"error": str(error)}, 1
    else:
        status = 0
    print(json.dumps(found))  # noqa: T201 (read by who asks)
    return status
