"""JSON files that one task writes and another reads."""

import json
from pathlib import Path
from typing import Any


def write(path: str | Path, content: Any) -> None:
    """Writes a document; its folder is made."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
