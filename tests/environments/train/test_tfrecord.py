"""What TensorFlow writes as TFRecord of tf.Example is read as it was written."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cd4ml.data.files import File
from cd4ml.data.formats import tfrecord
from cd4ml.data.reading import Reading

ROWS = 3_000


@pytest.mark.parametrize(("name", "compression"), [("t.tfrecord", ""), ("t.tfrecord.gz", "GZIP")])
def test_what_tensorflow_writes_is_read(tmp_path: Path, name: str, compression: str) -> None:
    random = np.random.default_rng(1)
    wholes = random.integers(-(2**63), 2**63 - 1, ROWS)
    numbers = random.normal(size=ROWS).astype(np.float32)
    texts = [f"größe {number}" * int(random.integers(0, 40)) for number in range(ROWS)]
    lists = tf.train
    with tf.io.TFRecordWriter(str(tmp_path / name), compression) as writer:
        for row in range(ROWS):
            features = {
                "whole": lists.Feature(int64_list=lists.Int64List(value=[wholes[row]])),
                "number": lists.Feature(float_list=lists.FloatList(value=[numbers[row]])),
                "text": lists.Feature(bytes_list=lists.BytesList(value=[texts[row].encode()])),
            }
            if row % 3 == 0:
                del features["number"]
            example = lists.Example(features=lists.Features(feature=features))
            writer.write(example.SerializeToString())

    found = tfrecord.rows([File(tmp_path / name, name)], Reading(), {})
    table = {column: [] for column in ("whole", "number", "text")}
    for batch in found.batches:
        for column, values in table.items():
            values += batch.column(column).to_pylist()

    assert table["whole"] == wholes.tolist()
    assert table["text"] == texts
    assert table["number"] == [None if row % 3 == 0 else float(numbers[row]) for row in range(ROWS)]


def test_a_feature_that_no_record_of_a_block_fills_is_missing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord, "BLOCK", 40)
    lists = tf.train
    with tf.io.TFRecordWriter(str(tmp_path / "t.tfrecord")) as writer:
        for feature in (lists.Feature(float_list=lists.FloatList(value=[1.5])), *[lists.Feature()] * 4):
            writer.write(lists.Example(features=lists.Features(feature={"x": feature})).SerializeToString())

    found = tfrecord.rows([File(tmp_path / "t.tfrecord", "t.tfrecord")], Reading(), {})

    assert [one for batch in found.batches for one in batch.column("x").to_pylist()] == [1.5, None, None, None, None]
