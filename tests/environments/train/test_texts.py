"""Texts of more values than statistics list, and texts that are known by their words."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from conftest import Inputs, predictions_of, requested
from tensorflow_metadata.proto.v0 import statistics_pb2

from cd4ml.contracts import model
from cd4ml.contracts.binary import BINARY
from cd4ml.errors import TrainingError
from cd4ml.training import statistics
from cd4ml.training.train import train
from cd4ml.training.words import MOST, MOST_WORDS, Words

NETWORKS = ["linear", "dnn", "wide_and_deep"]
LISTED, SHOPS = 20, 600


def orders(rows: int, seed: int) -> pa.Table:
    """The shop tells the label of the first half, if it is a rare one; of the other half, words do, as `not bad`."""
    random = np.random.default_rng(seed)
    by_shop = np.arange(rows) < rows // 2
    shop = np.where(by_shop, random.integers(LISTED, SHOPS, rows), random.integers(0, LISTED, rows))
    good, negated = random.random(rows) < 0.5, random.random(rows) < 0.5
    said = [f"{'not ' if no else ''}{'good' if yes else 'bad'}" for yes, no in zip(good, negated, strict=True)]
    reviews = [f"Order {seed}{row}: {'it' if by_shop[row] else said[row]}, it was." for row in range(rows)]
    took = np.where(by_shop, shop % 2 == 1, good != negated) ^ (random.random(rows) < 0.1)
    return pa.table({"shop": [f"s{one}" for one in shop], "review": reviews, "took": took})


def listing(inputs: Inputs, name: str, most: int) -> Inputs:
    """The same, where statistics list no more values of a text."""
    file = inputs.statistics_folder / "train.pb"
    proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    for feature in proto.datasets[0].features:
        if feature.path.step[0] == name:
            feature.string_stats.unique = len(feature.string_stats.rank_histogram.buckets)
            del feature.string_stats.rank_histogram.buckets[most:]
    file.write_bytes(proto.SerializeToString())
    return inputs


def trained(inputs: Inputs, folder: Path, name: str, **settings: Any) -> Path:
    spec = {"model": name, **settings}
    train(requested(inputs, spec=spec), folder=folder)
    return folder


def area(folder: Path, table: pa.Table) -> float:
    return BINARY.score(table["took"].to_numpy(zero_copy_only=False).astype(np.float32), predictions_of(folder, table))


@pytest.fixture(scope="module")
def models(prepare: Callable[..., Inputs], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each network."""
    root = tmp_path_factory.mktemp("texts")
    inputs = listing(prepare(orders(6000, 1), orders(1500, 2), exclude=()), "shop", LISTED)
    return {name: trained(inputs, root / name, name, texts=["review"]) for name in NETWORKS}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_that_the_statistics_do_not_list_tell_what_they_have_to(models, name):
    assert area(models[name], orders(2000, 3)[:1000]) > 0.75


@pytest.mark.parametrize("name", NETWORKS)
def test_words_tell_what_they_have_to_in_pairs_too(models, name):
    assert area(models[name], orders(2000, 3)[1000:]) > 0.85


def test_what_is_known_by_a_hash_is_in_no_file(models):
    shop, review = model.read_contract(models["linear"]).inputs

    assert (shop.kind, len(shop.vocabulary)) == ("category", LISTED)
    assert (review.kind, review.vocabulary) == ("text", None)
    for folder in models.values():
        assert not any(b"good" in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_server_gets_the_same_probabilities(models, tmp_path):
    table = orders(50, 4).select(["shop", "review"])
    strange = {"shop": ["", "ÄÖ never seen", "s0"], "review": ["", "s0", "ÄÖ never seen"]}
    table = pa.concat_tables([table, pa.table(strange)])
    (tmp_path / "rows.json").write_text(json.dumps(table.to_pydict()))
    program = (
        "import json, sys; import tensorflow as tf\n"
        "rows = {name: tf.constant(values) for name, values in json.load(open(sys.argv[1])).items()}\n"
        "for folder in sys.argv[2:]:\n"
        "    signature = tf.saved_model.load(folder).signatures['serving_default']\n"
        "    print(json.dumps(signature(**rows)['probability'].numpy().tolist()))"
    )
    folders = [folder / "saved_model" for folder in models.values()]

    python = Path(sys.prefix).parent / "serve" / "bin" / "python"
    answers = subprocess.check_output([python, "-c", program, tmp_path / "rows.json", *folders], text=True)

    for folder, answer in zip(models.values(), answers.splitlines(), strict=True):
        np.testing.assert_allclose(json.loads(answer), predictions_of(folder, table), atol=1e-6, rtol=0)


def test_a_text_without_words_and_a_missing_value_say_nothing(models):
    none = pa.table({"shop": ["s0", "s0", "s0", ""], "review": ["", "  ...", None, ""]})

    for folder in models.values():
        *same, other = predictions_of(folder, none).tolist()
        assert len(set(same)) == 1
        assert 0 < other < 1


def test_words_are_told_apart_whatever_their_case_and_what_stands_between():
    told = Words()(tf.constant(["Sehr SCHÖN, sehr!", "sehr schön... sehr", "schön sehr", "日本語 テスト", b"\xff\xfe"]))
    first, alike, other, foreign, _ = ([one for one in row if one] for row in told.numpy().tolist())

    assert first == alike
    assert [len(one) for one in (first, other, foreign)] == [5, 3, 3]
    assert first[0] == first[2] == other[1]
    assert other[2] not in first[:3]


def test_the_words_of_a_long_text_count_from_its_beginning():
    long = Words()(tf.constant(["a " * 10_000, "a " * MOST_WORDS])).numpy()

    assert long.shape == (2, MOST)
    assert (long[0] == long[1]).all()


def test_a_bucket_is_the_same_in_every_process():
    assert Words()(tf.constant(["not good"])).numpy()[0, :4].tolist() == [3497, 2401, 1049, 0]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["reveiw"], "texts: column 'reveiw' is no feature; did you mean 'review'"),
        (["took"], "texts: column 'took' is no feature"),
        (["age"], "texts: column 'age' holds int64, which has no words; leave it out"),
        (["empty"], "texts: the statistics have no values of column 'empty': it is empty or holds personal data"),
    ],
)
def test_a_column_that_has_no_words_to_know_it_by_is_told(prepare, tmp_path, texts, message):
    table = orders(100, 1).append_column("age", pa.array(range(100)))
    table = table.append_column("empty", pa.nulls(100, pa.string()))

    with pytest.raises(TrainingError, match=message):
        trained(prepare(table, table, exclude=()), tmp_path / "model", "linear", texts=texts)


@pytest.mark.parametrize(
    ("rows", "listed", "buckets"),
    [(6000, LISTED, 1024), (6000, SHOPS, 0), (600, LISTED, 0)],
    ids=["as many as values", "none where all are listed", "none where they are too rare"],
)
def test_values_that_are_not_listed_are_hashed_where_there_are_rows_to_learn_from(prepare, rows, listed, buckets):
    table = orders(rows, 1)
    inputs = listing(prepare(table, table), "shop", listed)

    assert statistics.read(inputs.statistics_folder)["shop"].buckets == buckets
