"""A real router answers over HTTP, by arms that answer, fail and hang."""

import contextlib
import hmac
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import served
from served import free_port
from stand_ins import V2, Answer, Model, ask, until

from cd4ml.contracts import captured
from cd4ml.contracts.model import digest
from cd4ml.contracts.traffic import Arm, Sticky, Traffic
from cd4ml.serving.arms import choose
from cd4ml.serving.kept_values import Masks

NAMES = ["player_id", "age", "region"]
PREDICTIONS = "/api/v1.0/predictions"
SECONDS_TO_START = 60


@dataclass(frozen=True)
class Router:
    process: subprocess.Popen
    port: int
    metrics_port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    @property
    def capture(self) -> Path:
        return self.home / "capture"

    def ask(self, path: str, message: Any = None, **headers: str) -> Answer:
        return ask(f"{self.url}{path}", message, **headers)

    def predict(self, *rows: Any, **headers: str) -> Answer:
        rows = rows or (["p1", 40, "south"],)
        return self.ask(PREDICTIONS, {"data": {"names": NAMES, "ndarray": list(rows)}}, **headers)

    def follow(self, *arms: Arm, **others: Any) -> None:
        """Has the router follow other traffic, and waits until it does."""
        wanted = Traffic(arms, **others).write(self.home / "traffic.json")
        until(lambda: self.followed["followed"] == json.loads(wanted.text))

    @property
    def followed(self) -> Any:
        return ask(f"http://127.0.0.1:{self.metrics_port}/traffic").content

    def metric(self, name: str, **labels: str) -> float:
        text = ask(f"http://127.0.0.1:{self.metrics_port}/prometheus").content.decode()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.split()[-1]) for line in lines if all(one in line for one in wanted))

    def requests(self) -> pa.Table:
        return captured.requests(self.capture).to_table().sort_by("at")

    def captured(self, count: int) -> list[dict[str, Any]]:
        """The rows of the capture, as soon as there are so many."""
        until(lambda: self.requests().num_rows >= count)
        return self.requests().to_pylist()

    def captured_as(self, request_id: str) -> dict[str, Any]:
        """The row of a request, as soon as there is one."""

        def rows() -> list[dict[str, Any]]:
            return self.requests().filter(pc.field("request_id") == request_id).to_pylist()

        until(lambda: bool(rows()))
        return rows()[0]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture
def model() -> Iterator[Callable[..., Model]]:
    made: list[Model] = []

    def make(name: str, probability: float = 0.5) -> Model:
        made.append(Model(name, probability))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Callable[..., Router]]:
    started: list[Router] = []

    def start(*arms: Arm, environment: dict[str, str] | None = None, **others: Any) -> Router:
        Traffic(arms, **others).write(tmp_path / "traffic.json")
        started.append(_start(tmp_path, environment or {}))
        until(lambda: _answers(started[-1]), SECONDS_TO_START)
        return started[-1]

    yield start
    for one in started:
        _kill(one)


@pytest.fixture(scope="module")
def champion() -> Iterator[Model]:
    """The arm of `plain`."""
    one = Model("champion")
    yield one
    one.end()


