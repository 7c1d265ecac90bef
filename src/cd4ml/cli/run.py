"""Running a pipeline on this machine: `cd4ml run`."""

import errno
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cd4ml import errors
from cd4ml.cli import asked
from cd4ml.cli.application import app, console, print_outcome, say
from cd4ml.contracts.task_tree import Group, Task
from cd4ml.errors import Cd4mlError
from cd4ml.storage import local_copy, open_store
from cd4ml.storage.folder import FolderStore

if TYPE_CHECKING:
    from cd4ml.contracts.progress import Progress
    from cd4ml.contracts.record import Status
    from cd4ml.deployment.targets import servers
    from cd4ml.reports import run as reports
    from cd4ml.running.walk import Part

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the end of a session, and of a terminal."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when a disk, or a user's part of it, is full."""
NO_ROOM = "no space left on the disk; make room, or name another folder with --runs"


@app.command()
def run(
    file: asked.RunFileArgument,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Leave the model server up, and print how to ask it.")
    ] = False,
    runs: asked.RunsOption = asked.RUNS,
    from_task: asked.FromTask = None,
    only: asked.OnlyTask = None,
    earlier_run: asked.EarlierRun = None,
) -> None:
    """Runs a pipeline on this machine, each component in the environment of its image.

    Results of earlier runs are reused where nothing changed. What the run wrote lies in a folder of its own in RUNS:
    index.html to look at, summary.json for programs, logs/ of every task.

    With --from or --only a part of the pipeline runs, anew; what its tasks read of those before them comes from an
    earlier run, whose arguments those before them must share: one of this machine, or, as far as its tasks noted in the
    store what they read and wrote, a cluster's. `cd4ml plan` takes the same options, and says what would run.

    Examples:
    cd4ml run examples/promotions/training.yaml

    cd4ml run examples/promotions/training.yaml --from evaluate-model

    cd4ml run examples/promotions/training.yaml --only check-model --run training-20261125-101500
    """
    wanted = asked.read(file)
    part = asked.part(wanted, runs, from_task=from_task, only=only, run=earlier_run)
    raise typer.Exit(execute(wanted, runs, keep_serving=keep_serving, part=part))


def execute(
    wanted: asked.Asked,
    runs: Path,
    *,
    keep_serving: bool = False,
    part: "Part | None" = None,
    folder: Path | None = None,
) -> int:
    """Runs a pipeline on this machine, and says how it went; the exit code.

    Args:
        wanted: What is to run.
        runs: The folder that takes the runs.
        keep_serving: Whether a model server that is started stays up.
        part: What of the pipeline is to run; all where None.
        folder: The run's own, made already; a new one in `runs` where None.
    """
    check_ready(wanted)
    with _told_of_a_full_disk(runs), _stopped_by_one_signal() as ending:
        folder = folder or new_folder(runs, wanted.name)
        return _run(wanted, runs, folder=folder, keep_serving=keep_serving, part=part, ending=ending)


def check_ready(wanted: asked.Asked) -> None:
    """Makes sure that a pipeline can begin on this machine, and clears up what runs that were killed have left.

    Raises:
        Cd4mlError: The port where its result is to be served is in use, or an environment is not there.
    """
    from cd4ml.running import local

    _clear_up(wanted)
    _check_port(wanted)
    local.check_environments(wanted.pipeline)


def _run(
    wanted: asked.Asked,
    runs: Path,
    *,
    folder: Path,
    keep_serving: bool,
    part: "Part | None",
    ending: Callable[[], None],
) -> int:
    """Runs what was asked for, and says how it went; the exit code. `ending` is called when it is over."""
    from cd4ml.cli.progress import progress
    from cd4ml.deployment.targets import servers
    from cd4ml.registry import records
    from cd4ml.reports import run as reports
    from cd4ml.running import compiled, local

    pipeline, arguments = wanted.pipeline, wanted.arguments
    tree = compiled.tree(pipeline, folder)
    if part:
        if part.run:
            say("from run", f"{part.run}: {', '.join(part.given) or 'nothing'}")
        if wanted.store:
            records.begin_part(wanted.store, pipeline=wanted.name, run=folder.name, arguments=wanted.recorded)
    kept = {servers.KEEP_SERVING: "1"} if keep_serving else {}
    environment = {servers.OWNER: str(os.getpid()), records.RUN: folder.name, **kept}
    started_at, started = datetime.now().astimezone(), time.monotonic()

    status: Status = "failed"
    failure = ""
    try:
        with progress(tree) as changed:
            passed = local.run(
                pipeline,
                arguments=arguments,
                tree=tree,
                folder=folder,
                cache=runs.resolve() / ".cache",
                changed=changed,
                environment=environment,
                part=part,
            )
        status = "passed" if passed else "failed"
        failure = "" if passed else _failure(tree)
    except KeyboardInterrupt:
        status = "stopped"
        failure = "The run was stopped. Run the same command again: what was finished is reused."
    finally:
        ending()
        seconds = time.monotonic() - started
        serving, undone = _end_serving(wanted, folder.name, _began_to_deploy(tree))
    failure = "\n".join(filter(None, (failure, undone)))
    failure = "\n".join(filter(None, (failure, _close_record(wanted, folder.name, status=status, failure=failure))))
    summary = reports.write(
        reports.Run(
            run_id=folder.name,
            pipeline=wanted.name,
            status=status,
            started_at=started_at,
            seconds=seconds,
            arguments=arguments,
            tree=tree,
            failure=failure,
            serving=serving is not None and serving.run == folder.name,
            registered=_registered(wanted, folder.name, started_at),
            trainings=_trainings(wanted, folder.name),
            taken_from=part.run if part else "",
        ),
        folder,
    )
    _print_outcome(
        summary,
        folder,
        served=Served(serving, wanted.store) if serving and wanted.store else None,
        log=_failed_log(tree),
    )
    return 0 if status == "passed" else 1


