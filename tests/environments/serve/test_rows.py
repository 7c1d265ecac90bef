"""A request knows a feature by the column's name, the signature by the tensor's."""

import math

import pytest

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract
from cd4ml.serving.application import RefusedError
from cd4ml.serving.rows import Encoder

NAMES = ["self", "", "price/unit", "a.b", "größe"]
CONTRACT = Contract("took", ("0", "1"), model.inputs(dict.fromkeys(NAMES, "number")), {})


def test_a_feature_may_have_any_name():
    encoder = Encoder(CONTRACT)

    found = encoder.inputs(dict(zip(NAMES, ([0, 5], [1, 6], [2, 7], [3, 8], [4, None]), strict=True)), 2, "names")

    assert encoder.tensors == ([one.tensor for one in CONTRACT.inputs], [])
    assert found.numbers[0].tolist() == [0, 1, 2, 3, 4]
    assert math.isnan(found.numbers[1, 4])
    assert found.missing == {"größe": 1}


def test_a_feature_that_is_not_sent_is_told_by_its_own_name():
    with pytest.raises(RefusedError) as refused:
        Encoder(CONTRACT).inputs({"self": [1], "": [2]}, 1, "data.names")

    assert "feature 'price/unit' is not in data.names" in refused.value.complaint
