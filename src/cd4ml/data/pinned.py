"""What a run reads from outside, and hands on to its later tasks as it was when the run began."""

import hashlib
from pathlib import Path

from cd4ml.errors import Cd4mlError


def digest(content: bytes) -> str:
    """Tells content from every other: `sha256:`; empty where there is none."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}" if content else ""


def hand_on(content: bytes, target: str | Path, *, expected: str, changed: Cd4mlError) -> None:
    """Writes content for later tasks; an empty file where there is none.

    Args:
        content: As it is read now.
        target: The file to write.
        expected: The digest that it had.
        changed: What is raised where it has another by now.
    """
    if digest(content) != expected:
        raise changed
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_bytes(content)
