"""What docs/development.md shows, for the tests that run it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "development.md"
BLOCK = re.compile(r"^```(\w+)\n(?:# (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(section: str) -> dict[str, str]:
    """What a section of docs/development.md shows, by the path in the first line of a block, or by its language."""
    text = PAGE.read_text().split(f"\n### {section}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return {path or language: content for language, path, content in BLOCK.findall(text)}
