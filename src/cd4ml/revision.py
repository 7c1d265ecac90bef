"""The revision of the code: in the working folder, and of this library."""

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

FACES = {"components", "pipelines"}
"""They lie elsewhere in an image than in a checkout, and compute nothing."""


def of_working_folder(length: int = 40) -> str:
    """Git's revision, with `-dirty` where something is not committed; empty where there is no git."""
    command = ["git", "describe", "--always", "--dirty", f"--abbrev={length}", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    except FileNotFoundError:
        return ""


def of_library() -> str:
    """Tells one state of the library from another, wherever it is installed: `sha256:`."""
    root = Path(__file__).parent
    files = [file for file in root.rglob("*.py") if file.relative_to(root).parts[0] not in FACES]
    return of_files(sorted(files))


def of_files(files: Iterable[Path]) -> str:
    """Tells modules by their names and contents from others, in their order: `sha256:`."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"
