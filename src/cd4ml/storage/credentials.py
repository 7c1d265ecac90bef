"""As whom S3 is asked, where one process asks the stores of two environments."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cd4ml.errors import StorageError

KEYS = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
VARIABLES = (*KEYS, "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
SHARED = "AWS_ENDPOINT_URL", "AWS_REGION"
"""Those that hold for both where the one has none of its own; keys never do."""
_before: list[dict[str, str | None]] = []
"""What the variables were before each context that lasts: first those of the process itself."""


@contextmanager
def of(prefix: str) -> Iterator[None]:
    """Asks S3 by `PREFIX_AWS_ACCESS_KEY_ID` and so on in place of `AWS_ACCESS_KEY_ID`, as long as the context lasts.

    The variables are those of the whole process, so nothing else of it may ask S3 meanwhile. In a context within
    another, those of the process are as they were before both.

    Args:
        prefix: Of the variables; empty for those of the process itself.

    Raises:
        StorageError: The keys are not there.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    wanted = _before[0] if _before else before
    if prefix:
        own = {name: os.environ.get(f"{prefix}_{name}") for name in VARIABLES}
        missing = [f"{prefix}_{name}" for name in KEYS if not own[name]]
        if missing:
            raise StorageError(f"{' and '.join(missing)} not set: as whom is the store to be asked?")
        wanted = {name: own[name] or (wanted[name] if name in SHARED else None) for name in VARIABLES}
    _before.append(before)
    _set(wanted)
    try:
        yield
    finally:
        _set(_before.pop())


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
