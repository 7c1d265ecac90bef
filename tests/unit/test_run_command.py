"""`cd4ml run`, as a user gives it, with a function in the place of what runs the tasks."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from cd4ml import cli
from cd4ml.contracts import predictions
from cd4ml.contracts.deployment import Held, Undone
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.task_tree import Group, Task
from cd4ml.deployment.targets import servers
from cd4ml.deployment.targets.machine import Machine
from cd4ml.deployment.targets.servers import Server
from cd4ml.errors import StorageError
from cd4ml.registry import deployments, records
from cd4ml.running import local
from cd4ml.storage import Store, open_store

ARGUMENTS = {
    "name": "uptake",
    "source": "players.csv",
    "dataset": "players",
    "key": "id",
    "label": "took",
    "store": "store",
    "model_limits": {"auc": {"min": 0.5}},
}
Does = Callable[["Running"], bool]


class Running:
    """A run as what runs its tasks is given it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.tree: Group = given["tree"]
        self.folder: Path = given["folder"]
        self.environment: dict[str, str] = given["environment"]
        self.arguments: dict[str, Any] = given["arguments"]
        self.cache: Path = given["cache"]
        self.changed: Callable[[Task], None] = given["changed"]
        (self.folder / "logs").mkdir()

    def task(self, name: str, state: str, *, log: str | None = None) -> Task:
        """A task begins, and ends so."""
        (found,) = (task for task in self.tree.tasks if task.name == name)
        found.started, found.ended, found.state = 10.0, 12.5, state  # type: ignore[assignment]
        if log is not None:
            found.log.write_text(log)
        self.changed(found)
        return found

    def publish(self, store: Store) -> Version:
        about = DatasetReference("players", 0, "sha256:d")
        version = Version("uptake", 1, "sha256:0123456789abcdef", "2026-01-01", self.folder.name, "", about)
        predictions.write(pa.table({"age": [1, 2]}), "probability", np.array([0.25, 0.5]), file=self.folder / "known")
        store.add_folder(version.folder, {"version.json": version.text, "predictions.parquet": self.folder / "known"})
        return version


class Ran:
    """What a user saw."""

    def __init__(self, code: Any, said: str) -> None:
        self.code, self.said = code, said
        self.lines = [line.strip() for line in said.splitlines()]
        self.words = " ".join(said.split())


