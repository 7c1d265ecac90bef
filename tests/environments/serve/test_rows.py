"""A request knows a feature by the column's name, the signature by the tensor's."""

import math

import pytest
from seldon_core.flask_utils import SeldonMicroserviceException

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract
from cd4ml.serving.rows import columns, missing_row

NAMES = ["self", "", "price/unit", "a.b", "größe"]
CONTRACT = Contract("took", ("0", "1"), model.inputs(dict.fromkeys(NAMES, "number")), {})
TENSORS = [one.tensor for one in CONTRACT.inputs]


def test_a_feature_may_have_any_name():
    found = columns({"data": {"names": NAMES[::-1], "ndarray": [[4, 3, 2, 1, 0], [9, 8, 7, 6, None]]}}, CONTRACT)

    assert list(found) == TENSORS
    assert [float(values[0]) for values in found.values()] == [0, 1, 2, 3, 4]
    assert math.isnan(found[TENSORS[0]][1])
    assert list(missing_row(CONTRACT)) == TENSORS


def test_a_feature_that_is_not_sent_is_told_by_its_own_name():
    with pytest.raises(SeldonMicroserviceException) as refused:
        columns({"data": {"names": ["self", ""], "ndarray": [[1, 2]]}}, CONTRACT)

    assert "feature 'price/unit' is not in data.names" in refused.value.message
