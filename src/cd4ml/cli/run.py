"""Commands for this machine: `cd4ml run`, `cd4ml compile`, `cd4ml stop`."""

import shlex
import signal
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cd4ml import arguments as run_arguments
from cd4ml import errors
from cd4ml.cli import asked
from cd4ml.cli.application import app, console
from cd4ml.errors import Cd4mlError
from cd4ml.storage import local_path, open_store
from cd4ml.storage.folder import FolderStore

if TYPE_CHECKING:
    from cd4ml.deployment import machine

COMPILED = Path("compiled")


@app.command()
def run(
    file: asked.RunFileArgument,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Leave the model server up, and print how to ask it.")
    ] = False,
    runs: Annotated[
        Path, typer.Option(parser=local_path, metavar="FOLDER", help="The folder that takes the runs.")
    ] = Path("runs"),
) -> None:
    """Runs a pipeline on this machine, each component in the environment of its image.

    Results of earlier runs are reused where nothing changed. What the run wrote lies in a folder of its own in RUNS:
    index.html to look at, summary.json for programs, logs/ of every task.

    Example: cd4ml run examples/promotions/training.yaml
    """
    wanted = asked.read(file)
    # These take their time, and a file that is not as it should be is told without them.
    from cd4ml import local
    from cd4ml.cli.progress import progress
    from cd4ml.reports import run as reports

    pipeline, arguments = wanted.pipeline, wanted.arguments
    _check_port(arguments, wanted.parameters)

    local.check_environments(pipeline)
    folder = _new_folder(runs, wanted.name)
    planned = local.tasks(pipeline, folder)
    started_at, started = datetime.now().astimezone(), time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an ended session stops a run too
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # and a closed terminal, but for a run under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)

    status, failure = "failed", ""
    try:
        with progress(planned) as changed:
            passed = local.run(pipeline, arguments, planned, folder, runs.resolve() / ".cache", changed)
        status = "passed" if passed else "failed"
        failure = "" if passed else _failure(planned)
    except KeyboardInterrupt:
        status = "stopped"
        failure = "The run was stopped. Run the same command again: what was finished is reused."
    finally:
        seconds = time.monotonic() - started
        serving = _end_serving(arguments, folder.name, keep=keep_serving and status == "passed")
    summary = reports.write(
        reports.Run(
            run_id=folder.name,
            pipeline=wanted.name,
            status=status,
            started_at=started_at,
            seconds=seconds,
            arguments=arguments,
            tasks=planned,
            failure=failure,
            serving=serving is not None,
        ),
        folder,
    )
    _print_outcome(summary, folder, serving, _failed_log(planned))
    raise typer.Exit(0 if status == "passed" else 1)


@app.command("compile")
def compile_pipelines(
    output: Annotated[
        Path, typer.Option(parser=local_path, metavar="FOLDER", help="The folder that takes one YAML file a pipeline.")
    ] = COMPILED,
) -> None:
    """Compiles every pipeline for a KFP backend."""
    from kfp import compiler

    output.mkdir(parents=True, exist_ok=True)
    for name in asked.pipelines():
        target = output / f"{name}.yaml"
        compiler.Compiler().compile(getattr(asked.pipeline_module(name), name), str(target))
        console.print(f"{target}")


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    store: Annotated[
        Path, typer.Option(parser=local_path, metavar="FOLDER", help="The store that the model was deployed from.")
    ] = Path("store"),
) -> None:
    """Ends the model server that `cd4ml run --keep-serving` left up."""
    from cd4ml.deployment import machine

    opened = FolderStore(store)
    server = machine.find(opened, name)
    if server is None:
        raise Cd4mlError(f"store {opened.root}: no server of the model {name} is running on this machine")
    with machine.alone(opened, name):
        machine.stop(opened, server)
    console.print(f"{name}: the server at {server.url} has ended")


def _check_port(arguments: Mapping[str, Any], parameters: Mapping[str, run_arguments.Parameter]) -> None:
    """Finds a port in use before the work is done whose result is to be served there."""
    from cd4ml.deployment import machine

    store = _store_here(arguments)
    if "port" not in parameters or store is None:
        return
    port = int(arguments.get("port", parameters["port"].default))
    server = machine.find(store, arguments["name"])
    if server is None or server.port != port:
        machine.check_port(port)


def _store_here(arguments: Mapping[str, Any]) -> FolderStore | None:
    """The store, where it is one that this machine serves from."""
    store = open_store(arguments["store"]) if "store" in arguments else None
    return store if isinstance(store, FolderStore) else None


def _new_folder(runs: Path, pipeline: str) -> Path:
    name = f"{pipeline}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
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


def _failed_log(planned: list[Any]) -> Path | None:
    return next((task.log for task in planned if task.state == "failed"), None)


def _failure(planned: list[Any]) -> str:
    """Why a task failed: the words of its error, or the whole log of what no one foresaw."""
    log = _failed_log(planned)
    if log is None:
        return "The pipeline ended before all tasks had run."
    text = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
    return errors.words(text) or "The task's process ended without a word."


def _end_serving(arguments: Mapping[str, Any], run_id: str, keep: bool) -> "machine.Server | None":
    """Ends the server that the run started, unless it is to be kept; the server that is left, if any."""
    from cd4ml.deployment import machine

    store = _store_here(arguments)
    if store is None or "name" not in arguments or machine.find(store, arguments["name"]) is None:
        return None
    with machine.alone(store, arguments["name"]):
        server = machine.find(store, arguments["name"])
        if server is None or server.run != run_id or server.kept:
            return server
        if keep:
            machine.keep(store, server)
            return server
        machine.stop(store, server)
        return None


def _print_outcome(
    summary: Mapping[str, Any], folder: Path, serving: "machine.Server | None", log: Path | None
) -> None:
    console.print()
    if summary["status"] == "passed":
        _print_passed(summary, serving)
    else:
        colour = "yellow" if summary["status"] == "stopped" else "red"
        console.print(
            f"[bold {colour}]{summary['status']}[/] {escape(summary['failure'])}", highlight=False, soft_wrap=True
        )
        if log:
            console.print(f"[dim]log[/]      {_short(log)}", highlight=False, soft_wrap=True)
    console.print(f"[dim]report[/]   {_short(folder / 'index.html')}", highlight=False, soft_wrap=True)
    console.print(f"[dim]summary[/]  {_short(folder / 'summary.json')}", highlight=False, soft_wrap=True)


def _print_passed(summary: Mapping[str, Any], serving: "machine.Server | None") -> None:
    console.print(f"[bold green]passed[/] in {summary['seconds']:.0f} s", highlight=False)
    if summary["published"]:
        console.print(
            f"[dim]model[/]    {summary['published']['name']} version {summary['published']['version']}, "
            f"{summary['published']['digest'][:19]}",
            highlight=False,
        )
    if serving:
        console.print(f"[dim]serving[/]  {serving.url}; end it with: cd4ml stop {serving.name}", highlight=False)
        console.print(f"[dim]try[/]      {_curl(serving)}", highlight=False, soft_wrap=True)


def _curl(server: "machine.Server") -> str:
    from cd4ml.deployment import verify

    body = verify.example_request(Path(server.model_folder).parent / "predictions.parquet")
    return f"curl -s {server.url}{verify.PREDICTIONS} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