class Command:
    """Runs `cd4ml run` in a folder, and gives what it says."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch
        self.store = open_store(folder / "store")

    def __call__(self, does: Does, *options: str, **arguments: Any) -> Ran:
        content = {"pipeline": "training", "arguments": ARGUMENTS | arguments}
        (self.folder / "training.yaml").write_text(json.dumps(content))

        def run(_: Any, **given: Any) -> bool:
            self.running = Running(given)
            return does(self.running)

        self.monkeypatch.setattr(local, "run", run)
        self.monkeypatch.setattr(sys, "argv", ["cd4ml", "run", "training.yaml", *options])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = self.capsys.readouterr()
        return Ran(ended.value.code, output.out + output.err)

    @property
    def summary(self) -> Any:
        return json.loads((self.running.folder / "summary.json").read_text())


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "check_environments", lambda _: None)
    (tmp_path / "players.csv").write_text("id,took\n")
    return Command(tmp_path, capsys, monkeypatch)


def serve(store: Store, process: psutil.Process, *, run: str, kept: bool) -> None:
    """The process is the server that a run started."""
    file = Path(store.location) / ".serving" / "uptake" / "server.json"
    Server("uptake", process.pid, process.create_time(), 9701, "models/1/model", "log", run, kept).write(file)


def passes(running: Running) -> bool:
    for task in list(running.tree.tasks):
        running.task(task.name, "passed")
    return True


def test_a_run_that_passes_says_so_and_where_its_report_lies(run: Command) -> None:
    ran = run(passes)

    folder = run.running.folder
    assert ran.code == 0
    assert re.fullmatch(r"training-\d{8}-\d{6}", folder.name)
    assert folder.parent == run.folder / "runs"
    assert ran.lines[-3:] == [
        "passed in 0 s",
        f"report   runs/{folder.name}/index.html",
        f"summary  runs/{folder.name}/summary.json",
    ]
    assert "passed  Train candidate         2.5 s" in ran.said
    assert (run.summary["status"], run.summary["run_id"], run.summary["failure"]) == ("passed", folder.name, None)
    assert run.running.cache == run.folder / "runs" / ".cache"
    assert run.running.environment == {servers.OWNER: str(os.getpid()), records.RUN: folder.name}
    assert run.running.arguments.items() >= {"name": "uptake", "store": "store"}.items()


def test_the_server_of_a_run_is_kept_where_that_is_asked_for(run: Command) -> None:
    run(passes, "--keep-serving")

    assert run.running.environment[servers.KEEP_SERVING] == "1"


def test_runs_go_to_the_folder_that_is_named_and_two_of_one_second_do_not_meet(run: Command, tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        assert run(passes, "--runs", str(tmp_path / "elsewhere")).code == 0
        names.add(run.running.folder)

    assert len(names) == 3
    assert {name.parent for name in names} == {tmp_path / "elsewhere"}


def test_a_hundred_runs_of_one_second_are_told(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Standing(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Standing":  # noqa: ARG003 (it stands)
            return cls(2026, 1, 1, 12, tzinfo=UTC)

    monkeypatch.setattr("cd4ml.cli.run.datetime", Standing)
    assert run(passes).code == 0
    first = run.running.folder
    assert run(passes).code == 0
    assert run.running.folder.name == f"{first.name}-2"
    for number in range(3, 100):
        (first.parent / f"{first.name}-{number}").mkdir()

    ran = run(passes)

    assert ran.code == 1
    assert "error: runs: a hundred runs began in this second; try again" in ran.words


def test_a_folder_that_cannot_take_runs_is_told(run: Command) -> None:
    ran = run(passes, "--runs", "players.csv")

    assert (ran.code, ran.words) == (
        1,
        "error: players.csv: cannot be written (Not a directory); name another folder with --runs",
    )


@pytest.mark.parametrize(
    ("log", "failure"),
    [
        (
            "...\ncd4ml.errors.DataError: players.csv: no such file; name another\n",
            "players.csv: no such file; name another",
        ),
        ("KeyError: 'x'\n", "KeyError: 'x'"),
        ("", "The task's process ended without a word."),
        (None, "The task's process ended without a word."),
        (f"OSError: {os.strerror(errno.ENOSPC)}\n", "Ingest dataset: no space left on the disk; make room, or name"),
    ],
)
def test_a_task_that_fails_is_told_in_the_words_of_its_error(run: Command, log: str | None, failure: str) -> None:
    def fails(running: Running) -> bool:
        running.task("ingest-dataset", "failed", log=log)
        return False

    ran = run(fails)

    assert ran.code == 1
    assert f"failed {failure}" in ran.words
    assert run.summary["failure"].startswith(failure)
    told = [line for line in ran.lines if line.startswith("log")]
    folder = run.running.folder.relative_to(run.folder)
    assert told == ([] if log is None else [f"log      {folder}/logs/ingest-dataset.log"])


def test_a_task_that_a_signal_ended_is_told_with_it_and_one_that_never_began_with_the_reason(run: Command) -> None:
    def killed(running: Running) -> bool:
        running.task("ingest-dataset", "failed", log="INFO: begun").signal = signal.SIGKILL
        return False

    def unready(running: Running) -> bool:
        running.task("ingest-dataset", "failed", log="INFO: begun").failure = "its input is gone"
        return False

    assert "failed Ingest dataset: ended by signal 9: out of memory?" in run(killed).words
    assert "failed its input is gone log" in run(unready).words


def test_a_group_that_fails_by_itself_is_told_and_a_task_before_it(run: Command) -> None:
    def fails(running: Running) -> bool:
        running.tree.nodes.append(Group("loop-1", "Loop", state="failed", headline="its items are no list"))
        return False

    def task_too(running: Running) -> bool:
        running.task("ingest-dataset", "failed", log="cd4ml.errors.DataError: no rows")
        return fails(running)

    assert "failed its items are no list report" in run(fails).words
    assert "failed no rows log" in run(task_too).words
    assert "failed The pipeline ended before all tasks had run. report" in run(lambda _: False).words


def test_a_run_that_is_stopped_says_that_what_was_finished_is_reused(run: Command) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def stopped(_: Running) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    try:
        ran = run(stopped)
        assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}  # nothing cuts the end short
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert ran.code == 1
    assert "stopped The run was stopped. Run the same command again: what was finished is reused." in ran.words
    assert run.summary["status"] == "stopped"


def test_a_signal_that_was_ignored_stays_ignored_and_the_others_are_put_back(run: Command) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def hung_up(running: Running) -> bool:
        os.kill(os.getpid(), signal.SIGHUP)
        return passes(running)

    try:
        assert run(hung_up).code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "full")])
def test_a_full_disk_is_told(run: Command, fault: OSError) -> None:
    def full(_: Running) -> bool:
        raise fault

    ran = run(full)

    assert (ran.code, ran.words) == (
        1,
        "error: runs: no space left on the disk; make room, or name another folder with --runs",
    )


def test_a_file_that_a_full_disk_cut_short_is_told_so_and_another_fault_is_not(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(_: Running) -> bool:
        raise ValueError("half a file")

    with pytest.raises(ValueError, match="half a file"):
        run(cut)
    full = shutil.disk_usage(run.folder)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert "error: runs: no space left on the disk" in run(cut).words


def test_what_was_published_is_told_whether_or_not_the_run_passed(run: Command) -> None:
    def publishes(running: Running) -> bool:
        running.publish(run.store)
        return passes(running)

    def then_fails(running: Running) -> bool:
        shutil.rmtree(run.folder / "store")
        running.publish(run.store)
        running.task("deploy-model", "failed", log="cd4ml.errors.DeploymentError: it does not hold")
        return False

    assert "model    uptake version 1, sha256:0123456789ab" in run(publishes).lines
    assert run.summary["published"]["uri"] == str(run.folder / "store/models/uptake/1")
    assert run.summary["published"]["version"] == 1
    ran = run(then_fails)
    assert "failed it does not hold model uptake version 1 was published log" in ran.words


def test_the_page_tells_what_this_run_published_and_deployed_and_not_what_one_before_did(run: Command) -> None:
    def deploys(running: Running) -> bool:
        version = running.publish(run.store)
        for number, event in ((1, Held("http://127.0.0.1:9701", "now")), (2, Undone("it does not hold", "now"))):
            begun = deployments.begin(run.store, version, run=version.run, target="machine", strategy="replace")
            deployments.add(run.store, begun, event)
            assert begun.number == number
        running.task("deploy-model", "failed")
        return False

    def fails(running: Running) -> bool:
        running.task("deploy-model", "failed")
        return False

    def page() -> str:
        return (run.running.folder / "index.html").read_text()

    run(deploys)
    assert "The run failed after version 1 was deployed<" in page()
    ran = run(fails)
    assert "The run failed: nothing was published or deployed<" in page()
    assert "was published" not in ran.said
    assert run.summary["published"] is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_server_that_is_kept_is_told_with_how_to_ask_and_end_it_and_another_is_ended(
    run: Command, process: psutil.Process, kept: bool
) -> None:
    def deploys(running: Running) -> bool:
        running.publish(run.store)
        serve(run.store, process, run=running.folder.name, kept=kept)
        return passes(running)

    ran = run(deploys)

    assert (Machine(run.store, "uptake").server() is not None) is kept
    told = [line for line in ran.lines if line.startswith(("serving", "try"))]
    if not kept:
        assert told == []
        return
    assert told[0] == "serving  http://127.0.0.1:9701; end it with: cd4ml stop uptake"
    words = shlex.split(told[1])
    assert words[:-1] == [
        *("try", "curl", "-s", "http://127.0.0.1:9701/api/v1.0/predictions"),
        *("-H", "Content-Type: application/json", "-d"),
    ]
    assert json.loads(words[-1]) == {"data": {"names": ["age"], "ndarray": [[1]]}}


def test_a_server_of_a_version_that_an_earlier_run_published_is_told_likewise(
    run: Command, process: psutil.Process
) -> None:
    def publishes(running: Running) -> bool:
        running.publish(run.store)
        return passes(running)

    def deploys(running: Running) -> bool:
        serve(run.store, process, run=running.folder.name, kept=True)
        return passes(running)

    run(publishes)
    ran = run(deploys)

    assert "serving  http://127.0.0.1:9701; end it with: cd4ml stop uptake" in ran.lines
    assert "try curl -s http://127.0.0.1:9701/api/v1.0/predictions" in ran.words


def test_how_to_end_a_server_names_a_store_that_is_not_the_usual_one(run: Command, process: psutil.Process) -> None:
    run.store = open_store(run.folder / "my store")

    def deploys(running: Running) -> bool:
        running.publish(run.store)
        serve(run.store, process, run=running.folder.name, kept=True)
        return passes(running)

    ran = run(deploys, store="my store")

    assert f"end it with: cd4ml stop uptake --store '{run.folder}/my store' try curl" in ran.words


def test_a_server_of_another_run_is_said_to_have_taken_the_place(run: Command, process: psutil.Process) -> None:
    def deploys(running: Running) -> bool:
        serve(run.store, process, run="run-2", kept=True)
        return passes(running)

    assert "replaced by the server of run run-2, at http://127.0.0.1:9701 report" in run(deploys).words
    assert process.is_running()


def test_a_run_that_did_not_come_to_deploy_leaves_the_server_that_there_is(
    run: Command, process: psutil.Process
) -> None:
    def ends_early(running: Running) -> bool:
        serve(run.store, process, run=running.folder.name, kept=False)
        running.task("ingest-dataset", "failed")
        return False

    ran = run(ends_early)

    assert "serving" not in ran.said
    assert Machine(run.store, "uptake").server() is not None


def test_what_a_run_that_was_killed_left_is_ended_first_and_told(run: Command, process: psutil.Process) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    file = Path(run.store.location) / ".serving" / "uptake" / "server.json"
    of_run = ("uptake", process.pid, process.create_time(), 9701, "models/1/model", "log", "run-0", False)
    Server(*of_run, owner=(gone.pid, 0.0)).write(file)

    ran = run(passes)

    assert ran.words.startswith(
        "uptake: the server at http://127.0.0.1:9701, which run run-0 left when it was killed, was ended"
    )
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_port_in_use_is_told_before_anything_runs(run: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ran = run(passes, port=port)

        assert ran.code == 1
        assert ran.words.startswith(f"error: port {port} is in use by process {os.getpid()} ")
        assert not (run.folder / "runs").exists()


def test_an_environment_that_is_missing_is_told_before_anything_runs(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(run.folder)
    monkeypatch.setattr(sys, "prefix", str(run.folder / "environments" / "tools"))

    ran = run(passes)

    assert ran.code == 1
    assert "`make setup`" in ran.words
    assert not (run.folder / "runs").exists()


def test_a_run_that_fails_ends_its_record_and_one_that_cannot_be_recorded_says_so(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(running: Running) -> bool:
        environment = {records.RUN: running.folder.name, records.PIPELINE: "training"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            records.begin("store", name=running.folder.name, arguments={})
        running.task("ingest-dataset", "failed", log="cd4ml.errors.DataError: no rows")
        return False

    run(fails)
    record = records.read(run.store, run.running.folder.name)
    assert (record.status, record.failure) == ("failed", "no rows")

    def refuse(*_: Any, **__: Any) -> None:
        raise StorageError("the store does not answer")

    monkeypatch.setattr(records, "close", refuse)
    assert "failed no rows This could not be recorded: the store does not answer log" in run(fails).words
    assert run(passes).code == 0
    assert run.summary["failure"] is None
