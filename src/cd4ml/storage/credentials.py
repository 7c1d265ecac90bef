"""As whom S3 is asked, where one process asks the stores of two environments."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cd4ml.errors import StorageError

KEYS = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
VARIABLES = (*KEYS, "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
SHARED = "AWS_ENDPOINT_URL", "AWS_REGION"
"""Those that hold for both where the one has none of its own; keys never do."""


@contextmanager
def of(prefix: str) -> Iterator[None]:
    """Asks S3 by `PREFIX_AWS_ACCESS_KEY_ID` and so on in place of `AWS_ACCESS_KEY_ID`, as long as the context lasts.

    The variables are those of the whole process, so nothing else of it may ask S3 meanwhile.

    Args:
        prefix: Of the variables; empty for those of the environment as it is.

    Raises:
        StorageError: The keys are not there.
    """
    if not prefix:
        yield
        return
    own = {name: os.environ.get(f"{prefix}_{name}") for name in VARIABLES}
    missing = [f"{prefix}_{name}" for name in KEYS if not own[name]]
    if missing:
        raise StorageError(f"{' and '.join(missing)} not set: as whom is the store to be asked?")
    before = {name: os.environ.get(name) for name in VARIABLES}
    _set({name: own[name] or (before[name] if name in SHARED else None) for name in VARIABLES})
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
