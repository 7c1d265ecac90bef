"""What submitting and deploying need: `cd4ml doctor`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import address as kfp
from cd4ml.cli.application import app, console, table

if TYPE_CHECKING:
    from cd4ml.kubeflow.connection import Address


@app.command()
@kfp.options
def doctor(
    address: "Address",
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="The store to check, as s3://cd4ml; small objects are written below its probes/.",
        ),
    ] = None,
) -> None:
    """Checks what submitting and deploying need, and says how to mend what is not as it should be.

    The store is checked where --store names it or AWS_ENDPOINT_URL says where S3 is. The exit code is 1 when a check
    failed.
    """
    from cd4ml.kubeflow import doctor as checks

    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    shown = table("", "check", "found")
    findings = checks.examine(address, store)
    for one in findings:
        remedy = f"\n[dim]→[/] {escape(one.remedy)}" if one.remedy else ""
        shown.add_row(f"[{colours[one.state]}]{one.state}[/]", one.name, escape(one.said) + remedy)
    console.print(shown)
    raise typer.Exit(1 if any(one.state == "failed" for one in findings) else 0)
