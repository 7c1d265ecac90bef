"""The command line: `cd4ml run`, `cd4ml compile`, `cd4ml stop`."""

import importlib
import pkgutil
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cd4ml import arguments as run_arguments
from cd4ml.deployment import machine
from cd4ml.errors import Cd4mlError
from cd4ml.reports import run as reports
from cd4ml.storage import Store

app = typer.Typer(
    help="Continuous delivery for machine learning on Kubeflow Pipelines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

COMPILED = Path("pipelines/compiled")
RunFileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="YAML: `pipeline: NAME` and its `arguments:`.", show_default=False)
]


@app.command()
def run(
    file: RunFileArgument,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Leave the model server up, and print how to ask it.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="The folder that takes the runs.")] = Path("runs"),
) -> None:
    """Runs a pipeline on this machine, each component in the environment of its image.

    Results of earlier runs are reused where nothing changed. What the run wrote lies in a folder of its own in RUNS:
    index.html to look at, summary.json for programs, logs/ of every task.

    Example: cd4ml run examples/promotions/training.yaml
    """
    from cd4ml import local

    asked = run_arguments.read(file, _pipelines())
    module = _pipeline_module(asked.pipeline)
    pipeline = getattr(module, asked.pipeline)
    parameters = _parameters(pipeline)
    run_arguments.check(asked, parameters, module.CHECKS, module.check_together)
    arguments = _with_revision(asked.arguments, parameters)
    _check_port(arguments, parameters)

    local.check_environments(pipeline)
    folder = _new_folder(runs, asked.pipeline)
    planned = local.tasks(pipeline, folder)
    started_at, started = datetime.now().astimezone(), time.monotonic()
    for stop_signal in (signal.SIGTERM, signal.SIGHUP):  # an ended session or a closed terminal stops a run too
        signal.signal(stop_signal, signal.default_int_handler)

    status, failure = "failed", ""
    try:
        with _progress(planned) as changed:
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
            pipeline=asked.pipeline,
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
    output: Annotated[Path, typer.Option(help="The folder that takes one YAML file a pipeline.")] = COMPILED,
) -> None:
    """Compiles every pipeline for a KFP backend."""
    from kfp import compiler

    output.mkdir(parents=True, exist_ok=True)
    for name in _pipelines():
        target = output / f"{name}.yaml"
        compiler.Compiler().compile(getattr(_pipeline_module(name), name), str(target))
        console.print(f"{target}")


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    store: Annotated[Path, typer.Option(help="The store that the model was deployed from.")] = Path("store"),
) -> None:
    """Ends the model server that `cd4ml run --keep-serving` left up."""
    opened = Store(store)
    server = machine.find(opened, name)
    if server is None:
        raise Cd4mlError(f"store {opened.root}: no server of the model {name} is running on this machine")
    with machine.alone(opened, name):
        machine.stop(opened, server)
    console.print(f"{name}: the server at {server.url} has ended")


def main() -> None:
    """Runs the command line; what a user can mend is told without a traceback."""
    try:
        app()
    except Cd4mlError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


def _pipelines() -> list[str]:
    import cd4ml.pipelines

    return sorted(module.name for module in pkgutil.iter_modules(cd4ml.pipelines.__path__) if module.ispkg)


def _pipeline_module(name: str) -> ModuleType:
    return importlib.import_module(f"cd4ml.pipelines.{name}.pipeline")


def _parameters(pipeline: Any) -> dict[str, run_arguments.Parameter]:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    kinds = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    by_type: dict[int, run_arguments.Kind] = {
        kinds.STRING: str,
        kinds.NUMBER_INTEGER: int,
        kinds.NUMBER_DOUBLE: float,
        kinds.BOOLEAN: bool,
        kinds.LIST: list,
        kinds.STRUCT: dict,
    }
    specs = pipeline.pipeline_spec.root.input_definitions.parameters
    return {
        name: run_arguments.Parameter(
            by_type[spec.parameter_type],
            required=not spec.is_optional,
            default=json_format.MessageToDict(spec.default_value),
        )
        for name, spec in specs.items()
    }


