"""The files by which a server of this machine is known: they come and go, so they are no objects of the store."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from cd4ml import cli
from cd4ml.deployment import on_this_machine, rollout
from cd4ml.deployment.targets import Unfinished
from cd4ml.deployment.targets.machine import Machine
from cd4ml.deployment.targets.servers import Server
from cd4ml.errors import DocumentError
from cd4ml.registry import deployments
from cd4ml.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def record(process: psutil.Process) -> dict[str, Any]:
    """What `server.json` has of it, as older versions wrote it."""
    return {
        "name": "uptake",
        "pid": process.pid,
        "started": process.create_time(),
        "port": 9701,
        "model_folder": "store/models/uptake/1/model",
        "log": "runs/a/server.log",
        "run": "a",
        "kept": True,
        "owner": None,
    }


def keep_as_before(store: FolderStore, file: str, content: dict[str, Any]) -> None:
    folder = store.path("deployments/uptake")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(content))


def test_holding_a_deployment_leaves_the_objects_alone(store: FolderStore) -> None:
    with Machine(store, "uptake").turn():
        assert store.children("deployments") == []
        assert [path.name for path in store.root.iterdir()] == [".serving"]


def test_a_server_that_an_older_version_kept_is_found(store: FolderStore, process: psutil.Process) -> None:
    keep_as_before(store, "server.json", record(process))
    store.add("deployments/uptake/1.json", "{}")

    found = Machine(store, "uptake").server()

    assert found == Server(**record(process))
    assert store.children("deployments/uptake") == ["1.json"]
    assert Machine(store, "uptake").server() == found


def test_a_server_that_an_older_version_kept_is_stopped(
    store: FolderStore, process: psutil.Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_as_before(store, "server.json", record(process))

    monkeypatch.setattr(sys, "argv", ["cd4ml", "stop", "uptake", "--store", store.location])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert not ended.value.code
    assert "the server at http://127.0.0.1:9701 has ended" in " ".join(capsys.readouterr().out.split())
    assert process.wait(timeout=0) == -signal.SIGTERM
    assert Machine(store, "uptake").server() is None


@pytest.mark.parametrize("words", [("stop",), ("deployments", "stop")])
def test_stopping_a_rollout_that_was_left_halfway_is_told(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    keep_as_before(store, "replacement.json", {"run": "a", "before": None, "recorded": 0})

    monkeypatch.setattr(sys, "argv", ["cd4ml", *words, "uptake", "--store", store.location])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert not ended.value.code
    assert " ".join(capsys.readouterr().out.split()) == (
        "uptake: a rollout that was killed halfway was undone; what it replaced is not served again"
    )


OF_BEFORE = Path(__file__).parent / "records" / "v1" / "deployment.json"


def test_stopping_what_an_older_version_deployed_is_told_in_the_history(
    store: FolderStore, process: psutil.Process
) -> None:
    keep_as_before(store, "server.json", record(process))
    store.add("deployments/uptake/1.json", OF_BEFORE.read_text().replace("promotion-uptake", "uptake"))

    rollout.stop(Machine(store, "uptake"))

    assert [series.state for series in deployments.every(store, "uptake")] == ["stopped"]
    assert process.wait(timeout=0) == -signal.SIGTERM


def test_a_deployment_of_an_older_version_that_holds_is_not_undone_for_its_note(
    store: FolderStore, process: psutil.Process
) -> None:
    """As its process leaves it that is killed between the record and the note."""
    keep_as_before(store, "server.json", record(process))
    keep_as_before(store, "replacement.json", {"run": "a", "before": None, "recorded": 0})
    store.add("deployments/uptake/1.json", OF_BEFORE.read_text().replace("promotion-uptake", "uptake"))

    assert on_this_machine.recover(store, "uptake") == ""

    assert process.is_running()
    assert Machine(store, "uptake").unfinished() is None
    assert deployments.latest(store, "uptake").number == 1


def test_a_rollout_that_an_older_version_left_halfway_is_undone(store: FolderStore) -> None:
    keep_as_before(store, "replacement.json", {"run": "a", "before": None, "recorded": 0})

    assert Machine(store, "uptake").unfinished() == Unfinished(1, before=None)
    assert on_this_machine.recover(store, "uptake") == (
        "uptake: the rollout of run a was undone; nothing is served, as no server was kept before"
    )
    assert Machine(store, "uptake").unfinished() is None


def test_a_server_without_a_file_is_ended_by_its_mark(store: FolderStore) -> None:
    """As one is that was started by a process which was killed before it wrote the file; an older version's, too."""
    keep_as_before(store, "replacement.json", {"run": "a", "before": None, "recorded": 0})
    marks = [str(store.root / folder / "uptake/server.json") for folder in ("deployments", ".serving")]
    servers = [subprocess.Popen(["sleep", "60"], env={"CD4ML_OUTLIVES_TASK": mark}) for mark in marks]

    on_this_machine.recover(store, "uptake")

    assert all(one.poll() is not None for one in servers)


def test_a_server_without_a_file_is_told_to_end_so_that_it_answers_what_it_has_begun(
    store: FolderStore, tmp_path: Path
) -> None:
    keep_as_before(store, "replacement.json", {"run": "a", "before": None, "recorded": 0})
    ends = f"trap 'echo told > {tmp_path}/end; exit' TERM; echo; while :; do sleep 0.1; done"
    mark = {"CD4ML_OUTLIVES_TASK": str(store.root / ".serving/uptake/server.json")}
    server = subprocess.Popen(["/bin/sh", "-c", ends], env=mark, stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()

    on_this_machine.recover(store, "uptake")

    assert (tmp_path / "end").read_text() == "told\n"


@pytest.mark.parametrize("name", ["server.json", "replacement.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"run": "a", "before": {"pid": 1}, "number": 1}'])
@pytest.mark.parametrize("command", [on_this_machine.recover, lambda store, name: rollout.stop(Machine(store, name))])
def test_a_note_that_cannot_be_read_is_one_error_that_names_it(
    store: FolderStore, name: str, text: str, command: Callable[[FolderStore, str], object]
) -> None:
    file = store.root / ".serving" / "uptake" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)

    with pytest.raises(DocumentError, match=f"^{file}: not a cd4ml/.*remove the file"):
        command(store, "uptake")


def test_what_a_newer_version_adds_to_a_server_hides_it_not(store: FolderStore, process: psutil.Process) -> None:
    keep_as_before(store, "server.json", record(process) | {"protocol": "v2"})

    assert Machine(store, "uptake").server() == Server(**record(process))
