"""A real model server answers over HTTP."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import (
    NAMES,
    ROWS,
    SECONDS_TO_START,
    end,
    expected,
    figures,
    start,
    wait_until_ready,
)

from cd4ml.contracts.model import digest


def test_every_row_gets_its_probability(server):
    answer = server.predict(*ROWS)

    assert answer.status == 200
    assert answer.content["data"]["names"] == ["probability"]
    assert [len(row) for row in answer.content["data"]["ndarray"]] == [1] * len(ROWS)
    np.testing.assert_allclose(answer.probabilities, [expected(*row) for row in ROWS], atol=1e-6)


def test_a_row_predicts_the_same_alone_and_among_others(server):
    assert server.predict(ROWS[1]).probabilities == pytest.approx(server.predict(*ROWS).probabilities[1:2], abs=1e-7)


def test_columns_may_come_in_any_order_and_beside_others(server):
    answer = server.predict(["p1", True, "south", 40], names=["player_id", "subscribed", "region", "age"])

    assert answer.probabilities == pytest.approx([expected(40, "south", True)], abs=1e-6)


def test_an_empty_text_is_missing_in_every_column(server):
    assert server.predict(["", "", ""]).probabilities == server.predict([None, None, None]).probabilities


def test_a_number_keeps_its_digits_beside_a_text(server):
    assert server.predict([1e-30, "south", None]).status == 200
    assert server.predict([16777217, "south", True]).probabilities == [1.0]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (["forty", "south", True], "feature 'age' takes a finite number (float32) or null, not 'forty'"),
        (["40", "south", True], "feature 'age' takes a finite number (float32) or null, not '40'"),
        ([40, 3, True], "feature 'region' takes text or null, not 3"),
        ([40, "south", "yes"], "feature 'subscribed' takes a boolean or null, not 'yes'"),
        ([[40], "south", True], r"feature 'age' takes a finite number (float32) or null, not [40]"),
        ([{"a": 1}, "south", True], "feature 'age' takes a finite number (float32) or null, not {'a': 1}"),
        ([10**39, "south", True], "feature 'age' takes a finite number (float32) or null, not 1e+39"),
        ([1e39, "south", True], "feature 'age' takes a finite number (float32) or null, not 1e+39"),
        ([40, "south", 2], "feature 'subscribed' takes a boolean or null, not 2"),
        ([40, "south", -1], "feature 'subscribed' takes a boolean or null, not -1"),
        ([40, "south", 0.5], "feature 'subscribed' takes a boolean or null, not 0.5"),
        (["x" * 9999, "south", True], "feature 'age' takes a finite number (float32) or null, not 'xxxxxxxxxxxx"),
    ],
)
def test_a_value_of_another_type_is_the_client_s_mistake_and_is_named(server, row, complaint):
    answer = server.predict(ROWS[0], row)

    assert answer.status == 400
    assert answer.complaint.startswith(complaint)
    assert len(answer.complaint) < 200


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1" + "0" * 400, r'"\ud800"'])
def test_a_value_that_json_does_not_have_is_the_client_s_mistake_and_its_place_is_told(server, value):
    status, answer = server.post(GOOD.replace(b"40", value.encode()), JSON)

    assert status == 400
    assert re.search(r"the request is not JSON, .* at byte 6\d", answer)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["age", "regoin", "subscribed"], "feature 'region' is not in data.names; did you mean 'regoin'?"),
        (["age", "x", "subscribed"], "feature 'region' is not in data.names; there are age, x, subscribed"),
        (["age", "age", "subscribed"], "data.names has 'age' more than once"),
        (["age", "region"], "every row of data.ndarray must be a list of 2 values, one a name"),
        ([], 'send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row'),
        ([1, 2, 3], 'send {"data": {"names": [...], "ndarray": [[...], ...]}} with at least one name and one row'),
    ],
)
def test_wrong_names_are_the_client_s_mistake(server, names, complaint):
    answer = server.predict(ROWS[0], names=names)

    assert (answer.status, answer.complaint) == (400, complaint)


@pytest.mark.parametrize(
    "message",
    [
        [],
        {},
        {"data": []},
        {"data": {"ndarray": [[40, "south", True]]}},
        {"data": {"names": NAMES}},
        {"data": {"names": NAMES, "ndarray": []}},
        {"data": {"names": NAMES, "ndarray": [40, "south", True]}},
        {"data": {"names": NAMES, "ndarray": ["abc"]}},
        {"strData": "hello"},
        {"data": {"names": NAMES, "ndarray": [[40, "south", True], [40, "south"]]}},
    ],
    ids=str,
)
def test_a_request_of_another_shape_is_the_client_s_mistake(server, message):
    answer = server.ask("/api/v1.0/predictions", message)

    assert answer.status == 400
    assert "ndarray" in answer.complaint


def test_the_server_says_which_model_it_is(server):
    metadata = server.ask("/metadata").content

    assert metadata["custom"] == {"digest": digest(server.folder), "version": "7"}
    assert metadata["versions"] == ["7"]
    assert [(one["name"], one["datatype"]) for one in metadata["inputs"]] == [
        ("age", "FP32"),
        ("region", "BYTES"),
        ("subscribed", "FP32"),
    ]
    assert server.predict(ROWS[0]).content["meta"]["tags"] == metadata["custom"]


def test_missing_values_are_told_with_the_answer_by_feature(server):
    answer = server.predict(*ROWS)

    assert answer.content["meta"]["tags"]["missing"] == {"age": 1, "region": 2, "subscribed": 1}


def test_texts_that_training_did_not_know_are_told_with_the_answer_and_counted(server):
    answer = server.predict(*ROWS, [40, "venus", True])

    assert answer.content["meta"]["tags"]["unknown"] == {"region": 2}
    assert figures(server)["cd4ml_unknown_values_total"] >= 2


def test_numbers_beyond_all_that_training_saw_are_told_with_the_answer_and_counted_and_not_refused(server):
    ages = [-0.1, 0, 99.9, 100, 1e30, None]
    answer = server.predict(*([age, "south", True] for age in ages))
    alone = server.predict([99.9, "south", True])

    assert answer.content["meta"]["tags"]["outside"] == {"age": 3}
    assert "outside" not in alone.content["meta"]["tags"]
    assert figures(server)["cd4ml_outside_values_total"] >= 3


def test_rows_may_come_as_a_tensor_or_as_objects_and_are_answered_by_a_tensor(server):
    row = {"age": 40, "region": "south", "subscribed": True}
    of_objects = server.ask("/predict", {"jsonData": [row, {**row, "age": None}]})
    of_one = server.ask("/predict", {"jsonData": row})
    tensor = {"shape": [2, 3], "values": ["", "", "", 40, "south", True]}
    of_tensor = server.ask("/predict", {"data": {"names": NAMES, "tensor": tensor}})
    first, second = of_tensor.content["data"]["tensor"]["values"]

    expected_of = {"shape": [2, 1], "values": pytest.approx([expected(*ROWS[0]), expected(None, *ROWS[0][1:])])}
    assert of_objects.content["data"] == {"names": ["probability"], "tensor": expected_of}
    assert of_one.content["data"]["tensor"]["shape"] == [1, 1]
    assert (first, second) == pytest.approx((expected(None, "", None), expected(*ROWS[0])))


@pytest.mark.parametrize(
    "message",
    [
        {"jsonData": []},
        {"jsonData": "text"},
        {"jsonData": [{"age": 40}, {"age": 41}]},
        {"jsonData": [{"age": 40, "region": "south", "subscribed": True}, {"age": 41}]},
        {"data": {"names": NAMES, "tensor": [1, 2, 3]}},
        {"data": {"names": NAMES, "tensor": {"shape": [1, 3], "values": [1, 2]}}},
        {"data": {"names": NAMES, "tensor": {"shape": [3, 1], "values": [1, "south", 1]}}},
        {"data": {"names": NAMES, "tensor": {"shape": [1, 3], "values": []}}},
        {"data": {"names": NAMES, "tensor": {"shape": [True, 3], "values": [1, "south", 1]}}},
    ],
    ids=str,
)
def test_tensors_and_objects_that_do_not_fit_are_the_client_s_mistake(server, message):
    assert server.ask("/predict", message).status == 400


def test_the_page_of_openapi_names_paths_that_are_there_and_the_features_of_the_model(server):
    page = server.ask("/openapi.json").content

    assert page["components"]["schemas"]["Row"]["properties"] == {
        "age": {"type": ["number", "null"]},
        "region": {"type": ["string", "null"], "examples": ["north", "south"]},
        "subscribed": {"type": ["boolean", "null"]},
    }
    for path, methods in page["paths"].items():
        [method] = methods
        assert server.send(f"{method.upper()} {path} HTTP/1.1")[0] not in (404, 405), path


def test_a_request_gets_its_own_id_back(server):
    answer = server.ask("/predict", {"data": {"names": NAMES, "ndarray": [ROWS[0]]}, "meta": {"puid": "r-1"}})

    assert answer.content["meta"]["puid"] == "r-1"


def test_health_is_a_real_prediction(server):
    answer = server.ask("/health/status")

    assert answer.status == 200
    assert answer.content["data"]["tensor"]["values"] == pytest.approx([expected(None, None, None)], abs=1e-6)


def test_prometheus_reads_of_which_model_and_version_its_figures_are(server):
    server.predict(ROWS[0], [None, "south", True])
    server.predict(ROWS[0], names=["a", "b", "c"])
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/prometheus", timeout=20) as response:
        text = response.read().decode()

    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(one.name, *(one.labels.get(name) for name in ("protocol", "status", "feature"))) for one in samples}
    assert found >= {
        ("cd4ml_predictions_total", None, None, None),
        ("cd4ml_requests_total", "seldon", "200", None),
        ("cd4ml_requests_total", "seldon", "400", None),
        ("cd4ml_missing_values_total", None, None, "age"),
        ("cd4ml_batch_rows_bucket", None, None, None),
        ("cd4ml_probability_bucket", None, None, None),
    }
    assert {(one.labels["model"], one.labels["version"]) for one in samples} == {("uptake", "7")}


@pytest.mark.parametrize("path", ["/metrics", "/prometheus"])
def test_prometheus_reads_how_many_rows_were_predicted_and_how_long_it_took(server, path):
    server.predict(ROWS[0])

    found = figures(server, path)
    assert found["cd4ml_predictions_total"] >= 1
    assert found["cd4ml_predict_seconds_count"] >= 1
    assert 0 < found["cd4ml_predict_seconds_sum"] < 60 * found["cd4ml_predict_seconds_count"]


def test_each_of_sixty_four_clients_at_once_is_answered_soon_and_counted(server):
    def answers(_: int) -> float:
        started = time.monotonic()
        assert server.predict(ROWS[0]).status == 200
        return time.monotonic() - started

    before = server.predict(ROWS[0]) and figures(server)["cd4ml_predictions_total"]
    with ThreadPoolExecutor(64) as clients:
        seconds = list(clients.map(answers, range(640)))

    assert max(seconds) < 5
    assert figures(server)["cd4ml_predictions_total"] == before + 640


def test_more_than_can_wait_are_asked_to_come_again(server):
    body = json.dumps({"data": {"names": NAMES, "ndarray": [ROWS[0]] * 8000}}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(300)]
        for client in clients:
            client.sendall(head.encode() + body[:-1])
        for client in clients:
            client.sendall(body[-1:])
        started = time.monotonic()
        assert server.send("GET /health/ping HTTP/1.1")[0] == 200
        seconds = time.monotonic() - started
        answers = [client.recv(1000).decode() for client in clients]

    statuses = [int(answer.split()[1]) for answer in answers]
    assert set(statuses) == {200, 429}
    assert all("retry-after: 1" in answer.lower() for answer in answers if " 429 " in answer.splitlines()[0])
    assert seconds < 1


def test_hundreds_who_come_at_once_are_all_answered(server):
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(500)]
        for client in clients:
            client.sendall(head + GOOD)
        statuses = {client.recv(1000).decode().split()[1] for client in clients}

    assert statuses == {"200"}


def test_large_bodies_that_stop_before_their_end_keep_nobody_from_asking_for_a_row(server):
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {8 * 2**20}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(9):
            client = stack.enter_context(server.connect())
            with contextlib.suppress(ConnectionError):  # refused
                client.sendall(head + b" " * (8 * 2**20 - 1))
        statuses = set()
        for _ in range(10):
            statuses.add(server.predict(ROWS[0]).status)
            time.sleep(0.1)

    assert statuses == {200}


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        ("1\r\n{\r\n0\r\nX: ", "x" * 2**16),
        ("1\r\n{\r\n0\r\n", "X: y\r\n" * 10_000),
        ("1;", "x" * 2**16),
    ],
    ids=["a line after it", "lines after it", "beside the size of a part"],
)
def test_what_comes_with_a_body_and_is_none_has_a_bound(server, begin, more):
    with server.connect() as client:
        client.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{begin}".encode())

        with pytest.raises(ConnectionError):
            client.sendall(more.encode() * 300)


def test_as_many_requests_as_one_likes_do_not_wait_at_a_connection(server):
    _, answer = server.send("GET /health/ping HTTP/1.1\r\nHost: x\r\n\r\n" * 200 + "GET /health/ping HTTP/1.1")

    assert "more than 64 requests behind one that is not answered" in answer
    assert answer.count("pong") <= 66


UPGRADE = "Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"


@pytest.mark.parametrize("cut", [0, 20, 200])
def test_a_client_that_would_rather_speak_http_2_is_answered(server, cut):
    """As Java's clients ask at first; the request comes in two pieces."""
    request = f"POST /predict HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n{JSON}\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    sent = request.encode() + GOOD + b"GET /health/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with server.connect() as client:
        client.sendall(sent[:cut])
        time.sleep(0.1)
        client.sendall(sent[cut:])
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()

    assert answer.startswith("HTTP/1.1 200 ")
    assert "probability" in answer
    assert answer.endswith("pong")