def _with_revision(arguments: Mapping[str, Any], parameters: Mapping[str, run_arguments.Parameter]) -> dict[str, Any]:
    """Fills in git's revision of the working folder where the pipeline wants one and the file names none."""
    if "revision" not in parameters or arguments.get("revision"):
        return dict(arguments)
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return dict(arguments)
    return {**arguments, "revision": described.stdout.strip()}


def _check_port(arguments: Mapping[str, Any], parameters: Mapping[str, run_arguments.Parameter]) -> None:
    """Finds a port in use before the work is done whose result is to be served there."""
    if "port" not in parameters:
        return
    port = int(arguments.get("port", parameters["port"].default))
    server = machine.find(Store(arguments["store"]), arguments["name"])
    if server is None or server.port != port:
        machine.check_port(port)


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


def _progress(planned: list[Any]) -> Any:
    terminal = Console(file=sys.stdout)  # holds on to it while KFP's own words go elsewhere
    return _LiveTable(planned, terminal) if terminal.is_terminal else nullcontext(_TaskLines(terminal))


class _LiveTable:
    """The tasks as a table that keeps up with the run."""

    def __init__(self, planned: list[Any], terminal: Console) -> None:
        self._planned = planned
        self._live = Live(
            get_renderable=self._table,
            console=terminal,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Callable[[Any], None]:
        self._live.start()
        return lambda _: self._live.refresh()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _table(self) -> Table:
        return _table(self._planned)


def _table(planned: list[Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "task", "image"):
        table.add_column(heading)
    table.add_column("time", justify="right", min_width=7)
    table.add_column("result", overflow="fold")
    for task in planned:
        table.add_row(
            _MARKS[task.state],
            task.display_name,
            f"[dim]{task.environment}[/]",
            f"{task.seconds:.1f} s" if task.started is not None else "",
            escape(task.headline) + (" [dim](reused)[/]" if task.cached and task.state == "passed" else ""),
        )
    return table


_MARKS = {
    "waiting": "[dim]·[/]",
    "running": "[bold blue]▶[/]",
    "passed": "[green]✓[/]",
    "failed": "[bold red]✗[/]",
    "stopped": "[yellow]■[/]",
    "skipped": "[dim]–[/]",
}


class _TaskLines:
    """A line for each task that ended, where no terminal can show a table."""

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal

    def __call__(self, task: Any) -> None:
        if task.state != "running":
            reused = " (reused)" if task.cached and task.state == "passed" else ""
            line = f"{task.state:8}{task.display_name:20}{task.seconds:7.1f} s  {task.headline}{reused}"
            self._terminal.print(line, markup=False, highlight=False, soft_wrap=True)


def _failed_log(planned: list[Any]) -> Path | None:
    return next((task.log for task in planned if task.state == "failed"), None)


_ERROR = re.compile(r"^cd4ml\.errors\.\w+: ", re.MULTILINE)


def _failure(planned: list[Any]) -> str:
    """Why a task failed: the words of its error, or the whole log of what no one foresaw."""
    log = _failed_log(planned)
    if log is None:
        return "The pipeline ended before all tasks had run."
    text = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
    said = list(_ERROR.finditer(text))
    return text[said[-1].end() :] if said else text or "The task's process ended without a word."


def _end_serving(arguments: Mapping[str, Any], run_id: str, keep: bool) -> machine.Server | None:
    """Ends the server that the run started, unless it is to be kept; the server that is left, if any."""
    if "store" not in arguments or "name" not in arguments:
        return None
    store = Store(arguments["store"])
    if machine.find(store, arguments["name"]) is None:
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


def _print_outcome(summary: Mapping[str, Any], folder: Path, serving: machine.Server | None, log: Path | None) -> None:
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


def _print_passed(summary: Mapping[str, Any], serving: machine.Server | None) -> None:
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


def _curl(server: machine.Server) -> str:
    from cd4ml.deployment import verify

    body = verify.example_request(Path(server.model_folder).parent / "predictions.parquet")
    return f"curl -s {server.url}{verify.PREDICTIONS} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
