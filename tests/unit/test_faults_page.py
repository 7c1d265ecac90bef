"""The table of faults names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text()


def test_each_test_that_the_table_of_faults_names_is_there() -> None:
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }

    assert set(re.findall(r"`(test_\w+)`", PAGE)) - defined == set()


def test_each_row_of_the_table_of_faults_says_what_shows_it() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [line.split(" | ") for line in lines if "| fault |" not in line and "---" not in line]

    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`test_\w+`|by hand, 2026-\d\d-\d\d|benchmarks.md#", row[3])] == []
