"""A schema that people keep: read where it lies, whatever its size, and handed on as it was when the run began."""

from pathlib import Path

import pytest

from cd4ml.data import curated
from cd4ml.errors import DataError, StorageError

LARGE = "".join(f'feature {{ name: "column_{number}" type: FLOAT }}\n' for number in range(5000))


def test_a_schema_larger_than_a_command_line_is_handed_on(tmp_path: Path) -> None:
    schema = tmp_path / "players.pbtxt"
    schema.write_text(LARGE)
    assert len(LARGE) > 169 * 1024

    curated.copy(str(schema), curated.digest(str(schema)), tmp_path / "run" / "schema")

    assert (tmp_path / "run" / "schema").read_text() == LARGE


def test_no_schema_is_an_empty_file(tmp_path: Path) -> None:
    curated.copy("", curated.digest(""), tmp_path / "schema")

    assert (tmp_path / "schema").read_text() == ""


def test_another_content_has_another_digest_and_is_not_taken(tmp_path: Path) -> None:
    schema = tmp_path / "players.pbtxt"
    schema.write_text("a")
    before = curated.digest(str(schema))
    schema.write_text("b")

    with pytest.raises(DataError, match="has changed since this run began"):
        curated.copy(str(schema), before, tmp_path / "schema")
    assert not (tmp_path / "schema").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"none\.pbtxt: cannot be read \(.*No such file"),
        (b"", "is empty; leave the argument out"),
        (b"\xff\xfe", "cannot be read .*; name a file with the text of a TFDV schema"),
    ],
)
def test_a_file_that_is_no_text_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    schema = tmp_path / "none.pbtxt"
    if content is not None:
        schema.write_bytes(content)

    with pytest.raises(DataError, match=told):
        curated.digest(str(schema))


def test_a_schema_is_named_by_its_place_and_not_by_its_text() -> None:
    for place in ("", "schemas/players.pbtxt", "s3://cd4ml/sources/players.pbtxt"):
        assert curated.check(place) == place
    for text in ('feature { name: "age" }', "feature\nname", "{"):
        with pytest.raises(DataError, match="this is the text of a schema; write it to a file"):
            curated.check(text)
    with pytest.raises(StorageError):
        curated.check("s3://cd4ml?players.pbtxt")
