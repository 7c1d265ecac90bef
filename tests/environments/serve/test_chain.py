"""The nodes of examples/chain, as real processes before real and failing models (docs/chains.md)."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served import NAMES, ROWS, SECONDS_TO_START, Server, expected, free_port
from stand_ins import Answer, Model, ask, until

from cd4ml.contracts import reference
from cd4ml.contracts.model import digest
from cd4ml.contracts.reference import Reference
from cd4ml.contracts.traffic import Arm, Sticky, Traffic

EXAMPLES = Path(__file__).parents[3] / "examples/chain"
PREDICTIONS = "/api/v1.0/predictions"
AGES = """
import numpy as np
from cd4ml.serving.node import Predictions, serve

async def ages(columns):
    return Predictions(["age"], np.array([columns["age"]], float), {})

serve(ages, [])
"""
PAGE = Path(__file__).parents[3] / "docs/chains.md"


class Node:
    """A node that runs, or the router."""

    def __init__(self, command: list[str], log: Path, variables: dict[str, str]) -> None:
        self.port, self._log = free_port(), log
        environment = {**os.environ, "MODEL_HOST": "127.0.0.1", "PORT": str(self.port), **variables}
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=written, stderr=written, start_new_session=True
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def answers(self) -> bool:
        assert self._process.poll() is None, self.log
        with contextlib.suppress(OSError):
            return ask(f"{self.url}/health/ping").status == 200
        return False

    def predict(self, *rows: Any, names: list[str] = NAMES, **headers: str) -> Answer:
        return ask(f"{self.url}{PREDICTIONS}", {"data": {"names": names, "ndarray": rows or ROWS}}, **headers)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Node]]:
    started: list[Node] = []

    def run(*command: object, **variables: str) -> Node:
        started.append(Node([str(word) for word in command], tmp_path_factory.mktemp("node") / "log", variables))
        until(started[-1].answers, SECONDS_TO_START)
        return started[-1]

    yield run
    for one in started:
        one.kill()


@pytest.fixture(scope="module")
def models() -> Iterator[list[Model]]:
    """Three models that are no real ones."""
    made = [Model(f"model-{number}", 0.25 * number) for number in (1, 2, 3)]
    yield made
    for one in made:
        one.end()


@pytest.fixture
def uptake(models) -> Iterator[Model]:
    """The one that most tests ask."""
    models[0].got.clear()
    yield models[0]
    models[0].behave = None


@pytest.fixture(scope="module")
def version(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of a published version the nodes read."""
    made = tmp_path_factory.mktemp("version")
    (made / "model").symlink_to(folder)
    pq.write_table(sample(), made / "reference.parquet")
    return made


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("players") / "players.parquet"
    rows = {"player_id": ["p1", "p2"], "age": [40.0, None], "region": ["south", "north"], "subscribed": [True, False]}
    pq.write_table(pa.table({**rows, "took": [True, False], "name": ["Ada", "Bo"]}), made)
    return made


def sample(rows: int = 2000, seed: int = 1) -> pa.Table:
    """Rows as the model of these tests was trained on, as a published version keeps them."""
    random = np.random.default_rng(seed)
    ages = [
        None if gone else float(age)
        for age, gone in zip(random.normal(40, 10, rows), random.random(rows) < 0.1, strict=True)
    ]
    drawn = {
        "age": ages,
        "region": random.choice(["north", "south"], rows, p=[0.05, 0.95]),
        "subscribed": random.random(rows) < 0.3,
    }
    table = pa.table({**drawn, "player_id": ["a9"] * rows, "took": random.random(rows) < 0.3})
    about = Reference("players", 1, split="train", rows=rows, drawn=rows, patterns=("player_id",))
    return table.replace_schema_metadata(reference.stamp(table.schema, about).metadata)


def rows_of(table: pa.Table) -> list[list[Any]]:
    return [list(row) for row in zip(*(table[name].to_pylist() for name in NAMES), strict=True)]


@pytest.fixture(scope="module")
def lookup(start, models, version, players) -> Node:
    return start(EXAMPLES / "lookup.py", version, players, "player_id", models[0].url)