TRICKLES = [
    (b"", b""),
    (b"POST /pre", b"d"),
    (b"POST /predict HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
    (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{", b" "),
    (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
]
"""What a client begins with, and goes on with a little at a time."""


def test_slow_clients_hold_up_nobody_and_a_request_has_seconds_to_arrive(server):
    with contextlib.ExitStack() as stack:
        slow = [
            (stack.enter_context(server.connect()), first, more)
            for first, more in TRICKLES
            for _ in range(20 if first else 300)
        ]
        for client, first, _ in slow:
            client.sendall(first)
        deadline, seconds = time.monotonic() + 15, []
        while slow and time.monotonic() < deadline:
            seconds.append(server.seconds())
            time.sleep(0.3)
            slow = [one for one in slow if not closed(one[0])]
            for client, _, more in slow:
                with contextlib.suppress(ConnectionError):
                    client.sendall(more)

    assert not slow
    assert max(seconds) < 1


def closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1000) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
GOOD = json.dumps({"data": {"names": NAMES, "ndarray": [ROWS[0]]}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, GOOD, [JSON]),
        (200, b"json=" + GOOD, [FORM]),
        (200, GOOD, [JSON, "Expect: 100-continue"]),
        (415, GOOD, []),
        (415, GOOD, ["Content-Type: text/plain"]),
        (400, GOOD, [JSON, "Content-Type: text/plain"]),
        (415, GOOD, [JSON, "Content-Encoding: gzip"]),
        (400, b"", [JSON]),
        (400, b"{", [JSON]),
        (400, b"null", [JSON]),
        (400, b'"text"', [JSON]),
        (400, b'{"data": "\xff"}', [JSON]),
        (400, b"[" * 50_000, [JSON]),
        (400, b'{"a":' * 50_000, [JSON]),
        (400, b"1" * 5_000, [JSON]),
        (400, b"json={", [FORM]),
        (400, b"json=" + b"[" * 50_000, [FORM]),
        (415, GOOD, ["Content-Type: multipart/form-data; boundary=b"]),
        (400, GOOD, [JSON, "Content-Length: 7"]),
        (400, GOOD, [JSON, "Transfer-Encoding: chunked"]),
    ],
)
def test_a_request_that_is_no_json_is_the_client_s_mistake(server, status, body, headers):
    found, answer = server.post(body, *headers)

    assert found == (100 if "Expect: 100-continue" in headers else status)
    assert f" {status} " in answer


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (200, "GET /health/ping HTTP/1.1"),
        (200, "GET /health/ping HTTP/1.0"),
        (200, "HEAD /health/ping HTTP/1.1"),
        (200, "GET /health/status HTTP/1.1"),
        (200, "GET /api/v1.0/health/status HTTP/1.1"),
        (200, "GET /metadata HTTP/1.1"),
        (200, "OPTIONS /predict HTTP/1.1"),
        (400, "GET /predict?json={ HTTP/1.1"),
        (400, "GET /health/ping HTTP/1.1\r\nHost: other"),
        (400, "POST /predict HTTP/1.1\r\nContent-Length: -1"),
        (400, "POST /predict HTTP/1.1\r\nContent-Length: 1" + "0" * 5000),
        (400, "NONSENSE"),
        (400, "CONNECT elsewhere:443 HTTP/1.1"),
        (400, "GET /\xff HTTP/1.1"),
        (404, "OPTIONS * HTTP/1.1"),
        (404, "GET /nothing HTTP/1.1"),
        (404, "POST /nothing HTTP/1.1"),
        (404, "GET /../predict HTTP/1.1"),
        (404, "GET /..%2f..%2fetc/passwd HTTP/1.1"),
        (404, "GET /health/ping/ HTTP/1.1"),
        (404, "GET /api//v1.0/metadata HTTP/1.1"),
        (404, "GET /seldon.json HTTP/1.1"),
        (404, "GET /send-feedback HTTP/1.1"),
        (404, "POST /api/v1.0/feedback HTTP/1.1"),
        (404, "GET /transform-input HTTP/1.1"),
        (404, "GET /transform-output HTTP/1.1"),
        (404, "GET /route HTTP/1.1"),
        (404, "GET /aggregate HTTP/1.1"),
        (405, "GET /api/v1.0/predictions HTTP/1.1"),
        (405, "DELETE /predict HTTP/1.1"),
        (405, "POST /health/ping HTTP/1.1"),
    ],
)
def test_only_what_a_model_needs_is_there(server, status, head):
    assert server.send(head)[0] == status


