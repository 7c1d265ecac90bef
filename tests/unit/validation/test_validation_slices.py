"""A column that makes too many slices is refused before training, exactly where evaluation would refuse it."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts.model import Contract
from cd4ml.errors import DataError, EvaluationError
from cd4ml.evaluation import arguments, rows
from cd4ml.validation import groups

ROWS = 400


def table(values):
    column = {
        "integer": pa.array(np.arange(ROWS) % values),
        "number": pa.array((np.arange(ROWS) % values) / 8),
        "text": pa.array([f"v{number % values}" for number in range(ROWS)]),
        "with_missing": pa.array(np.arange(ROWS) % values, mask=np.arange(ROWS) % values == 0),
        "time": pa.array(np.arange(ROWS) % values, pa.timestamp("s", "UTC")),
        "tens": pa.array(np.arange(ROWS) % values // 10),
        "ones": pa.array(np.arange(ROWS) % values % 10),
    }
    return pa.table({**column, "took": np.arange(ROWS) % 2})


def refusals(test, slices, folder):
    """What validation and what evaluation say of these slices; empty where they take them."""
    pq.write_table(test, folder / "test")
    contract = Contract(label="took", classes=("0", "1"), inputs=(), model={})
    said = []
    for ask in (
        lambda: groups.check_slices(test, slices),
        lambda: rows.open_split(
            folder / "test", contracts={"candidate": contract}, label="took", by=arguments.columns(slices)
        ),
    ):
        try:
            ask()
            said.append("")
        except (DataError, EvaluationError) as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize(
    "slices", [["integer"], ["number"], ["text"], ["with_missing"], ["time"], [["tens", "ones"]], [["ones", "ones"]]]
)
def test_validation_takes_what_evaluation_takes(tmp_path, slices):
    assert refusals(table(100), slices, tmp_path) == ["", ""]


def test_too_many_slices_of_all_kinds_together_are_refused_in_the_same_words(tmp_path):
    first, later = refusals(table(90), ["integer", "number", "text"], tmp_path)

    assert first == later == "slices: they make 270 together, more than 200; name fewer kinds"


@pytest.mark.parametrize(
    ("slices", "name"),
    [
        (["integer"], "integer"),
        (["number"], "number"),
        (["text"], "text"),
        (["with_missing"], "with_missing"),
        (["time"], "time"),
        ([["tens", "ones"]], "ones × tens"),
    ],
)
def test_validation_refuses_what_evaluation_refuses_in_its_words(tmp_path, slices, name):
    first, later = refusals(table(101), slices, tmp_path)

    assert first == later
    assert first == (
        f"slices: {name} makes 101 slices, more than 100; slice by a column with fewer values, such as ranges"
    )


def test_all_such_columns_are_told_together():
    with pytest.raises(DataError, match=r"(?s)text makes 101 slices.*integer makes 101 slices"):
        groups.check_slices(table(101), ["text", "ones", "integer"])
