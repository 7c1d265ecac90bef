"""Runs, by their records in the store or on KFP: `cd4ml runs`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import address as kfp
from cd4ml.cli import asked
from cd4ml.cli.application import app, console, errors, print_outcome, print_sections, say, table, writing
from cd4ml.cli.progress import MARKS
from cd4ml.errors import Cd4mlError, KubeflowError, RegistryError
from cd4ml.storage import local_path, open_store

if TYPE_CHECKING:
    from cd4ml.contracts.progress import Progress
    from cd4ml.contracts.record import RunRecord
    from cd4ml.kubeflow.connection import Address
    from cd4ml.kubeflow.runs import Run
    from cd4ml.reports.comparison import Column
    from cd4ml.storage import Store

runs_app = typer.Typer(help="Runs, by their records in the store or on KFP: list, show, compare.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
HERE = Path(asked.STORE)
StoreOption = Annotated[
    str | None,
    typer.Option(
        envvar="CD4ML_STORE",
        metavar="URI",
        help="The store whose records are read; `store` here where neither it nor a KFP is named.",
    ),
]
RunArgument = Annotated[str, typer.Argument(help="The run's id or name.")]
RunsArgument = Annotated[list[str], typer.Argument(help="Ids or names of two runs or more.")]


@runs_app.command("list")
@kfp.options
def list_runs(
    address: "Address",
    store: StoreOption = None,
    number: Annotated[int, typer.Option("--number", "-N", help="How many.", min=1, max=1000)] = 20,
) -> None:
    """Lists the runs, newest first: of the store's records, or of a KFP.

    Runs of one name are shown with their ids, by which the other commands tell them apart.

    Example: cd4ml runs list --store s3://cd4ml
    """
    listed, unreadable = _listed(address, store, number)
    called = Counter(one.name for one, _ in listed)
    ids = {one.run_id for one, _ in listed if called[one.name] > 1}
    shown = table("", "run", "made", "time", "result")
    shown.columns[1].width = max(map(len, ids), default=None)
    for one, headline in listed:
        name = escape(one.name) + (f"\n[dim]{escape(one.run_id)}[/]" if one.run_id in ids else "")
        seconds = "" if one.seconds is None else f"{one.seconds:.0f} s"
        shown.add_row(MARKS[one.state], name, one.made, seconds, escape(headline))
    console.print(shown)
    for said in unreadable:
        errors.print(f"left out: {said}", markup=False, soft_wrap=True)


@runs_app.command("show")
@kfp.options
def show_run(address: "Address", run: RunArgument, store: StoreOption = None) -> None:
    """Shows what a run was given, how far its trainings are, what it measured and what it made.

    Example: cd4ml runs show training-20261125-160000
    """
    from cd4ml.registry import records, trainings
    from cd4ml.reports import comparison

    opened = _store(address, store)
    if opened is None:
        _show_on_kfp(address, run)
        return
    [found] = _as_they_are(address, [records.read(opened, run)])
    column = comparison.of(found)
    say("run", f"{found.name}, {found.status}, id {found.run_id}")
    say("record", opened.uri(f"{records.FOLDER}/{found.pipeline}/{found.run_id}"))
    told, unreadable = trainings.of(opened, pipeline=found.pipeline, run=found.run_id)
    _show_trainings(told, over=found.status != "running")
    for wrong in unreadable:
        errors.print(f"left out: {wrong}", markup=False, soft_wrap=True)
    print_sections(comparison.sections([column]), [column.name])
    if found.failure:
        console.print()
        print_outcome(found.status, "red", found.failure)


@runs_app.command("compare")
@kfp.options
def compare_runs(
    address: "Address",
    run: RunsArgument,
    store: StoreOption = None,
    html: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="FILE", help="Write it to this file, as one page."),
    ] = None,
) -> None:
    """Sets runs side by side: parameters, metrics, what they made; what differs is marked.

    Example: cd4ml runs compare training-20261125-160000 training-20261125-170000 --html runs.html
    """
    from cd4ml.registry import records
    from cd4ml.reports import comparison

    if len(run) < 2:
        raise RegistryError("there is one run, and nothing to compare it with; name another")
    opened = _store(address, store)
    if opened is None:
        found = _found_on_kfp(address, run)
    else:
        found = [comparison.of(one) for one in records.read_all(opened, run)]
    if html:
        with writing(html, "--html"):
            comparison.write(found, html)
        say("written", str(html))
    else:
        print_sections(comparison.sections(found), [one.name for one in found])


def _show_trainings(told: "Sequence[Progress]", *, over: bool) -> None:
    """How far each training is, a column each; they say it themselves, again and again."""
    from cd4ml.reports import comparison

    if not told:
        return
    shown = table("training", *(escape(one.task) for one in told))
    for row in comparison.of_trainings(told, over=over):
        shown.add_row(escape(row.name), *map(escape, row.values))
    console.print()
    console.print(shown)


def _store(address: "Address", store: str | None) -> "Store | None":
    """The store that is asked; None where KFP is."""
    if store is not None:
        return open_store(store)
    if address.host or address.context or address.namespace:
        return None
    if HERE.is_dir():
        return open_store(HERE)
    errors.print(f"KFP is asked: no --store is named, and there is no folder `{HERE}` here", markup=False)
    return None


def _listed(
    address: "Address", store: str | None, number: int
) -> "tuple[list[tuple[Column, str]], Sequence[Cd4mlError]]":
    """Runs, the newest first, each with what came of it in a few words; and what cannot be read."""
    opened = _store(address, store)
    if opened is None:
        from cd4ml.kubeflow import runs

        return [(one.column, "") for one in runs.newest(kfp.connected(address), number)], ()
    from cd4ml.registry import records
    from cd4ml.reports import comparison

    found, unreadable = records.newest(opened, number)
    found = _as_they_are(address, found)
    return [(comparison.of(one), one.headline) for one in found], unreadable


def _as_they_are(address: "Address", found: "list[RunRecord]") -> "list[RunRecord]":
    """Records, with how KFP says that those have ended whose last task could not: it was killed, or asks no store."""
    if not (address.host or address.context) or all(one.status != "running" for one in found):
        return found
    from cd4ml.kubeflow import runs

    try:
        connection = kfp.connected(address)
        return [runs.as_it_is(connection, one) for one in found]
    except KubeflowError as error:
        errors.print(f"what goes on by its record may have ended: {error}", markup=False, soft_wrap=True)
        return found


def _found_on_kfp(address: "Address", names: Sequence[str]) -> "list[Column]":
    from cd4ml.kubeflow import runs

    connection = kfp.connected(address)
    found = [runs.find(connection, one) for one in names]
    _warn_of(found)
    return [one.column for one in found]


def _show_on_kfp(address: "Address", run: str) -> None:
    from cd4ml.kubeflow import runs
    from cd4ml.reports import comparison

    connection = kfp.connected(address)
    found = runs.find(connection, run)
    _warn_of([found])
    say("run", f"{found.name}, id {found.run_id}")
    link = connection.link(f"runs/details/{found.run_id}")
    if link:
        say("look", link)
    shown = table("", "task", "result")
    for made in found.tasks_made:
        state = found.tasks.get(made.name, made.state)
        headline = next((one.metadata["headline"] for one in made.artifacts if "headline" in one.metadata), "")
        shown.add_row(MARKS[state], escape(made.display_name), escape(str(headline)))
    if found.tasks_made:
        console.print(shown)
    print_sections(comparison.sections([found.column]), [found.name])
    if found.state == "failed":
        failed = [one.name for one in found.tasks_made if found.tasks.get(one.name, one.state) == "failed"]
        said = found.record.failure if found.record else ""
        print_outcome("failed", "red", said or runs.failure(connection, found.run_id, failed))


def _warn_of(found: "Sequence[Run]") -> None:
    missing = next((one.without_metadata for one in found if one.without_metadata), "")
    if missing:
        errors.print(f"metrics and artifacts are left out: {missing}", markup=False, soft_wrap=True)