@pytest.fixture(scope="module")
def outliers(start, models, version) -> Node:
    return start(EXAMPLES / "unusual.py", version, models[0].url)


@pytest.fixture(scope="module")
def mean(start, models) -> Node:
    """Of the first two models."""
    return start(EXAMPLES / "mean.py", models[0].url, models[1].url, ANSWER_SECONDS="0.5")


@pytest.fixture(scope="module")
def mean_of_one(start, server: Server) -> Node:
    """Of one real model."""
    return start(EXAMPLES / "mean.py", f"http://127.0.0.1:{server.port}")


def test_a_chain_answers_a_caller_who_knows_the_key_alone(start, server: Server, version, players):
    outliers = start(EXAMPLES / "unusual.py", version, f"http://127.0.0.1:{server.port}")
    lookup = start(EXAMPLES / "lookup.py", version, players, "player_id", outliers.url)

    answer = lookup.predict(["p1"], ["p2"], ["nobody"], names=["player_id"], Seldon_Puid="mine")

    known = [expected(40, "south", True), expected(None, "north", False), expected(None, None, None)]
    assert answer.probabilities == pytest.approx(known, abs=1e-6)
    assert answer.id == "mine"
    assert answer.tags.items() >= {"version": "7", "digest": digest(server.folder), "not_found": 1}.items()
    assert answer.tags["missing"] == {"age": 2, "region": 1, "subscribed": 1}
    assert answer.tags["unusual"][0] > 0.1 > answer.tags["unusual"][2]


def test_what_a_caller_knows_better_goes_before_the_table(lookup, uptake):
    lookup.predict(["p1", 20], names=["player_id", "age"])

    assert sent(uptake) == {"player_id": "p1", "age": 20, "region": "south", "subscribed": True}


def test_only_the_features_of_the_model_leave_the_table(lookup, uptake):
    lookup.predict(["p2"], names=["player_id"])

    assert sent(uptake) == {"player_id": "p2", "age": None, "region": "north", "subscribed": False}


@pytest.mark.parametrize("row", [[1.5], [["p1"]], [None]])
def test_a_row_without_a_key_is_refused(lookup, row):
    answer = lookup.predict(row, names=["player_id"])

    assert (answer.status, answer.complaint) == (400, "send 'player_id', a text or a whole number, with each row")


def test_of_usual_rows_no_more_are_called_unusual_than_is_said(outliers, uptake):
    shares = np.array(outliers.predict(*rows_of(sample(10_000, seed=2))).tags["unusual"])

    for share in (0.01, 0.05, 0.1, 0.5):
        assert (shares <= share).mean() < share + 4 * (share / 1000) ** 0.5  # by the usual rows of the sample
    assert (shares <= 0.02).mean() > 0.01


@pytest.mark.parametrize("row", [[400, "south", True], [-3.0, "north", False], [40, "mars", False]])
def test_a_row_that_is_unlike_those_of_training_is_unusual(outliers, row):
    usual, unusual = outliers.predict([41, "south", False], row).tags["unusual"]

    assert usual > 0.5
    assert unusual <= 0.01


def test_a_feature_that_tells_what_is_usual_has_to_be_there(outliers):
    answer = outliers.predict([41, "north"], names=["age", "region"])

    assert answer.status == 400
    assert answer.complaint.startswith("feature 'subscribed' is missing")


def test_an_ensemble_answers_the_mean_and_says_of_whom(start, server: Server, uptake):
    mean = start(EXAMPLES / "mean.py", f"http://127.0.0.1:{server.port}", uptake.url)

    answer = mean.predict(*ROWS)

    assert answer.probabilities == pytest.approx([(expected(*row) + 0.25) / 2 for row in ROWS], abs=1e-6)
    ours, other = answer.tags["mean_of"]
    assert ours["digest"] == digest(server.folder)
    assert other == {"version": "7"}


