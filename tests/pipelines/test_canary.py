"""Releases divide requests on this machine through the router itself; small programs stand for model servers."""

import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import forked
import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from users import AT_ONCE, Players, Users

from cd4ml.contracts import captured, document, model, predictions
from cd4ml.contracts.experiment import Decision
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import on_this_machine, rollout, steps, strategies, verify
from cd4ml.deployment.evidence import ab_test, replay, watched
from cd4ml.deployment.steps import judging
from cd4ml.deployment.targets import router, servers
from cd4ml.deployment.targets.machine import Machine
from cd4ml.errors import DeploymentError
from cd4ml.registry import approvals, deployments
from cd4ml.registry.deployments import Series
from cd4ml.storage import Store, open_store
from cd4ml.storage.folder import FolderStore
from cd4ml.supervisor import OUTLIVES

ROUTER = Path(__file__).parents[2] / ".venvs" / "serve" / "bin" / "python"
PROGRAM = """
import json, os, random, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if sys.argv[3] == "cd4ml.serving.router":
    os.execv(ROUTER, [ROUTER, "-P", "-c", QUICK])
model = json.load(open(os.path.join(os.environ["MODEL_FOLDER"], "answers.json")))

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]["ndarray"]
        users = rows == [[99]]  # no row that verification asks for
        if users and model["hangs"]:
            threading.Event().wait()
        if users and random.random() < model["errors"]:
            return self.answer(500, {})
        served = {"names": ["p"], "ndarray": [[model["predicts"] if users else 0.25]] * len(rows)}
        self.answer(200, {"data": served, "meta": {"tags": {"digest": model["digest"]}}})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Shared(ThreadingHTTPServer):
    allow_reuse_port = True
    request_queue_size = 128
    daemon_threads = model["hangs"]

ended = threading.Event()

def listen(port):
    server = Shared((os.environ["MODEL_HOST"], int(os.environ[port])), Answers)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    ended.wait()
    server.shutdown()
    server.server_close()  # once what has come is answered

signal.signal(signal.SIGTERM, lambda *_: ended.set())
signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=listen, args=("FURTHER_PORT",)).start())
listen("PORT")
"""
QUICK = """
from cd4ml.serving import router, traffic_file
traffic_file.LOOK_SECONDS = 0.05
router.main()
"""
"""The router, which looks often at how requests are divided."""
ANSWERS = {"errors": 0.0, "predicts": 0.25, "hangs": False}
"""How users are answered: the part that fails, what is predicted, whether nothing ever comes."""
ROUTED = [{"traffic": 50}]
"""Has a router take the port, and compares nothing."""
STEPS = [{"traffic": 50}, {"analyse": {"error_rate": {"max_increase": 0.5}, "within": "1 minute"}}]
MIRRORED = [{"mirror": 100}]
SHADOW = [
    {"mirror": 100},
    {
        "analyse": {
            "error_rate": {"max_increase": 0.1},
            "prediction_difference": {"max_mean": 0.1},
            "within": "1 minute",
        }
    },
]
SEEN = [{"traffic": 50}, {"approve": {}}]
BANDIT = {"sticky": {"header": "X-Player"}, "every": "PT0.5S", "window": "PT1S", "for": "PT1M"}
ADAPTED = [{"bandit": {**BANDIT, "replay": "none"}}]
WATCHED = [{"traffic": 100}, {"watch": {"error_rate": {"max": 0.2}, "for": "PT3S"}}]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on a machine with the router and these servers, whose captures are written and looked at at once."""
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable} -IS\nROUTER, QUICK = {str(ROUTER)!r}, {QUICK!r}\n{PROGRAM}")
    program.chmod(0o700)
    monkeypatch.setattr(servers, "program", lambda: program)
    monkeypatch.setattr(verify, "LATENCY_REQUESTS", 5)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(judging, "LATE_SECONDS", 0.5)
    monkeypatch.setattr(judging, "LATE_COPY_SECONDS", 2.0)
    monkeypatch.setenv("CAPTURE_SECONDS", "0.1")
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    opened = open_store(tmp_path / "store")
    yield opened
    Machine(opened, "uptake").remove()
    assert serving(opened) == []


def serving(store: Store) -> list[str]:
    """The files by which processes are known that serve the model."""
    folder = str(Path(store.location) / ".serving" / "uptake")
    started = (one.info["environ"] or {} for one in psutil.process_iter(["environ"]))
    return [environment[OUTLIVES] for environment in started if environment.get(OUTLIVES, "").startswith(folder)]


def publish(store: Store, tmp_path: Path, number: int, **otherwise: Any) -> Version:
    """A version that answers users as it is told."""
    trained = tmp_path / f"trained-{number}"
    (trained / "saved_model").mkdir(parents=True)
    (trained / "saved_model" / "weights").write_text(f"weights {number}")
    model.write_contract(model.Contract("took", ("no", "yes"), (), {}), trained)
    digest = model.digest(trained)
    (trained / "answers.json").write_text(json.dumps({"digest": digest, **ANSWERS, **otherwise}))
    known = tmp_path / "predictions.parquet"
    predictions.write(pa.table({"age": [1, 2, 3]}), "probability", np.array([0.25] * 3), file=known)
    version = Version("uptake", number, digest, "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))
    store.add_folder(version.folder, {"model": trained, "predictions.parquet": known, "version.json": version.text})
    return version


def deploy(store: Store, tmp_path: Path, number: int, way: Any = "replace", **otherwise: Any) -> str:
    """Deploys a version that answers users as it is told, and says where it is asked."""
    return roll_out(store, tmp_path, publish(store, tmp_path, number, **otherwise), way)


def roll_out(store: Store, tmp_path: Path, version: Version, way: Any) -> str:
    """Deploys a version, and says where it is asked."""
    served = Machine(store, "uptake").server()
    deployed, _ = rollout.roll_out(
        Machine(store, "uptake"),
        strategies.parse(way),
        version=version,
        run=f"run-{version.version}",
        port=served.public_port if served else servers.free_port(),
        log_file=tmp_path / f"{version.version}.log",
    )
    return deployed.endpoint


def history(store: Store) -> list[str]:
    return [series.state for series in deployments.every(store, "uptake")]


def test_a_canary_that_does_as_well_gets_all_requests_and_none_fails(store: Store, tmp_path: Path) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Users(url) as users:
        assert deploy(store, tmp_path, 3, STEPS) == url
        assert deploy(store, tmp_path, 4) == url

    assert users.answers.keys() == {"200"}
    assert users.answers["200"] > 100
    assert history(store) == ["held"] * 4
    events = {one.step: one.said for one in deployments.every(store, "uptake")[2].events[1:-1]}
    assert list(events) == ["verify", "traffic 50", "analyse", "route"]
    assert events["traffic 50"] == "50% of the requests to version 3"
    assert "error_rate: +0 [" in events["analyse"]
    assert "at most 0.5 is kept" in events["analyse"]
    served = Machine(store, "uptake").server()
    assert (served.number, served.url) == (4, url.removesuffix("/api/v1.0/predictions"))
    assert len(serving(store)) == 2


def test_hardly_a_request_is_lost_when_a_router_takes_the_port_of_a_server(store: Store, tmp_path: Path) -> None:
    url = deploy(store, tmp_path, 1)

    with Users(url) as users:
        deploy(store, tmp_path, 2, ROUTED)

    assert users.answers.total() - users.answers["200"] <= AT_ONCE  # those on their way as the port changes


def test_a_canary_that_does_worse_is_undone_and_the_one_before_answers_on(store: Store, tmp_path: Path) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Users(url) as users, pytest.raises(DeploymentError) as told:
        deploy(store, tmp_path, 3, [{"traffic": 20}, {"analyse": {"error_rate": {"max_increase": 0.1}}}], errors=1.0)
    with Users(url) as after:
        while after.answers.total() < 20:
            time.sleep(0.05)

    assert "the release does not keep its limits: error_rate: +" in str(told.value)
    assert "at most 0.1 is broken" in str(told.value)
    assert "version 2, which was served before, is served as before at" in str(told.value)
    assert users.answers.keys() == {"200", "500"}
    assert users.answers["500"] < users.answers["200"] / 2
    assert after.answers.keys() == {"200"}
    assert history(store) == ["held", "held", "undone"]
    assert len(serving(store)) == 2


def test_what_cannot_be_told_in_time_is_undone_and_says_how_many_requests_were_lacking(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = deploy(store, tmp_path, 1)
    limits = {"error_rate": {"max_increase": 0.001}, "within": "PT3S"}

    with Users(url), pytest.raises(DeploymentError) as told:
        deploy(store, tmp_path, 2, [{"traffic": 50}, {"analyse": limits}])

    assert "after 0:00:03 it is not known whether limits are kept: error_rate: " in str(told.value)
    assert history(store) == ["held", "undone"]


def test_a_shadow_that_does_as_well_gets_all_requests_and_nobody_saw_an_answer_of_it_before(
    store: Store, tmp_path: Path
) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Users(url) as users:
        deploy(store, tmp_path, 3, SHADOW, predicts=0.26)
        while len(users.predictions) == 1:
            time.sleep(0.05)

    assert users.answers.keys() == {"200"}
    assert users.predictions == {0.25, 0.26}
    series = deployments.every(store, "uptake")[2]
    events = {one.step: one for one in series.events[1:-1]}
    assert list(events) == ["verify", "mirror 100", "analyse", "route"]
    assert events["mirror 100"].said == "copies of 100% of the requests to version 3"
    assert "prediction_difference: +0.01 [" in events["analyse"].said
    answered = captured.requests(Path(store.location) / ".serving" / "uptake" / "capture").to_table()
    judged = answered.filter(pc.field("at") < datetime.fromisoformat(events["analyse"].at))
    theirs = judged.filter(pc.field("arm") == "deployment-3")
    assert theirs.num_rows > 50
    assert theirs["mirrored"].to_pylist() == [True] * theirs.num_rows
    assert Machine(store, "uptake").server().number == 3
    assert len(serving(store)) == 2


@pytest.mark.parametrize(
    ("otherwise", "said"),
    [
        ({"errors": 1.0}, "error_rate: +1 ["),
        ({"predicts": 0.75}, "prediction_difference: +0.5 ["),
    ],
)
def test_a_shadow_that_does_worse_is_undone_and_no_caller_had_anything_of_it(
    store: Store, tmp_path: Path, otherwise: dict[str, float], said: str
) -> None:
    url = deploy(store, tmp_path, 1)

    with pytest.raises(DeploymentError) as told, Users(url) as users:
        deploy(store, tmp_path, 2, SHADOW, **otherwise)

    assert str(told.value).startswith("the release does not keep its limits: ")
    assert said in str(told.value)
    assert "version 1, which was served before, is served as before at" in str(told.value)
    assert users.answers.total() - users.answers["200"] <= AT_ONCE  # on their way as the router came
    assert users.predictions == {0.25}
    assert history(store) == ["held", "undone"]
    assert len(serving(store)) == 2


def test_a_shadow_that_hangs_is_undone_and_no_caller_waits_for_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LATE_COPY_SECONDS", 11)  # a copy is given up after 10
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with pytest.raises(DeploymentError) as told, Users(url) as users:
        deploy(store, tmp_path, 3, [{"mirror": 5}, *SHADOW[1:]], hangs=True)

    assert "the release does not keep its limits: error_rate: +1 [" in str(told.value)
    assert users.answers.keys() == {"200"}
    assert users.slowest < 2
    assert history(store) == ["held", "held", "undone"]
    assert len(serving(store)) == 2


def test_a_blue_green_release_answers_alone_at_once_and_the_one_before_ends_when_it_has_been_watched(
    store: Store, tmp_path: Path
) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Users(url) as users:
        deploy(store, tmp_path, 3, [*WATCHED, {"hold": "PT1S"}], predicts=0.26)

    assert users.answers.keys() == {"200"}
    assert users.predictions == {0.25, 0.26}
    series = deployments.every(store, "uptake")[2]
    events = {one.step: one for one in series.events[1:-1]}
    assert list(events) == ["verify", "traffic 100", "watch", "hold", "route"]
    assert re.fullmatch(r"error_rate: 0 of \d+ requests failed, .*; at most 0.2 is kept", events["watch"].said)
    answered = captured.requests(Path(store.location) / ".serving" / "uptake" / "capture").to_table()
    switched = datetime.fromisoformat(events["traffic 100"].at) + timedelta(seconds=1)
    assert set(answered.filter(pc.field("at") > switched)["arm"].to_pylist()) == {"deployment-3"}
    assert Machine(store, "uptake").server().number == 3
    assert len(serving(store)) == 2


def test_a_blue_green_release_that_does_not_keep_its_limits_goes_back_to_a_server_that_was_never_ended(
    store: Store, tmp_path: Path
) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)
    before = Machine(store, "uptake").server()

    with Users(url) as users, pytest.raises(DeploymentError, match="the release does not keep its limits: error_rate"):
        deploy(store, tmp_path, 3, WATCHED, errors=1.0)
    with Users(url) as after:
        while after.answers.total() < 20:
            time.sleep(0.05)

    assert users.answers.keys() == {"200", "500"}
    assert after.answers.keys() == {"200"}
    assert history(store) == ["held", "held", "undone"]
    assert Machine(store, "uptake").server() == before
    assert len(serving(store)) == 2


def test_a_person_sends_a_blue_green_release_back_while_it_is_watched_and_no_request_fails(
    store: Store, tmp_path: Path
) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)
    before = Machine(store, "uptake").server()

    def abort() -> None:
        while 0.26 not in users.predictions:
            time.sleep(0.05)
        approvals.decide(store, "uptake", 3, what="aborted", by="Ada", reason="callers see old prices")

    person = threading.Thread(target=abort)
    with Users(url) as users:
        person.start()
        with pytest.raises(DeploymentError, match="aborted by Ada: callers see old prices"):
            deploy(store, tmp_path, 3, "blue-green", predicts=0.26)
    with Users(url) as after:
        while after.answers.total() < 20:
            time.sleep(0.05)

    assert users.answers.keys() == after.answers.keys() == {"200"}
    assert after.predictions == {0.25}
    assert history(store) == ["held", "held", "undone"]
    assert Machine(store, "uptake").server() == before
    assert len(serving(store)) == 2


@pytest.mark.parametrize(
    ("way", "where", "what"),
    [(WATCHED, watched, "judge"), (ADAPTED, ab_test, "judge"), (SEEN, approvals, "standing")],
)
def test_a_release_that_is_watched_or_in_a_bandit_or_waits_for_people_when_its_process_is_killed_is_undone_by_the_next(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Any, where: Any, what: str
) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)
    before = Machine(store, "uptake").server()

    def work() -> None:
        monkeypatch.setattr(where, what, forked.killing(getattr(where, what), "after"))
        deploy(store, tmp_path, 3, way)

    with Users(url) as users:
        assert os.WTERMSIG(forked.status_of(work)) == signal.SIGKILL
        on_this_machine.recover(store, "uptake")

    assert users.answers.keys() == {"200"}
    assert deployments.every(store, "uptake")[-1].events[-1].reason == "its process was killed"
    assert Machine(store, "uptake").server() == before
    assert Machine(store, "uptake").unfinished() is None
    assert len(serving(store)) == 2


EXPERIMENT = [
    {"ab-test": {"sticky": {"header": "X-Player"}, "baseline": 0.25, "detect": 0.5, "window": "PT1S", "within": "PT1M"}}
]


def test_an_experiment_promotes_a_release_that_is_worth_more_to_users(store: Store, tmp_path: Path) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Players(url) as players:
        deploy(store, tmp_path, 3, EXPERIMENT, predicts=0.9)

    assert players.answers.keys() == {"200"}
    assert players.predictions == {0.25, 0.9}
    series = deployments.every(store, "uptake")[2]
    found = deployments.experiment(store, series.begun)
    assert (series.state, found.decision) == ("held", Decision.PROMOTE)
    assert (found.champion.name, found.challenger.name) == ("deployment-2", "deployment-3")
    assert found.champion.mean < found.challenger.mean
    assert not any("do not say whose they are" in note for note in found.notes)
    assert Machine(store, "uptake").server().number == 3


def test_a_bandit_gives_more_to_a_release_that_is_worth_more_and_is_replayed_on_what_was_captured_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "SUPPORT", 20)
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Players(url) as players:
        with pytest.raises(DeploymentError, match="what was captured .* `replay: none` in the step to do without"):
            deploy(store, tmp_path, 3, [{"bandit": BANDIT}], predicts=0.9)
        deploy(store, tmp_path, 4, [*ROUTED, {"hold": "PT6S"}, {"bandit": BANDIT}], predicts=0.9)

    assert players.answers.keys() == {"200"}
    series = deployments.every(store, "uptake")[3]
    found = deployments.experiment(store, series.begun)
    assert (series.state, found.decision) == ("held", Decision.PROMOTE)
    assert found.challenger.share > 0.5
    told = [one.step for one in series.events[1:-1]]
    assert told[:5] == ["verify", "traffic 50", "hold", "bandit replay", "bandit plan"]
    assert "bandit shares" in told
    captures = captured.requests(Machine(store, "uptake").capture).to_table()
    shares = captures.filter(pc.field("arm") == "deployment-4")["propensity"].unique().to_pylist()
    assert 0.1 <= min(shares) <= 0.5 < max(shares)


def test_a_first_version_has_nobody_to_be_compared_with(store: Store, tmp_path: Path) -> None:
    deploy(store, tmp_path, 1, [*STEPS, {"hold": "1 hour"}])

    said = [one.said for one in deployments.every(store, "uptake")[0].events[2:5]]
    assert said == [
        "nothing was served before, so there is nothing to divide",
        "nothing was served before, so there is nothing to compare with",
        "nothing was served before, so there is nothing to wait for",
    ]


def test_a_router_that_ends_undoes_the_canary(store: Store, tmp_path: Path) -> None:
    url = deploy(store, tmp_path, 1)

    def end_router() -> None:
        while len(deployments.every(store, "uptake")) < len(("first", "canary")):
            time.sleep(0.1)
        place = router.Place(Path(store.location) / ".serving" / "uptake")
        while len(deployments.every(store, "uptake")[-1].events) < len(("begun", "verify", "traffic")):
            time.sleep(0.1)
        os.kill(place.router().pid, signal.SIGKILL)

    threading.Thread(target=end_router).start()
    with pytest.raises(DeploymentError, match="what was served before has ended, or the router has"):
        deploy(store, tmp_path, 2, STEPS)

    answer = httpx.post(url, json={"data": {"names": ["age"], "ndarray": [[99]]}}, trust_env=False)
    assert answer.status_code == 200
    assert history(store) == ["held", "undone"]


CHANGES: tuple[tuple[Any, str], ...] = (
    (FolderStore, "add"),
    (document, "write_text"),
    (servers, "spawn"),
    (servers, "stop"),
    (Path, "rename"),
    (Path, "unlink"),
)
"""What a rollout changes by, in the history and on this machine."""


@pytest.mark.parametrize("way", ["replace", [{"mirror": 100}, {"traffic": 50}, {"traffic": 100}]])
def test_wherever_a_rollout_is_killed_the_next_start_finishes_or_undoes_it_and_no_request_fails(
    store: Store, tmp_path: Path, way: Any
) -> None:
    deploy(store, tmp_path, 1)
    url = deploy(store, tmp_path, 2, ROUTED)

    with Users(url) as users:
        for change in itertools.count(1):
            if killed(store, tmp_path, way, version=change + 2, change=change) is None:
                break

    assert change > 10
    assert users.answers.keys() == {"200"}


def test_wherever_the_first_router_of_a_server_is_killed_with_its_rollout_no_request_fails(
    store: Store, tmp_path: Path
) -> None:
    for change in itertools.count(1):
        url = deploy(store, tmp_path, 2 * change)
        with Users(url) as users:
            series = killed(store, tmp_path, ROUTED, version=2 * change + 1, change=change, since=(Machine, "share"))
        assert users.answers.keys() == {"200"}
        Machine(store, "uptake").remove()
        if series is None or "traffic 50" in [getattr(event, "step", "") for event in series.events]:
            break  # from here on all is as above

    assert change > 10


def killed(
    store: Store,
    tmp_path: Path,
    way: Any,
    *,
    version: int,
    change: int,
    since: tuple[Any, str] = (deployments, "begin"),
) -> Series | None:
    """Rolls out a version in a process that is killed before a change, and looks at what the next start makes of it.

    Args:
        store: The store.
        tmp_path: A folder.
        way: The strategy.
        version: The number of the version.
        change: The number of the change.
        since: What begins the changes that are counted.

    Returns:
        The events of that rollout; None where it made fewer changes.
    """
    before, published = Machine(store, "uptake").current().number, publish(store, tmp_path, version)
    where, name = since
    begins = getattr(where, name)

    def begin(*given: Any, **named: Any) -> Any:
        forked.dies_before(change, pytest.MonkeyPatch(), CHANGES)
        return begins(*given, **named)

    def work() -> None:
        setattr(where, name, begin)
        roll_out(store, tmp_path, published, way)

    status = forked.status_of(work)
    on_this_machine.recover(store, "uptake")

    series = deployments.every(store, "uptake")[-1]
    assert Machine(store, "uptake").current().number == (series.begun.number if series.deployment else before)
    assert Machine(store, "uptake").unfinished() is None
    assert len(serving(store)) <= len(("server", "router"))
    assert series.deployment or os.WIFSIGNALED(status)
    return series if os.WIFSIGNALED(status) else None
