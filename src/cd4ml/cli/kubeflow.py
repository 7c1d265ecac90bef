"""Commands for KFP: `cd4ml submit`, `schedule`, `schedules`, `runs`, `pipelines`, `doctor`.

What asks KFP is imported by the command that needs it, so that the others start fast.
"""

import functools
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, errors
from cd4ml.cli.progress import MARKS, progress
from cd4ml.errors import ArgumentsError, Cd4mlError, KubeflowError
from cd4ml.storage import local_path

if TYPE_CHECKING:
    from cd4ml.kubeflow.compare import Section
    from cd4ml.kubeflow.connection import Address, Connection
    from cd4ml.kubeflow.runs import Run

runs_app = typer.Typer(help="Runs on KFP: list, show, compare.", no_args_is_help=True)
schedules_app = typer.Typer(help="Schedules on KFP: list, delete.", no_args_is_help=True)
pipelines_app = typer.Typer(help="Pipelines on KFP: upload.", no_args_is_help=True)
INTERRUPTED = 130
_AN_ID = "11111111-1111-1111-1111-111111111111"

ADDRESS_OPTIONS: dict[str, Any] = {
    "host": Annotated[
        str | None,
        typer.Option(
            envvar="KF_PIPELINES_ENDPOINT",
            help="KFP's address, as http://localhost:8080; else it is reached through the kubeconfig.",
            show_default=False,
        ),
    ],
    "namespace": Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="The namespace of the runs (of KFP, where it has one user)."),
    ],
    "context": Annotated[str | None, typer.Option(help="The context of the kubeconfig.", show_default=False)],
    "token_file": Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            envvar="KF_PIPELINES_SA_TOKEN_PATH",
            help="A file with a bearer token; read again for each request.",
            show_default=False,
        ),
    ],
    "ca": Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            help="A PEM file with the authority of KFP's certificate.",
            show_default=False,
        ),
    ],
}
Experiment = Annotated[
    str | None,
    typer.Option(
        envvar="KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
        help="The experiment that it belongs to; the pipeline's name if not said.",
        show_default=False,
    ),
]
ServiceAccount = Annotated[
    str | None, typer.Option(help="As whom the tasks ask the cluster; KFP's own if not said.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the kubeconfig's own context is changed.")]


def _with_address(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which KFP is asked, together as its argument `address`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        from cd4ml.kubeflow.connection import Address

        address = Address(**{name: given.pop(name) for name in ADDRESS_OPTIONS})
        command(address=address, **given)

    own = [one for name, one in inspect.signature(command).parameters.items() if name != "address"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, keyword, default=None, annotation=annotation)
        for name, annotation in ADDRESS_OPTIONS.items()
    ]
    parameters = [*(one.replace(kind=keyword) for one in own), *options]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    del wrapped.__wrapped__
    return wrapped


@app.command()
@_with_address
def submit(
    file: asked.RunFileArgument,
    address: "Address",
    wait: Annotated[bool, typer.Option(help="Wait for the end, and show the tasks as they go on.")] = True,
    experiment: Experiment = None,
    run_name: Annotated[
        str | None, typer.Option(help="The run's name; the pipeline's and the time if not said.", show_default=False)
    ] = None,
    service_account: ServiceAccount = None,
    cache: Annotated[bool, typer.Option(help="Reuse the results of earlier runs where nothing changed.")] = True,
    yes: Yes = False,
) -> None:
    """Runs a pipeline on KFP: the file that `cd4ml run` takes, with a store and a source that a cluster can reach.

    The exit code is 0 when the run passed, and 1 when it did not.

    Example: cd4ml submit examples/promotions/training-cluster.yaml --host http://localhost:8080
    """
    wanted = _read(file)
    connection = _connected(address, changes=True, sure=yes)
    from cd4ml.kubeflow import runs

    name = run_name or f"{wanted.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    run_id = runs.submit(
        connection,
        pipeline=wanted.pipeline,
        arguments=wanted.arguments,
        name=name,
        experiment=experiment or wanted.name,
        service_account=service_account,
        cached=cache,
    )
    _say("run", f"{name}, id {run_id}")
    link = connection.link(f"runs/details/{run_id}")
    if link:
        _say("look", link)
    if wait:
        raise typer.Exit(_wait(connection, run_id, wanted))
    _say("wait", f"cd4ml runs show {run_id}")


