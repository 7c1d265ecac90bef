"""A real model server answers for a model that tells three classes and more apart."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import SECONDS_TO_START, Server, answering, end, start
from stand_ins import V2
from test_arrow import post, stream

from cd4ml.contracts.model import Contract, Input, write_contract
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.serving import messages
from cd4ml.serving.arrow_body import MOST_NUMBERS

CLASSES = ("bus", "car", "by train")
CONTRACT = Contract("goes by", CLASSES, (Input("km", "number"),), {"model": "linear"}, MULTICLASS)
MANY = 100
KM = [0.5, 12.0, 300.0, -4.0, None]


def expected(ways: list[float | None]) -> np.ndarray:
    """What the model of these tests says, in numpy."""
    scores = np.array([[0, 2, 0] if km is None else [-0.1 * km, 0, 0.01 * km] for km in ways])
    shares = np.exp(scores)
    return shares / shares.sum(axis=1, keepdims=True)


def write_model(folder: Path, contract: Contract = CONTRACT) -> Path:
    """A model by which far ways are by train, near ones by bus, and those of a length that is not known by car."""
    import tensorflow as tf

    module = tf.Module()
    module.slopes = tf.Variable([[-0.1, 0.0, 0.01]])

    @tf.function(input_signature=[{"km": tf.TensorSpec([None], tf.float32, name="km")}])
    def predict(raw):
        km = tf.where(tf.math.is_nan(raw["km"]), 0.0, raw["km"])[:, None]
        known = tf.where(tf.math.is_nan(raw["km"]), 1.0, 0.0)[:, None] * [[0.0, 2.0, 0.0]]
        return {"probabilities": tf.nn.softmax(km * module.slopes + known)}

    tf.saved_model.save(module, str(folder / "saved_model"), signatures=predict)
    write_contract(contract, folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("ways") / "model")


@pytest.fixture(scope="module")
def ways(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with answering(folder, tmp_path_factory.mktemp("home")) as running:
        yield running


def tensor(values: list[Any]) -> dict[str, Any]:
    return {"inputs": [{"name": "km", "datatype": "FP32", "shape": [len(values)], "data": values}]}


def test_every_protocol_gives_the_probabilities_and_says_which_probability_is_whose(ways: Server) -> None:
    table = pa.table({"km": pa.array(KM, pa.float64())})

    data = ways.predict(*([km] for km in KM), names=["km"]).content["data"]
    objects = ways.ask("/predict", {"jsonData": [{"km": km} for km in KM]}).content["data"]
    [output] = ways.ask(V2, tensor(KM)).content["outputs"]
    streamed = pa.ipc.open_stream(post(ways, stream(table))[1]).read_all()

    assert np.argmax(data["ndarray"], axis=1).tolist() == [2, 2, 2, 0, 1]
    assert data["names"] == objects["names"] == list(CLASSES)
    assert (output["name"], output["shape"], objects["tensor"]["shape"]) == ("probabilities", [5, 3], [5, 3])
    assert json.loads(output["parameters"]["classes"]) == list(CLASSES)
    assert json.loads(streamed.schema.metadata[b"cd4ml.classes"]) == list(CLASSES)
    assert streamed.schema.field("probabilities").type == pa.list_(pa.float32(), 3)
    for found in (
        data["ndarray"],
        np.reshape(objects["tensor"]["values"], (5, 3)),
        np.reshape(output["data"], (5, 3)),
        streamed["probabilities"].to_pylist(),
    ):
        np.testing.assert_allclose(found, expected(KM), atol=1e-6)


def test_it_says_what_it_gives(ways: Server) -> None:
    [output] = ways.ask("/metadata").content["outputs"]

    assert (output["name"], output["shape"]) == ("probabilities", [-1, 3])
    assert json.loads(output["parameters"]["classes"]) == list(CLASSES)
    assert "bus, car or by train" in ways.ask("/openapi.json").content["info"]["description"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda server: server.predict([1], [300], names=["km"]),
        lambda server: server.ask("/predict", {"jsonData": [{"km": 1}, {"km": 300}]}),
        lambda server: server.ask(V2, tensor([1, 300])),
    ],
)
def test_a_router_keeps_the_probabilities_of_any_protocol_by_the_names_of_the_classes(
    ways: Server, ask: Callable[[Server], Any]
) -> None:
    names, values = messages.predictions(ask(ways).content)

    assert names == list(CLASSES)
    assert np.reshape(values, (2, 3)).sum(axis=1) == pytest.approx([1, 1])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a model with a hundred classes, of which a way is of the one of its length."""
    import tensorflow as tf

    folder, module = tmp_path_factory.mktemp("many") / "model", tf.Module()

    @tf.function(input_signature=[{"km": tf.TensorSpec([None], tf.float32, name="km")}])
    def predict(raw):
        km = tf.where(tf.math.is_nan(raw["km"]), 0.0, raw["km"])
        return {"probabilities": tf.nn.softmax(6.0 * tf.one_hot(tf.cast(km, tf.int32), MANY))}

    tf.saved_model.save(module, str(folder / "saved_model"), signatures=predict)
    write_contract(replace(CONTRACT, classes=tuple(map(str, range(MANY)))), folder)
    with answering(folder, tmp_path_factory.mktemp("home")) as running:
        yield running


def test_what_is_predicted_is_counted_by_class_with_how_probable_it_is(many: Server) -> None:
    assert many.predict(*([km] for km in (3, 3, 99)), names=["km"]).status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{many.metrics_port}/metrics", timeout=20) as response:
        families = {one.name: one for one in text_string_to_metric_families(response.read().decode())}

    totals = (one for one in families["cd4ml_predicted_classes"].samples if one.name.endswith("_total"))
    by_class = {one.labels["class"]: one.value for one in totals}
    counted = {one.labels.get("le", one.name): one.value for one in families["cd4ml_predicted_probability"].samples}
    assert {name: by_class[name] for name in ("3", "7", "99")} == {"3": 2, "7": 0, "99": 1}
    assert (counted["0.8"], counted["0.85"]) == (0, 3)  # e^6 of e^6 + 99
    assert counted["cd4ml_predicted_probability_count"] == 3
    assert "cd4ml_probability" not in families


@pytest.mark.parametrize("message", [tensor, lambda rows: {"jsonData": [{"km": km} for km in rows]}])
def test_of_many_classes_fewer_rows_are_answered_at_once(many: Server, message: Callable[[list[Any]], Any]) -> None:
    path = V2 if message is tensor else "/predict"

    fits, refused = (many.ask(path, message([1] * rows)) for rows in (5000, 5001))

    assert (fits.status, refused.status) == (200, 413)
    assert "each row gives 100, one a class; send 5,000 rows at most in a request" in json.dumps(refused.content)


def test_of_a_stream_they_are_more(many: Server) -> None:
    rows = MOST_NUMBERS // MANY

    fits, refused = (post(many, stream(pa.table({"km": np.ones(count)}))) for count in (rows, rows + 1))

    assert (fits[0], refused[0]) == (200, 413)
    assert b"send 20,000 rows at most in a request" in refused[1]


def test_a_model_that_gives_other_probabilities_than_its_contract_says_ends_its_server_with_one_line(
    tmp_path: Path,
) -> None:
    folder = write_model(tmp_path / "model", replace(CONTRACT, classes=("bus", "car", "train", "none")))
    running = start(folder, tmp_path)

    try:
        assert running.process.wait(timeout=SECONDS_TO_START) == 1
    finally:
        end(running)

    assert "the model's output 'probabilities' gives (3,) for a row, and its contract says (4,)" in running.log
