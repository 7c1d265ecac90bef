"""A rollout on this machine from end to end, a small program in the place of the model server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest

from cd4ml import cli
from cd4ml.contracts import model, predictions
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.model import Contract, write_contract
from cd4ml.contracts.release import DatasetReference, Deployment, Verification, Version
from cd4ml.deployment import on_this_machine, release, rollout, verify
from cd4ml.deployment.targets import Served, servers
from cd4ml.deployment.targets.machine import Machine
from cd4ml.deployment.targets.router import Place, Router
from cd4ml.deployment.targets.servers import Server
from cd4ml.errors import DeploymentError, EnvironmentSetupError, StorageError
from cd4ml.registry import deployments, models, records
from cd4ml.storage import Store, open_store
from cd4ml.supervisor import OUTLIVES

PROGRAM = """
import json, os, signal, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

model = json.load(open(os.path.join(os.environ["MODEL_FOLDER"], "answers.json")))
def end(*_):
    print("asked to end", flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if model.get("stubborn") else end)
child = subprocess.Popen(["sleep", "60"])
print(json.dumps({"child": child.pid, "argv": sys.argv[1:], "environment": dict(os.environ)}), flush=True)
if "ends" in model:
    sys.exit(model["ends"])

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        if model.get("stops"):
            os.kill(os.getppid(), signal.SIGTERM)
        self.send_response(503 if model.get("stops") else 200)
        self.end_headers()

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]["ndarray"]
        served = [model["probability"]] * len(rows)
        answer = {"data": {"ndarray": served}, "meta": {"tags": {"digest": model["digest"]}}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass

class Shared(ThreadingHTTPServer):
    allow_reuse_port = True

def listen(port):
    return Shared((os.environ["MODEL_HOST"], int(os.environ[port])), Answers)

def take(*_):
    if not model.get("takes_no_port"):
        threading.Thread(target=listen("FURTHER_PORT").serve_forever).start()

signal.signal(signal.SIGHUP, take)
listen("PORT").serve_forever()
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on a machine that has this server; whatever serves from it is ended, and signals do what they did."""
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
    program.chmod(0o700)
    monkeypatch.setattr(servers, "program", lambda: program)
    monkeypatch.setattr(servers, "STOP_SECONDS", 1)
    before = signal.getsignal(signal.SIGTERM)
    opened = open_store(tmp_path / "store")
    yield opened
    signal.signal(signal.SIGTERM, before)
    Machine(opened, "uptake").remove()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
        return free


def publish(store: Store, tmp_path: Path, number: int = 1, **answers: Any) -> Version:
    """A model that answers 0.25 to every row, which is what evaluation got of it, or what else it is told to."""
    trained = tmp_path / f"trained-{number}"
    (trained / "saved_model").mkdir(parents=True)
    (trained / "saved_model" / "weights").write_text(f"weights {number}")
    write_contract(Contract("took", ("no", "yes"), (), {}), trained)
    digest = model.digest(trained)
    (trained / "answers.json").write_text(json.dumps({"digest": digest, "probability": 0.25, **answers}))
    known = tmp_path / "predictions.parquet"
    predictions.write(pa.table({"age": [1, 2, 3]}), "probability", np.array([0.25] * 3), file=known)
    version = Version("uptake", number, digest, "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))
    store.add_folder(version.folder, {"model": trained, "predictions.parquet": known, "version.json": version.text})
    return version


def deploy(
    store: Store, tmp_path: Path, version: Version, *, port: int, run: str = "run-1", target: str = "machine"
) -> release.Deployed:
    check = gates.Check("auc on overall", "at least 0.7", 0.8, gates.Outcome.PASSED, "auc on overall is 0.8")
    version.write(tmp_path / "version.json")
    gates.Verdict("check_model", {"model": version.digest}, (check,)).write(tmp_path / "verdict.json")
    return release.deploy(
        store.location,
        published_file=str(tmp_path / "version.json"),
        verdict_file=str(tmp_path / "verdict.json"),
        target=target,
        port=port,
        run=run,
        folder=str(tmp_path / run),
    )


def server(store: Store) -> Server:
    found = Machine(store, "uptake").server()
    assert found is not None
    return found


def said(store: Store) -> Any:
    """What the server that runs says of itself at its start."""
    return json.loads(Path(server(store).log).read_text().splitlines()[0])


def serving(store: Store) -> set[int]:
    """The processes that serve the model, by whatever file they are known."""
    folder = str(Path(store.location) / ".serving" / "uptake")
    started = psutil.process_iter(["environ", "ppid"])
    known = {one.pid: one for one in started if (one.info["environ"] or {}).get(OUTLIVES, "").startswith(folder)}
    return {pid for pid, one in known.items() if one.info["ppid"] not in known and runs(pid)}


def a_router(store: Store, port: int) -> "subprocess.Popen[bytes]":
    """A process in the place of a router, which is known as one."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    router = Router(process.pid, psutil.Process(process.pid).create_time(), port, watch_port=1, log="router.log")
    router.write(Path(store.location) / ".serving" / "uptake" / "router.json")
    return process


def states(store: Store) -> list[str]:
    return [series.state for series in deployments.every(store, "uptake")]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_each_deployment_that_ends_makes_the_page_of_its_model_and_none_fails_for_it(
    store: Store, tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    assert "Version 1 is in production" in store.read("catalogue/models/uptake.html")
    with pytest.raises(DeploymentError):
        deploy(store, tmp_path, publish(store, tmp_path, 2, probability=0.5), port=port, run="run-2")
    assert "<b>Undone:</b>" in store.read("catalogue/models/uptake.html")
    shutil.rmtree(Path(store.location) / "catalogue")
    (Path(store.location) / "catalogue").write_text("in the way")

    assert deploy(store, tmp_path, publish(store, tmp_path, 3), port=port, run="run-3").deployment.version == 3
    assert "the page of uptake could not be written" in caplog.text


def test_a_version_is_served_and_verified_and_what_came_of_it_is_written(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(records.RUN, "run-1")
    monkeypatch.setenv(records.PIPELINE, "training")
    version = publish(store, tmp_path, 3)

    deployed = deploy(store, tmp_path, version, port=port)

    url = f"http://127.0.0.1:{port}"
    assert httpx.get(url).status_code == 200
    assert Machine(store, "uptake").current() == Served(1, url)
    assert Deployment.read(tmp_path / "run-1" / "deployment.json") == deployed.deployment
    assert Verification.read(tmp_path / "run-1" / "verification.json") == deployed.verification
    assert deployed.deployment.endpoint == f"{url}/api/v1.0/predictions"
    assert deployed.verification.predictions_checked == 3
    shown = {"target": "machine", "version": 3, "predictions_checked": 3, "headline": deployed.verification.headline}
    assert shown.items() <= deployed.metadata.items()
    record = records.read(store, "run-1")
    assert (record.status, record.endpoint) == ("passed", deployed.deployment.endpoint)
    assert states(store) == ["held"]
    assert Machine(store, "uptake").unfinished() is None
    assert release.verify_latest(store.location, "uptake").digest == version.digest


def test_a_server_is_told_its_model_and_its_ports_and_nothing_of_its_run(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TMPDIR": str(tmp_path), "LANG": "C", "MODEL_HOST": "0.0.0.0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    monkeypatch.setenv(servers.OWNER, str(os.getpid()))

    version = publish(store, tmp_path, 3)
    deploy(store, tmp_path, version, port=port)

    environment = said(store)["environment"]
    assert environment["MODEL_FOLDER"] == str(tmp_path / "store/models/uptake/3/model")
    assert (environment["MODEL_HOST"], environment["MODEL_VERSION"], environment["LANG"]) == ("127.0.0.1", "3", "C")
    assert (environment["MODEL_NAME"], environment["MODEL_DIGEST"]) == ("uptake", version.digest)
    assert environment["CAPTURE_FOLDER"] == str(tmp_path / "store/.serving/uptake/capture")
    assert environment["PORT"] == str(port)
    assert int(environment["METRICS_PORT"]) not in (0, port)
    assert not {"TMPDIR", servers.KEEP_SERVING, servers.OWNER} & environment.keys()
    assert said(store)["argv"] == ["-P", "-m", "cd4ml.serving.server"]
    one = server(store)
    assert (one.number, one.run, one.kept, one.owner) == (1, "run-1", True, None)
    assert os.getpgid(one.pid) == one.pid != os.getpgid(0)


def test_a_server_that_is_not_kept_knows_the_run_with_which_it_ends(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.OWNER, str(os.getpid()))

    deploy(store, tmp_path, publish(store, tmp_path), port=port)

    assert not server(store).kept
    assert server(store).owner == (os.getpid(), psutil.Process().create_time())
    assert server(store).owner_lives()


def test_the_next_version_takes_the_port_and_is_kept_as_the_one_before_was(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    first, child = server(store), said(store)["child"]
    monkeypatch.delenv(servers.KEEP_SERVING)

    second = deploy(store, tmp_path, publish(store, tmp_path, 2), port=port, run="run-2")

    assert (server(store).public_port, server(store).url) == (port, f"http://127.0.0.1:{port}")
    assert second.verification.endpoint == f"{server(store).address}/api/v1.0/predictions" != second.deployment.endpoint
    assert len(Path(server(store).log).read_text().splitlines()) == 1  # it has started once
    assert first.process() is None
    assert not runs(child)
    assert "asked to end" in Path(first.log).read_text()
    assert (server(store).number, server(store).run, server(store).kept) == (2, "run-2", True)
    assert states(store) == ["held", "held"]


def test_a_version_that_answers_something_else_is_undone_while_the_one_before_answers_on(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    before = server(store)
    wrong = publish(store, tmp_path, 2, probability=0.75)

    with pytest.raises(DeploymentError) as refused:
        deploy(store, tmp_path, wrong, port=port, run="run-2")

    url = f"http://127.0.0.1:{port}"
    told = str(refused.value).splitlines()
    assert told[0].endswith(
        " does not predict what evaluation did: row 0 gives 0.75, evaluated 0.25 (allowed difference 1e-05)"
    )
    assert not told[0].startswith(url)
    assert told[-1] == (
        f"uptake: the rollout of run run-2 was undone; version 1, which was served before, is served as before at {url}"
    )
    assert "the server's log says:" in told
    assert states(store) == ["held", "undone"]
    assert server(store) == before
    assert before.process() is not None
    assert serving(store) == {before.pid}
    assert Machine(store, "uptake").unfinished() is None
    assert release.verify_latest(store.location, "uptake").predictions_checked == 3


def test_a_version_that_cannot_take_the_port_is_undone_while_the_one_before_answers_on(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    monkeypatch.setattr(servers, "FURTHER_SECONDS", 0.2)
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    first = server(store)

    with pytest.raises(DeploymentError, match=f"does not take port {port}; see .*server.log"):
        deploy(store, tmp_path, publish(store, tmp_path, 2, takes_no_port=True), port=port, run="run-2")

    assert server(store) == first
    assert states(store) == ["held", "undone"]
    assert len(serving(store)) == 1


@pytest.mark.parametrize(
    ("where", "what", "served"),
    [
        (servers, "start", 1),
        (Machine, "route", 1),
        (servers, "stop", 1),
        (verify, "check_serves", 1),
        (deployments, "add", 1),
        (Machine, "keep", 2),
    ],
)
@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_deploying_process_that_is_killed_is_undone_by_the_next_or_has_deployed(
    store: Store,
    tmp_path: Path,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    where: Any,
    what: str,
    served: int,
    dies: str,
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    version = publish(store, tmp_path, 2)

    def work() -> None:
        monkeypatch.setattr(where, what, forked.killing(getattr(where, what), dies))
        deploy(store, tmp_path, version, port=port, run="run-2")

    assert os.WTERMSIG(forked.status_of(work)) == signal.SIGKILL
    on_this_machine.recover(store, "uptake")

    assert release.verify_latest(store.location, "uptake").digest == models.read(store, "uptake", served).digest
    assert server(store).public_port == port
    assert serving(store) == {server(store).pid}
    assert Machine(store, "uptake").unfinished() is None


def test_a_server_that_ends_before_it_is_ready_is_told_with_what_it_said(
    store: Store, tmp_path: Path, port: int
) -> None:
    with pytest.raises(DeploymentError) as refused:
        deploy(store, tmp_path, publish(store, tmp_path, ends="no model here"), port=port)

    told = str(refused.value).splitlines()
    assert told[0] == f"the model server of http://127.0.0.1:{port} ended before it was ready"
    assert "  no model here" in told[1:-1]
    assert told[-1].endswith("the rollout of run run-1 was undone; nothing is served, as no server was kept before")
    assert Machine(store, "uptake").current() is None
    assert states(store) == ["undone"]
    with pytest.raises(DeploymentError, match="no deployment still stands"):
        release.verify_latest(store.location, "uptake")


def test_a_task_that_is_stopped_undoes_what_it_began(store: Store, tmp_path: Path, port: int) -> None:
    with pytest.raises(SystemExit) as ended:
        deploy(store, tmp_path, publish(store, tmp_path, stops=True), port=port)

    assert ended.value.code == 128 + signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)  # another one ends nothing
    (series,) = deployments.every(store, "uptake")
    assert (series.state, series.events[-1].reason) == ("undone", "it was stopped")
    assert Machine(store, "uptake").current() is None


def test_a_port_that_another_program_has_is_told_before_anything_is_changed(
    store: Store, tmp_path: Path, port: int
) -> None:
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    on_this_machine.check_free(store, "uptake", port)  # whose server makes room for the next

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = taken.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"^port {other} is in use by process {os.getpid()} "):
            on_this_machine.check_free(store, "uptake", other)
        with pytest.raises(DeploymentError, match=f"^port {other} is in use by process {os.getpid()} "):
            deploy(store, tmp_path, publish(store, tmp_path, 2), port=other, run="run-2")

    assert server(store).number == 1
    assert states(store) == ["held", "undone"]
    assert Machine(store, "uptake").unfinished() is None


def test_a_version_moves_to_another_port(store: Store, tmp_path: Path, port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)

    deploy(store, tmp_path, publish(store, tmp_path, 2), port=other, run="run-2")

    assert server(store).port == other
    servers.check_port(port)


def test_a_router_whose_server_was_killed_keeps_the_port_from_nobody(store: Store, tmp_path: Path, port: int) -> None:
    folder = Path(store.location) / ".serving" / "uptake"
    listens = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(60)"
    router = subprocess.Popen([sys.executable, "-c", listens], stdout=subprocess.PIPE, start_new_session=True)
    assert router.stdout is not None
    router.stdout.readline()
    started = psutil.Process(router.pid).create_time()
    Router(router.pid, started, port, watch_port=1, log="router.log").write(folder / "router.json")

    on_this_machine.check_free(store, "uptake", port)
    deploy(store, tmp_path, publish(store, tmp_path), port=port)

    assert not runs(router.pid)
    assert server(store).url == f"http://127.0.0.1:{port}"


def test_stopping_ends_also_a_router_whose_server_was_killed(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path), port=port)
    killed = server(store)
    os.killpg(killed.pid, signal.SIGKILL)
    router = a_router(store, port)

    assert rollout.stop(Machine(store, "uptake")) == rollout.Ended(Served(1, killed.url), halfway=False)

    assert not runs(router.pid)
    assert states(store) == ["stopped"]
    with pytest.raises(DeploymentError, match="nothing of the model uptake is served at "):
        rollout.stop(Machine(store, "uptake"))


@pytest.mark.parametrize(("probability", "number"), [(0.25, 2), (0.75, 1)], ids=["holds", "is undone"])
def test_a_server_whose_router_was_killed_is_replaced_by_the_next_or_served_again(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, *, probability: float, number: int
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=servers.free_port())
    before, router = server(store), a_router(store, port)
    replace(before, router_port=port).write(Path(store.location) / ".serving" / "uptake" / "server.json")
    router.kill()
    router.wait()

    with suppress(DeploymentError):
        deploy(store, tmp_path, publish(store, tmp_path, 2, probability=probability), port=port, run="run-2")

    assert (server(store).number, server(store).public_port) == (number, port)
    assert before.process() is None
    assert serving(store) == {server(store).pid}


def test_a_release_that_is_killed_once_it_holds_leaves_no_server_of_before(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    before, version = server(store), publish(store, tmp_path, 2)
    a_router(store, port)
    replace(before, router_port=port).write(Path(store.location) / ".serving" / "uptake" / "server.json")
    monkeypatch.setattr(Place, "follow", lambda *_: None)
    keep = Machine.keep

    def killed_first(here: Machine) -> None:
        release = psutil.Process(server(store).pid)
        os.killpg(release.pid, signal.SIGKILL)
        release.wait(5)
        keep(here)

    with monkeypatch.context() as patch:
        patch.setattr(Machine, "keep", killed_first)
        deploy(store, tmp_path, version, port=port, run="run-2")

    assert before.process() is None


def test_what_holds_has_passed_also_where_its_run_cannot_be_recorded(
    store: Store,
    tmp_path: Path,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StorageError("it does not answer")

    monkeypatch.setattr(records, "end", away)

    deploy(store, tmp_path, publish(store, tmp_path), port=port)

    assert "that the run passed could not be recorded: it does not answer" in caplog.text
    assert (tmp_path / "run-1" / "deployment.json").exists()


def test_a_server_that_does_not_heed_is_killed_with_its_children(store: Store, tmp_path: Path, port: int) -> None:
    deploy(store, tmp_path, publish(store, tmp_path, stubborn=True), port=port)
    one, child = server(store), said(store)["child"]
    started = time.monotonic()

    assert rollout.stop(Machine(store, "uptake")) == rollout.Ended(Served(1, one.url), halfway=False)

    assert time.monotonic() - started >= 1
    assert one.process() is None
    assert not runs(child)
    assert states(store) == ["stopped"]
    with pytest.raises(DeploymentError, match=f"^store {store.location}: nothing of the model uptake is served at "):
        rollout.stop(Machine(store, "uptake"))


def test_after_a_run_its_own_server_is_ended_unless_it_is_kept(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(store, tmp_path, publish(store, tmp_path, 1), port=port)
    one = server(store)

    assert on_this_machine.after(store, "uptake", "another run") == (one, "")
    assert one.process() is not None
    assert on_this_machine.after(store, "uptake", "run-1") == (None, "")
    assert one.process() is None

    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path, 2), port=port)
    kept = server(store)
    assert on_this_machine.after(store, "uptake", "run-1") == (kept, "")
    assert kept.process() is not None


def test_what_a_run_that_was_killed_served_is_ended_by_the_next(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.Popen(["sleep", "60"])
    monkeypatch.setenv(servers.OWNER, str(run.pid))
    deploy(store, tmp_path, publish(store, tmp_path), port=port)
    one = server(store)

    assert on_this_machine.recover(store, "uptake") == ""
    assert one.process() is not None
    run.kill()
    run.wait()
    with Machine(store, "uptake").turn():
        assert on_this_machine.recover(store, "uptake") == ""  # another run is at it
    assert on_this_machine.recover(store, "uptake") == (
        f"uptake: the server at {one.url}, which run run-1 left when it was killed, was ended"
    )
    assert one.process() is None
    assert on_this_machine.recover(store, "uptake") == ""


def test_a_server_that_is_kept_stays_when_its_run_was_killed(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.KEEP_SERVING, "1")
    deploy(store, tmp_path, publish(store, tmp_path), port=port)

    assert on_this_machine.recover(store, "uptake") == ""

    assert server(store).process() is not None


def test_a_process_that_was_given_the_number_of_a_server_is_not_taken_for_it(
    store: Store, tmp_path: Path, port: int
) -> None:
    deploy(store, tmp_path, publish(store, tmp_path), port=port)
    one = server(store)

    for started, same in ((one.started - 1.9, True), (one.started + 3, False), (one.started - 3, False)):
        moved = Server(one.name, one.pid, started, one.port, one.model_folder, one.log, one.run, one.kept)
        assert (moved.process() is not None) is same


def test_a_machine_without_the_serve_environment_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "tools"))
    machine = Machine(open_store(tmp_path / "store"), "uptake")
    version = Version("uptake", 1, "sha256:m", "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))

    with pytest.raises(EnvironmentSetupError, match=f"^{tmp_path}/serve/bin/python: no such program; make the env"):
        machine.check(version)
    (tmp_path / "serve" / "bin").mkdir(parents=True)
    (tmp_path / "serve" / "bin" / "python").touch()
    machine.check(version)


def published_with_a_verdict(store: Store, tmp_path: Path, number: int, *, passed: bool = True, **answers: Any) -> None:
    version = publish(store, tmp_path, number, **answers)
    outcome = gates.Outcome.PASSED if passed else gates.Outcome.FAILED
    check = gates.Check("auc on overall", "at least 0.7", 0.8, outcome, "auc on overall is 0.8")
    verdict = gates.Verdict("check_model", {"model": version.digest}, (check,))
    store.add(f"{version.folder}/verdict.json", verdict.text)


def rolled_back(store: Store, tmp_path: Path, *options: str) -> str:
    """What `cd4ml deployments rollback` exits with."""
    command = ["cd4ml", "deployments", "rollback", "uptake", "--store", store.location, "--reason", "odd answers"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*command, "--runs", str(tmp_path / "runs"), *options])
        patch.setenv(servers.KEEP_SERVING, "")  # which is put back
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return str(ended.value.code or "")


def served_version(store: Store) -> int:
    return int(Path(server(store).model_folder).parent.name)


def test_a_rollback_serves_the_version_before_and_another_one_leads_further_back(
    store: Store, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        published_with_a_verdict(store, tmp_path, number)
        deploy(store, tmp_path, models.read(store, "uptake", number), port=port, run=f"run-{number}")

    assert rolled_back(store, tmp_path) == ""
    assert (served_version(store), server(store).kept) == (2, True)
    assert f"uptake version 2 is served at http://127.0.0.1:{port}/api" in " ".join(capsys.readouterr().out.split())
    assert rolled_back(store, tmp_path) == ""
    assert served_version(store) == 1
    assert rolled_back(store, tmp_path, "--to", "0") == "2"
    assert "greater than or equal to 1" in capsys.readouterr().err
    assert rolled_back(store, tmp_path) == "1"
    assert "nothing was in production before version 1 of uptake; name a published" in capsys.readouterr().err
    assert rolled_back(store, tmp_path, "--to", "3") == ""
    assert (served_version(store), states(store)) == (3, ["held"] * 6)


def test_a_version_whose_verdict_did_not_pass_is_not_rolled_back_to_and_what_is_served_stays(
    store: Store, tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    published_with_a_verdict(store, tmp_path, 1, passed=False)
    published_with_a_verdict(store, tmp_path, 2)
    deploy(store, tmp_path, models.read(store, "uptake", 2), port=port)
    pid = server(store).pid

    assert rolled_back(store, tmp_path, "--to", "1") == "1"
    assert "has no passed verdict of check_model" in capsys.readouterr().err
    assert rolled_back(store, tmp_path, "--to", "9") == "1"
    assert "no version 9 of the model uptake; published: 1, 2" in capsys.readouterr().err
    assert (server(store).pid, states(store)) == (pid, ["held"])


def test_where_nothing_is_in_production_there_is_nothing_to_roll_back(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rolled_back(store, tmp_path) == "1"
    assert "nothing of uptake was ever in production" in capsys.readouterr().err
