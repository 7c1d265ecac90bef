"""JSON files that one task writes and another reads."""

import hashlib
import json
from pathlib import Path
from typing import Any


def write(path: str | Path, content: Any) -> None:
    """Writes a document; its folder is made."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def digest(path: str | Path) -> str:
    """Tells a file, or a folder by the names and bytes of its files, from every other: `sha256:`."""
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            whole.update(f"{file.relative_to(root)}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"
