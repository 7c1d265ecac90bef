"""This machine serves from any store: out of a bucket it copies the model that was published, and nothing goes back."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from s3_server import S3Server

from cd4ml.cli import run
from cd4ml.contracts import model
from cd4ml.contracts.deployment import Begun
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment.targets import Release, servers
from cd4ml.deployment.targets.machine import Machine, Replacement
from cd4ml.deployment.targets.servers import Server
from cd4ml.errors import DeploymentError
from cd4ml.storage import open_store

VERSION = Version("uptake", 1, "", "2026-01-01", "run", "", DatasetReference("players", 0, "sha256:d"))


PROGRAM = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""


@pytest.fixture
def s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """A bucket, on a machine whose servers are ready at once; whatever serves from it is ended."""
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
    program.chmod(0o700)
    monkeypatch.setattr(servers, "program", lambda: program)
    monkeypatch.setattr(servers, "STOP_SECONDS", 1)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    keys = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    yield s3
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    Machine(open_store("s3://cd4ml/team"), "uptake").remove()


def publish(folder: Path, number: int = 1) -> Version:
    """A model in the bucket."""
    trained = folder / f"trained-{number}"
    (trained / "saved_model" / "variables").mkdir(parents=True)
    (trained / "saved_model" / "variables" / "weights").write_text(f"weights {number}")
    (trained / "contract.json").write_text("{}")
    open_store("s3://cd4ml/team").add_folder(f"models/uptake/{number}", {"model": trained, "version.json": "{}"})
    return dataclasses.replace(VERSION, version=number, digest=model.digest(trained))


def raise_(version: Version) -> Machine:
    begun = Begun("uptake", version.version, version.version, version.digest, "run", "machine", "replace", "now")
    machine = Machine(open_store("s3://cd4ml/team"), "uptake")
    with machine.turn():
        machine.raise_(Release(version, begun, port=servers.free_port(), log_file=log_of(version)))
    return machine


def log_of(version: Version) -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / f"{version.version}.log"


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("state/cd4ml/serving/*/uptake/models/*"))


def test_a_model_in_a_bucket_is_copied_whole_and_the_bucket_gets_no_file_of_a_server(
    s3: S3Server, tmp_path: Path
) -> None:
    version = publish(tmp_path)
    before = set(s3.objects)

    machine = raise_(version)

    (copy,) = copies(tmp_path)
    assert (copy.name, model.digest(copy / "model")) == ("1", version.digest)
    assert copy.parent.stat().st_mode & 0o777 == 0o700  # what a model knows of people is this user's alone
    assert machine.unfinished().number == 1
    assert set(s3.objects) == before


def test_a_copy_that_is_there_is_not_brought_again(s3: S3Server, tmp_path: Path) -> None:
    version = publish(tmp_path)
    raise_(version)
    s3.objects.clear()

    raise_(version)


def test_a_model_that_is_not_the_published_one_is_not_served(s3: S3Server, tmp_path: Path) -> None:
    version = publish(tmp_path)
    (key,) = (key for key in s3.objects if key.endswith("weights"))
    s3.objects[key] = b"others"

    with pytest.raises(DeploymentError, match=f"holds the model sha256:.*, not {version.digest}, which was published"):
        raise_(version)

    assert copies(tmp_path) == []
    assert Machine(open_store("s3://cd4ml/team"), "uptake").unfinished() is None


def test_a_copy_that_was_changed_is_brought_again(s3: S3Server, tmp_path: Path) -> None:
    version = publish(tmp_path)
    raise_(version)
    others = set[bool]()

    for text in "abcdefgh":
        next(tmp_path.glob("state/**/weights")).write_text(text)
        others.add(model.digest(copies(tmp_path)[0] / "model") < version.digest)
        raise_(version)
        assert model.digest(copies(tmp_path)[0] / "model") == version.digest

    assert others == {True, False}


def test_what_is_not_served_any_more_is_removed(s3: S3Server, tmp_path: Path) -> None:
    raise_(publish(tmp_path, 1))
    machine = raise_(publish(tmp_path, 2))
    assert [copy.name for copy in copies(tmp_path)] == ["1", "2"]

    machine.keep()

    assert copies(tmp_path) == []


def test_what_was_undone_leaves_no_copy(s3: S3Server, tmp_path: Path) -> None:
    machine = raise_(publish(tmp_path))

    assert machine.undo().endswith("the rollout of run run was undone; nothing is served, as no server was kept before")

    assert (copies(tmp_path), machine.unfinished()) == ([], None)


def test_what_was_served_before_is_noted_until_it_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "program", lambda: Path("/bin/false"))  # a server that ends before it is ready
    port, log = servers.free_port(), str(tmp_path / "log")
    before = Server("uptake", 2**22, 1.0, port, "models/1/model", log, "first", kept=True)
    Replacement("second", before, 2).write(tmp_path / "store" / ".serving" / "uptake" / "replacement.json")
    machine = Machine(open_store(tmp_path / "store"), "uptake")

    assert "but version 1, which was served before, could not be served again" in machine.undo()

    assert machine.unfinished() is not None


@pytest.mark.parametrize("kept", [True, False])
def test_a_task_whose_run_was_killed_can_still_start_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(servers, "program", lambda: Path("/bin/false"))
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    monkeypatch.setenv(servers.OWNER, str(ended.pid))

    server = servers.start(
        tmp_path / "server.json",
        name="uptake",
        model_folder=tmp_path,
        digest="sha256:d",
        port=servers.free_port(),
        log=tmp_path / "log",
        run="run",
        kept=kept,
        number=1,
    )

    assert server.owner_lives() is kept


def test_a_run_whose_bucket_cannot_be_asked_at_its_end_says_so(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = raise_(publish(tmp_path))
    wanted = SimpleNamespace(store="s3://cd4ml/team", model="uptake", target="machine")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    server, said = run._end_serving(wanted, "run", began_to_deploy=True)

    assert server is None
    assert "AWS_ACCESS_KEY_ID not set" in said
    assert machine.unfinished() is not None  # and the next run undoes it


def test_two_buckets_of_one_name_at_two_places_do_not_meet(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_(publish(tmp_path))

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    assert Machine(open_store("s3://cd4ml/team"), "uptake").unfinished() is None
