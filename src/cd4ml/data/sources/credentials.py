"""What a source logs in with, and columns are hashed with: its name stands in the run file.

It is kept in the environment, or in a Secret of the namespace.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from cd4ml.cluster.accounts import SOURCES_MOUNTED, SOURCES_SECRET
from cd4ml.errors import DataError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _is_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "is no name of an environment variable; a secret never stands in a run file: put it into a variable, "
            f"in a cluster into the Secret {SOURCES_SECRET}, and write the variable's name"
        )
    return name


Credential = Annotated[str, AfterValidator(_is_name)]
"""The name of an environment variable, or of a key of the Secret."""


def credential(name: str, use: str = "the source logs in with") -> str:
    """What an environment variable holds, or the key of this name in the Secret of the sources.

    Args:
        name: Of the variable and the key.
        use: What it is for, for errors.

    Raises:
        DataError: Neither is there.
    """
    if os.environ.get(name):
        return os.environ[name]
    try:
        return (Path(SOURCES_MOUNTED) / name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name} is not set, which {use}; set this environment variable, in a cluster the key {name} of the Secret "
            f"{SOURCES_SECRET}"
        ) from error
