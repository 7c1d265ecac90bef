"""A request knows a feature by the column's name, the signature by the tensor's."""

import math

import pytest

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract, Input
from cd4ml.serving.application import RefusedError
from cd4ml.serving.rows import Encoder

NAMES = ["self", "", "price/unit", "a.b", "größe"]
CONTRACT = Contract("took", ("0", "1"), model.inputs(dict.fromkeys(NAMES, "number")), {})


def test_a_feature_may_have_any_name():
    encoder = Encoder(CONTRACT)

    found = encoder.inputs(dict(zip(NAMES, ([0, 5], [1, 6], [2, 7], [3, 8], [4, None]), strict=True)), 2, "names")

    assert encoder.tensors == ([one.tensor for one in CONTRACT.inputs], [], [])
    assert found.numbers[0].tolist() == [0, 1, 2, 3, 4]
    assert math.isnan(found.numbers[1, 4])
    assert found.missing == {"größe": 1}


def test_a_feature_that_is_not_sent_is_told_by_its_own_name():
    with pytest.raises(RefusedError) as refused:
        Encoder(CONTRACT).inputs({"self": [1], "": [2]}, 1, "data.names")

    assert "feature 'price/unit' is not in data.names" in refused.value.complaint


def test_of_a_text_that_is_known_by_its_words_nothing_is_unknown():
    contract = Contract(
        "took", ("0", "1"), (Input("region", "category", vocabulary=("north",)), Input("note", "text")), {}
    )

    found = Encoder(contract).inputs({"region": ["mars", "north"], "note": ["never seen", None]}, 2, "names")

    assert found.texts.tolist() == [["mars", "never seen"], ["north", ""]]
    assert (found.unknown, found.missing) == ({"region": 1}, {"note": 1})
    with pytest.raises(RefusedError) as refused:
        Encoder(contract).inputs({"region": ["north"], "note": [5]}, 1, "names")
    assert refused.value.complaint == "feature 'note' takes text or null, not 5"
