"""Model servers on this machine: one process group each, known by a file."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

import psutil

from cd4ml import supervisor
from cd4ml.contracts.document import Document
from cd4ml.errors import DeploymentError, EnvironmentSetupError

STOP_SECONDS = 10
LOOK_SECONDS = 0.02
"""How often a process that was told to do something is looked at."""
FURTHER_SECONDS = 10
"""How long a server may take to listen at a further port."""
KEEP_SERVING = "CD4ML_KEEP_SERVING"
"""The variable by which a run asks that the server which it starts outlives it."""
OWNER = "CD4ML_RUN_PROCESS"
"""The variable that names the process of the run."""
CLOCK_SECONDS = 2
"""How far the time at which a process was made may move when the machine's clock is set."""


class Known(Protocol):
    """A process that is known by a file."""

    @property
    def pid(self) -> int:
        """Its number."""

    def process(self) -> psutil.Process | None:
        """The process, while it runs."""

    def write(self, path: str | Path) -> Self:
        """Writes the file."""

    @classmethod
    def parse(cls, text: str | bytes, place: str) -> Self:
        """Reads what the file says."""


Process = TypeVar("Process", bound=Known)


@dataclass(frozen=True)
class Server(
    Document, kind="cd4ml/Server", remedy="end the model server that it is about, if it still runs, and remove the file"
):
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
    number: int | None = None
    """Its deployment's, in the history; None where an older version started it."""
    digest: str = ""
    """The model's; empty where an older version started it."""
    router_port: int | None = None
    """Where callers ask, where a router stands before it."""
    further_port: int | None = None
    """Where callers ask, where it took the port of the one before it beside its own."""

    @property
    def url(self) -> str:
        """Where callers ask."""
        return f"http://127.0.0.1:{self.public_port}"

    @property
    def public_port(self) -> int:
        """Where callers ask."""
        return self.router_port or self.further_port or self.port

    @property
    def address(self) -> str:
        """Where it alone answers."""
        return f"http://127.0.0.1:{self.port}"

    def process(self) -> psutil.Process | None:
        """The process, while it runs."""
        return process_of(self.pid, self.started)

    def owner_lives(self) -> bool:
        """Whether the run that started it goes on, as far as is known."""
        return self.owner is None or process_of(*self.owner) is not None


def process_of(pid: int, started: float) -> psutil.Process | None:
    """The process of a pid, while it runs and is the one that was made then."""
    try:
        process = psutil.Process(pid)
        alive = abs(process.create_time() - started) < CLOCK_SECONDS and _runs(process)
    except (psutil.NoSuchProcess, ValueError):  # a value error: there can be no such pid
        return None
    return process if alive else None


def program() -> Path:
    """The Python that serves.

    Raises:
        EnvironmentSetupError: The serve environment is not on this machine.
    """
    found = Path(sys.prefix).parent / "serve" / "bin" / "python"
    if not found.exists():
        raise EnvironmentSetupError(f"{found}: no such program; make the environments with `make setup`")
    return found


def start(
    file: Path,
    *,
    name: str,
    model_folder: Path,
    digest: str,
    port: int,
    log: Path,
    run: str,
    kept: bool,
    number: int | None,
    capture: Path | None = None,
    further_port: int | None = None,
) -> Server:
    """Starts a server and writes its file; it is not ready yet.

    Args:
        file: By which it is known.
        name: The model's.
        model_folder: What it serves.
        digest: The model's; the server ends where another one lies there.
        port: Where it listens.
        log: Takes what it says.
        run: The run that starts it.
        kept: Whether it outlives the run.
        number: Its deployment's.
        capture: Where it keeps requests and feedback; None where it keeps none.
        further_port: Which it may be told to take too (`take_further`).

    Raises:
        EnvironmentSetupError: The serve environment is not on this machine.
        DeploymentError: The port is in use.
    """
    program()
    check_port(port)
    return spawn(
        file,
        "cd4ml.serving.server",
        environment={
            **ports(port, free_port()),
            "MODEL_NAME": name,
            "MODEL_FOLDER": str(model_folder),
            "MODEL_VERSION": model_folder.parent.name,
            "MODEL_DIGEST": digest,
            "CAPTURE_FOLDER": str(capture or ""),
            **({"FURTHER_PORT": str(further_port)} if further_port else {}),
        },
        log=log,
        known=lambda pid, started: Server(
            name=name,
            pid=pid,
            started=started,
            port=port,
            model_folder=str(model_folder),
            log=str(log),
            run=run,
            kept=kept,
            owner=None if kept else _owner(),
            number=number,
            digest=digest,
        ),
    )