def test_a_failure_has_seldon_s_form(server):
    answer = server.ask("/nothing")

    assert set(answer.content["status"]) == {"code", "info", "reason", "status"}
    assert answer.content["status"]["reason"] == "NOT_FOUND"


@pytest.mark.parametrize("head", ["OPTIONS /predict HTTP/1.1", "GET /health/ping HTTP/1.1", "GET /nothing HTTP/1.1"])
def test_no_page_of_another_origin_may_read_an_answer(server, head):
    answer = server.send(f"{head}\r\nOrigin: http://elsewhere.example\r\nAccess-Control-Request-Method: POST")[1]

    assert "access-control" not in answer.lower()


def test_a_body_may_come_in_chunks(server):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:20], GOOD[20:])) + b"0\r\n\r\n"

    status, answer = server.send(f"POST /predict HTTP/1.1\r\n{JSON}\r\nTransfer-Encoding: chunked", chunks)

    assert status == 200
    assert "probability" in answer


def test_requests_may_come_one_behind_the_other(server):
    _, answer = server.send("GET /health/ping HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + "GET /health/ping HTTP/1.1")

    assert answer.count("pong") == 4


@pytest.mark.parametrize("length", [9 * 2**20, 10**12])
@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]])
def test_a_body_that_is_too_large_is_refused_before_it_comes(server, length, expect):
    head = "\r\n".join(["POST /predict HTTP/1.1", "Host: x", JSON, *expect, f"Content-Length: {length}"])
    with server.connect() as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        answer = ""
        while "most" not in answer:
            answer += connection.recv(1000).decode()

    assert answer.startswith("HTTP/1.1 413 ")
    assert "8 MiB at most" in answer


