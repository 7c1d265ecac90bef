"""The model server on this machine: one process group a deployment, known by a file in the store.

`deployments/<name>/server.json` is a `Server`, there as long as the server is meant to run.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from cd4ml import documents
from cd4ml.deployment import verify
from cd4ml.errors import Cd4mlError, DeploymentError, EnvironmentSetupError
from cd4ml.storage.folder import FolderStore

READY_SECONDS = 90
STOP_SECONDS = 10
CLOCK_SECONDS = 2
"""How far the time at which a process was made may move when the machine's clock is set."""


@dataclass(frozen=True)
class Server:
    """A server process that was started for a deployment."""

    name: str
    pid: int
    started: float
    """When the process was made (seconds since the epoch), which tells it from a later one of the same pid."""
    port: int
    model_folder: str
    log: str
    run: str
    kept: bool
    """Whether it outlives its run: as somebody asked, or as the one did whose place it took."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def process(self) -> psutil.Process | None:
        """The process, while it runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < CLOCK_SECONDS
            alive = same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None


@contextmanager
def rollout(store: FolderStore, name: str, model: str, port: int, run: str, log: Path) -> Iterator[str]:
    """Serves a model in place of the one that was served; when the context fails, that one is served again.

    Args:
        store: Knows the running server.
        name: The deployment's.
        model: The name of the model's folder in the store.
        port: Where the server listens.
        run: The run that deploys.
        log: Takes what the server says.

    Yields:
        The server's address, once it is ready.

    Raises:
        DeploymentError: The port is in use, or the server did not get ready.
    """
    with alone(store, name):
        before = find(store, name)
        if not (before and before.port == port):
            check_port(port)
        if before:
            stop(store, before)
        kept = before is not None and before.kept
        server = None
        try:
            server = start(store, name, store.path(model), port, log, run, kept)
            verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)
            yield server.url
        except BaseException as error:
            if server:
                stop(store, server)
            if before and before.kept:
                _restore(store, before)
            if isinstance(error, DeploymentError) and log.exists():
                raise DeploymentError(f"{error}\nthe server's log ends:\n{_last_lines(log)}") from error
            raise


def _restore(store: FolderStore, before: Server) -> None:
    """Serves again what was served before; where that fails too, the first error is the one to tell."""
    with suppress(Cd4mlError):
        start(store, before.name, Path(before.model_folder), before.port, Path(before.log), before.run, before.kept)


def _last_lines(log: Path) -> str:
    return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-5:])


def start(store: FolderStore, name: str, model_folder: Path, port: int, log: Path, run: str, kept: bool) -> Server:
    """Starts a server and writes its file; it is not ready yet.

    Raises:
        EnvironmentSetupError: The serve environment is not on this machine.
        DeploymentError: The port is in use.
    """
    program = Path(sys.prefix).parent / "serve" / "bin" / "python"
    if not program.exists():
        raise EnvironmentSetupError(f"{program}: no such program; make the environments with `make setup`")
    check_port(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own program, without a shell)
            [program, "-P", "-m", "cd4ml.serving.server"],  # -P: no module from the folder of the run
            env=_environment(model_folder, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        started = psutil.Process(process.pid).create_time()
        server = Server(name, process.pid, started, port, str(model_folder), str(log), run, kept)
        _write(store, server)
    except BaseException:
        _signal_group(process.pid, signal.SIGKILL)  # nobody would find it any more
        raise
    return server


def find(store: FolderStore, name: str) -> Server | None:
    """The running server of a deployment."""
    try:
        server = Server(**json.loads(_file(store, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return server if server.process() else None


def keep(store: FolderStore, server: Server) -> None:
    """Marks a server as one that outlives its run."""
    _write(store, replace(server, kept=True))


@contextmanager
def alone(store: FolderStore, name: str) -> Iterator[None]:
    """Holds a deployment for oneself; another run that deploys the same waits for its turn."""
    file = _file(store, name).with_name("lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stop(store: FolderStore, server: Server) -> None:
    """Ends a server with all its children, and removes its file; whoever calls it holds the deployment (`alone`)."""
    process = server.process()
    if process:
        family = [process, *process.children(recursive=True)]
        _signal_group(server.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for member in alive:
            member.kill()
    _file(store, server.name).unlink(missing_ok=True)


def _write(store: FolderStore, server: Server) -> None:
    file = _file(store, server.name)
    unfinished = file.with_suffix(".unfinished")
    documents.write(unfinished, asdict(server))
    unfinished.replace(file)


def _file(store: FolderStore, name: str) -> Path:
    return store.path(f"deployments/{name}/server.json")


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _environment(model_folder: Path, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "TMPDIR"}  # the run's, gone with it
    return {
        **inherited,
        "MODEL_FOLDER": str(model_folder),
        "MODEL_HOST": "127.0.0.1",
        "MODEL_VERSION": model_folder.parent.name,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port),
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(port: int) -> None:
    """Makes sure that a server can listen on a port of this machine.

    Raises:
        DeploymentError: The port is in use; names by whom.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DeploymentError(
                f"port {port} is in use{_user_of(port)}: end that program, or name another port "
                "with the argument `port`"
            ) from error


def _user_of(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
