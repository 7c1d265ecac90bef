"""A real model server keeps what it is asked and told."""

import asyncio
import contextlib
import gc
import hashlib
import hmac
import json
import os
import signal
import time
import tracemalloc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from served import NAMES, ROWS, Server, answering, end, expected, figures, start, wait_until_ready
from stand_ins import Answer, ask, until

from cd4ml.contracts import captured
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.traffic import Arm, Traffic
from cd4ml.errors import EnvironmentSetupError
from cd4ml.serving import kept_values
from cd4ml.serving.chance import drawn
from cd4ml.serving.kept_values import Masks

PREDICTIONS = "/api/v1.0/predictions"
KEY = "a key of more than sixteen characters"


@dataclass(frozen=True)
class Kept:
    """A server, and what it keeps."""

    server: Server
    folder: Path

    def ask(self, path: str, message: Any, **headers: str) -> Answer:
        return ask(f"http://127.0.0.1:{self.server.port}{path}", message, **headers)

    def predict(self, *rows: Any, names: Sequence[str] = NAMES, meta: Any = None, **headers: str) -> Answer:
        message = {"data": {"names": list(names), "ndarray": list(rows or ROWS[:1])}}
        return self.ask(PREDICTIONS, message | ({"meta": meta} if meta else {}), **headers)

    def requests(self) -> list[dict[str, Any]]:
        return captured.requests(self.folder).to_table().sort_by("at").to_pylist()

    def row(self, request_id: str) -> dict[str, Any]:
        """What was kept of a request, as soon as it is."""
        [row] = self.rows(request_id)
        return row

    def rows(self, request_id: str, count: int = 1) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            return [one for one in self.requests() if one["request_id"] == request_id]

        until(lambda: len(found()) >= count)
        return found()

    def feedback(self, request_id: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [
                one for one in captured.feedback(self.folder).to_table().to_pylist() if one["request_id"] == request_id
            ]

        until(lambda: bool(found()))
        return found()[0]


@contextlib.contextmanager
def keeping(model: Path, home: Path, **variables: str) -> Iterator[Kept]:
    """A server that keeps what it is asked, at once."""
    about = {"CAPTURE_FOLDER": str(home / "capture"), "CAPTURE_SECONDS": "0.1", **variables}
    with answering(model, home, **about) as running:
        yield Kept(running, home / "capture")


@pytest.fixture(scope="module")
def kept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with keeping(folder, tmp_path_factory.mktemp("kept"), CAPTURE_PERSONAL="region", CAPTURE_KEY=KEY) as running:
        yield running


def test_what_is_asked_and_predicted_is_kept_under_the_id_that_the_answer_has(kept):
    began = datetime.now(UTC)
    answer = kept.predict(*ROWS[:2])

    row = kept.row(answer.id)
    assert answer.headers["seldon-puid"] == answer.id
    assert timedelta(0) <= row["at"] - began < timedelta(seconds=20)
    assert {name: row[name] for name in ("arm", "version", "propensity", "mirrored", "unit", "status", "outputs")} == {
        "arm": "version-7",
        "version": "7",
        "propensity": 1.0,
        "mirrored": False,
        "unit": None,
        "status": 200,
        "outputs": ["probability"],
    }
    assert row["predictions"] == pytest.approx([expected(*one) for one in ROWS[:2]], abs=1e-6)
    assert 0 < row["latency_ms"] < 20_000
    features = json.loads(row["features"])
    assert (features["age"], features["subscribed"]) == ([40, 25.5], [True, False])


@pytest.mark.parametrize(
    ("said", "milliseconds"), [("12.5", 12.5), ("0", 0.0), ("-1", None), ("inf", None), ("nan", None), ("soon", None)]
)
def test_how_long_a_caller_looked_features_up_is_kept_where_it_says_so(kept, said, milliseconds):
    answer = kept.predict(ROWS[0], **{"Cd4ml-Lookup-Ms": said})

    assert kept.row(answer.id)["lookup_ms"] == milliseconds


def test_a_feature_that_is_personal_is_hashed_with_the_key(kept):
    rows = [[40, "south", True], [1, None, None], [2, "south", False], [3, "north", False]]

    row = kept.row(kept.predict(*rows).id)

    south, missing, again, north = json.loads(row["features"])["region"]
    assert south == again != north
    assert len(south) == 64
    assert missing is None
    assert "south" not in row["features"]


def test_a_feature_that_is_personal_is_left_out_without_a_key():
    columns = {"age": [40], "player": ["Jane Roe"]}

    assert Masks(frozenset({"player"})).text(columns) == '{"age":[40]}'
    assert Masks(frozenset({"player", "age"})).text(columns) is None
    assert "Jane" not in Masks(frozenset({"player"}), KEY.encode()).text(columns)


def test_a_hash_is_one_of_a_value_and_of_the_key():
    def hashed(value: Any, key: str = KEY) -> str:
        return json.loads(Masks(frozenset({"player"}), key.encode()).text({"player": [value]}))["player"][0]

    assert hashed(5) == hashed(5.0) == hashed("5") != hashed(6)
    assert hashed("5") != hashed("5", "another key of sixteen characters")
    assert hashed(True) == hashed("true")


def test_a_caller_is_found_by_trying_only_where_there_is_no_key():
    known = hashlib.blake2b(b"Jane Roe", digest_size=8).hexdigest()
    units = {key: Masks(key=key.encode()).unit("Jane Roe") for key in ("", KEY, "k" * 100)}

    assert units[""] == known
    assert len({*units.values()}) == 3
    assert Masks(key=KEY.encode()).unit("Jane Roe") == units[KEY] != Masks(key=KEY.encode()).unit("John Doe")


def test_a_value_that_cannot_be_json_costs_no_row():
    masks, deep = Masks(frozenset({"player"}), KEY.encode()), orjson.loads("[" * 400 + "]" * 400)

    [huge] = json.loads(masks.text({"player": [12345678901234567890123.0]}))["player"]
    assert huge == hmac.digest(KEY.encode(), str(int(12345678901234567890123.0)).encode(), "sha256").hex()
    assert masks.text({"age": [deep]}) is None
    assert masks.text({"player": [deep]}) is None


def test_what_the_contract_marks_as_personal_is_not_kept_in_clear(monkeypatch):
    from cd4ml.serving import recording
    from cd4ml.serving.asked import Asked
    from cd4ml.serving.rows import Encoder

    monkeypatch.delenv("CAPTURE_KEY", raising=False)
    contract = Contract("took", ("0", "1"), (Input("age", "number"), Input("town", "text", personal=True)), {})
    columns = {"age": [40], "town": ["Little Snoring"]}
    asked = Asked(Encoder(contract).inputs(columns, 1, "names"), None, columns)

    class Nowhere:
        requests = None

    found = recording.of_environment(Nowhere(), contract, "7")._values(asked, np.zeros((1, 1)), 0)

    assert found.features == '{"age":[40]}'


def test_what_waits_of_a_large_request_is_counted_with_its_texts_and_holds_no_other_column():
    from cd4ml.serving.application import Request
    from cd4ml.serving.asked import Asked
    from cd4ml.serving.recording import Recording
    from cd4ml.serving.rows import Encoder

    class Column(list[str]):
        """Of which can be seen whether it is still there."""

    added: list[tuple[Any, int]] = []

    contract = Contract("took", ("0", "1"), (Input("town", "text"), Input("street", "text")), {})
    kept = SimpleNamespace(requests=SimpleNamespace(add=lambda *row: added.append(row)))
    recording = Recording(kept, contract=contract, version="7", features=["town"], masks=Masks(), share=1)
    body = b"x" * 5_000_000

    async def answered() -> weakref.ref[Column]:
        columns = {"town": ["x" * 1000] * 2000, "street": Column(["y" * 1500] * 2000)}
        asked = Asked(Encoder(contract).inputs(columns, 2000, "names"), None, columns)

        async def answering() -> Any:
            return asked, np.zeros((2000, 1))

        await recording.of(Request(b"", {}, body), answering())
        await asyncio.sleep(0)
        return weakref.ref(columns["street"])

    street = asyncio.run(answered())
    gc.collect()

    [(row, size)] = added
    assert size > len(body)
    assert json.loads(row.features()) == {"town": ["x" * 1000] * 2000}
    assert street() is None


def test_predictions_that_wait_take_no_more_memory_than_is_counted(monkeypatch):
    from cd4ml.serving import recording

    monkeypatch.setattr(recording, "VALUES_AT_ONCE", 20_000)
    contract = Contract("took", ("false", "true"), (), {})
    asked = SimpleNamespace(inputs=SimpleNamespace(rows=10_000), columns={})
    predictions = np.random.default_rng(0).random((10_000, 1))
    record = recording.of_environment(SimpleNamespace(requests=None), contract, "7")

    tracemalloc.start()
    found = record._values(asked, predictions, 0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found.predictions) == 10_000
    assert taken < 1.1 * found.size


@pytest.mark.parametrize("labels", [80, 10_000])
def test_feedback_that_waits_takes_no_more_memory_than_it_has_room(tmp_path, monkeypatch, labels):
    from cd4ml.serving import capture, feedback
    from cd4ml.serving.application import RefusedError, Request

    monkeypatch.setattr(capture, "MOST_BYTES", 2**21)
    kept = capture.Capture(str(tmp_path), 5, days=90)
    take = feedback.routes(kept, took=lambda: None)["/feedback"]["POST"]
    body = json.dumps({"request_id": "a", "labels": [10 + number % 90 for number in range(labels)]}).encode()

    async def fill():
        while True:
            await take(Request(b"", {}, body))

    tracemalloc.start()
    with pytest.raises(RefusedError, match="no room"):
        asyncio.run(fill())
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    asyncio.run(kept.close())

    assert taken < 2 * 2**21
    table = captured.feedback(tmp_path).to_table()
    assert set(map(tuple, table["labels"].to_pylist())) == {tuple(str(10 + number % 90) for number in range(labels))}


def test_feedback_for_which_there_is_no_room_is_not_taken(tmp_path, monkeypatch):
    from cd4ml.serving import capture, feedback
    from cd4ml.serving.application import RefusedError, Request

    monkeypatch.setattr(capture, "MOST_ROWS", 1)
    took: list[bool] = []
    routes = feedback.routes(capture.Capture(str(tmp_path), 5, days=90), took=lambda: took.append(True))
    told = Request(b"", {}, b'{"request_id": "one", "reward": 1}')

    asyncio.run(routes["/feedback"]["POST"](told))
    with pytest.raises(RefusedError) as refused:
        asyncio.run(routes["/feedback"]["POST"](told))

    assert (refused.value.status, refused.value.headers, len(took)) == (429, {"Retry-After": "1"}, 1)


def test_names_of_features_are_a_list_in_either_form(monkeypatch):
    for given, names in (("a, b", ["a", "b"]), ('["a,b"]', ["a,b"]), ("", [])):
        monkeypatch.setenv("CAPTURE_FEATURES", given)
        assert kept_values.names("CAPTURE_FEATURES") == names
    monkeypatch.setenv("CAPTURE_FEATURES", "[1")
    with pytest.raises(EnvironmentSetupError, match=r"CAPTURE_FEATURES: '\[1' is no list of names"):
        kept_values.names("CAPTURE_FEATURES")
    monkeypatch.setenv("CAPTURE_KEY", "short")
    with pytest.raises(EnvironmentSetupError, match="CAPTURE_KEY: is shorter than 16 characters"):
        kept_values.of_environment()


@pytest.mark.parametrize("by", ["meta", "header", "id", "arrow"])
def test_the_id_that_a_request_brings_is_kept_whatever_the_protocol(kept, by):
    own = f"own-{by}"
    if by == "meta":
        answer = kept.predict(meta={"puid": own})
        assert answer.id == own
    elif by == "header":  # as Seldon's executor hands it on
        answer = kept.predict(Seldon_Puid=own)
        assert answer.id == own
    elif by == "id":
        inputs = [
            {"name": "age", "datatype": "FP32", "shape": [1], "data": [40]},
            {"name": "region", "datatype": "BYTES", "shape": [1], "data": ["south"]},
            {"name": "subscribed", "datatype": "BOOL", "shape": [1], "data": [True]},
        ]
        answer = kept.ask("/v2/models/uptake/infer", {"id": own, "inputs": inputs})
        assert answer.content["id"] == own
    else:
        body = stream({"age": [40.0], "region": ["south"], "subscribed": [True]})
        answer = kept.ask("/predict", body, Content_Type="application/vnd.apache.arrow.stream", Seldon_Puid=own)

    row = kept.row(own)
    assert (answer.status, answer.headers["seldon-puid"]) == (200, own)
    assert row["predictions"] == pytest.approx([expected(40, "south", True)], abs=1e-6)
    assert json.loads(row["features"])["age"] == [40]


def stream(columns: dict[str, list[Any]]) -> bytes:
    table = pa.table(columns)
    with pa.ipc.new_stream(sink := pa.BufferOutputStream(), table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_large_requests_are_kept_whole_up_to_ten_thousand_rows(kept):
    ages = [float(number % 90) for number in range(10_000)]
    columns = {"age": ages, "region": ["south"] * 10_000, "subscribed": [None] * 10_000}
    more = {name: [*values, values[0]] for name, values in columns.items()}
    kind = {"Content_Type": "application/vnd.apache.arrow.stream"}

    whole = kept.row(kept.ask("/predict", stream(columns), **kind).headers["seldon-puid"])
    without = kept.row(kept.ask("/predict", stream(more), **kind).headers["seldon-puid"])
    of_json = kept.row(kept.predict(*([one, "south", None] for one in ages)).id)

    for row in (whole, of_json):
        assert json.loads(row["features"])["age"] == ages
        assert len(row["predictions"]) == 10_000
    assert whole["predictions"] == of_json["predictions"]
    assert (without["status"], without["features"], without["predictions"]) == (200, None, None)


def test_a_request_that_is_refused_is_kept_without_its_values(kept):
    answer = kept.predict(["forty", "south", True], meta={"puid": "refused"})

    row = kept.row("refused")
    assert (answer.status, answer.headers["seldon-puid"]) == (400, "refused")
    assert (row["status"], row["features"], row["predictions"]) == (400, None, None)


def test_an_id_that_is_sent_twice_is_kept_twice(kept):
    for _ in range(2):
        kept.predict(meta={"puid": "twice"})

    assert len(kept.rows("twice", 2)) == 2


def test_an_id_that_is_none_is_replaced(kept):
    answers = [kept.predict(meta={"puid": given}) for given in ("a b", "x" * 129, 5)]

    assert all(len(one.id) == 32 for one in answers)
    assert [kept.row(one.id)["status"] for one in answers] == [200] * 3


def test_who_keeps_a_request_himself_says_so(kept):
    kept.predict(meta={"puid": "not-kept"}, Seldon_Skip_Logging="true")
    kept.predict(meta={"puid": "after"})

    assert kept.row("after")
    assert not [one for one in kept.requests() if one["request_id"] == "not-kept"]


def test_a_request_through_a_router_that_keeps_it_is_kept_once(kept, tmp_path):
    file, program = tmp_path / "traffic.json", ("-m", "cd4ml.serving.router")
    Traffic((Arm("champion", f"http://127.0.0.1:{kept.server.port}", 1.0),)).write(file)

    for folder, settings in ((tmp_path / "routed", {"CAPTURE_FOLDER": str(tmp_path / "routed")}), (kept.folder, {})):
        about = {"TRAFFIC_FILE": str(file), "CAPTURE_SECONDS": "0.1", **settings}
        with answering(folder, tmp_path, program=program, **about) as router:
            own = Kept(router, folder)
            answer = own.predict(meta={"puid": f"by-{folder.name}"})
            assert own.row(answer.id)["status"] == 200

    kept.row("by-capture")
    assert not [one for one in kept.requests() if one["request_id"] == "by-routed"]


TRUTHS = [
    {"data": {"ndarray": [[True]]}},
    {"data": {"tensor": {"shape": [1, 1], "values": [True]}}},
    {"data": {"tensor": {"shape": [1], "values": [True]}}},
    {"jsonData": [True]},
    {"jsonData": [{"took": True}]},
    {"jsonData": {"took": True}},
]
"""Forms of what came to be true of one row."""


@pytest.mark.parametrize("path", ["/feedback", "/api/v1.0/feedback", "/send-feedback"])
def test_feedback_is_kept_by_the_id_of_the_request(kept, path):
    answer = kept.predict()
    messages = {
        "plain": {"request_id": answer.id, "labels": [True], "reward": 1},
        **{
            f"seldon-{number}": {"response": answer.content, "reward": 1, "truth": truth}
            for number, truth in enumerate(TRUTHS)
        },
    }
    before = figures(kept.server)["cd4ml_feedback_total"]

    for form, message in messages.items():
        message = json.loads(json.dumps(message).replace(answer.id, f"{answer.id}-{form}"))
        assert kept.ask(path, message).status == 200
        told = kept.feedback(f"{answer.id}-{form}")
        assert (told["reward"], told["labels"]) == (1.0, ["true"])
    assert figures(kept.server)["cd4ml_feedback_total"] == before + len(messages)


MINE = {"response": {"meta": {"puid": "a"}}}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([], 'or send {"request_id": "...", "reward": 1, "labels": [true]}'),
        ({"labels": [True]}, "request_id is not the id that an answer had"),
        ({"request_id": 5, "labels": [True]}, "request_id is not the id that an answer had"),
        ({"request_id": "a"}, "a feedback has a reward, labels or both"),
        ({"request_id": "a", "labels": True}, "labels is not a list with one label a row"),
        ({"request_id": "a", "labels": []}, "labels does not have 1 to 10,000 rows with one label each"),
        ({"request_id": "a", "labels": [None]}, "labels does not have 1 to 10,000 rows with one label each"),
        ({"request_id": "a", "reward": "much"}, "reward is not a finite number"),
        ({"reward": 1}, "response.meta.puid is not the id that an answer had"),
        ({"request_id": "a", "labels": [True, None]}, "rows with one label each; row 2 has none"),
        ({"request_id": "a", "labels": [True, [True]]}, "rows with one label each; row 2 has a list or an object"),
        ({**MINE, "truth": 1}, "truth is not a data.ndarray with one label a row, nor such a data.tensor or jsonData"),
        ({**MINE, "truth": {"data": {"ndarray": "ab"}}}, "truth is not a data.ndarray with one label a row"),
        ({**MINE, "truth": {"data": {"tensor": {"shape": [1, 2], "values": [1, 0]}}}}, "truth is not a data.ndarray"),
        ({**MINE, "truth": {"data": {"tensor": {"shape": [3], "values": [1, 0]}}}}, "truth is not a data.ndarray"),
        ({**MINE, "truth": {"jsonData": [{"took": 1, "day": 2}]}}, "truth.jsonData does not have 1 to 10,000 rows"),
    ],
)
def test_a_mistake_in_feedback_names_the_field(kept, message, said):
    answer = kept.ask("/feedback", message)

    assert answer.status == 400
    assert said in answer.complaint


