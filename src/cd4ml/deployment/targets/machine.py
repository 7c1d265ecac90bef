"""The model server on this machine: one process group a deployment, known by a file beside the store's objects.

`.serving/<name>/server.json` is a `Server`, there as long as the server is meant to run. While one takes the place
of another, `replacement.json` beside it is a `Replacement`. It says what was there before, so that whoever comes next
can undo a rollout whose process was killed. Both come and go, so they are no objects of the store, which never change.
"""

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cd4ml import supervisor
from cd4ml.cluster import logs
from cd4ml.contracts import document
from cd4ml.deployment import verify
from cd4ml.deployment.targets import Served
from cd4ml.errors import Cd4mlError, DeploymentError, EnvironmentSetupError
from cd4ml.registry import deployments
from cd4ml.storage import check_name
from cd4ml.storage.folder import FolderStore

SERVING = ".serving"
"""The folder of what is served, beside the kinds of objects of the store."""
READY_SECONDS = 90
STOP_SECONDS = 10
KEEP_SERVING = "CD4ML_KEEP_SERVING"
"""The variable by which a run asks that the server which it starts outlives it."""
OWNER = "CD4ML_RUN_PROCESS"
"""The variable that names the process of the run."""
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
    owner: tuple[int, float] | None = None
    """Whose end is its own where it is not kept: the pid of a process, and when that was made."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def process(self) -> psutil.Process | None:
        """The process, while it runs."""
        return _process(self.pid, self.started)

    def owner_lives(self) -> bool:
        """Whether the run that started it goes on, as far as is known."""
        return self.owner is None or _process(*self.owner) is not None


def _process(pid: int, started: float) -> psutil.Process | None:
    """The process of a pid, while it runs and is the one that was made then."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < CLOCK_SECONDS
        alive = same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


@dataclass(frozen=True)
class Replacement:
    """A rollout that is not over."""

    run: str
    before: Server | None
    """What was served when it began."""
    recorded: int
    """How many deployments of the name were in the registry when it began."""


@contextmanager
def rollout(store: FolderStore, *, name: str, model: str, port: int, run: str, log: Path) -> Iterator[Served]:
    """Serves a model in place of the one that was served; when the context fails, that one is served again.

    The deployment holds once it is recorded in the registry, which is the last thing to do in the context. Until then
    whoever finds the rollout without its process undoes it (`recover`).

    Args:
        store: Knows the running server.
        name: The deployment's.
        model: The name of the model's folder in the store.
        port: Where the server listens.
        run: The run that deploys.
        log: Takes what the server says.

    Yields:
        What is served, once it is ready.

    Raises:
        DeploymentError: The port is in use, or the server did not get ready.
    """
    with alone(store, name):
        said = undo(store, name)
        if said:
            logging.getLogger(__name__).warning(said)
        left = _replacement(store, name)  # where what was killed could not be undone
        before = find(store, name) or (left.before if left else None)
        if not (before and before.port == port):
            check_port(port)
        recorded = len(deployments.history(store, name))
        _write(_replacement_file(store, name), Replacement(run, before, recorded))
        try:
            if before:
                stop(store, before)
            kept = KEEP_SERVING in os.environ or (before is not None and before.kept)
            server = start(store, name=name, model_folder=store.path(model), port=port, log=log, run=run, kept=kept)
            verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)
            yield Served(server.url, keep=lambda: _check_alive(server))
        except BaseException as error:
            end = f"\nthe server's log says:\n{_error(log)}" if log.exists() else ""
            said = undo(store, name)
            if isinstance(error, DeploymentError):
                raise DeploymentError(f"{error}{end}\n{said}") from error
            raise
        _replacement_file(store, name).unlink(missing_ok=True)


def _check_alive(server: Server) -> None:
    if server.process() is None:
        raise DeploymentError(f"the model server of {server.url} has ended since it was verified")


def recover(store: FolderStore, name: str) -> str:
    """Undoes what a run that was killed left of its deployment.

    Returns:
        What was done, in a sentence; empty where nothing was left, where a run is at it that lives, or where it is not
        ours to change.
    """
    if not os.access(_file(store, name).parent, os.W_OK):
        return ""
    with alone(store, name, wait=False) as held:
        if not held:
            return ""
        undone = undo(store, name)
        server = find(store, name)
        if undone or server is None or server.kept or server.owner_lives():
            return undone
        stop(store, server)
        return f"{name}: the server at {server.url}, which run {server.run} left when it was killed, was ended"


def is_unfinished(store: FolderStore, name: str) -> bool:
    """Whether a rollout goes on, or was left halfway."""
    return _replacement_file(store, name).exists()