def test_a_client_that_sends_too_large_a_body_gets_to_read_why(server):
    blank = b" " * 9 * 2**20
    chunks = b"".join(b"%x\r\n%s\r\n" % (2**20, b" " * 2**20) for _ in range(9)) + b"0\r\n\r\n"

    assert server.post(blank, JSON)[0] == 413
    assert server.send(f"POST /predict HTTP/1.1\r\n{JSON}\r\nTransfer-Encoding: chunked", chunks)[0] == 413


def test_too_many_rows_or_names_are_refused(server):
    assert server.predict(*[ROWS[0]] * 10_000).status == 200
    assert server.predict(*[ROWS[0]] * 10_001).status == 413
    many = [f"name {number}" for number in range(20_000)]
    started = time.monotonic()
    assert server.predict([None] * len(many), names=many).status == 413
    assert time.monotonic() - started < 1


def test_as_many_names_as_are_allowed_take_no_time(server):
    permuted = [f"reg{number:04}ion" for number in range(9_998)]
    started = time.monotonic()
    answer = server.predict([None] * 10_000, names=["age", "subscribed", *permuted])
    twice = server.predict([None] * 10_000, names=["age", "age", *permuted])

    assert (answer.status, answer.complaint) == (400, "feature 'region' is not in data.names")
    assert (twice.status, twice.complaint) == (400, "data.names has 'age' more than once")
    assert time.monotonic() - started < 2