@app.command()
@_with_address
def schedule(
    file: asked.RunFileArgument,
    address: "Address",
    cron: Annotated[str, typer.Option(help="When, as `0 6 * * *` (KFP's time, UTC as a rule).", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="The schedule's name; the file's if not said.", show_default=False)
    ] = None,
    experiment: Experiment = None,
    service_account: ServiceAccount = None,
    yes: Yes = False,
) -> None:
    """Runs a pipeline on KFP again and again; a schedule of the same name is replaced.

    Example: cd4ml schedule examples/promotions/verification.yaml --cron "0 6 * * *"
    """
    from cd4ml.kubeflow import schedules

    wanted, expression = _read(file), schedules.check_cron(cron)
    connection = _connected(address, changes=True, sure=yes)
    called = name or file.stem
    replaced = schedules.put(
        connection,
        pipeline=wanted.pipeline,
        arguments=wanted.arguments,
        name=called,
        cron=expression,
        experiment=experiment or wanted.name,
        service_account=service_account,
    )
    _say("schedule", f"{called}, {cron}" + (", in place of the one before" if replaced else ""))


@schedules_app.command("list")
@_with_address
def list_schedules(address: "Address") -> None:
    """Lists the schedules."""
    from cd4ml.kubeflow import schedules

    table = _table("schedule", "when", "state", "id")
    for one in schedules.all_of(_connected(address)):
        table.add_row(escape(one.name), one.cron, one.state, f"[dim]{one.schedule_id}[/]")
    console.print(table)


