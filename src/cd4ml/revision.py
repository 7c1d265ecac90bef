"""The revision of the code in the working folder."""

import subprocess


def of_working_folder(length: int = 40) -> str:
    """Git's revision, with `-dirty` where something is not committed; empty where there is no git."""
    command = ["git", "describe", "--always", "--dirty", f"--abbrev={length}", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    except FileNotFoundError:
        return ""