def test_no_value_of_a_request_gets_into_the_log(server):
    secret = "Jane-Roe-1970"
    server.predict([secret, "south", True])
    server.predict([40, secret + "\ud800", True])
    server.predict([40], names=[secret])
    server.post(secret.encode(), JSON)
    server.post(f"json={secret}".encode(), FORM)
    server.send(f"GET /{secret}?json={secret} HTTP/1.1")
    server.send(f"GET /health/ping HTTP/1.1\r\nContent-Length: {secret}")
    server.send(f"{secret}")

    assert secret not in server.log


def test_a_client_that_does_not_wait_for_its_answer_is_nothing_to_log(server):
    body = json.dumps({"data": {"names": NAMES, "ndarray": [ROWS[0]] * 2000}}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    before = figures(server)["cd4ml_predictions_total"]
    for _ in range(5):
        with server.connect() as client:
            client.sendall(head.encode() + body)
    deadline = time.monotonic() + 10
    while figures(server)["cd4ml_predictions_total"] < before + 5 * 2000 and time.monotonic() < deadline:
        time.sleep(0.05)
    server.predict(ROWS[0])

    assert "Traceback" not in server.log


def test_a_fault_of_ours_is_500_and_its_place_is_logged_without_values(caplog):
    from cd4ml.serving.application import Application, Protocol
    from cd4ml.serving.seldon_protocol import failure

    async def broken(request):
        raise KeyError(request.body)

    async def receive():
        return {"type": "http.request", "body": b"Jane-Roe-1970", "more_body": False}

    async def send(message):
        sent.append(message)

    sent: list[dict[str, Any]] = []
    application = Application([Protocol("seldon", {"/predict": {"POST": broken}}, failure)], lambda *_: None)
    scope = {"path": "/predict", "method": "POST", "headers": [], "query_string": b""}
    asyncio.run(application(scope, receive, send))

    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["status"]["reason"] == "MICROSERVICE_INTERNAL_ERROR"
    assert re.search(r"KeyError answering /predict\n.*in broken", caplog.text, re.DOTALL)
    assert "Jane" not in caplog.text + str(sent)


def test_a_server_of_this_machine_is_reached_from_no_other(server):
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"}

    for port in (server.port, server.metrics_port):
        assert {address for address in listening if address.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


def test_a_model_of_another_digest_than_the_one_that_is_told_is_not_served(folder, tmp_path):
    server = start(folder, tmp_path, MODEL_DIGEST="sha256:" + 64 * "0")
    try:
        assert server.process.wait(timeout=SECONDS_TO_START) == 1
    finally:
        end(server)

    assert f"holds the model {digest(folder)}, not sha256:000" in server.log
    assert "Traceback" not in server.log


def answered(connection: socket.socket) -> http.client.HTTPResponse:
    """The next answer that comes, in however many pieces."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer


def test_a_server_with_few_files_answers_and_ends_in_good_order(folder, tmp_path):
    server = start(folder, tmp_path, files=256)
    try:
        wait_until_ready(server)
        with contextlib.ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(server.connect())
            assert server.seconds() < 1

        with server.connect() as kept:
            kept.sendall(b"GET /health/ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answered(kept).read() == b"pong"
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.6)  # it takes connections a little longer
            kept.sendall(b"GET /health/ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answered(kept).getheader("Connection") == "close"

        server.process.wait(timeout=5)
        with pytest.raises(ProcessLookupError):
            os.killpg(server.process.pid, 0)
    finally:
        end(server)


def test_a_server_takes_the_port_of_another_when_it_is_told_and_answers_at_both(folder, server, tmp_path):
    later = start(folder, tmp_path, MODEL_VERSION="8", FURTHER_PORT=str(server.port))
    try:
        wait_until_ready(later)
        assert {version_of(server) for _ in range(30)} == {"7"}

        later.process.send_signal(signal.SIGHUP)

        deadline = time.monotonic() + 10
        while version_of(server) != "8":
            assert time.monotonic() < deadline
        assert version_of(later) == "8"
        later.process.send_signal(signal.SIGTERM)
        later.process.wait(timeout=10)
        assert version_of(server) == "7"
    finally:
        end(later)


def version_of(server):
    return server.predict(ROWS[0]).content["meta"]["tags"]["version"]


def test_a_folder_without_a_model_is_refused_at_the_start(tmp_path):
    server = start(tmp_path / "nowhere", tmp_path)
    try:
        server.process.wait(timeout=SECONDS_TO_START)
    finally:
        end(server)

    assert server.process.returncode != 0
    assert "not a model's contract" in server.log