@schedules_app.command("delete")
@_with_address
def delete_schedule(
    address: "Address",
    name: Annotated[str, typer.Argument(help="The schedule's name.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Deletes a schedule; the runs that it made stay."""
    from cd4ml.kubeflow import schedules

    schedules.delete(_connected(address, changes=True, sure=yes), name)
    _say("deleted", name)


@runs_app.command("list")
@_with_address
def list_runs(
    address: "Address", number: Annotated[int, typer.Option("--number", "-N", help="How many.", min=1, max=200)] = 20
) -> None:
    """Lists the runs, newest first."""
    from cd4ml.kubeflow import runs

    table = _table("", "run", "made", "time", "id")
    for one in runs.newest(_connected(address), number):
        table.add_row(
            MARKS[one.state],
            escape(one.name),
            f"{one.created_at:%Y-%m-%d %H:%M}",
            "" if one.seconds is None else f"{one.seconds:.0f} s",
            f"[dim]{one.run_id}[/]",
        )
    console.print(table)


@runs_app.command("show")
@_with_address
def show_run(
    address: "Address", run: Annotated[str, typer.Argument(help="The run's id or name.", show_default=False)]
) -> None:
    """Shows what a run was given, what it measured and what it made."""
    from cd4ml.kubeflow import compare, runs

    connection = _connected(address)
    found = runs.find(connection, run)
    _warn_of([found])
    _say("run", f"{found.name}, id {found.run_id}")
    link = connection.link(f"runs/details/{found.run_id}")
    if link:
        _say("look", link)
    table = _table("", "task", "result")
    for record in found.records:
        state = found.tasks.get(record.name, record.state)
        headline = next((one.metadata["headline"] for one in record.artifacts if "headline" in one.metadata), "")
        table.add_row(MARKS[state], escape(record.display_name), escape(str(headline)))
    if found.records:
        console.print(table)
    _print_sections(compare.sections([found]), [found.name])
    if found.state == "failed":
        failed = [one.name for one in found.records if found.tasks.get(one.name, one.state) == "failed"]
        _print_failure(runs.failure(connection, found.run_id, failed))


@runs_app.command("compare")
@_with_address
def compare_runs(
    address: "Address",
    run: Annotated[list[str], typer.Argument(help="Ids or names of two runs or more.", show_default=False)],
    html: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="FILE", help="Write it to this file, as one page.", show_default=False),
    ] = None,
) -> None:
    """Sets runs side by side: parameters, metrics, artifacts; what differs is marked."""
    from cd4ml.kubeflow import compare, runs

    if len(run) < 2:
        raise KubeflowError("there is one run, and nothing to compare it with; name another")
    connection = _connected(address)
    found = [runs.find(connection, one) for one in run]
    _warn_of(found)
    if html:
        compare.write(found, html)
        _say("written", str(html))
    else:
        _print_sections(compare.sections(found), [one.name for one in found])


@pipelines_app.command("upload")
@_with_address
def upload_pipelines(
    address: "Address",
    name: Annotated[
        list[str] | None, typer.Argument(help="Pipelines; all if none is named.", show_default=False)
    ] = None,
    yes: Yes = False,
) -> None:
    """Uploads pipelines, each as a version named by the revision of the code; one that is there stays as it is."""
    from cd4ml.kubeflow import versions
    from cd4ml.names import nearest

    known = asked.pipelines()
    unknown = [one for one in name or [] if one not in known]
    if unknown:
        raise KubeflowError(f"{unknown[0]}: there is no such pipeline; {nearest(unknown[0], known)}")
    connection = _connected(address, changes=True, sure=yes)
    for one in name or known:
        version = versions.upload(connection, asked.pipeline(one), one)
        console.print(
            f"{one}: version {version.name} {'is uploaded' if version.new else 'is there already'}",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
@_with_address
def doctor(
    address: "Address",
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="The store to check, as s3://cd4ml; small objects are written below its probes/.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Checks what submitting and deploying need, and says how to mend what is not as it should be.

    The store is checked where --store names it or AWS_ENDPOINT_URL says where S3 is. The exit code is 1 when a check
    failed.
    """
    from cd4ml.kubeflow import doctor as checks

    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    table = _table("", "check", "found")
    findings = checks.examine(address, store)
    for one in findings:
        remedy = f"\n[dim]→[/] {escape(one.remedy)}" if one.remedy else ""
        table.add_row(f"[{colours[one.state]}]{one.state}[/]", one.name, escape(one.said) + remedy)
    console.print(table)
    raise typer.Exit(1 if any(one.state == "failed" for one in findings) else 0)


app.add_typer(runs_app, name="runs")
app.add_typer(schedules_app, name="schedules")
app.add_typer(pipelines_app, name="pipelines")


def _read(file: Path) -> asked.Asked:
    """Reads and checks the file of a run that is to run in a cluster, which sees no folder of this machine."""
    wanted = asked.read(file)
    mistakes = list(wanted.values.mistakes_in_a_cluster())
    if mistakes:
        raise ArgumentsError(f"{file}: the arguments are not what a cluster can use:\n  " + "\n  ".join(mistakes))
    return wanted


def _connected(address: "Address", changes: bool = False, sure: bool = False) -> "Connection":
    """The KFP that is asked; told before it is changed, and asked about where only the kubeconfig named it."""
    from cd4ml.kubeflow.connection import connect

    connection = connect(address)
    connection.check()
    if changes:
        _say("to", connection.where)
        if connection.context and not address.context and not sure:
            if not sys.stdin.isatty():
                raise KubeflowError(
                    f"{connection.where}: only the kubeconfig's current context says so; name it with "
                    f"--context {connection.context}, or say --yes"
                )
            typer.confirm("Go on?", abort=True)
    return connection


def _wait(connection: "Connection", run_id: str, wanted: asked.Asked) -> int:
    """Shows a run as it goes on; the exit code that its end asks for."""
    from cd4ml.kubeflow import runs
    from cd4ml.running import compiled

    started = time.monotonic()
    tree = compiled.tree(wanted.pipeline, Path())
    look = f"the run goes on; look at it with `cd4ml runs show {run_id}`"
    try:
        with progress(tree) as changed:
            state = runs.follow(
                connection,
                run_id=run_id,
                tree=tree,
                changed=changed,
                lost=lambda reason: errors.print(f"{reason}; trying again"),
            )
    except KeyboardInterrupt:
        _print_outcome("not waiting any more", "yellow", look)
        return INTERRUPTED
    except Cd4mlError as error:
        raise KubeflowError(f"{error}\n{look}") from error
    console.print()
    if state == "passed":
        _print_outcome("passed", "green", f"in {time.monotonic() - started:.0f} s")
        return 0
    if state == "failed":
        failed = [task.name for task in tree.tasks if task.state == "failed"]
        _print_failure(runs.failure(connection, run_id, failed))
    else:
        _print_outcome(state, "yellow", "The run was ended on KFP.")
    return 1


def _warn_of(found: Sequence["Run"]) -> None:
    missing = next((one.without_records for one in found if one.without_records), "")
    if missing:
        errors.print(f"metrics and artifacts are left out: {missing}", markup=False, highlight=False, soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        whole = heading in ("id", "made", "time")
        table.add_column(heading, overflow="fold", no_wrap=whole, min_width=len(_AN_ID) if heading == "id" else None)
    return table


def _print_sections(sections: Sequence["Section"], names: Sequence[str]) -> None:
    """Rows by section, a column a run; what differs is marked."""
    for section in sections:
        if not section.rows:
            continue
        table = _table("", section.title.lower(), *(escape(name) for name in names))
        for row in section.rows:
            style = "yellow" if row.differs else ""
            table.add_row("≠" if row.differs else "", escape(row.name), *map(escape, row.values), style=style)
        console.print()
        console.print(table)


def _print_failure(failure: str) -> None:
    _print_outcome("failed", "red", failure)


def _print_outcome(state: str, colour: str, words: str) -> None:
    console.print(f"[bold {colour}]{state}[/] {escape(words)}", highlight=False, soft_wrap=True)


def _say(word: str, what: str) -> None:
    console.print(f"[dim]{word:<8}[/] {escape(what)}", highlight=False, soft_wrap=True)
