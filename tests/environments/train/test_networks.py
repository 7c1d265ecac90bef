"""`cd4ml.training.network`: what preprocessing makes of a row."""

import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from cd4ml.contracts.model import Contract, Input, Kind
from cd4ml.training import network
from cd4ml.training.statistics import Column, Number, Text
from cd4ml.training.trainers import Dnn, Linear, Network, WideAndDeep

AGE = Number(minimum=18.0, maximum=90.0, mean=40.0, deviation=10.0, missing=False)
SPEND = Number(minimum=0.0, maximum=0.9, mean=0.01, deviation=0.05, missing=False)
REGION = Text(("north", "east", "south"), missing=False)
CITY = Text(tuple(f"c{number}" for number in range(40)), missing=False)


def encode(kind: Kind, column: Column, *values: Any) -> list[list[float]]:
    contract = Contract("took", ("0", "1"), (Input("x", kind),), {})
    return keras.tree.flatten(network.encoder(contract, {"x": column})([tf.constant(values)]))[0].numpy().tolist()


def test_a_number_becomes_its_standard_score():
    assert encode("number", AGE, 40.0, 50.0, 25.0) == [[0.0], [1.0], [-1.5]]


def test_an_outlier_counts_as_ten_deviations():
    assert encode("number", AGE, 1e30, -1e30) == [[10.0], [-10.0]]


def test_a_missing_number_becomes_the_mean_and_is_marked_where_training_saw_one():
    seen = Number(18.0, 90.0, 40.0, 10.0, missing=True)

    assert encode("number", AGE, math.nan) == [[0.0]]
    assert encode("number", seen, math.nan, 50.0) == [[0.0, 1.0], [1.0, 0.0]]


def test_a_heavy_tail_has_its_logarithm_beside_the_score():
    rows = encode("number", SPEND, 0.0, 0.01, 0.03)

    assert [row[1] for row in rows] == pytest.approx([0.0, math.log(2), math.log(4)])


def test_a_number_is_told_by_how_far_it_is_on_each_way_from_a_quantile_to_the_next():
    column = replace(AGE, quantiles=(30.0, 40.0, 90.0))

    rows = encode("number", column, 18.0, 24.0, 40.0, 65.0, 1e30, -1e30, math.nan)

    assert [row[1:] for row in rows] == [
        [0.0, 0.0, 0.0],
        [0.5, 0.0, 0.0],
        [1.0, 1.0, 0.0],
        [1.0, 1.0, 0.5],
        [1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0],  # as the mean
    ]


@pytest.mark.parametrize("quantiles", [(), (1.0,), (0.0, 1.0), (0.0, 1e-45, 1.0), (5.0, 5.0 + 1e-9, 6.0)])
def test_where_quantiles_tell_too_little_apart_there_is_the_score_alone(quantiles):
    column = replace(AGE, minimum=min(quantiles, default=18.0), quantiles=quantiles)

    assert [len(row) for row in encode("number", column, 0.0, 5.0)] == [1, 1]


def test_a_constant_number_says_nothing():
    assert encode("number", Number(3.0, 3.0, 3.0, 0.0, False), 3.0) == [[0.0]]


@pytest.mark.parametrize("column", [Number(0.0, 1.0, 0.1, 0.3, False), Text(("false", "true"), False)])
def test_a_boolean_becomes_a_number_however_the_statistics_count_it(column):
    no, yes = encode("boolean", column, 0.0, 1.0)

    assert no[0] < yes[0]


def test_a_text_becomes_one_column_a_value_and_zeros_where_training_saw_none_such():
    assert encode("category", REGION, "north", "south") == [[1, 0, 0], [0, 0, 1]]
    assert encode("category", REGION, "mars", "") == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("values", [("[UNK]", "a"), ("a", "[UNK]")])
def test_a_text_may_be_whatever_it_is(values):
    assert encode("category", Text(values, missing=False), *values, "mars") == [[1, 0], [0, 1], [0, 0]]


def test_a_missing_text_is_a_value_of_its_own_where_training_saw_one():
    seen = Text(REGION.values, missing=True)

    assert encode("category", seen, "", "north", "mars") == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_a_text_that_is_not_listed_is_in_the_same_bucket_everywhere_and_a_missing_one_in_none():
    column = replace(REGION, buckets=64)

    indices = indices_of(column, "north", "south", "", "mars", "venus", "mars")

    assert indices == [1, 3, 0, 33, 17, 33]
    assert indices_of(replace(column, missing=True), "", "north", "mars") == [1, 2, 34]
    assert indices_of(CITY, "c0", "mars", "") == [1, 0, 0]


def indices_of(column: Text, *values: str) -> list[int]:
    contract = Contract("took", ("0", "1"), (Input("x", "category"),), {})
    _, indices = network.encoder(contract, {"x": column})([tf.constant(values)])
    return indices.numpy().tolist()


@given(st.floats(width=32))
@example(3.4e38)
@example(-3.4e38)
def test_no_number_becomes_more_than_ten_deviations(value):
    contract = Contract("took", ("0", "1"), (Input("age", "number"), Input("spend", "number")), {})
    age = replace(AGE, quantiles=(18.0, 30.0, 3.4e38))
    encoder = network.encoder(contract, {"age": age, "spend": SPEND})

    encoded = encoder([tf.constant([value])] * 2)[0].numpy()

    assert (np.abs(encoded) <= network.OUTLIER).all()


@pytest.mark.parametrize("spec", [Linear(), Dnn(), WideAndDeep()], ids=lambda spec: spec.model)
def test_weights_that_training_never_moves_weigh_nothing(spec: Network):
    contract = Contract("took", ("0", "1"), (Input("city", "category"),), {})
    encoder = network.encoder(contract, {"city": CITY})
    head = network.head(contract, statistics={"city": CITY}, encoded=encoder, spec=spec)
    unseen = encoder([tf.constant(["mars"])])
    before = head(unseen).numpy()
    for embedding in [layer for layer in head.layers if isinstance(layer, keras.layers.Embedding)]:
        weights = embedding.get_weights()[0]
        weights[0] = 100.0
        embedding.set_weights([weights])

    assert head(unseen).numpy() == before