def test_a_share_of_the_requests_is_kept_as_their_ids_say(folder, tmp_path):
    with keeping(folder, tmp_path, CAPTURE_SHARE="0.3", CAPTURE_FEATURES="age") as some:
        ids = [f"request-{number}" for number in range(200)]
        for one in ids:
            some.predict(meta={"puid": one})
        wanted = {one for one in ids if drawn(f"captured\0{one}") <= 0.3}
        until(lambda: len(some.requests()) >= len(wanted))
        some.server.process.send_signal(signal.SIGTERM)
        some.server.process.wait(timeout=20)

    assert 40 < len(wanted) < 80
    assert {one["request_id"] for one in some.requests()} == wanted
    assert {one["features"] for one in some.requests()} == {'{"age":[40]}'}


def test_a_store_that_is_away_costs_callers_nothing_and_what_waits_is_written_when_it_is_back_or_at_the_end(
    folder, tmp_path
):
    place = tmp_path / "capture"
    place.write_text("a file where the folder should be")
    few = "from cd4ml.serving import capture, server; capture.MOST_ROWS = 20; server.main()"
    running = start(folder, tmp_path, program=("-c", few), CAPTURE_FOLDER=str(place), CAPTURE_SECONDS="0.1")
    try:
        wait_until_ready(running)
        kept = Kept(running, place)
        assert [kept.predict(meta={"puid": f"away-{number}"}).status for number in range(30)] == [200] * 30
        until(lambda: "cannot be written" in running.log)
        assert figures(running)["cd4ml_capture_lost"] == 10
        place.unlink()
        until(lambda: place.is_dir() and len(kept.requests()) == 20)

        place.rename(tmp_path / "before")
        kept.predict(meta={"puid": "the-last"})
        os.kill(running.process.pid, signal.SIGTERM)
        began = time.monotonic()
        assert running.process.wait(timeout=20) == 0
        assert time.monotonic() - began < 10
    finally:
        end(running)

    assert [one["request_id"] for one in kept.requests()] == ["the-last"]
    assert running.log.count("cannot be written") == 1
    assert running.log.count("no room for more rows") == 1
