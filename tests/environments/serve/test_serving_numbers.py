"""A real model server answers for a model that predicts a number, with evaluation's own predictions."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import Server, answering
from stand_ins import V2
from test_arrow import post, stream

from cd4ml.contracts.model import Contract, Input, columns, write_contract
from cd4ml.contracts.regression import REGRESSION
from cd4ml.evaluation.predict import Model

QUANTILES = (-50_000.0, 0.1, 96_500.0, 182_000.0, 2.5e6)
CONTRACT = Contract("price", (), (Input("area", "number"),), {"model": "linear"}, REGRESSION, QUANTILES)
AREAS = [70.5, 123.45, -20.0, 1e7, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives 1234.567 for each square metre, and 100 where the area is not known."""
    import tensorflow as tf

    made = tmp_path_factory.mktemp("prices") / "model"
    module = tf.Module()
    module.metre = tf.Variable(1234.567)

    @tf.function(input_signature=[{"area": tf.TensorSpec([None], tf.float32, name="area")}])
    def predict(raw):
        return {"prediction": tf.where(tf.math.is_nan(raw["area"]), 100.0, raw["area"] * module.metre)}

    tf.saved_model.save(module, str(made / "saved_model"), signatures=predict)
    write_contract(CONTRACT, made)
    return made


@pytest.fixture(scope="module")
def prices(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with answering(folder, tmp_path_factory.mktemp("home")) as running:
        yield running


def test_every_protocol_gives_what_evaluation_got_by_the_name_of_a_number(prices: Server) -> None:
    table = pa.table({"area": pa.array(AREAS, pa.float64())})
    evaluated = Model(prices.folder, CONTRACT).predict(columns(table, CONTRACT))

    data = prices.predict(*([area] for area in AREAS), names=["area"]).content["data"]
    tensor = {"name": "area", "datatype": "FP32", "shape": [len(AREAS)], "data": AREAS}
    [output] = prices.ask(V2, {"inputs": [tensor]}).content["outputs"]
    streamed = pa.ipc.open_stream(post(prices, stream(table))[1]).read_all()

    assert (data["names"], output["name"], streamed.column_names) == (["prediction"], "prediction", ["prediction"])
    for found in ([row[0] for row in data["ndarray"]], output["data"], streamed["prediction"].to_numpy()):
        np.testing.assert_allclose(found, evaluated, rtol=1e-6)
    assert evaluated[3] > 1e10
    assert evaluated[2] < 0


def test_it_says_what_it_gives(prices: Server) -> None:
    assert prices.ask("/metadata").content["outputs"] == [{"name": "prediction", "datatype": "FP32", "shape": [-1]}]
    assert prices.ask("/openapi.json").content["info"]["description"] == "Gives price, a number."


def test_numbers_are_counted_between_the_quantiles_of_the_label(folder: Path, tmp_path: Path) -> None:
    with answering(folder, tmp_path) as running:
        assert running.predict(*([area] for area in AREAS), names=["area"]).status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics", timeout=20) as response:
            families = {one.name: one for one in text_string_to_metric_families(response.read().decode())}

    counted = {one.labels.get("le", one.name): one.value for one in families["cd4ml_prediction"].samples}
    below = {"-50000": 0, "0.1": 1, "96500": 3, "182000": 4, "2500000": 4, "+Inf": 5}
    assert {name: counted[name] for name in below} == below
    assert counted["cd4ml_prediction_count"] == 5
    assert counted["cd4ml_prediction_sum"] == pytest.approx(1234.567 * (70.5 + 123.45 - 20 + 1e7) + 100, rel=1e-6)
    assert "cd4ml_probability" not in families