def give_up(store: FolderStore, name: str) -> None:
    """Ends all that is served, and puts nothing back; whoever calls it holds the deployment (`alone`)."""
    _end_all(store, name)
    _replacement_file(store, name).unlink(missing_ok=True)


def undo(store: FolderStore, name: str) -> str:
    """Undoes the rollout that is not over, if there is one; whoever calls it holds the deployment (`alone`)."""
    replacement = _replacement(store, name)
    if replacement is None:
        return ""
    if len(deployments.history(store, name)) > replacement.recorded:  # it holds, and only the file was left
        _replacement_file(store, name).unlink()
        return ""
    _end_all(store, name)
    before = replacement.before
    what = f"{name}: the rollout of run {replacement.run} was undone"
    if before is None or not before.kept:
        _replacement_file(store, name).unlink()
        return f"{what}; nothing is served, as no server was kept before"
    model = Path(before.model_folder)
    was = f"version {model.parent.name}, which was served before"
    try:
        server = start(
            store, name=name, model_folder=model, port=before.port, log=Path(before.log), run=before.run, kept=True
        )
        _replacement_file(store, name).unlink()
        verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)
    except Cd4mlError as error:
        return f"{what}, but {was}, could not be served again: {error}"
    return f"{what}; {was}, is served again at {before.url}"


def _end_all(store: FolderStore, name: str) -> None:
    """Ends every server of a deployment, also one whose file was not written any more."""
    server = find(store, name)
    if server:
        stop(store, server)
    marks = {str(_file(store, name)), str(_folder_before(store, name) / "server.json")}
    unknown = [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get(_MARK) in marks]
    for process in unknown:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(unknown, timeout=STOP_SECONDS)


_MARK = supervisor.OUTLIVES
"""The variable that names the file of a server, in its own environment."""


def _replacement(store: FolderStore, name: str) -> Replacement | None:
    try:
        content = json.loads(_replacement_file(store, name).read_text())
        before = content["before"]
        return Replacement(content["run"], Server(**before) if before else None, content["recorded"])
    except FileNotFoundError:
        return None


def _replacement_file(store: FolderStore, name: str) -> Path:
    return _file(store, name).with_name("replacement.json")


def _error(log: Path) -> str:
    return "\n".join(f"  {line}" for line in logs.excerpt(log.read_text(errors="replace")))


def start(store: FolderStore, *, name: str, model_folder: Path, port: int, log: Path, run: str, kept: bool) -> Server:
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
            env={**_environment(model_folder, port), _MARK: str(_file(store, name))},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        started = psutil.Process(process.pid).create_time()
        server = Server(name, process.pid, started, port, str(model_folder), str(log), run, kept, _owner())
        _write(_file(store, name), server)
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


@contextmanager
def alone(store: FolderStore, name: str, wait: bool = True) -> Iterator[bool]:
    """Holds a deployment for oneself; another run that deploys the same waits for its turn, where it does not go on.

    Yields:
        Whether it is held.

    Raises:
        DeploymentError: The store cannot be written here.
    """
    file = _file(store, name).with_name("lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("w")
    except OSError as error:
        raise DeploymentError(f"{file}: cannot be written ({error.strerror}); who deploys has to hold it") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


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


def _write(file: Path, content: Server | Replacement) -> None:
    document.write(file, asdict(content))


def _file(store: FolderStore, name: str) -> Path:
    folder = store.root / SERVING / check_name(name)
    _take_over(_folder_before(store, name), folder)
    return folder / "server.json"


def _take_over(before: Path, folder: Path) -> None:
    """Moves the files to where they lie now; a store that cannot be written keeps them."""
    for name in ("server.json", "replacement.json"):
        if (before / name).exists() and not (folder / name).exists():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                (before / name).rename(folder / name)


def _folder_before(store: FolderStore, name: str) -> Path:
    """Where older versions kept the files: among the records of deployments."""
    return store.path(f"deployments/{name}")


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _owner() -> tuple[int, float] | None:
    pid = os.environ.get(OWNER)
    return (int(pid), psutil.Process(int(pid)).create_time()) if pid else None


def _environment(model_folder: Path, port: int) -> dict[str, str]:
    of_the_run = ("TMPDIR", KEEP_SERVING, OWNER)  # and gone with it
    inherited = {name: value for name, value in os.environ.items() if name not in of_the_run}
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
        DeploymentError: The port is in use, which names by whom, or cannot be had for another reason.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                said = f"is in use{_user_of(port)}: end that program, or name another port"
            else:
                said = f"cannot be listened on ({error.strerror}): name another port"
            raise DeploymentError(f"port {port} {said} with the argument `port`") from error


def _user_of(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass  # it may not be asked about, or has just ended
    return ""
