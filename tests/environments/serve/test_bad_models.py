"""A model that hangs, or gives what is no number, is told in one line."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served import ROWS, SECONDS_TO_START, Server, answering, end, start, wait_until_ready, write_model

from cd4ml.cluster import logs

IMPATIENT = "from cd4ml.serving import batches, server; batches.CALL_SECONDS = 1; server.main()"
IMPATIENT_WHEN_READY = """
from cd4ml.serving import batches, listening, server
serve = listening.serve
async def impatient(*given):
    batches.CALL_SECONDS, batches.LOOK_SECONDS = 1, 0.1
    await serve(*given)
listening.serve = impatient
server.main()
"""
HANGS, NO_NUMBER = 666, 777
"""Ages that the model cannot do with."""
HANGING = "the model has not returned from a call for 1 s; it answers nobody until it does"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads it hangs until somebody writes."""
    pipe = tmp_path_factory.mktemp("pipe") / "pipe"
    os.mkfifo(pipe)
    return pipe


def hang(pipe: Path, probability: Any, *, hangs: Any) -> Any:
    import tensorflow as tf

    read = tf.io.read_file(tf.where(hangs, str(pipe), os.devnull))
    return probability + 0 * tf.cast(tf.strings.length(read), tf.float32)


@pytest.fixture(scope="module")
def server(pipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import tensorflow as tf

    def spoil(age: Any, probability: Any) -> Any:
        probability = tf.where(age == NO_NUMBER, float("nan"), probability)
        return hang(pipe, probability, hangs=tf.reduce_any(age == HANGS))

    folder = write_model(tmp_path_factory.mktemp("model"), spoil)
    with answering(folder, tmp_path_factory.mktemp("home"), program=("-c", IMPATIENT_WHEN_READY)) as running:
        yield running


def failed(server: Server) -> str:
    """What the log tells of the error of a server that ended before it was ready."""
    try:
        assert server.process.wait(timeout=SECONDS_TO_START) == 1
    finally:
        end(server)
    return logs.excerpt(server.log)[-1]


def with_age(age: float) -> list[Any]:
    return [age, *ROWS[0][1:]]


def test_a_model_that_gives_no_number_is_a_fault_that_names_its_output_and_the_row(server: Server) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda age: server.predict(ROWS[0], with_age(age)), [40, NO_NUMBER] * 20))

    assert {answer.status for answer in answers[::2]} == {200}
    assert {(answer.status, answer.complaint) for answer in answers[1::2]} == {
        (500, "the model's output 'probability' is no finite number, first in row 2")
    }


def test_a_model_that_hangs_is_told_to_all_who_wait_and_to_who_asks_whether_the_server_lives(
    server: Server, pipe: Path
) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(server.predict, with_age(HANGS))]
        time.sleep(0.2)  # so that it is in its call
        asked += [clients.submit(server.predict, row) for row in ROWS[:2]]
        answers = [one.result() for one in asked]
    seconds = time.monotonic() - started
    later = server.predict(ROWS[0])

    assert {(answer.status, answer.complaint) for answer in [*answers, later]} == {(503, HANGING)}
    assert 1 < seconds < 10
    for path in ("/health/ping", "/v2/health/live", "/health/status", "/v2/health/ready"):
        status, answer = server.send(f"GET {path} HTTP/1.1")
        assert (status, "retry-after: 1\r\n" in answer.lower()) == (503, True), path
    assert server.log.count(f"ERROR cd4ml.serving.batches: {HANGING}") == 1

    pipe.write_text("")
    wait_until_ready(server)
    assert server.predict(ROWS[0]).status == 200
    assert server.send("GET /health/ping HTTP/1.1")[0] == 200


def test_a_server_whose_model_hangs_ends_when_it_is_told_to(server: Server) -> None:
    assert server.predict(with_age(HANGS)).status == 503
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(timeout=10) == 0
    assert "Traceback" not in server.log


def test_a_model_that_hangs_from_the_start_ends_its_server_with_one_line(pipe: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", lambda _, probability: hang(pipe, probability, hangs=True))

    line = failed(start(folder, tmp_path, program=("-c", IMPATIENT)))

    assert line.endswith(f"the model cannot be served, tried with 1 rows that lack every value: {HANGING}")


def test_a_model_that_gives_no_number_for_missing_values_ends_its_server_with_one_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", lambda age, probability: probability + 0 * age)

    line = failed(start(folder, tmp_path))

    assert line.endswith("the model's output 'probability' is no finite number, first in row 1")