@pytest.mark.parametrize(
    "message",
    [
        {"data": {"names": NAMES, "tensor": {"shape": [1, 2], "values": [40, 1]}}},
        {"jsonData": [{"age": 40, "region": "south", "subscribed": True}, {"age": 40}]},
        {"data": {"names": NAMES, "ndarray": [[40]]}},
        {"data": {"names": ["age", "age"], "ndarray": [[40, 40]]}},
        {"data": {"names": NAMES, "ndarray": [ROWS[0]] * 10_001}},
        [],
    ],
    ids=["tensor", "objects", "ragged", "twice", "many", "list"],
)
def test_what_a_model_server_cannot_read_a_node_refuses_by_the_same_words(mean_of_one, server: Server, message):
    refused, by_the_server = ask(f"{mean_of_one.url}{PREDICTIONS}", message), server.ask(PREDICTIONS, message)

    assert by_the_server.status in (400, 413)
    assert (refused.status, refused.content) == (by_the_server.status, by_the_server.content)


@pytest.mark.parametrize("form", ["tensor", "jsonData"])
def test_an_answer_is_the_one_of_the_model_server(mean_of_one, server: Server, form):
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    tensor = {"names": NAMES, "tensor": {"shape": [5, 3], "values": [value for row in ROWS for value in row]}}
    message = {"data": tensor} if form == "tensor" else {"jsonData": rows}

    answer, by_the_server = ask(f"{mean_of_one.url}{PREDICTIONS}", message), server.ask(PREDICTIONS, message)

    assert answer.content["data"] == by_the_server.content["data"]
    assert answer.tags["mean_of"] == [by_the_server.content["meta"]["tags"]]


def test_a_mistake_in_a_request_is_told_as_the_model_told_it(mean_of_one, server: Server):
    answer = mean_of_one.predict([40, "south"], names=["age", "region"])

    assert answer.status == 400
    assert answer.complaint.startswith(f"127.0.0.1:{server.port}: feature 'subscribed' is not in data.names")


def failing(handler: Any) -> None:
    handler.answer({"status": {"code": -1, "info": "no memory", "reason": "MODEL_FAILED", "status": 1}}, 500)


def overloaded(handler: Any) -> None:
    handler.answer(b"come later", 503)


def not_a_number(handler: Any) -> None:
    handler.answer(b'{"data": {"names": ["probability"], "ndarray": [[NaN], [0.5]]}}')


def fewer_rows(handler: Any) -> None:
    handler.answer({"data": {"names": ["probability"], "ndarray": [[0.5]]}})


