"""Runs that KFP makes again and again: `cd4ml schedule`, `cd4ml schedules`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import address as kfp
from cd4ml.cli import asked
from cd4ml.cli.address import Experiment, ServiceAccount, Yes
from cd4ml.cli.application import app, console, say, table

if TYPE_CHECKING:
    from cd4ml.kubeflow.connection import Address

schedules_app = typer.Typer(help="Schedules on KFP: list, delete.", no_args_is_help=True)
app.add_typer(schedules_app, name="schedules")


@app.command()
@kfp.options
def schedule(
    file: asked.RunFileArgument,
    address: "Address",
    cron: Annotated[str, typer.Option(help="When, as `0 6 * * *` (KFP's time, UTC as a rule).")],
    name: Annotated[str | None, typer.Option(help="The schedule's name; the file's if not said.")] = None,
    experiment: Experiment = None,
    service_account: ServiceAccount = None,
    yes: Yes = False,
) -> None:
    """Runs a pipeline on KFP again and again; a schedule of the same name is replaced.

    Example: cd4ml schedule examples/promotions/verification.yaml --cron "0 6 * * *"
    """
    from cd4ml.cli.submit import try_functions
    from cd4ml.kubeflow import schedules

    wanted, expression = asked.read(file, in_a_cluster=True), schedules.check_cron(cron)
    try_functions(wanted)
    connection = kfp.connected(address, changes=True, sure=yes)
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
    say("schedule", f"{called}, {cron}" + (", in place of the one before" if replaced else ""))


@schedules_app.command("list")
@kfp.options
def list_schedules(address: "Address") -> None:
    """Lists the schedules."""
    from cd4ml.kubeflow import schedules

    shown = table("schedule", "when", "state", "id")
    for one in schedules.all_of(kfp.connected(address)):
        shown.add_row(escape(one.name), one.cron, one.state, f"[dim]{one.schedule_id}[/]")
    console.print(shown)


@schedules_app.command("delete")
@kfp.options
def delete_schedule(
    address: "Address",
    name: Annotated[str, typer.Argument(help="The schedule's name.")],
    yes: Yes = False,
) -> None:
    """Deletes a schedule; the runs that it made stay."""
    from cd4ml.kubeflow import schedules

    schedules.delete(kfp.connected(address, changes=True, sure=yes), name)
    say("deleted", name)