def take_further(server: Server, port: int) -> Server:
    """Has a server listen at its further port too, where another may still listen; returns once it does.

    Raises:
        DeploymentError: It does not.
    """
    end = time.monotonic() + FURTHER_SECONDS
    os.kill(server.pid, signal.SIGHUP)
    while (process := server.process()) and time.monotonic() < end:
        listening = (one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN)
        if port in listening:
            return replace(server, further_port=port)
        time.sleep(LOOK_SECONDS)
    raise DeploymentError(f"the model server of {server.address} does not take port {port}; see {server.log}")


def spawn(
    file: Path,
    module: str,
    *,
    environment: Mapping[str, str],
    log: Path,
    known: Callable[[int, float], Process],
) -> Process:
    """Starts a program of the serve environment that outlives this one, and writes its file.

    Args:
        file: By which it is known.
        module: The program.
        environment: What it is told beside what this process was, and nothing of its run.
        log: Takes what it says.
        known: Makes of its pid, and of when it was made, what the file says.

    Raises:
        EnvironmentSetupError: The serve environment is not on this machine.
    """
    python = program()
    of_the_run = ("TMPDIR", KEEP_SERVING, OWNER)  # and gone with it
    inherited = {name: value for name, value in os.environ.items() if name not in of_the_run}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own program, without a shell)
            [python, "-P", "-m", module],  # -P: no module from the folder of the run
            env={**inherited, **environment, "MODEL_HOST": "127.0.0.1", _MARK: str(file)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = known(process.pid, psutil.Process(process.pid).create_time())
        found.write(file)
    except BaseException:
        _signal_group(process.pid, signal.SIGKILL)  # nobody would find it any more
        raise
    return found


def find(file: Path) -> Server | None:
    """The server of a file, while it runs.

    Raises:
        DocumentError: The file is about no server.
    """
    return find_as(Server, file)


def find_as(kind: type[Process], file: Path) -> Process | None:
    """What a file is about, a server or a router, while it runs.

    Raises:
        DocumentError: The file is about something else.
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    found = kind.parse(text, str(file))
    return found if found.process() else None


def stop(server: Known, file: Path) -> None:
    """Ends a server, or a router, with all its children, and removes its file."""
    process = server.process()
    if process:
        family = _family(process)
        _signal_group(server.pid, signal.SIGTERM)
        _end(family)
    file.unlink(missing_ok=True)


def end(kind: type[Known], file: Path) -> None:
    """Ends what a file is about, a server or a router, where it still runs, and removes the file."""
    running = find_as(kind, file)
    if running:
        stop(running, file)
    file.unlink(missing_ok=True)


def kill_marked(files: Collection[str], *, but: Iterable[Known] = ()) -> None:
    """Ends the servers that were started to be known by one of these files, whether or not it was written.

    Args:
        files: By which they are known.
        but: Those that stay.
    """
    spared = [one for known in but if (process := known.process()) for one in _family(process)]
    marked = [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get(_MARK) in files]
    unknown = [one for one in marked if one not in spared]
    for process in unknown:
        with suppress(psutil.Error):
            process.terminate()
    _end(unknown)


def _end(told: list[psutil.Process]) -> None:
    """Waits for processes that were told to end, and kills those that do not."""
    for process in _running_after(STOP_SECONDS, told):
        with suppress(psutil.Error):
            process.kill()
    _running_after(STOP_SECONDS, told)


def _running_after(seconds: float, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Which processes still run after so many seconds, which are waited for as long as there are any.

    One that has ended does not run, whether or not its parent, such as the first process of a container, has asked.
    """
    end = time.monotonic() + seconds
    while (running := [one for one in processes if _runs(one)]) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:  # it has just ended
        return [process]


_MARK = supervisor.OUTLIVES
"""The variable that names the file of a server, in its own environment."""


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _owner() -> tuple[int, float] | None:
    pid = os.environ.get(OWNER)
    if not pid:
        return None
    try:
        return int(pid), psutil.Process(int(pid)).create_time()
    except psutil.NoSuchProcess:
        return int(pid), 0.0  # the run was killed: whoever comes next ends what it served


def ports(port: int, watched: int) -> dict[str, str]:
    """How a program of the serve environment is told where it listens.

    Args:
        port: Where callers ask.
        watched: Where those ask who watch it.
    """
    return {"PORT": str(port), "METRICS_PORT": str(watched)}


def free_port() -> int:
    """A port of this machine where nobody listens now."""
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
