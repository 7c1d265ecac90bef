"""Runs, in the store and on KFP: `cd4ml runs`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import address as kfp
from cd4ml.cli.application import app, console, errors, print_outcome, say, table
from cd4ml.cli.progress import MARKS
from cd4ml.errors import KubeflowError
from cd4ml.storage import local_path

if TYPE_CHECKING:
    from cd4ml.kubeflow.compare import Section
    from cd4ml.kubeflow.connection import Address
    from cd4ml.kubeflow.runs import Run

runs_app = typer.Typer(help="Runs on KFP: list, show, compare.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")


@runs_app.command("list")
@kfp.options
def list_runs(
    address: "Address", number: Annotated[int, typer.Option("--number", "-N", help="How many.", min=1, max=200)] = 20
) -> None:
    """Lists the runs, newest first."""
    from cd4ml.kubeflow import runs

    shown = table("", "run", "made", "time", "id")
    for one in runs.newest(kfp.connected(address), number):
        shown.add_row(
            MARKS[one.state],
            escape(one.name),
            f"{one.created_at:%Y-%m-%d %H:%M}",
            "" if one.seconds is None else f"{one.seconds:.0f} s",
            f"[dim]{one.run_id}[/]",
        )
    console.print(shown)


@runs_app.command("show")
@kfp.options
def show_run(
    address: "Address", run: Annotated[str, typer.Argument(help="The run's id or name.", show_default=False)]
) -> None:
    """Shows what a run was given, what it measured and what it made."""
    from cd4ml.kubeflow import compare, runs

    connection = kfp.connected(address)
    found = runs.find(connection, run)
    _warn_of([found])
    say("run", f"{found.name}, id {found.run_id}")
    link = connection.link(f"runs/details/{found.run_id}")
    if link:
        say("look", link)
    shown = table("", "task", "result")
    for record in found.records:
        state = found.tasks.get(record.name, record.state)
        headline = next((one.metadata["headline"] for one in record.artifacts if "headline" in one.metadata), "")
        shown.add_row(MARKS[state], escape(record.display_name), escape(str(headline)))
    if found.records:
        console.print(shown)
    _print_sections(compare.sections([found]), [found.name])
    if found.state == "failed":
        failed = [one.name for one in found.records if found.tasks.get(one.name, one.state) == "failed"]
        print_outcome("failed", "red", runs.failure(connection, found.run_id, failed))


@runs_app.command("compare")
@kfp.options
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
    connection = kfp.connected(address)
    found = [runs.find(connection, one) for one in run]
    _warn_of(found)
    if html:
        compare.write(found, html)
        say("written", str(html))
    else:
        _print_sections(compare.sections(found), [one.name for one in found])


def _warn_of(found: Sequence["Run"]) -> None:
    missing = next((one.without_records for one in found if one.without_records), "")
    if missing:
        errors.print(f"metrics and artifacts are left out: {missing}", markup=False, highlight=False, soft_wrap=True)


def _print_sections(sections: Sequence["Section"], names: Sequence[str]) -> None:
    """Rows by section, a column a run; what differs is marked."""
    for section in sections:
        if not section.rows:
            continue
        shown = table("", section.title.lower(), *(escape(name) for name in names))
        for row in section.rows:
            style = "yellow" if row.differs else ""
            shown.add_row("≠" if row.differs else "", escape(row.name), *map(escape, row.values), style=style)
        console.print()
        console.print(shown)