@contextmanager
def _stopped_by_one_signal() -> Iterator[Callable[[], None]]:
    """Has the first signal stop a run, and none after it cut short what is ended, undone and written then.

    Where one came, the process is about to end: Python's own handlers end before it does, so that the signals are
    ignored from then on.

    Yields:
        What has no signal stop the run any more, for when it is over.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    heeded = [number for number, handler in before.items() if handler != signal.SIG_IGN]  # as under nohup
    stopped = False

    def set_all(handler: Callable[[int, FrameType | None], None]) -> None:
        for number in heeded:
            signal.signal(number, handler)

    def ending() -> None:
        set_all(lambda *_: None)  # not `SIG_IGN`, which a server that is started would inherit

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        ending()
        signal.default_int_handler(number, frame)

    set_all(stop)
    try:
        yield ending
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN if stopped else before[number])


def _check_port(wanted: asked.Asked) -> None:
    """Finds a port in use before the work is done whose result is to be served there."""
    from cd4ml.deployment import on_this_machine, targets

    if wanted.store and wanted.model and wanted.port is not None and wanted.target == targets.MACHINE:
        on_this_machine.check_free(open_store(wanted.store), wanted.model, wanted.port)


def _clear_up(wanted: asked.Asked) -> None:
    """Undoes and removes what runs that were killed have left."""
    from cd4ml.deployment import on_this_machine

    if not wanted.store:
        return
    store = open_store(wanted.store)
    if isinstance(store, FolderStore):
        store.clean()
    said = on_this_machine.recover(store, wanted.model) if wanted.model else ""
    if said:
        console.print(escape(said), soft_wrap=True)


@contextmanager
def _told_of_a_full_disk(runs: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # a value error: of a file that was cut short
        if getattr(error, "errno", None) not in FULL and shutil.disk_usage(runs).free:
            raise
        raise Cd4mlError(f"{runs}: {NO_ROOM}") from error


def new_folder(runs: Path, called: str) -> Path:
    """Makes the folder of a run, by what is run and when.

    Raises:
        Cd4mlError: It cannot be made.
    """
    name = f"{called}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = runs.resolve() / (name + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue  # another run began in the same second
        except OSError as error:
            raise Cd4mlError(
                f"{runs}: cannot be written ({error.strerror}); name another folder with --runs"
            ) from error
        return folder
    raise Cd4mlError(f"{runs}: a hundred runs began in this second; try again")


def _failed(tree: Group) -> Task | Group | None:
    """What ended the run, if something did: the task, or a group that failed by itself."""
    failed = [node for _, node in tree.rows() if node.state == "failed"]
    tasks = [node for node in failed if isinstance(node, Task)]
    return next(iter([*tasks, *reversed(failed)]), None)


def _failed_log(tree: Group) -> Path | None:
    failed = _failed(tree)
    return failed.log if isinstance(failed, Task) and failed.log.exists() else None


def _failure(tree: Group) -> str:
    """Why a task failed: the words of its error, or the whole log of what no one foresaw."""
    failed = _failed(tree)
    if failed is None:
        return "The pipeline ended before all tasks had run."
    if isinstance(failed, Group):
        return failed.headline
    if failed.failure:
        return failed.failure
    log = failed.log.read_text(encoding="utf-8", errors="replace").strip() if failed.log.exists() else ""
    foreseen = errors.raised(log)
    if foreseen:
        return foreseen
    if failed.death:
        return f"{failed.display_name}: {failed.death}"
    if os.strerror(errno.ENOSPC) in log or not shutil.disk_usage(failed.log.parent).free:
        return f"{failed.display_name}: {NO_ROOM}"
    return log or "The task's process ended without a word."


def _began_to_deploy(tree: Group) -> bool:
    return any(task.component == "deploy_model" and task.started is not None for task in tree.tasks)


def _end_serving(wanted: asked.Asked, run_id: str, began_to_deploy: bool) -> "tuple[servers.Server | None, str]":
    """Ends the server that the run started, unless it is to be kept, and undoes a rollout that was killed.

    Returns:
        The server that is left, if any, and what was undone.
    """
    from cd4ml.deployment import on_this_machine, targets

    if not wanted.store or not wanted.model or wanted.target != targets.MACHINE or not began_to_deploy:
        return None, ""
    try:
        return on_this_machine.after(open_store(wanted.store), wanted.model, run_id)
    except Cd4mlError as error:  # the run is told of all the same
        return None, str(error)


def _close_record(wanted: asked.Asked, run_id: str, *, status: "Status", failure: str) -> str:
    """Ends the record of a run that has not passed; why it could not be, where the store fails."""
    from cd4ml.registry import records

    if status == "passed" or not wanted.store:
        return ""
    try:
        records.close(wanted.store, pipeline=wanted.name, run=run_id, status=status, failure=failure)
    except Cd4mlError as error:  # the run is told of all the same
        return f"This could not be recorded: {error}"
    return ""


def _registered(wanted: asked.Asked, run_id: str, started_at: datetime) -> "reports.Registered | None":
    """What the registry has of a run, whatever its tasks came to say; None where it cannot be asked."""
    from cd4ml.registry import clock, deployments, models
    from cd4ml.reports import run as reports

    if not wanted.store or not wanted.model:
        return None
    try:
        store = open_store(wanted.store)
        published = [one for one in models.versions(store, wanted.model) if one.run == run_id]
        since = clock.written(started_at)
        recent = takewhile(lambda series: series.begun.at >= since, deployments.newest_first(store, wanted.model))
        deployed = [one for one in (series.deployment for series in recent) if one and one.run == run_id]
    except Cd4mlError:
        return None
    uri = {"uri": store.uri(published[-1].folder)} if published else {}
    return reports.Registered(
        {**asdict(published[-1]), **uri} if published else None, asdict(deployed[0]) if deployed else None
    )


def _trainings(wanted: asked.Asked, run_id: str) -> "list[Progress]":
    """What the trainings of a run said last of how far they were; nothing where the store cannot be asked."""
    from cd4ml.registry import trainings

    try:
        return trainings.of(open_store(wanted.store), pipeline=wanted.name, run=run_id)[0] if wanted.store else []
    except Cd4mlError:
        return []


@dataclass(frozen=True)
class Served:
    """What a run has left up."""

    server: "servers.Server"
    store: str
    """The location of the store that has its version."""


def _print_outcome(summary: Mapping[str, Any], folder: Path, *, served: Served | None, log: Path | None) -> None:
    console.print()
    if summary["status"] == "passed":
        _print_passed(summary, served)
    else:
        print_outcome(summary["status"], "yellow" if summary["status"] == "stopped" else "red", summary["failure"])
        if summary["published"]:
            say("model", f"{_model(summary)} was published")
        if log:
            say("log", f"{_short(log)}")
    say("report", f"{_short(folder / 'index.html')}")
    say("summary", f"{_short(folder / 'summary.json')}")


def _print_passed(summary: Mapping[str, Any], served: Served | None) -> None:
    print_outcome("passed", "green", f"in {summary['seconds']:.0f} s")
    if summary["published"]:
        say("model", f"{_model(summary)}, {summary['published']['digest'][:19]}")
    if served and served.server.run != summary["run_id"]:
        say("replaced", f"by the server of run {served.server.run}, at {served.server.url}")
    elif served:
        say("serving", f"{served.server.url}; end it with: {_stop(served)}")
        say("try", _curl(served))


def _model(summary: Mapping[str, Any]) -> str:
    return f"{summary['published']['name']} version {summary['published']['version']}"


def _stop(served: Served) -> str:
    store = open_store(served.store).location
    option = "" if store == open_store(asked.STORE).location else f" --store {shlex.quote(store)}"
    return f"cd4ml stop {served.server.name}{option}"


def _curl(served: Served) -> str:
    from cd4ml.deployment import verify

    version = Path(served.server.model_folder).parent.name
    uri = open_store(served.store).uri(f"models/{served.server.name}/{version}/predictions.parquet")
    with local_copy(uri) as predictions:
        body = verify.example_request(predictions)
    return f"curl -s {served.server.url}{verify.PREDICTIONS} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
