"""What ingestion says of a table shows no value of it: in no log, no error, no record and no page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.data import ingest
from cd4ml.data.sources import parse
from cd4ml.errors import DataError

PLANTED = "Quixote"
"""In place of what a person is called."""
MANY = "".join(f"{row},{row}\n" for row in range(900_000))

Said = Callable[[str, str, dict[str, Any]], str]


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """All that is said of a file that is taken: its log, its record, the pages about it, or why it is refused."""

    def take(name: str, text: str, how: dict[str, Any]) -> str:
        (tmp_path / name).write_text(text)
        asked = {"key": "id", **how}
        source = json.dumps({"file": str(tmp_path / name), **asked.pop("source", {})})
        try:
            told = ingest.ingest(source, store=str(tmp_path / "store"), name="people", **asked).text
        except DataError as error:
            told = str(error)
        pages = [file.read_text() for file in (tmp_path / "store" / "catalogue").rglob("*") if file.is_file()]
        return "\n".join([told, *capsys.readouterr(), *pages])

    return take


@pytest.mark.parametrize(
    ("name", "text", "how", "told"),
    [
        ("t.csv", "id,age\n1,31\n2,Quixote\n3,44\n", {}, "'aaaaaaa' (1 of the first 3 values, from row 2 on)"),
        ("t.csv", "id,n\n1,31\n2,9.999.99 Quixote\n3,4\n", {}, "'#.###.## aaaaaaa' (1 of the first 3 values"),
        ("t.csv", "id,born\n1,2026-02-01\n2,Quixote\n", {}, "'aaaaaaa' (1 of the first 2 values, from row 2 on)"),
        ("t.csv", "id,at\n1,2026-02-01 10:00\n2,2026-03-01 Quixote\n", {}, "column 'at' stays text"),
        ("t.csv", f"id,age\n{MANY}x,Quixote\n", {}, "'aaaaaaa' (row 900001 of"),
        ("t.csv", "id,age\n1,31\n2,Quixote\n", {"source": {"types": {"age": "whole"}}}, "row 2, column 'age': 'aaaa"),
        ("t.csv", "id,age\n1,31\n2,Quixote,3\n", {}, "row 2 has 3 cells"),
        ("t.csv", "# a\nid,a\n1,x\n# Quixote\n2,y\n", {}, "left out 1 lines among the rows as comments"),
        ("t.csv", "id,name\n1,Quixote\n2,b\n3,Quixote\n", {"key": "name"}, "as row 3 has that of row 1"),
        ("t.jsonl", '{"id": 1, "a": 2}\n{"id": 2, "a": "Quixote"}\n', {}, "line 2, column 'a': holds text"),
        ("t.jsonl", '{"id": 1, "a": "2026-02-01"}\n{"id": 2, "a": "Quixote"}\n', {}, "1 of the first 2 values"),
    ],
)
def test_no_value_is_shown(said: Said, name: str, text: str, how: dict[str, Any], told: str) -> None:
    found = said(name, text, how)

    assert told in found
    assert PLANTED not in found


def test_no_value_of_a_table_with_types_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "age": ["31", PLANTED]}), place)
    with pytest.raises(DataError, match="column 'age' does not fit int64; clean the source") as refused:
        ingest.ingest(
            json.dumps({"file": place, "types": {"age": "whole"}}), store=str(tmp_path / "s"), name="t", key="id"
        )
    pq.write_table(pa.table({"id": [PLANTED, PLANTED]}), place)
    with pytest.raises(DataError, match="as row 2 has that of row 1") as repeated:
        ingest.ingest(place, store=str(tmp_path / "s"), name="t", key="id")

    assert PLANTED not in "".join([str(refused.value), str(repeated.value), *capsys.readouterr()])


def test_who_looks_at_a_table_of_their_own_sees_the_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,age\n1,31\n2,Quixote\n3,44\n")

    _, found = ingest.look(parse(str(tmp_path / "t.csv")))

    assert any("'Quixote' (1 of the first 3 values, from row 2 on)" in line for line in found)
