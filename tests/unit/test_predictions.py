"""Rows whose answers are known: features and answer are kept apart."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import predictions
from cd4ml.errors import StorageError


@pytest.mark.parametrize("name", ["age", "probability", "features", "", "a.b", "price/unit", "ü", "new\nline"])
@pytest.mark.parametrize("output", ["probability", "prediction"])
def test_rows_are_read_as_they_were_written_whatever_the_features_are_called(
    tmp_path: Path, name: str, output: str
) -> None:
    features = pa.table({name: [1.5, None], "region": ["north", "süd"], "new": [True, False]})

    predictions.write(features, output, np.array([0.25, 0.5], np.float32), file=tmp_path / "predictions.parquet")
    known = predictions.read(tmp_path / "predictions.parquet")

    assert known.names == [name, "region", "new"]
    assert known.rows == [[1.5, "north", True], [None, "süd", False]]
    assert known.outputs.tolist() == [0.25, 0.5]


def test_the_probabilities_of_several_classes_are_lists_of_one_size(tmp_path: Path) -> None:
    given = np.array([[0.25, 0.5, 0.25], [0.0, 0.125, 0.875]], np.float32)

    predictions.write(pa.table({"age": [1, 2]}), "probabilities", given, file=tmp_path / "predictions.parquet")

    assert pq.read_schema(tmp_path / "predictions.parquet").field(1).type == pa.list_(pa.float32(), 3)
    np.testing.assert_array_equal(predictions.read(tmp_path / "predictions.parquet").outputs, given)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_of_many_rows_what_the_model_gave_for_some_is_kept(tmp_path: Path, shape: tuple[int, ...]) -> None:
    given = np.random.default_rng(1).random((500, *shape)).astype(np.float32)
    file = tmp_path / "outputs.parquet"

    predictions.write_outputs("probability", given, most=200, file=file)
    some = predictions.read_outputs(file)
    predictions.write_outputs("probability", given, most=500, file=file)

    assert len(np.unique(some, axis=0)) == 200
    assert {*map(tuple, some.reshape(200, -1).tolist())} <= {*map(tuple, given.reshape(500, -1).tolist())}
    np.testing.assert_array_equal(predictions.read_outputs(file), given)


def test_a_file_with_features_and_probability_side_by_side_is_read(tmp_path: Path) -> None:
    """As the versions before wrote it."""
    table = pa.table({"features": [7, 8], "region": ["north", None], "probability": pa.array([0.25, 0.5], "float32")})
    pq.write_table(table, tmp_path / "predictions.parquet")

    known = predictions.read(tmp_path / "predictions.parquet")

    assert known.names == ["features", "region"]
    assert known.rows == [[7, "north"], [8, None]]
    assert known.outputs.tolist() == [0.25, 0.5]


@pytest.mark.parametrize("content", [None, b"", b"PAR1", pa.table({"age": [1]})])
def test_a_file_without_known_rows_is_told_with_its_place(tmp_path: Path, content: pa.Table | bytes | None) -> None:
    file = tmp_path / "predictions.parquet"
    if isinstance(content, pa.Table):
        pq.write_table(content, file)
    elif content is not None:
        file.write_bytes(content)

    with pytest.raises(StorageError, match=f"^{file}: holds no rows .*; put back what publish_model wrote"):
        predictions.read(file)
