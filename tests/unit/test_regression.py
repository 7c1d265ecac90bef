"""What a model that predicts a number is asked."""

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts.regression import REGRESSION
from cd4ml.errors import DataError


def test_labels_are_the_numbers_themselves():
    table = pa.table({"price": pa.array([1, 2_000_000_001, 3], pa.int64())})

    assert REGRESSION.labels(table, "price", ()).tolist() == [1.0, 2_000_000_001.0, 3.0]
    assert REGRESSION.classes(table, "price") == ()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["cheap", "dear"], "string cannot be a number to predict"),
        ([True, False], "bool cannot be a number to predict"),
        ([1.0, None, 2.0], "1 of 3 rows have none; drop these rows"),
        ([1.0, float("inf"), 2.0], "1 of 3 rows have none that is finite, the first inf"),
        ([2.5, 2.5], "every row is 2.5, so there is nothing to predict"),
        (pa.array([], pa.float32()), "no row has one"),
    ],
)
def test_a_column_that_holds_no_numbers_to_predict_is_told(values, said):
    table = pa.table({"price": values})

    with pytest.raises(DataError, match=said):
        REGRESSION.labels(table, "price", REGRESSION.classes(table, "price"))


def test_a_prediction_may_be_as_far_off_as_a_part_of_its_size_or_of_the_usual_one():
    predictions = np.array([0.0, *[-100.0] * 18, 1e6], np.float32)

    assert REGRESSION.tolerance(predictions).tolist() == pytest.approx([1e-3, *[1e-3] * 18, 10.0])


def test_the_score_is_the_root_of_the_mean_squared_error():
    assert REGRESSION.score(np.array([1.0, 3.0]), np.array([1.0, 1.0], np.float32)) == pytest.approx(2**0.5)
