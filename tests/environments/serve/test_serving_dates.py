"""A real model server takes dates as texts, and as columns of Arrow, with evaluation's own predictions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from served import Server, answering
from stand_ins import V2
from test_arrow import post, stream

from cd4ml.contracts.model import Contract, Input, columns, write_contract
from cd4ml.contracts.regression import REGRESSION
from cd4ml.evaluation.predict import Model

NAMES = ["signed up", "age"]
INPUTS = (Input("signed up", "date", "encoded_0", range=(0, 10**15)), Input("age", "number"))
CONTRACT = Contract("days", (), INPUTS, {"model": "linear"}, REGRESSION)
ROWS = [
    ("2024-02-29", 0.5),
    ("2024-02-29T18:30:00+05:30", 0.25),
    ("1969-12-31 12:00:00.000001Z", 0),
    ("0001-01-01", 1),
    ("9999-12-31T23:59:59.999999", 2),
    (None, 3),
    ("", 4),
]
MOMENTS = [
    datetime(2024, 2, 29),
    datetime(2024, 2, 29, 13),
    datetime(1969, 12, 31, 12, 0, 0, 1),
    datetime(1, 1, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
    None,
    None,
]
DAYS = [(one - datetime(1970, 1, 1)) / timedelta(days=1) if one else -1000 for one in MOMENTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives the days since 1970 and the age, and -1000 where there is no date."""
    import tensorflow as tf

    made = tmp_path_factory.mktemp("days") / "model"
    module = tf.Module()
    signature = {one.tensor: tf.TensorSpec([None], one.dtype, name=one.tensor) for one in INPUTS}

    @tf.function(input_signature=[signature])
    def predict(raw):
        day = tf.cast(tf.cast(raw["encoded_0"], tf.float64) / 86_400_000_000, tf.float32)
        age = tf.where(tf.math.is_nan(raw["age"]), 0.0, raw["age"])
        return {"prediction": tf.where(raw["encoded_0"] == INPUTS[0].missing, -1000.0, day) + age}

    tf.saved_model.save(module, str(made / "saved_model"), signatures=predict)
    write_contract(CONTRACT, made)
    return made


@pytest.fixture(scope="module")
def server_of_dates(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with answering(folder, tmp_path_factory.mktemp("home")) as running:
        yield running


def table(moments: Any) -> pa.Table:
    return pa.table({"signed up": moments, "age": pa.array([age for _, age in ROWS], pa.float64())})


def test_every_protocol_gives_for_a_text_what_evaluation_got_for_a_moment(server_of_dates: Server) -> None:
    moments = table(pa.array(MOMENTS, pa.timestamp("us")))
    evaluated = Model(server_of_dates.folder, CONTRACT).predict(columns(moments, CONTRACT))

    seldon = server_of_dates.predict(*ROWS, names=NAMES).content
    tensors = [
        {"name": name, "datatype": type_, "shape": [len(ROWS)], "data": [row[place] for row in ROWS]}
        for place, (name, type_) in enumerate(zip(NAMES, ("BYTES", "FP64"), strict=True))
    ]
    open_inference = server_of_dates.ask(V2, {"inputs": tensors}).content
    streamed = [
        pa.ipc.open_stream(post(server_of_dates, stream(given))[1]).read_all()
        for given in (moments, table([text for text, _ in ROWS]))
    ]

    np.testing.assert_allclose(evaluated, [day + age for day, (_, age) in zip(DAYS, ROWS, strict=True)], rtol=1e-6)
    for found in (
        [row[0] for row in seldon["data"]["ndarray"]],
        open_inference["outputs"][0]["data"],
        *(one["prediction"].to_numpy() for one in streamed),
    ):
        np.testing.assert_allclose(found, evaluated, rtol=1e-6)
    assert seldon["meta"]["tags"]["missing"] == {"signed up": 2}
    assert open_inference["parameters"]["missing.signed up"] == 2
    assert [json.loads(one.schema.metadata[b"cd4ml.missing"]) for one in streamed] == [{"signed up": 2}] * 2
    assert "outside" not in seldon["meta"]["tags"]


@pytest.mark.parametrize(
    "value",
    [
        "2023-02-29",
        "2024-02-30T00:00",
        "29.02.2024",
        "yesterday",
        "2024-13-01",
        "10000-01-01",
        "9999-12-31T23:59-14:00",
        "0001-01-01T00:00+14:00",
        " ",
        1709164800,
        True,
        [1],
    ],
)
def test_what_is_no_date_is_the_client_s_mistake_and_told_with_its_row(server_of_dates: Server, value: Any) -> None:
    answer = server_of_dates.predict(["2024-02-29", 1], [value, 1], names=NAMES)

    assert answer.status == 400
    assert answer.complaint == (f"feature 'signed up' takes a date or time as ISO 8601 or null, not {value!r} in row 2")


@pytest.mark.parametrize(
    ("column", "complaint"),
    [
        (["2024-02-29", "2023-02-29"], "holds a text that is no date or time as ISO 8601, first in row 2"),
        ([1, 2], "column 'signed up' is int64, but the model takes a date there"),
        (pa.array([0, 10**17], pa.timestamp("s")), "holds a moment beyond the years 1 to 9999"),
        (pa.array([0, 10**18], pa.timestamp("us")), "holds a moment beyond the years 1 to 9999"),
    ],
)
def test_a_column_of_a_stream_that_holds_no_dates_is_told(server_of_dates: Server, column: Any, complaint: str) -> None:
    status, body = post(server_of_dates, stream(pa.table({"signed up": column, "age": [1.0, 2.0]})))

    assert status == 400
    assert complaint in json.loads(body)["status"]["info"]


def test_the_server_says_how_a_date_is_sent(server_of_dates: Server) -> None:
    field = server_of_dates.ask("/openapi.json").content["components"]["schemas"]["Row"]["properties"]["signed up"]

    assert field["type"] == ["string", "null"]
    assert all(datetime.fromisoformat(one).replace(tzinfo=UTC) for one in field["examples"])
    assert server_of_dates.ask("/metadata").content["inputs"][0] == {
        "name": "signed up",
        "datatype": "BYTES",
        "shape": [-1],
    }