@pytest.fixture(scope="module")
def plain(champion: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router that is started once for all tests of what it is sent."""
    home = tmp_path_factory.mktemp("plain")
    sticky = Sticky(feature="player_id")
    Traffic((champion.arm(1),), sticky, captured_features=("age",)).write(home / "traffic.json")
    running = _start(home, {})
    try:
        until(lambda: _answers(running), SECONDS_TO_START)
        yield running
    finally:
        _kill(running)


def _kill(router: Router) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(router.process.pid, signal.SIGKILL)
    router.process.wait()


def _start(home: Path, environment: dict[str, str]) -> Router:
    port, metrics_port = free_port(), free_port()
    settings = {
        "TRAFFIC_FILE": str(home / "traffic.json"),
        "CAPTURE_FOLDER": str(home / "capture"),
        "CAPTURE_SECONDS": "0.3",
        "MODEL_HOST": "127.0.0.1",
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cd4ml.serving.router"],
            env={**os.environ, **settings, **environment},
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Router(process, port, metrics_port, home)


def _answers(router: Router) -> bool:
    assert router.process.poll() is None, router.log
    with contextlib.suppress(OSError):
        return router.ask("/health/ping").status == 200
    return False


def test_an_answer_names_its_arm_and_how_likely_that_was(model, router):
    champion, challenger = model("champion", 0.25), model("challenger", 0.75)
    running = router(champion.arm(0.75), challenger.arm(0.25))

    answers = [running.predict() for _ in range(40)]

    assert {answer.arm for answer in answers} == {"champion", "challenger"}
    for answer in answers:
        by_champion = answer.arm == "champion"
        assert answer.status == 200
        assert answer.content["data"]["ndarray"] == [[0.25 if by_champion else 0.75]]
        assert answer.tags["propensity"] == (0.75 if by_champion else 0.25)
        assert answer.tags["version"] == "7"  # what the model's own tags said
        assert answer.headers["cd4ml-arm"] == answer.arm
        assert answer.headers["seldon-puid"] == answer.id


def test_a_request_reaches_its_arm_as_it_was_sent(model, router):
    champion = model("champion")
    running = router(champion.arm(1))

    body = b'{ "data": {"names":["age"],"ndarray":[[4e1],[null]]}}'
    answer = running.ask(PREDICTIONS, body, Cookie="secret", Traceparent="00-ab-cd-01")

    [(path, headers, sent)] = champion.got
    assert (path, sent, headers["seldon-puid"]) == (PREDICTIONS, body, answer.id)
    assert (headers["content-type"], headers["traceparent"]) == ("application/json", "00-ab-cd-01")
    assert not {"cookie", "accept-encoding"} & set(headers)


def test_the_id_of_a_request_is_kept(model, router):
    running = router(model("champion").arm(1))

    by_header = running.predict(Seldon_Puid="mine-1")
    by_body = running.ask(PREDICTIONS, {"meta": {"puid": "mine-2"}, "data": {"names": ["age"], "ndarray": [[1]]}})
    of_nobody = running.predict(Seldon_Puid="x" * 129)

    assert (by_header.id, by_body.id) == ("mine-1", "mine-2")
    assert len(of_nobody.id) == 32


@pytest.mark.parametrize(("shape", "data"), [([2], [40, 20]), ([2, 1], [[40], [20]])])
def test_the_open_inference_protocol_has_arm_and_propensity_among_the_parameters(model, router, shape, data):
    running = router(model("champion", 0.25).arm(1, version="3"), captured_features=("age",))

    inputs = [{"name": "age", "datatype": "FP32", "shape": shape, "data": data}]
    answer = running.ask(V2, {"id": "mine", "inputs": inputs}, **{"Cd4ml-Lookup-Ms": "4.5"})

    assert answer.content["parameters"] == {"arm": "champion", "propensity": 1.0}
    assert answer.content["id"] == "mine"
    [row] = running.captured(1)
    assert row["lookup_ms"] == 4.5
    assert (row["request_id"], row["version"], row["features"]) == ("mine", "3", '{"age":[40,20]}')
    assert (row["outputs"], row["predictions"]) == (["probability"], [0.25, 0.25])


@pytest.mark.parametrize("sticky", [Sticky(header="X-Player"), Sticky(feature="player_id")])
def test_a_caller_keeps_its_arm(model, router, sticky):
    running = router(model("a").arm(0.5), model("b").arm(0.5), sticky=sticky)

    def arm(player: str) -> str:
        return running.predict([player, 40, "south"], **({"X-Player": player} if sticky.header else {})).arm

    first = [arm(f"p{number}") for number in range(20)]
    assert set(first) == {"a", "b"}
    assert [arm(f"p{number}") for number in range(20)] == first


def test_a_caller_that_is_not_known_gets_any_arm(model, router):
    running = router(model("a").arm(0.5), model("b").arm(0.5), sticky=Sticky(feature="player_id"))

    assert {running.predict([None, 40, "south"]).arm for _ in range(30)} == {"a", "b"}


def chosen(callers: int, **weights: float) -> list[str]:
    traffic = Traffic(tuple(Arm(name, f"http://{name}", weight) for name, weight in weights.items()))
    return [choose(traffic, f"player {number}").name for number in range(callers)]


def test_as_many_callers_get_an_arm_as_its_weight_says():
    weights = {"a": 0.7, "b": 0.25, "c": 0.05}
    callers = 40_000

    counts = Counter(chosen(callers, **weights))

    for name, weight in weights.items():
        assert abs(counts[name] - callers * weight) < 4 * math.sqrt(callers * weight * (1 - weight))


def test_an_arm_whose_weight_grows_takes_callers_and_moves_no_other():
    before, after = chosen(5_000, a=0.8, b=0.1, c=0.1), chosen(5_000, a=0.64, b=0.28, c=0.08)

    moved = [becomes for was, becomes in zip(before, after, strict=True) if was != becomes]
    assert set(moved) == {"b"}
    assert abs(len(moved) / 5_000 - 0.18) < 0.025


def test_an_arm_without_weight_keeps_the_others_callers_where_they_are():
    before, after = chosen(1_000, a=0.5, b=0.5, c=0), chosen(1_000, a=0.25, b=0.25, c=0.5)

    assert {(was, becomes) for was, becomes in zip(before, after, strict=True)} == {
        ("a", "a"),
        ("b", "b"),
        ("a", "c"),
        ("b", "c"),
    }


def test_who_was_in_one_experiment_is_spread_evenly_over_the_next():
    first, second = chosen(5_000, a=0.5, b=0.5), chosen(5_000, a=0.5, c=0.5)

    both = sum(one != "a" and other != "a" for one, other in zip(first, second, strict=True))
    assert abs(both / 5_000 - 0.25) < 0.025


def test_weights_change_under_load_and_no_request_fails(model, router):
    a, b = model("a"), model("b")
    running = router(a.arm(1), b.arm(0))
    ended = threading.Event()

    def load() -> list[Answer]:
        answers = []
        while not ended.is_set():
            answers.append(running.predict())
        return answers

    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load) for _ in range(8)]
        for weight in (0.1, 0.5, 0, 0.9, 1):
            running.follow(a.arm(1 - weight), b.arm(weight))
            time.sleep(0.3)
        ended.set()
        answers = [answer for one in loads for answer in one.result()]

    assert {answer.status for answer in answers} == {200}
    assert {answer.tags["propensity"] for answer in answers if answer.arm == "b"} >= {0.1, 0.5, 0.9, 1}
    assert running.predict().arm == "b"


def test_a_file_that_cannot_be_read_changes_nothing_and_is_told(model, router):
    running = router(model("a").arm(1))

    (running.home / "traffic.json").write_text('{"arms": [')
    until(lambda: running.followed["mistake"])

    assert running.predict().arm == "a"
    assert "traffic.json: not a cd4ml/Traffic" in running.followed["mistake"]
    assert "what it said before is followed" in running.log
    assert running.metric("cd4ml_router_traffic_refused") == 1
    (running.home / "traffic.json").unlink()
    until(lambda: "No such file" in running.followed["mistake"])
    running.follow(model("b").arm(1))
    assert running.predict().arm == "b"
    assert running.metric("cd4ml_router_traffic_refused") == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"TRAFFIC_FILE": "nowhere.json"}, "nowhere.json: cannot be read (No such file or directory)"),
        ({"CAPTURE_SECONDS": "soon"}, "CAPTURE_SECONDS: 'soon' is not a number from 0.1 to 600.0"),
        ({"CAPTURE_DAYS": "0"}, "CAPTURE_DAYS: '0' is not a number from 1 to 36500"),
        ({"CAPTURE_SECONDS": "0"}, "CAPTURE_SECONDS: '0' is not a number from 0.1 to 600.0"),
        ({"CAPTURE_SECONDS": "nan"}, "CAPTURE_SECONDS: 'nan' is not a number from 0.1 to 600.0"),
    ],
)
def test_a_router_that_cannot_start_says_why(tmp_path, setting, said):
    Traffic((Arm("a", "http://127.0.0.1:1", 1),)).write(tmp_path / "traffic.json")

    failed = _start(tmp_path, setting)

    assert failed.process.wait(timeout=SECONDS_TO_START) == 1
    assert failed.log.startswith(said)
    assert "Traceback" not in failed.log


def test_a_mirror_that_hangs_costs_callers_nothing(model, router):
    champion, shadow = model("champion"), model("shadow")
    ended = threading.Event()
    shadow.behave = lambda _: ended.wait(60)
    running = router(champion.arm(1), shadow.arm(mirror=True))

    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: running.predict(), range(400)))
    seconds = time.monotonic() - started

    assert {(answer.status, answer.arm) for answer in answers} == {(200, "champion")}
    assert seconds < 8  # less than one copy takes that waits for its end
    assert running.metric("cd4ml_router_mirror_dropped_total", arm="shadow") == 400 - 256
    dropped = [row for row in running.captured(400 + 400 - 256) if row["mirrored"]]
    assert len(dropped) == 400 - 256
    assert {(row["status"], row["latency_ms"]) for row in dropped} == {(503, None)}
    started = time.monotonic()
    assert running.end() == 0
    assert time.monotonic() - started < 8
    ended.set()


def test_a_mirror_is_shown_what_was_asked_and_its_answers_are_kept_beside(model, router):
    champion, shadow = model("champion", 0.25), model("shadow", 0.5)
    running = router(champion.arm(1), shadow.arm(mirror=True))

    answer = running.predict(["p1", 40, "south"], ["p2", 41, "north"])

    first, second = sorted(running.captured(2), key=lambda row: row["mirrored"])
    assert [body for _, _, body in shadow.got] == [body for _, _, body in champion.got]
    assert (first["arm"], first["mirrored"], first["predictions"]) == ("champion", False, [0.25, 0.25])
    assert (second["arm"], second["mirrored"], second["predictions"]) == ("shadow", True, [0.5, 0.5])
    assert first["request_id"] == second["request_id"] == answer.id
    assert first["at"] == second["at"]


def test_a_mirror_gets_copies_of_the_share_of_the_requests_that_it_is_to_have(model, router):
    running = router(model("champion").arm(1), model("shadow").arm(mirror=True, copied=0.25))

    for _ in range(200):
        running.predict()
    running.end()

    copies = [row for row in running.requests().to_pylist() if row["mirrored"]]
    assert 25 < len(copies) < 75
    assert {row["propensity"] for row in copies} == {0.25}


def test_a_mirror_that_is_away_is_no_matter_of_callers(model, router):
    running = router(model("champion").arm(1), Arm("shadow", f"http://127.0.0.1:{free_port()}", 0, mirror=True))

    assert running.predict().status == 200
    rows = running.captured(2)
    assert {(row["arm"], row["status"]) for row in rows} == {("champion", 200), ("shadow", 503)}
    assert running.ask("/health/status").status == 200


def test_an_arm_that_is_away_is_named(model, router):
    running = router(Arm("champion", f"http://127.0.0.1:{free_port()}", 1, version="3"))

    answer = running.predict()

    assert (answer.status, answer.complaint) == (503, "champion takes no connection")
    assert answer.headers["cd4ml-arm"] == "champion"
    [row] = running.captured(1)
    assert (row["status"], row["version"], row["predictions"], row["outputs"]) == (503, "3", None, None)
    ready = running.ask("/health/status")
    assert (ready.status, ready.complaint) == (503, "arms that cannot answer: champion")
    assert running.ask("/health/ping").status == 200
    assert running.metric("cd4ml_router_requests_total", arm="champion", status="503") == 1


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data"')
    handler.connection.shutdown(socket.SHUT_RDWR)


def _close(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def _say_a_status_that_is_none(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(999)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _say_too_much(handler: BaseHTTPRequestHandler) -> None:
    handler.answer(b" " * (8 * 2**20 + 1))


@pytest.mark.parametrize("behave", [_cut, _close, _say_a_status_that_is_none, _say_too_much])
def test_an_arm_that_breaks_off_is_named(model, router, behave):
    champion = model("champion")
    champion.behave = behave
    running = router(champion.arm(1))

    answer = running.predict()

    assert (answer.status, answer.complaint) == (502, "champion broke its answer off")


def test_a_header_of_an_arm_that_is_none_is_left_out(model, router):
    champion = model("champion")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(503)
        for name, value in (("Content-Type", "text/plain\xff"), ("Retry-After", "\x01"), ("Content-Length", "2")):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(b"{}")

    champion.behave = answer
    running = router(champion.arm(1))

    answered = running.predict()

    assert (answered.status, answered.headers["content-type"]) == (503, "application/json")
    assert "retry-after" not in answered.headers
    assert "Traceback" not in running.log


def test_large_answers_that_are_on_their_way_have_a_bound_together_and_hold_up_no_other_arm(model, router):
    stuck, other = model("stuck"), model("other")
    ended = threading.Event()

    def stop_before_the_end(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(8 * 2**20))
        handler.end_headers()
        handler.wfile.write(b" " * (8 * 2**20 - 1))
        ended.wait(60)

    stuck.behave = stop_before_the_end
    running = router(stuck.arm(0.5), other.arm(0.5), sticky=Sticky(header="X-Player"))
    traffic = Traffic.read(running.home / "traffic.json")
    players = {choose(traffic, f"p{number}").name: f"p{number}" for number in range(30)}

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(running.predict, **{"X-Player": players["stuck"]}) for _ in range(12)]
        until(lambda: sum(one.done() for one in asked) >= 4)
        refused = [one.result() for one in asked if one.done()]
        assert running.predict(**{"X-Player": players["other"]}).status == 200
        ended.set()

    complaint = "too many answers of stuck are on their way; come again in a second"
    assert {(one.status, one.complaint) for one in refused} == {(429, complaint)}
    assert all(one.headers["retry-after"] == "1" for one in refused)
    stuck.behave = None
    assert running.predict(**{"X-Player": players["stuck"]}).status == 200


def test_an_arm_that_closes_a_kept_connection_is_asked_again(model, router):
    champion = model("champion")
    running = router(champion.arm(1))
    assert running.predict().status == 200

    def close_once(handler: BaseHTTPRequestHandler) -> None:
        champion.behave = None
        handler.close_connection = True

    champion.behave = close_once
    assert running.predict().status == 200
    assert len(champion.got) == 3


def test_an_arm_that_is_late_is_named_and_holds_up_no_other(model, router):
    slow, fast = model("slow"), model("fast")
    ended = threading.Event()
    slow.behave = lambda _: ended.wait(60)
    running = router(slow.arm(0.5), fast.arm(0.5), sticky=Sticky(header="X-Player"))
    traffic = Traffic.read(running.home / "traffic.json")
    players = {choose(traffic, f"p{number}").name: f"p{number}" for number in range(30)}

    with ThreadPoolExecutor(520) as pool:
        late = [pool.submit(running.predict, **{"X-Player": players["slow"]}) for _ in range(520)]
        until(lambda: len(slow.got) == 512)
        started = time.monotonic()
        assert running.predict(**{"X-Player": players["fast"]}).status == 200
        assert time.monotonic() - started < 2
        answers = Counter((one.result().status, one.result().complaint) for one in late)
    ended.set()

    assert answers == {
        (504, "slow gave no answer in 10 seconds"): 512,
        (429, "too many requests wait for slow; come again in a second"): 8,
    }


def test_what_an_arm_refuses_is_passed_on(model, router):
    champion = model("champion")
    champion.behave = lambda handler: handler.answer({"status": {"info": "feature 'age' is not in data.names"}}, 400)
    running = router(champion.arm(1))

    answer = running.predict()

    assert (answer.status, answer.content) == (400, {"status": {"info": "feature 'age' is not in data.names"}})
    assert answer.headers["cd4ml-arm"] == "champion"
    assert running.captured(1)[0]["status"] == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[]", b"null", b'{"data": 1}', b"[" * 50_000, b'{"meta": []}', b"\xff\xfe", b'{"inputs": {}}'],
)
def test_what_is_no_request_gets_the_arm_s_own_answer(champion, plain, monkeypatch, body):
    monkeypatch.setattr(champion, "behave", lambda handler: handler.answer(b"\xff no JSON either", 400))

    assert plain.ask(PREDICTIONS, body).status == 400
    assert champion.got[-1][2] == body


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ({"data": {"names": NAMES, "ndarray": [["p1", 40, "south"], ["p2", None, "north"]]}}, [40, None]),
        ({"data": {"names": ["age", "x"], "tensor": {"shape": [2, 2], "values": [40, 1, 41, 2]}}}, [40, 41]),
        ({"jsonData": [{"age": 40, "x": 1}, {"age": 41, "x": 2}]}, [40, 41]),
        ({"inputs": [{"name": "x", "data": []}, {"name": "age", "data": [40]}]}, [40]),
        ({"data": {"names": ["x"], "ndarray": [[1]]}}, None),
        ({"data": {"names": NAMES, "ndarray": [["p1"]]}}, None),
    ],
)
def test_only_features_that_are_named_are_captured(champion, plain, monkeypatch, content, values):
    monkeypatch.setattr(champion, "behave", lambda handler: handler.answer({}))

    answer = plain.ask(PREDICTIONS, content)

    row = plain.captured_as(answer.id)
    assert row["features"] == (None if values is None else json.dumps({"age": values}, separators=(",", ":")))


@pytest.mark.parametrize("name", ["player_id", "age"])
def test_a_value_that_is_nested_deeply_is_not_captured_and_the_arm_is_asked(champion, plain, monkeypatch, name):
    monkeypatch.setattr(champion, "behave", lambda handler: handler.answer({}))
    deep = "[" * 400 + "]" * 400

    answer = plain.ask(PREDICTIONS, f'{{"data": {{"names": ["{name}"], "ndarray": [[{deep}]]}}}}'.encode())

    assert answer.status == 200
    row = plain.captured_as(answer.id)
    assert (row["unit"], row["features"]) == (None, None)


def test_without_a_word_no_value_of_a_caller_is_captured(model, router):
    running = router(model("champion").arm(1), sticky=Sticky(feature="player_id"))

    running.predict(["Grace", 40, "south"])
    running.predict(["Grace", 41, "north"])
    running.predict(["Ada", 41, "north"])

    rows = running.captured(3)
    assert {row["features"] for row in rows} == {None}
    assert rows[0]["unit"] == rows[1]["unit"] != rows[2]["unit"]
    assert "Grace" not in str(rows)
    assert "Grace" not in running.log


def test_a_personal_feature_and_a_caller_are_kept_as_hashes_by_the_key(model, router):
    key = "a key of more than sixteen characters"
    running = router(
        model("champion").arm(1),
        environment={"CAPTURE_KEY": key},
        sticky=Sticky(feature="player_id"),
        captured_features=("age", "region"),
        personal_features=("region",),
    )

    answer = running.predict(["Grace", 40, "south"])

    row = running.captured_as(answer.id)
    south = hmac.digest(key.encode(), b"south", "sha256").hex()
    assert json.loads(row["features"]) == {"age": [40], "region": [south]}
    assert row["unit"] == Masks(key=key.encode()).unit("Grace")


@pytest.mark.parametrize(
    ("environment", "kept"),
    [
        ({}, {"age": [40], "region": ["south"]}),
        ({"CAPTURE_FEATURES": ""}, {"age": [40]}),
        ({"CAPTURE_FEATURES": "player_id"}, {"age": [40], "player_id": ["Grace"]}),
    ],
    ids=["nothing is said", "none", "another one"],
)
def test_features_of_the_models_are_captured_unless_others_are_named(model, router, environment, kept):
    running = router(
        model("champion").arm(1),
        environment=environment,
        captured_features=("age",),
        model_features=("age", "region"),
    )

    running.predict(["Grace", 40, "south"])

    assert json.loads(running.captured(1)[0]["features"]) == kept


def test_feedback_is_joined_by_the_id_of_the_request(model, router):
    running = router(model("champion").arm(1))
    answer = running.predict()

    given = {"response": answer.content, "reward": 1, "truth": {"data": {"ndarray": [[True]]}}}
    assert running.ask("/api/v1.0/feedback", given).status == 200
    assert running.ask("/send-feedback", {"reward": 0.5}, Seldon_Puid="other").status == 200

    until(lambda: captured.feedback(running.capture).count_rows() == 2)
    rows = captured.feedback(running.capture).to_table().sort_by("at").to_pylist()
    assert [(row["request_id"], row["reward"], row["labels"]) for row in rows] == [
        (answer.id, 1.0, ["true"]),
        ("other", 0.5, None),
    ]
    assert rows[0]["request_id"] == running.captured(1)[0]["request_id"]


MINE = {"meta": {"puid": "mine"}}


@pytest.mark.parametrize(
    ("feedback", "said"),
    [
        ([], 'send {"response"'),
        ({"reward": 1}, "response.meta.puid is not the id that an answer had"),
        ({"response": {"meta": {"puid": 7}}, "reward": 1}, "response.meta.puid is not the id that an answer had"),
        ({"response": {"meta": {"puid": "a b"}}, "reward": 1}, "response.meta.puid is not the id that an answer had"),
        ({"response": MINE}, "a feedback has a reward, a truth or both"),
        ({"response": MINE, "reward": "1"}, "reward is not a finite number"),
        ({"response": MINE, "reward": True}, "reward is not a finite number"),
        ({"response": MINE, "reward": 10**400}, "send {"),
        ({"response": MINE, "truth": 1}, "truth is not a data.ndarray with one label a row"),
        ({"response": MINE, "truth": {"data": {"ndarray": []}}}, "truth.data.ndarray does not have 1 to 10,000 rows"),
        ({"response": MINE, "truth": {"data": {"ndarray": [[1, 2]]}}}, "truth.data.ndarray does not have 1 to 10,000"),
        ({"response": MINE, "truth": {"data": {"ndarray": [None]}}}, "truth.data.ndarray does not have 1 to 10,000"),
    ],
)
def test_what_is_no_feedback_is_told(plain, feedback, said):
    answer = plain.ask("/api/v1.0/feedback", feedback)

    assert answer.status == 400
    assert answer.complaint.startswith(said)


def test_without_a_folder_nothing_is_kept(model, router):
    running = router(model("champion").arm(1), environment={"CAPTURE_FOLDER": ""})

    assert running.predict().status == 200
    assert running.ask("/api/v1.0/feedback", {"response": MINE, "reward": 1}).status == 404
    assert running.metric("cd4ml_router_requests_total", arm="champion", status="200") == 1


def test_a_router_that_is_killed_loses_the_last_seconds_alone(model, router):
    running = router(model("champion").arm(1))
    for _ in range(20):
        running.predict()
    running.captured(20)
    running.predict()

    running.process.kill()
    running.process.wait()

    assert 20 <= running.requests().num_rows <= 21
    assert ds.dataset(running.capture / "requests", format="parquet").count_rows() == running.requests().num_rows


def test_a_router_that_ends_answers_and_keeps_all(model, router):
    champion, shadow = model("champion"), model("shadow")

    def slowly(handler: Any) -> None:
        time.sleep(1)
        handler.answer({"data": {"names": ["probability"], "ndarray": [[0.5]]}})

    champion.behave = slowly
    running = router(champion.arm(1), shadow.arm(mirror=True), environment={"CAPTURE_SECONDS": "60"})
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(running.predict) for _ in range(20)]
        until(lambda: len(champion.got) == 20)
        status = running.end()
        assert {one.result().status for one in answers} == {200}

    assert status == 0
    assert Counter(row["arm"] for row in running.requests().to_pylist()) == {"champion": 20, "shadow": 20}


def test_the_files_of_past_hours_are_merged_and_old_days_removed(model, router, tmp_path):
    yesterday, old = (datetime.now(UTC) - timedelta(days=days) for days in (1, 8))
    for day in (yesterday, old):
        folder = tmp_path / "capture" / "requests" / captured.day(day)
        folder.mkdir(parents=True)
        for name in ("000001-a.parquet", "000002-b.parquet"):
            pq.write_table(captured.REQUESTS.empty_table(), folder / name)

    running = router(model("champion").arm(1), environment={"CAPTURE_DAYS": "7"})

    until((running.capture / "requests" / captured.day(yesterday) / "00.parquet").exists)
    assert not (running.capture / "requests" / captured.day(old)).exists()
    assert running.predict().status == 200
    assert len(running.captured(1)) == 1


def test_a_disk_that_is_full_stops_no_answer(model, router, tmp_path):
    folder = tmp_path / "capture" / "requests"
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    running = router(model("champion").arm(1))

    assert [running.predict().status for _ in range(5)] == [200] * 5
    until(lambda: "cannot be written" in running.log)
    folder.unlink()

    assert len(running.captured(5)) == 5  # what could not be written waited
    assert running.log.count("cannot be written") == 1


def test_thousands_of_idle_and_slow_clients_do_no_harm(model, router):
    running = router(model("champion").arm(1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"

    with contextlib.ExitStack() as open_:
        for number in range(2_000):
            connection = open_.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=20))
            connection.sendall(head[: number % len(head)])
        started = time.monotonic()
        assert running.predict().status == 200
        assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", PREDICTIONS, 405),
        ("POST", "/health/ping", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/v2/models/a%2Fb/infer", 404),
        ("POST", "/v2/models/../../metadata/infer", 404),
        ("GET", "/traffic", 404),
        ("GET", "/metrics", 404),
        ("GET", "/v2/models/uptake", 404),
        ("GET", V2, 405),
    ],
)
def test_nothing_else_is_served(plain, method, path, status):
    request = urllib.request.Request(f"{plain.url}{path}", method=method, data=b"{}" if method == "POST" else None)

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)

    assert refused.value.code == status


def test_a_body_has_a_bound(plain):
    assert plain.ask(PREDICTIONS, b" " * (8 * 2**20 + 1)).status == 413


def test_the_arm_that_answers_most_describes_its_model(model, router):
    running = router(model("a").arm(0.3), model("b").arm(0.7))

    assert running.ask("/metadata").content == {"name": "b"}


def test_model_servers_are_arms(router, server, folder):
    running = router(
        Arm("champion", f"http://127.0.0.1:{server.port}", 1),
        sticky=Sticky(feature="region"),
        captured_features=("age",),
    )
    rows, predictions = served.ROWS[:2], [served.expected(*row) for row in served.ROWS[:2]]

    answer = running.ask(PREDICTIONS, {"data": {"names": served.NAMES, "ndarray": rows}})

    assert running.ask("/health/status").status == running.ask("/v2/health/ready").status == 200
    assert answer.tags == {"version": "7", "digest": digest(folder), "arm": "champion", "propensity": 1.0}
    [row] = running.captured(1)
    assert row["predictions"] == pytest.approx(predictions, abs=1e-6)
    assert row["features"] == '{"age":[40,25.5]}'


def test_a_stream_of_arrow_reaches_a_model_server_and_its_answer_comes_back(router, server):
    running = router(Arm("champion", f"http://127.0.0.1:{server.port}", 1))
    table = pa.table(dict(zip(served.NAMES, zip(*served.ROWS[:2], strict=True), strict=True)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)

    answer = running.ask(PREDICTIONS, sink.getvalue().to_pybytes(), Content_Type="application/vnd.apache.arrow.stream")

    probabilities = pa.ipc.open_stream(answer.content).read_all()["probability"].to_pylist()
    assert probabilities == pytest.approx([served.expected(*row) for row in served.ROWS[:2]], abs=1e-6)
    assert answer.headers["cd4ml-arm"] == "champion"


def test_the_router_needs_no_tensorflow():
    code = "import sys, cd4ml.serving.router; sys.exit('tensorflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