def breaking_off(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.close_connection = True


def hanging(_: Any) -> None:
    time.sleep(3)


@pytest.mark.parametrize(
    ("behave", "status", "complaint"),
    [
        (failing, 500, "{}: no memory"),
        (overloaded, 503, "{}: answers 503"),
        (not_a_number, 502, "{} gives no finite numbers, one list a row"),
        (fewer_rows, 502, "{} gives no finite numbers, one list a row"),
        (breaking_off, 502, "{} broke its answer off"),
        (hanging, 504, "{} gave no answer in 0.5 seconds"),
    ],
)
def test_a_model_that_fails_is_named_and_its_failure_passed_on(mean, uptake, behave, status, complaint):
    uptake.behave = behave

    answer = mean.predict(*ROWS[:2])

    assert (answer.status, answer.complaint) == (status, complaint.format(uptake.url.removeprefix("http://")))


def test_a_model_that_is_away_is_named_and_makes_the_node_not_ready(start, uptake):
    gone = f"127.0.0.1:{free_port()}"
    mean = start(EXAMPLES / "mean.py", uptake.url, f"http://{gone}")

    answer, ready = mean.predict(), ask(f"{mean.url}/health/status")

    assert (answer.status, answer.complaint) == (503, f"{gone} takes no connection")
    assert (ready.status, ready.complaint) == (503, f"models that cannot answer: {gone}")


def test_callers_stay_with_their_arm_of_a_router_behind_a_node(start, models, tmp_path):
    traffic = Traffic((models[1].arm(0.5), models[2].arm(0.5)), Sticky(header="X-Player"))
    node = start(EXAMPLES / "mean.py", router(start, traffic, tmp_path).url, CALLER_HEADER="X-Player")

    answers = [node.predict(*ROWS[:1], X_Player=f"p{number}") for number in range(12) for _ in range(2)]

    arms = [answer.tags["mean_of"][0]["arm"] for answer in answers]
    assert arms[::2] == arms[1::2]
    assert set(arms) == {"model-2", "model-3"}
    assert len({answer.id for answer in answers}) == len(answers)


def test_a_node_is_an_arm_like_any_other(start, outliers, tmp_path):
    running = router(start, Traffic((Arm("watched", outliers.url, 1.0),)), tmp_path)

    answer = running.predict(ROWS[0])

    assert answer.tags.items() >= {"arm": "watched", "version": "7"}.items()
    assert len(answer.tags["unusual"]) == 1
    assert ask(f"{running.url}/health/status").status == 200


def test_of_the_headers_of_callers_only_those_that_a_chain_needs_leave_the_node(mean, uptake):
    traces = {"Traceparent": "00-ab-cd-01", "X_B3_TraceId": "ab", "X_Request_Id": "r1"}
    secrets = {"Authorization": "Bearer x", "Cookie": "secret", "X_Api_Key": "secret", "X_Session": "secret"}
    mean.predict(*ROWS[:1], **traces, **secrets, Seldon_Puid="p1")

    [(_, headers, _)] = uptake.got
    ours = {"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"}
    assert set(headers) - ours == {"seldon-puid", "traceparent", "x-b3-traceid", "x-request-id"}
    assert (headers["seldon-puid"], headers["x-request-id"]) == ("p1", "r1")


@pytest.fixture(scope="module")
def adults(start, models, tmp_path_factory: pytest.TempPathFactory) -> Node:
    """The node of the page."""
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path_factory.mktemp("page") / "adults.py"
    file.write_text(code)
    return start(file, models[0].url)


def test_a_node_of_ones_own_is_a_function(adults, uptake):
    answer = adults.predict([15, "south", True], [16, "south", True], [None, "south", True])

    assert answer.probabilities == [0, 0.25, 0.25]


def test_a_function_that_fails_is_told_and_its_log_has_the_place_and_no_value(adults, uptake):
    answer = adults.predict(["secret", "south", True])

    assert (answer.status, answer.complaint) == (500, "the model server failed; its log says where")
    assert "adults.py" in adults.log
    assert "secret" not in adults.log


def test_what_a_function_gives_has_to_be_finite_numbers_of_each_row(start, tmp_path):
    (tmp_path / "ages.py").write_text(AGES)
    node = start(tmp_path / "ages.py")

    as_it_has_to_be, not_a_number, two_rows = (
        node.predict(*rows, names=["age"]) for rows in ([[40]], [[None]], [[40], [50]])
    )

    assert as_it_has_to_be.probabilities == [40]
    for answer in (not_a_number, two_rows):
        assert (answer.status, answer.complaint) == (500, "the node gives no finite numbers, one list a row")


@pytest.mark.parametrize("seconds", ["0", "nan", "soon", "601"])
def test_a_time_that_is_none_is_told(seconds):
    environment = {**os.environ, "ANSWER_SECONDS": seconds, "PORT": str(free_port())}

    done = subprocess.run(
        [sys.executable, EXAMPLES / "mean.py", "http://127.0.0.1:1"], env=environment, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"ANSWER_SECONDS: {seconds!r} is not a number above 0, 600 at most")


def router(start: Callable[..., Node], traffic: Traffic, folder: Path) -> Node:
    traffic.write(folder / "traffic.json")
    return start("-m", "cd4ml.serving.router", TRAFFIC_FILE=str(folder / "traffic.json"), METRICS_PORT=str(free_port()))


def sent(model: Model) -> dict[str, Any]:
    """The one row that a model was sent."""
    [(_, _, body)] = model.got
    data = json.loads(body)["data"]
    [row] = data["ndarray"]
    return dict(zip(data["names"], row, strict=True))
