"""TFRecord of tf.Example: files that TensorFlow wrote (`tf.io.TFRecordWriter`), in `tfrecords`."""

import gzip
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from cd4ml.data.formats import tfrecord
from cd4ml.data.ingest import look
from cd4ml.data.sources import parse
from cd4ml.errors import DataError

WRITTEN = Path(__file__).with_name("tfrecords")


def read(file: Path | str) -> tuple[pa.Table, list[str]]:
    return look(parse(str(file)))


def test_features_are_columns_and_what_a_record_lacks_is_missing() -> None:
    table, said = read(WRITTEN / "players.tfrecord")

    assert table.select(["id", "age", "spend", "region", "empty"]).to_pydict() == {
        "id": [1, -2, 2**62],
        "age": [31, None, 44],
        "spend": [1.5, None, None],
        "region": ["north", "süd", None],
        "empty": [None, None, None],
    }
    assert {str(table.schema.field(name).type) for name in ("id", "spend", "region")} == {"int64", "float", "string"}
    assert sorted(said) == ["left out 'photo', which holds binary", "left out 'tags', which holds list<item: int64>"]


@pytest.mark.parametrize(
    "name",
    ["t.tfrecord", "t.tfrecords.gz", "data.tfrecord-00000-of-00002", "data_tfrecord-00000-of-00002.gz"],
)
def test_the_names_of_tensorflow_and_tfx_tell_the_format(tmp_path: Path, name: str) -> None:
    content = (WRITTEN / "players.tfrecord").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (tmp_path / name.replace("00000-of", "00001-of")).write_bytes((tmp_path / name).read_bytes())

    assert read(tmp_path)[0].num_rows == (6 if "-of-" in name else 3)


@pytest.mark.parametrize("block", [1 << 20, 60])
def test_a_feature_that_turns_out_to_be_a_list_or_bytes_later_is_left_out_and_one_that_comes_later_is_missing_before(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(tfrecord, "BLOCK", block)
    monkeypatch.setattr(tfrecord, "SAMPLE", block)

    table, said = read(WRITTEN / "later.tfrecord")

    assert table.select(["id", "c", "d"]).to_pydict() == {"id": [1, 2], "c": [None, 2.5], "d": [None, "new"]}
    assert sorted(said) == ["left out 'a', which holds list<item: int64>", "left out 'b', which holds binary"]


@pytest.mark.parametrize("block", [1 << 20, 60])
def test_a_feature_of_two_kinds_is_told_with_its_record(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(tfrecord, "BLOCK", block)

    with pytest.raises(
        DataError, match=r"two_kinds.tfrecord: record 3 has feature 'age' as float, and int64 before; wri"
    ):
        read(WRITTEN / "two_kinds.tfrecord")


@pytest.mark.parametrize("name", ["sequence", "text"])
def test_records_that_are_no_examples_are_told(name: str) -> None:
    with pytest.raises(
        DataError, match=rf"{name}.tfrecord: record 1 is no tf.Example; write tf.train.Example, or give"
    ):
        read(WRITTEN / f"{name}.tfrecord")


def test_damage_is_told_with_the_file_and_the_record(tmp_path: Path) -> None:
    content = (WRITTEN / "players.tfrecord").read_bytes()
    second = 16 + int.from_bytes(content[:8], "little")
    cases = {
        content[:-1]: "record 3 is cut short; export it again",
        content[: second + 5]: "record 2 is cut short",
        content[: second + 20] + b"?" + content[second + 21 :]: "record 2 is damaged; export it again",
        content[:second] + b"?" + content[second + 1 :]: "record 2 is damaged, or the file is no TFRecord",
        b"id,age\na,1\nb,2\nc,3\n": "record 1 is damaged, or the file is no TFRecord",
        b"": "is empty",
    }
    for number, (bad, told) in enumerate(cases.items()):
        file = tmp_path / f"{number}.tfrecord"
        file.write_bytes(bad)
        with pytest.raises(DataError) as refused:
            read(file)
        assert str(refused.value).startswith(f"{file}: {told}")


def test_a_record_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "LARGEST", 64)

    with pytest.raises(DataError, match="record 1 has more than 0 MiB; export it with less"):
        read(WRITTEN / "players.tfrecord")


def test_files_of_other_features_are_one_table(tmp_path: Path) -> None:
    shutil.copy(WRITTEN / "players.tfrecord", tmp_path / "a.tfrecord")
    shutil.copy(WRITTEN / "later.tfrecord", tmp_path / "b.tfrecord")

    table, said = read(tmp_path)

    assert (table["id"].to_pylist(), table["d"].to_pylist()) == ([1, -2, 2**62, 1, 2], [None] * 4 + ["new"])
    assert f"'d' is missing in 1 of 2 files, the first {tmp_path}/a.tfrecord" in said
