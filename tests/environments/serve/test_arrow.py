"""A real model server takes many rows as a stream of Arrow, however it was made."""

import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from served import NAMES, ROWS, Server, expected

from cd4ml.contracts.model import digest

STREAM = "application/vnd.apache.arrow.stream"
GOOD = pa.table(
    {
        "id": ["a", "b", "c"],
        "age": pa.array([40, None, 18]),
        "region": ["south", None, "mars"],
        "subscribed": pa.array([True, None, False]),
    }
)


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=50_000)
    return sink.getvalue().to_pybytes()


def post(server: Server, body: bytes, path: str = "/predict") -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": STREAM})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.headers["Content-Type"] == STREAM
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("path", ["/predict", "/api/v1.0/predictions", "/v2/models/uptake/infer"])
def test_a_stream_is_answered_by_a_stream_that_names_the_model(server: Server, path: str) -> None:
    status, body = post(server, stream(GOOD), path)

    assert status == 200
    answer = pa.ipc.open_stream(body).read_all()
    rows = [(40, "south", True), (None, None, None), (18, "mars", False)]
    np.testing.assert_allclose(answer["probability"], [expected(*row) for row in rows], atol=1e-6)
    said = {key.decode(): value.decode() for key, value in answer.schema.metadata.items()}
    assert (said["cd4ml.digest"], said["cd4ml.version"]) == (digest(server.folder), "7")
    assert json.loads(said["cd4ml.missing"]) == {"age": 1, "region": 1, "subscribed": 1}
    assert json.loads(said["cd4ml.unknown"]) == {"region": 1}


def test_many_rows_are_predicted_as_json_would_have_them(server: Server) -> None:
    columns = {name: [row[place] for row in ROWS[:2]] * 25_000 for place, name in enumerate(NAMES)}

    status, body = post(server, stream(pa.table(columns)))

    assert status == 200
    probabilities = pa.ipc.open_stream(body).read_all()["probability"].to_numpy()
    assert len(probabilities) == 50_000
    assert set(probabilities) == set(np.float32(server.predict(*ROWS[:2]).probabilities))


def with_column(name: str, values: Any) -> pa.Table:
    return GOOD.set_column(GOOD.schema.names.index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("status", "complaint", "body"),
    [
        (400, "column 'age' is not in the table", stream(GOOD.drop_columns("age"))),
        (400, "column 'age' is string", stream(with_column("age", ["1", "2", "3"]))),
        (400, "feature 'age' takes a finite number", stream(with_column("age", [1, float("inf"), 3]))),
        (400, "feature 'age' takes a finite number", stream(with_column("age", [1, 1e39, 3]))),
        (400, "feature 'subscribed' takes a boolean", stream(with_column("subscribed", [0, 2, 1]))),
        (400, "the schema has 'age' more than once", stream(GOOD.append_column("age", pa.array([1, 2, 3])))),
        (
            400,
            "a column is encoded",
            stream(with_column("region", GOOD["region"].combine_chunks().dictionary_encode())),
        ),
        (400, "the stream is compressed", stream(GOOD, compression="zstd")),
        (400, "the stream is compressed", stream(GOOD, compression="lz4")),
        (400, "the stream has no row", stream(GOOD.slice(0, 0))),
        (400, "the body is not a stream", b""),
        (400, "the body is not a stream", b"text"),
        (400, "the body is not a stream", stream(GOOD)[:-40]),
        (413, "a stream has 250,000 rows at most, not 300,000", stream(pa.table({"age": pa.nulls(300_000)}))),
    ],
)
def test_a_stream_that_cannot_be_predicted_is_the_client_s_mistake(
    server: Server, status: int, complaint: str, body: bytes
) -> None:
    found, answer = post(server, body)

    assert found == status
    assert complaint in json.loads(answer)["status"]["info"]


def test_a_stream_whose_bytes_were_changed_harms_nothing(server: Server) -> None:
    random, good = np.random.default_rng(7), stream(GOOD)
    statuses = set()
    for _ in range(300):
        changed = bytearray(good)
        for place in random.integers(len(good), size=3):
            changed[place] = random.integers(256)
        statuses.add(post(server, bytes(changed))[0])

    assert statuses <= {200, 400, 413}
    assert server.predict(ROWS[0]).status == 200
