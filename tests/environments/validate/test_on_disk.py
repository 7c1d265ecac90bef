"""Tables in files, held against the same tables in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.errors import DataError
from cd4ml.validation.on_disk import OnDisk


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    texts = pa.array(random.choice(["a", "b", ""], 10_000), mask=random.random(10_000) < 0.1)
    return pa.table({"x.y": np.arange(10_000), "text": texts, "z": random.normal(size=10_000)})


@pytest.fixture
def files(table, tmp_path):
    parts = [table.slice(0, 7000), table.slice(7000, 0), table.slice(7000)]
    for place, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"{place}.parquet", row_group_size=900)
    return [tmp_path / f"{place}.parquet" for place in range(len(parts))]


def test_columns_and_some_rows_of_files_are_those_of_the_table(table, files):
    found, places = OnDisk(files), pa.array([0, 5, 6999, 7000, 9999])

    assert (found.column_names, found.num_rows) == (table.column_names, table.num_rows)
    assert all(found.column(name).equals(table.column(name)) for name in table.column_names)
    assert found.take(places).equals(table.take(places))
    assert found.take(pa.array([], pa.int64())).equals(table.slice(0, 0))


def test_some_columns_of_files_come_as_they_are_asked_for(table, files):
    names, places = ["z", "x.y"], pa.array([1, 8000])

    assert OnDisk(files).select(names).take(places).equals(table.select(names).take(places))


def test_a_file_that_is_cut_short_is_told(files):
    content = files[0].read_bytes()
    files[0].write_bytes(content[:1000] + b"?" * 2000 + content[3000:])

    with pytest.raises(DataError, match=r"0\.parquet: cannot be read as Parquet"):
        OnDisk(files).take(pa.array(range(10_000)))
